"""Compressed memory in both directions, repeated pages, and the codec's module."""

import fcntl
import json
import os
import signal
import struct
import subprocess
import time

from image import DATA, DUPLICATE, PAGE, RAW, ZSTD, Image
from stage import loaded_modules, scene

MEMORY, FILES = 0x11, 0x12


def stored(result):
    answer = json.loads(result.out)
    return answer["stored_bytes"], answer["page_bytes"]


@scene("a compressed image is smaller and restarts like a raw one", timeout=300)
def compressed(s):
    programs = (
        ("threads-static", 8), ("threads", 4), ("memory", "maps"), ("files", "deleted"), ("small-static", "same"),
        ("small-static", "avx"), ("pipes", "states"),
    )
    for k, program in enumerate(programs):
        s.remove("go")
        p = s.start(*program, name=f"log-{k}")
        if "skipped" in p.log():
            continue
        raw = p.checkpoint("--json").json()
        s.expect(raw["stored_bytes"] == raw["page_bytes"] == 4096 * raw["pages"] and "zstd" not in raw, f"raw: {raw}")
        packed = p.kill("--json", f"--zstd={1 + 6 * (k % 4)}").json()
        s.expect(packed["stored_bytes"] < packed["page_bytes"], f"compressed: {packed}")
        s.expect(os.path.getsize(p.image) == packed["image_bytes"] < raw["image_bytes"], f"{raw} {packed}")
        s.note(
            f"{' '.join(map(str, program))} zstd {packed['zstd']}: {packed['page_bytes']} -> {packed['stored_bytes']}"
            f" bytes, frozen {raw['frozen_ns'] / 1e6:.0f} -> {packed['frozen_ns'] / 1e6:.0f} ms"
        )
        image = Image(open(p.image, "rb").read())
        s.expect(image.super[24] == 1, "the image does not announce that it is compressed")
        s.expect(any(c.codec == ZSTD for c in image.page_chunks()), "no chunk is compressed")
        s.crimg("verify", p.image)
        p.restart()
        p.finish()
    # Compressing what was restarted from a compressed image.
    s.remove("go")
    p = s.start("small-static", "same", name="log-again")
    p.kill("--zstd")
    p.restart()
    p.kill("--zstd=19")
    p.restart()
    p.finish()


@scene("every compression level works and others are refused", timeout=300)
def levels(s):
    p = s.start("small-static", "same")
    sizes = []
    for level in range(1, 20):
        sizes.append(stored(p.checkpoint("--json", f"--zstd={level}"))[0])
        s.expect(sizes[-1] <= sizes[0] * 1.2, f"level {level} stores {sizes[-1]} bytes, level 1 {sizes[0]}")
    s.note(f"bytes by level: {sizes}")
    for wrong in ("0", "20", "-1", "x", ""):
        result = p.checkpoint(f"--zstd={wrong}", code=2)
        s.expect_message(result, "zstd")
    s.expect(json.loads(p.checkpoint("--json", "--zstd").out)["zstd"] == 3, "3 is the level without a number")
    # Without crctl's own check: the kernel refuses it before anything is frozen.
    out = os.open(s.path("out.ckpt"), os.O_RDWR | os.O_CREAT)
    device = os.open("/dev/crkit", os.O_RDWR | os.O_CLOEXEC)
    size = 88
    argument = bytearray(struct.pack("<IIiiQIIQQQQIIQII", size, 0, p.pid, out, 0, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0))
    s.expect(len(argument) == size, f"{len(argument)}")
    try:
        fcntl.ioctl(device, (3 << 30) | (size << 16) | (0xC7 << 8) | 2, argument)
        s.expect(False, "level 20 was accepted")
    except OSError as e:
        s.expect(e.errno == 22, f"level 20: {e}")
    said = os.read(device, 4096)
    s.expect(b"no such compression level" in said, f"report: {said!r}")
    os.close(device)
    os.close(out)
    p.kill("--zstd=19")
    p.restart()
    p.finish()


@scene("memory that cannot be compressed is stored as it is, also when compression is asked for")
def incompressible(s):
    p = s.start("memory", "big", 8)
    packed = p.kill("--json", "--zstd=1").json()
    chunks = Image(open(p.image, "rb").read()).page_chunks(MEMORY)
    raw = sum(len(c.payload) for c in chunks if c.codec == RAW)
    s.expect(raw >= 7 << 20, f"only {raw} bytes are raw")
    s.expect(packed["stored_bytes"] == sum(len(c.payload) for c in chunks) <= packed["page_bytes"], f"{packed}")
    p.restart()
    p.finish()


