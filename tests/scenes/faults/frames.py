"""Compressed and repeated page data that is not what it says: refused, whatever the checksums, and nothing is left."""

import os
import random
import struct
import zlib

from forge import gone, play, refuse
from image import DUPLICATE, PAGE, PARENT, ZSTD, Image
from stage import scene

MEMORY = 0x11


def packed(s, *program):
    p = s.start(*program)
    p.kill("--zstd=19")
    return p, open(p.image, "rb").read()


def frame(length, blocks):
    """A single-segment frame that states this length."""
    body = b""
    for k, (kind, size, data) in enumerate(blocks):
        last = k == len(blocks) - 1
        body += struct.pack("<I", last | kind << 1 | size << 3)[:3] + data
    return struct.pack("<IBI", 0xFD2FB528, 0xA0, length) + body


def put(chunk, data, padding=b""):
    """Makes this frame the payload of the chunk."""
    chunk.frame_len = len(data)
    chunk.payload = bytearray((data + padding).ljust((len(data) + PAGE - 1) // PAGE * PAGE, b"\0"))


def compressed(image):
    return max((c for c in image.page_chunks(MEMORY) if c.codec == ZSTD), key=lambda c: c.raw_len)


@scene("a frame that is damaged, lies about its length or decodes to something else is refused", timeout=300)
def frames(s):
    p, good = packed(s, "small-static", "same")

    def on(change):
        return lambda image: change(compressed(image))

    def raw_crc(c):
        c.raw_crc ^= 1

    def raw_len(c):
        c.raw_len -= PAGE

    def flip(c):
        c.payload[c.frame_len // 2] ^= 0x40

    def behind(c):
        c.payload[-1] = 1

    def magic(c):
        c.payload[0] ^= 1

    def cut(c):
        put(c, bytes(c.payload[: c.frame_len - 1]))

    def longer(c):
        put(c, bytes(c.payload[: c.frame_len]) + b"\0")

    def window(c):
        # No single segment: a window of 2 GiB, as the descriptor can say.
        put(c, struct.pack("<IBBI", 0xFD2FB528, 0x80, 0xA8, c.raw_len) + bytes(c.payload[9 : c.frame_len]))

    def dictionary(c):
        put(c, struct.pack("<IBBI", 0xFD2FB528, 0xA1, 7, c.raw_len) + bytes(c.payload[9 : c.frame_len]))

    def checksum(c):
        put(c, struct.pack("<IB", 0xFD2FB528, 0xA4) + bytes(c.payload[5 : c.frame_len]) + b"\1\2\3\4")

    def bomb(c):
        put(c, frame(c.raw_len, [(1, 128 << 10, b"x")] * 64))

    def short(c):
        put(c, frame(c.raw_len, [(1, PAGE, b"x")]))

    def size(c):
        put(c, frame(c.raw_len + 1, [(1, 128 << 10, b"x")] * (c.raw_len // (128 << 10))))

    def garbage(c):
        put(c, frame(c.raw_len, [(2, 2000, bytes(random.Random(5).randbytes(2000)))]))

    def reserved(c):
        put(c, frame(c.raw_len, [(3, 5, b"12345")]))

    def empty(c):
        put(c, b"")

    def not_less(c):
        c.payload = c.payload.ljust(c.raw_len, b"\0")

    def unpadded(c):
        c.payload = c.payload[: c.frame_len]

    for change in (raw_crc, raw_len, flip, behind, magic, cut, longer, window, dictionary, checksum, bomb, short, size,
                   garbage, reserved, empty, not_less, unpadded):
        refuse(s, p, good, change.__name__, on(change), (120,))

    def unannounced(image):
        image.super[24] = 0

    refuse(s, p, good, "not announced", unannounced, (120,))

    def other_codec(image):
        compressed(image).codec = 2

    refuse(s, p, good, "codec 2", other_codec, (121,))
    p.restart()
    p.finish()


def decodes_to_the_same(s, chunk):
    """Is the changed frame only another way to say the same? A match, for instance, may have several sources."""
    with open(s.path("frame"), "wb") as f:
        f.write(chunk.payload[: chunk.frame_len])
    if s.run("zstd", "-dqf", "frame", "-o", "plain").code != 0:
        return False
    with open(s.path("plain"), "rb") as f:
        plain = f.read()
    return len(plain) == chunk.raw_len and zlib.crc32(plain) == chunk.raw_crc


@scene("damaged compressed images with right checksums are refused and harm nobody", timeout=600)
def random_frames(s):
    p, good = packed(s, "small-static", "same")
    seed = int(os.environ.get("SCENES_SEED", "0")) or random.SystemRandom().getrandbits(32)
    pick, codes = random.Random(seed), {}
    for k in range(int(os.environ.get("SCENES_FRAMES", "60"))):
        image = Image(good)
        chunk = compressed(image)
        for _ in range(pick.choice((1, 1, 2, 8))):
            chunk.payload[pick.randrange(chunk.frame_len)] = pick.randrange(256)
        data = image.seal()
        if data == good or decodes_to_the_same(s, chunk):
            continue
        result, pid = play(s, data)
        codes[result.code] = codes.get(result.code, 0) + 1
        s.expect(pid is None and result.code == 120, f"damage {k} of seed {seed}: {result}")
        s.expect(gone(p.pid), f"damage {k} of seed {seed}: a process was created")
    s.note(f"ends of crctl: {codes}")
    p.restart()
    p.finish()


@scene("a compressed chunk that another encoder made is taken")
def foreign_frames(s):
    p = s.start("small-static", "same")
    p.kill("--zstd=1")
    image = Image(open(p.image, "rb").read())
    made = 0
    for chunk in image.page_chunks():
        if chunk.codec != ZSTD:
            continue
        with open(s.path("frame"), "wb") as f:
            f.write(chunk.payload[: chunk.frame_len])
        s.run("zstd", "-dqf", "frame", "-o", "plain", code=0)
        plain = open(s.path("plain"), "rb").read()
        s.expect(len(plain) == chunk.raw_len and zlib.crc32(plain) == chunk.raw_crc, "the zstd tool decodes something else")
        # Pages as raw and repeated blocks: every kind of block.
        blocks = [(1, 128 << 10, plain[:1])] if len(set(plain[: 128 << 10])) == 1 else []
        s.expect(not blocks, "the scene's memory is not varied")
        s.run("zstd", "-qf", "--no-check", "-12", "plain", "-o", "again", code=0)
        again = open(s.path("again"), "rb").read()
        s.expect(again[4] & 0x3F == 0x20, f"frame of the zstd tool: descriptor {again[4]:#x}")
        put(chunk, again)
        made += 1
    s.expect(made, "nothing was compressed")
    with open(p.image, "wb") as f:
        f.write(image.seal())
    p.restart()
    p.finish()


@scene("duplicates without a stored page before them, and pages of a parent, are refused")
def sources(s):
    p = s.start("small-static", "same")
    p.kill()
    good = open(p.image, "rb").read()

    def with_run(change):
        def apply(image):
            image.deduplicate()
            chunk = next(c for c in image.page_chunks(MEMORY) if any(r[2] == DUPLICATE for r in c.runs()))
            runs = chunk.runs()
            at = next(k for k, r in enumerate(runs) if r[2] == DUPLICATE)
            runs[at] = change(*runs[at])
            chunk.set_runs(runs)

        return apply

    refuse(s, p, good, "source nowhere", with_run(lambda a, n, k, f: (a, n, k, 0)), (120,))
    refuse(s, p, good, "source behind", with_run(lambda a, n, k, f: (a, n, k, f + (1 << 30))), (120,))
    refuse(s, p, good, "source not on a page", with_run(lambda a, n, k, f: (a, n, k, f + 1)), (120,))
    refuse(s, p, good, "source itself", with_run(lambda a, n, k, f: (a, n, k, a)), (120,))
    refuse(s, p, good, "source of zero pages", with_run(lambda a, n, k, f: (a, n, 1, f)), (120,))
    refuse(s, p, good, "parent", with_run(lambda a, n, k, f: (a, n, PARENT, 0)), (120,))
    refuse(s, p, good, "kind 4", with_run(lambda a, n, k, f: (a, n, 4, 0)), (121,))
    refuse(s, p, good, "too long", with_run(lambda a, n, k, f: (a, 2**32 - 1, k, f)), (120,))
    p.restart()
    p.finish()
