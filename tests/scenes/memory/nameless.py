"""Files without a name: memory files (memfd) with seals, mapped files that were removed, the program itself removed."""

import os
import shutil

from stage import scene


@scene("memory files have their contents, descriptors, mappings and holes after kill and restart", "memfd", 1)
@scene("memory files have their contents, descriptors, mappings and holes after three restarts", "memfd", 3)
@scene("seals of memory files hold after kill and restart", "seals", 1)
@scene("seals of memory files hold after three restarts", "seals", 3)
@scene("mapped files that were removed or replaced are the same after kill and restart", "deleted", 1)
@scene("mapped files that were removed or replaced are the same after three restarts", "deleted", 3)
@scene("parent, child and grandchild share memory files and removed files after kill and restart", "family", 1)
@scene("parent, child and grandchild share memory files and removed files after three restarts", "family", 3)
def nameless(s, mode, times):
    p = s.start("nameless", mode)
    p.kill_and_restart(times)
    p.finish()


@scene("memory files of huge pages have huge pages after two restarts")
def huge(s):
    huge_pages(8)
    s.cleanups.append(lambda: huge_pages(0))
    p = s.start("nameless", "huge")
    p.kill_and_restart(2)
    p.finish()


@scene("a program whose file was removed goes on after two restarts")
def program(s):
    shutil.copy2(shutil.which("nameless"), s.path("program"))
    p = s.start(s.path("program"), "program")
    p.kill_and_restart(2)
    p.finish()


@scene("a memory file that another process has too is a named obstacle, until the other process has ended")
def shared(s):
    p = s.start("nameless", "memfd")
    with open(f"/proc/{p.pid}/fd/3", "rb"):
        s.expect_message(p.check(code=1), "memory file", "another process")
    p.kill_and_restart()
    p.finish()


def huge_pages(count):
    with open("/proc/sys/vm/nr_hugepages", "w") as f:
        f.write(str(count))