@scene("a compressed checkpoint goes through pipes in both directions")
def piped(s):
    p = s.start("small-static", "same")
    with open(p.image, "wb") as out:
        done = subprocess.run(
            f"crctl checkpoint {p.pid} -o - --zstd --kill | cat", shell=True, stdout=out, stderr=subprocess.PIPE, cwd=s.dir
        )
    s.expect(done.returncode == 0, f"{done}")
    p.reap()
    with subprocess.Popen(["cat", p.image], stdout=subprocess.PIPE) as cat:
        p.restart(image="-", stdin=cat.stdout)
    p.finish()


@scene("a checkpoint that is interrupted while it compresses leaves the process running and no file")
def interrupted(s):
    p = s.start("memory", "big", 48)
    crctl = subprocess.Popen(
        ["crctl", "checkpoint", str(p.pid), "-o", p.image, "--zstd=19", "--kill"], stderr=subprocess.DEVNULL
    )
    s.started.append(crctl)
    time.sleep(0.4)
    crctl.send_signal(signal.SIGINT)
    code = crctl.wait(60)
    s.expect(code == -signal.SIGINT, f"crctl ended with {code}")
    s.expect(not os.path.exists(p.image), "an image is there")
    s.expect(p.exists(), "the process is gone")
    p.finish()


@scene("pages that an image repeats are there again, private, shared and in removed files", timeout=300)
def duplicates(s):
    for k, program in enumerate((("small-static", "same"), ("small-static", "deleted"))):
        s.remove("go")
        p = s.start(*program, name=f"log-{k}")
        p.kill()
        image = Image(open(p.image, "rb").read())
        before = os.path.getsize(p.image)
        made = image.deduplicate()
        s.note(f"{' '.join(program)}: {made} duplicates")
        s.expect(made >= (2, 500)[k == 0], "the pages of the program are no duplicates")
        if k == 1:
            runs = [r for c in image.page_chunks(FILES) for r in c.runs()]
            s.expect(any(r[2] == DUPLICATE for r in runs), f"no duplicate in the removed file: {runs}")
        with open(p.image, "wb") as f:
            f.write(image.seal())
        s.expect(os.path.getsize(p.image) < before, "the image is not smaller")
        s.crimg("verify", p.image)
        p.restart()
        p.finish()


def whole_runs(image):
    """One chunk for the 512 private pages of `small same`: two stored pages and two long runs of duplicates."""
    pages = {}
    for chunk in image.page_chunks(MEMORY):
        pages.update(chunk.pages())
    start = next(
        at for at in sorted(pages)
        if all(pages.get(at + PAGE * k) == pages[at] for k in range(300)) and pages.get(at + PAGE * 300) not in (None, pages[at])
    )
    long_runs = [
        (start, 1, DATA, 0), (start + PAGE, 299, DUPLICATE, start),
        (start + 300 * PAGE, 1, DATA, 0), (start + 301 * PAGE, 211, DUPLICATE, start + 300 * PAGE),
    ]
    inside = range(start, start + 512 * PAGE)
    new = []
    for chunk in image.page_chunks(MEMORY):
        kept, payload, at = [], bytearray(), 0
        behind = None
        for first, n, kind, source in chunk.runs():
            if kind == DATA:
                data, at = chunk.payload[at : at + PAGE * n], at + PAGE * n
                if first in inside:
                    behind = behind or chunk
                    continue
                payload += data
            kept.append((first, n, kind, source))
        new.append((chunk, kept, payload))
    placed = False
    for chunk, kept, payload in new:
        touched = len(kept) != len(chunk.runs())
        if touched and not placed:
            front = [r for r in kept if r[0] < start]
            rest = [r for r in kept if r[0] > start]
            cut = PAGE * sum(n for _, n, kind, _ in front if kind == DATA)
            kept = front + long_runs + rest
            payload = payload[:cut] + pages[start] + pages[start + 300 * PAGE] + payload[cut:]
            placed = True
        if kept:
            chunk.set_runs(kept)
            chunk.payload = payload
        else:
            image.chunks.remove(chunk)
    seq = 0
    for chunk in image.page_chunks(MEMORY):
        chunk.seq, seq = seq, seq + 1
    return start


