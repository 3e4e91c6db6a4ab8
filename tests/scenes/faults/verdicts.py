"""The kernel's verdict on an image is that of crimg: bad images that are kept, and random damage."""

import os
import random
import struct

from image import Image
from stage import scene

BAD = "/opt/crkit/images/bad"
# Exit status of `crctl restart --dry-run` and of `crimg verify`.
VERDICTS = {0: 0, 120: 3, 121: 4}


def kernel(s, path):
    """What the kernel says of the image, as crimg's exit status; what is wrong with this host is not of interest."""
    result = s.crctl("restart", "--dry-run", path, code=None)
    return VERDICTS.get(result.code, 0 if result.code == 122 else result.code), result


@scene("every bad image that is kept gets the verdict of crimg from the kernel, and is not restarted", timeout=900)
def kept(s):
    if not os.path.exists(f"{BAD}/manifest.tsv"):
        s.skip("there are no bad images")
    count = 0
    with open(f"{BAD}/manifest.tsv") as f:
        entries = [line.rstrip("\n").split("\t") for line in f if line.strip() and not line.startswith("#")]
    for name, expected, rule, *_ in entries:
        path = f"{BAD}/{name}"
        verdict, result = kernel(s, path)
        s.expect(verdict == int(expected), f"{name} ({rule}): the kernel says {result}, the manifest {expected}")
        if "-" in rule and verdict == 3:
            s.expect_message(result, rule)
        restarted = s.crctl("restart", path, "--detach", "--new-pidns", code=None)
        s.expect(restarted.code in (120, 121, 122), f"{name}: {restarted}")
        count += 1
    s.expect(count >= 50, f"only {count} bad images")
    s.note(f"{count} bad images")


def damage(image, pick):
    """Random bytes in a part of the container, made whole again by checksums."""
    what = pick.choice(("super", "header", "header", "table", "table", "data", "tail"))
    chunks = image.chunks
    pages = image.page_chunks()
    value = pick.choice((0, 1, 2, 0x7F, 0x80, 0xFF, pick.randrange(256)))
    if what == "super":
        image.super[pick.randrange(4092)] = value
    elif what == "header":
        chunk = pick.choice(chunks)
        name = pick.choice(("flags", "codec", "section", "seq", "owner", "key", "items", "raw_len", "raw_crc", "frame_len", "version"))
        narrow = name in ("flags", "codec", "section", "version")
        number = pick.choice((0, 1, 2, 3, 4096, 0xFFFF, getattr(chunk, name) ^ 1 << pick.randrange(16 if narrow else 32)))
        setattr(chunk, name, number & (0xFFFF if narrow else 2**64 - 1 if name == "key" else 0xFFFFFFFF))
    elif what == "table":
        chunk = pick.choice(pages)
        table = bytearray(chunk.table)
        table[pick.randrange(24 * chunk.items + 24)] = value
        chunk.table = bytes(table)
    elif what == "data":
        chunk = pick.choice(pages)
        if chunk.payload:
            chunk.payload[pick.randrange(len(chunk.payload))] = value
        if pick.random() < 0.3:
            del chunk.payload[len(chunk.payload) // 4096 // 2 * 4096 :]
    else:
        index = pick.choice(chunks)
        if pick.random() < 0.5:
            chunks.remove(index)
        else:
            chunks.insert(chunks.index(index), index)
    return what


@scene("the kernel and crimg give the same verdict on containers with random damage", timeout=900)
def random_damage(s):
    p = s.start("small-static", "same")
    p.checkpoint()
    plain = Image(open(p.image, "rb").read())
    plain.deduplicate()
    p.kill("--zstd")
    sources = (plain.seal(), open(p.image, "rb").read())
    seed = int(os.environ.get("SCENES_SEED", "0")) or random.SystemRandom().getrandbits(32)
    pick, verdicts, path = random.Random(seed), {}, s.path("damaged.ckpt")
    for k in range(int(os.environ.get("SCENES_VERDICTS", "200"))):
        image = Image(pick.choice(sources))
        what = damage(image, pick)
        try:
            data = bytearray(image.seal())
        except (StopIteration, struct.error):
            continue
        if pick.random() < 0.1:
            del data[pick.randrange(len(data)) :]
        elif pick.random() < 0.1:
            data[pick.randrange(len(data))] ^= 1 << pick.randrange(8)
        with open(path, "wb") as f:
            f.write(data)
        verdict, result = kernel(s, path)
        told = s.run("crimg", "verify", path)
        verdicts[verdict] = verdicts.get(verdict, 0) + 1
        s.expect(
            verdict == told.code or {verdict, told.code} == {3, 4},
            f"image {k} of seed {seed}, {what}: the kernel says {result}, crimg {told}",
        )
        if verdict != told.code:
            # Two defects of two kinds: the kernel names the first, crimg all.
            verdicts["both"] = verdicts.get("both", 0) + 1
    s.note(f"seed {seed}, verdicts: {verdicts}")
    p.restart()
    p.finish()
