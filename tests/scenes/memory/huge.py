"""Huge pages: those of hugetlbfs, anonymous and in files, and transparent ones."""

import os

from stage import scene


@scene("private and shared memory of huge pages is the same after kill and restart", 1)
@scene("private and shared memory of huge pages is the same after three restarts", 3)
def anonymous(s, times):
    huge_pages(s, 24)
    p = s.start("huge", "anonymous")
    p.kill_and_restart(times)
    p.finish()


@scene("mapped files of hugetlbfs, with and without a name, are the same after kill and restart", 1)
@scene("mapped files of hugetlbfs, with and without a name, are the same after three restarts", 3)
def files(s, times):
    huge_pages(s, 32)
    folder = s.path("hugetlbfs")
    os.mkdir(folder)
    s.run("mount", "-t", "hugetlbfs", "-o", "pagesize=2M", "none", folder, code=0)
    s.cleanups.append(lambda: s.run("umount", "-l", folder))
    p = s.start("huge", "files", folder)
    p.kill_and_restart(times)
    p.finish()


@scene("a restart without enough huge pages fails and says why, and leaves nothing")
def missing(s):
    huge_pages(s, 24)
    p = s.start("huge", "anonymous")
    p.kill()
    pages(2)
    result = s.crctl("restart", p.image, code=125)
    s.expect_message(result, "huge pages", "nr_hugepages")
    s.expect(not p.exists(), "a failed restart left a process")
    pages(24)
    p.restart()
    p.finish()


@scene("transparent huge pages are huge after two restarts")
def transparent(s):
    p = s.start("huge", "transparent")
    p.kill_and_restart(2)
    p.finish()
    s.note(" ".join(line for line in p.log().splitlines() if line.startswith("huge")))


@scene("small pages stay small and huge ones huge after kill and restart: memory does not grow", 1)
@scene("small pages stay small and huge ones huge after three restarts: memory does not grow", 3)
def mixed(s, times):
    s.expect("[always]" in setting(), f"transparent huge pages are set to {setting()}")
    p = s.start("huge", "mixed")
    p.kill_and_restart(times)
    p.finish()


@scene("huge pages are made again where the kernel does not make them by itself any more")
def collapsed(s):
    p = s.start("huge", "mixed")
    p.kill()
    s.cleanups.append(lambda: setting("always"))
    setting("madvise")
    p.changed += ["maps/*"]
    p.restart()
    p.finish()


def setting(value=None):
    """Which memory may have transparent huge pages."""
    with open("/sys/kernel/mm/transparent_hugepage/enabled", "r+" if value else "r") as f:
        if value:
            f.write(value)
            return value
        return f.read()


def huge_pages(s, count):
    """Makes that many huge pages for the scene."""
    s.cleanups.append(lambda: pages(0))
    pages(count)


def pages(count):
    with open("/proc/sys/vm/nr_hugepages", "w") as f:
        f.write(str(count))
