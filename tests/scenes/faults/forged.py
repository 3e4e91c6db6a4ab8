"""Forged images: every checksum is right, and what they say is wrong. Nothing may be created, and no kernel harmed."""

import os
import random
import signal
import struct
import time

from forge import gone, image_of, play, refuse, slay
from image import Image
from stage import scene

TASKS, MEMORY, FILES, PIPES, CREDS = 0x10, 0x11, 0x12, 0x13, 0x15
IP, CS, FLAGS, SP, SS, FS_BASE = 16, 17, 18, 19, 20, 21


@scene("an image that is taken apart and sealed again is the same image")
def identity(s):
    p, good = image_of(s, "pipes", "states")
    s.expect(Image(good).seal() == good, "the scene's own writer disagrees with the kernel's")
    p.restart()
    p.finish()


@scene("an image of another kernel is refused and both kernels are named")
def other_kernel(s):
    p, good = image_of(s, "threads-static", 2)

    def older(image):
        image.set_bytes(1, 1, 2, lambda text: b"6" + text[1:])

    result = refuse(s, p, good, "another kernel release", older, codes=(122,))
    s.expect_message(result, os.uname().release, "6" + os.uname().release[1:])

    # The program jumps into the vdso by addresses that it knows.
    other = lambda image: image.set_number(MEMORY, 1, 17, image.number(MEMORY, 1, 17) ^ 1)
    refuse(s, p, good, "a kernel with another vdso", other, codes=(122,))
    p.restart()
    p.finish()


@scene("a newer format, an unknown feature, another machine and an image only for show are refused as unsupported")
def unsupported(s):
    p, good = image_of(s, "threads-static", 2)

    def at(offset, fmt, value):
        return lambda image: struct.pack_into(fmt, image.super, offset, value)

    refuse(s, p, good, "major version", at(12, "<H", 2), (121,))
    refuse(s, p, good, "incompatible feature", at(24, "<I", 8), (121,))

    def parent(image):
        struct.pack_into("<I", image.super, 24, 2)
        image.super[56:72] = bytes(range(16))

    refuse(s, p, good, "a parent image", parent, (121,))
    refuse(s, p, good, "machine", at(28, "<H", 183), (121,))
    refuse(s, p, good, "big endian", at(31, "<B", 2), (120, 121))
    refuse(s, p, good, "page size", at(32, "<B", 16), (121,))
    refuse(s, p, good, "only for show", at(108, "<I", 1), (120, 121))
    p.restart()
    p.finish()


@scene("registers that would reach into the kernel are refused")
def registers(s):
    p, good = image_of(s, "threads-static", 2)

    def register(index, value):
        return lambda image: image.set_item(TASKS, 2, 3, index, value)

    refuse(s, p, good, "kernel code segment", register(CS, 0x10))
    refuse(s, p, good, "segment of ring 0 with user RPL", register(CS, 0x08))
    refuse(s, p, good, "kernel stack segment", register(SS, 0x18))
    refuse(s, p, good, "instruction pointer in the kernel", register(IP, 0xFFFFFFFF81000000))
    refuse(s, p, good, "instruction pointer that is not canonical", register(IP, 0x8000_0000_0000_0000))
    refuse(s, p, good, "stack pointer in the kernel", register(SP, 0xFFFF888000000000))
    refuse(s, p, good, "fs base in the kernel", register(FS_BASE, 0xFFFF888000000000))
    refuse(s, p, good, "I/O privilege level", register(FLAGS, 0x3202))
    refuse(s, p, good, "virtual 8086 mode", register(FLAGS, 0x20202))
    p.restart()
    p.finish()


@scene("memory outside of user space, overlapping, or with rights it cannot have is refused")
def memory(s):
    p, good = image_of(s, "memory", "grow")

    def field(number, value, record=1):
        return lambda image: image.set_number(MEMORY, 2, number, value, record)

    refuse(s, p, good, "start in the kernel", field(1, 0xFFFF888000000000))
    refuse(s, p, good, "end in the kernel", field(2, 0xFFFF888000001000))
    refuse(s, p, good, "end at the top", field(2, 1 << 63))
    refuse(s, p, good, "end not on a page", field(2, 0x7000_0000_0001))
    refuse(s, p, good, "unknown right", field(3, 1 << 20))
    refuse(s, p, good, "unknown flag", field(4, 1 << 40))
    refuse(s, p, good, "unknown kind", field(5, 77))
    refuse(s, p, good, "file that is not there", field(7, 0xFFFF))
    p.restart()
    p.finish()