@scene("a run of more duplicates than a chunk has pages is filled completely")
def long_run(s):
    p = s.start("small-static", "same")
    p.kill()
    image = Image(open(p.image, "rb").read())
    whole_runs(image)
    with open(p.image, "wb") as f:
        f.write(image.seal())
    s.crimg("verify", p.image)
    p.restart()
    p.finish()


@scene("a restart that repeats a page for ever is ended by a kill, and its memory comes back", timeout=120)
def endless_run(s):
    p = s.start("memory", "reserve", 64)
    p.kill()
    image = Image(open(p.image, "rb").read())
    areas = []
    for chunk in image.meta(MEMORY):
        for kind, _, fields in chunk.records():
            if kind == 2:
                areas.append(tuple(struct.unpack_from("<Q", chunk.payload, fields[f][1])[0] for f in (1, 2)))
    # One of the unused parts of the reservation, behind a stored page of the same chunk.
    chunk, start, end = next(
        (c, start, end) for c in image.page_chunks(MEMORY) for start, end in areas
        if end - start >= 1 << 32 and any(r[0] < start and r[2] == DATA for r in c.runs())
    )
    runs = [r for r in chunk.runs() if r[0] < start]
    source = next(r[0] for r in runs if r[2] == DATA)
    runs.append((start, min((end - start) // PAGE, 2**32 - 1), DUPLICATE, source))
    chunk.payload = chunk.payload[: PAGE * sum(r[1] for r in runs if r[2] == DATA)]
    chunk.set_runs(runs)
    # What lies behind would overlap.
    last = image.chunks.index(chunk)
    image.chunks = [c for k, c in enumerate(image.chunks) if k <= last or c.kind != b"PAGE" or c.section != MEMORY]
    with open(p.image, "wb") as f:
        f.write(image.seal())
    free = available()
    restart = subprocess.Popen(["crctl", "restart", p.image], stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    s.started.append(restart)
    end_of_wait = time.monotonic() + 30
    while available() > free - (100 << 10) and restart.poll() is None and time.monotonic() < end_of_wait:
        time.sleep(0.01)
    s.expect(restart.poll() is None, f"the restart ended with {restart.returncode}")
    restart.kill()
    restart.wait(30)
    begin = time.monotonic()
    while os.path.exists(f"/proc/{p.pid}") and time.monotonic() < begin + 20:
        time.sleep(0.02)
    s.expect(not os.path.exists(f"/proc/{p.pid}"), "the half-built process is still there")
    s.note(f"gone {time.monotonic() - begin:.2f} s after the kill")
    while available() < free - (64 << 10) and time.monotonic() < begin + 20:
        time.sleep(0.1)
    s.expect(available() >= free - (64 << 10), f"{free} KiB were available, now {available()}")


def available():
    with open("/proc/meminfo") as f:
        return int(next(line for line in f if line.startswith("MemAvailable")).split()[1])


@scene("without the codec's module a compressed image is refused and the module is named")
def missing_module(s):
    p = s.start("small-static", "same")
    p.kill("--zstd")
    s.crctl("unload")
    rule = "/etc/modprobe.d/scene-no-zstd.conf"
    with open(rule, "w") as f:
        f.write("install cr_zstd /bin/false\n")
    s.cleanups.append(lambda: os.path.exists(rule) and os.unlink(rule))
    result = s.crctl("restart", p.image, code=122)
    s.expect_message(result, "cr_zstd", "compressed", "install")
    s.expect(not os.path.exists(f"/proc/{p.pid}"), "a process was created")
    s.expect("cr_zstd" not in loaded_modules(), f"modules: {loaded_modules()}")
    other = s.start("threads-static", 2, name="log-other")
    result = other.checkpoint("--zstd", code=(5, 7))
    s.expect_message(result, "cr_zstd")
    s.expect(not os.path.exists(other.image), "an image is there")
    # Raw images need no codec.
    other.kill_and_restart()
    s.expect("cr_zstd" not in loaded_modules(), f"modules: {loaded_modules()}")
    os.unlink(rule)
    p.restart()
    s.expect("cr_zstd" in loaded_modules(), f"modules: {loaded_modules()}")
    p.finish()
    other.finish()
