"""Memory: mappings of every kind, their contents, huge reservations, much memory."""

import os

from stage import named_obstacle, scene

BIG = int(os.environ.get("SCENES_BIG_MIB", "512"))


@scene("mappings of every kind have their contents, rights, flags and names after kill and restart", 1)
@scene("mappings of every kind have their contents, rights, flags and names after three restarts", 3)
def maps(s, times):
    p = s.start("memory", "maps")
    p.kill_and_restart(times)
    p.finish()


@scene("a reservation of 64 GiB costs no time and no space")
def reserve(s):
    p = s.start("memory", "reserve", 64)
    p.kill()
    size = os.path.getsize(p.image)
    s.expect(size < 16 << 20, f"the image has {size} bytes")
    p.restart()
    p.finish()


@scene("hundreds of MiB of anonymous memory are the same after kill and restart", timeout=300)
def big(s):
    p = s.start("memory", "big", BIG, wait=None)
    p.wait_for("ready", 150)
    p.kill()
    size = os.path.getsize(p.image)
    s.expect(BIG << 20 <= size < (BIG + 32) << 20, f"the image of {BIG} MiB has {size} bytes")
    p.restart()
    p.finish(timeout=150)


@scene("64 MiB of shared anonymous memory are the same after kill and restart")
def big_shared(s):
    p = s.start("memory", "big", 64, "shared")
    p.kill_and_restart()
    p.finish()


@scene("memory that is written all the time is copied in one piece")
def dirty(s):
    p = s.start("memory", "dirty")
    for _ in range(3):
        p.checkpoint()
    p.kill_and_restart(3)
    p.finish()


@scene("heap, stack and new mappings grow after a restart, and the vdso tells the time")
def grow(s):
    p = s.start("memory", "grow")
    p.kill_and_restart()
    p.finish()


@scene("pages that are zero take no space in the image")
def zero(s):
    p = s.start("memory", "maps")
    p.checkpoint()
    # 256 MiB of sparse memory with 16 pages in use are part of it.
    size = os.path.getsize(p.image)
    s.expect(size < 16 << 20, f"the image has {size} bytes")
    p.finish()


@scene("memory protection keys, those of areas and the rights of each thread are the same after kill and restart", 1)
@scene("memory protection keys, those of areas and the rights of each thread are the same after three restarts", 3)
def keys(s, times):
    p = s.start("keys")
    if "skipped keys" in p.log():
        p.finish()
        s.skip("the processor has no protection keys")
    p.kill_and_restart(times)
    p.finish()


NAMES = {
    "shm": "shared",
    "secretmem": "secret",
    "userfaultfd": "userfaultfd",
    "io_uring": "uring",
}


@scene("System V shared memory is a named obstacle", "shm")
@scene("secret memory is a named obstacle", "secretmem")
@scene("a userfaultfd is a named obstacle", "userfaultfd")
def obstacle(s, kind):
    named_obstacle(s, kind, NAMES[kind])