@scene("descriptors without file, pipes with more bytes than they hold, and relative paths are refused")
def objects(s):
    p, good = image_of(s, "pipes", "states")
    refuse(s, p, good, "descriptor without file", lambda i: i.set_number(FILES, 3, 2, 0xFFFF))
    refuse(s, p, good, "descriptor number", lambda i: i.set_number(FILES, 3, 1, 1 << 40))
    refuse(s, p, good, "kind of file", lambda i: i.set_number(FILES, 2, 1, 99))
    refuse(s, p, good, "pipe capacity 0", lambda i: i.set_number(PIPES, 1, 1, 0))
    refuse(s, p, good, "pipe capacity", lambda i: i.set_number(PIPES, 1, 1, 1 << 50))
    refuse(s, p, good, "queued bytes", lambda i: i.set_number(PIPES, 1, 3, 1 << 30))
    refuse(s, p, good, "relative working folder", lambda i: i.set_bytes(FILES, 1, 1, lambda t: b"x" + t[1:]))
    p.restart()
    p.finish()


@scene("an extended processor state that the processor would refuse is refused before it is loaded")
def xstate(s):
    p, good = image_of(s, "threads-static", 2)

    def change(offset, data):
        return lambda i: i.set_bytes(TASKS, 2, 4, lambda t: t[:offset] + data + t[offset + len(data) :])

    codes = (120, 121, 122, 125)
    refuse(s, p, good, "mxcsr with reserved bits", change(24, b"\xff\xff\xff\xff"), codes)
    refuse(s, p, good, "unknown state components", change(512, b"\xff" * 8), codes)
    refuse(s, p, good, "compacted format", change(520, b"\xff" * 8), codes)
    p.restart()
    p.finish()


@scene("150 forged images with random numbers in random fields harm nothing", timeout=600)
def random_fields(s):
    p, good = image_of(s, "pipes", "states")
    seed = int(os.environ.get("SCENES_SEED", "4711"))
    pick = random.Random(seed)
    places = list(Image(good).all_fields())
    values = [0, 1, 2, 7, 0xFF, 0xFFF, 0x1000, 0xFFFFFFFF, 1 << 32, (1 << 47) - 4096, 1 << 47, 1 << 63, 2**64 - 1]
    outcomes = {}
    for k in range(int(os.environ.get("SCENES_FORGED", "150"))):
        image = Image(good)
        fields = list(image.all_fields())
        chunk, section, kind, field, wire, at, size = pick.choice([f for f in fields if f[1] not in (2, 0x100) and f[6]])
        if wire in (1, 2, 5):
            spot = at + 8 * pick.randrange(size // 8)
            value = pick.choice(values) if pick.random() < 0.7 else pick.getrandbits(64)
            struct.pack_into("<Q", chunk.payload, spot, value)
        else:
            spot = at + pick.randrange(size)
            chunk.payload[spot] = pick.randrange(256)
        what = f"forged image {k} of seed {seed}: section {section:#x} record {kind} field {field} at {spot - at}"
        result, pid = play(s, image.seal(), timeout=40)
        outcomes[result.code] = outcomes.get(result.code, 0) + 1
        s.expect(result.code == 0 or result.code >= 2, f"{what}: {result}")
        if pid is not None:
            # It was no forgery that matters, or it is a process with a strange state: it can be killed.
            time.sleep(0.05)
            s.expect(slay(pid), f"{what}: pid {pid} cannot be killed")
        else:
            s.expect(result.err.startswith("crctl restart:"), f"{what}: no message: {result}")
            s.expect(gone(p.pid), f"{what}: a process was created, status {result.code}")
    s.note(f"{len(places)} fields; ends of crctl: {outcomes}")
    p.restart("--files=ignore")
    p.finish()
