"""Edited images: what `crimg patch` has changed is so in the process that is restarted from them."""

import os
import re
import resource
import time

from stage import scene

# mov edi, 42; mov eax, 231 (exit_group); syscall
EXIT_42 = "bf2a000000b8e70000000f05"


def start(s):
    return s.start("small-static", "plain", env={"PATH": os.environ["PATH"], "PURPOSE": "as it was"})


def patch(s, p, *edits):
    s.crimg("patch", *edits, p.image)
    s.crimg("verify", p.image)


@scene("an edited image restarts with another log, environment, name, priority and limits")
@scene("an edited compressed image restarts with another log, environment, name, priority and limits", "--zstd")
def edited(s, *how):
    p = start(s)
    p.kill(*how)
    s.touch("new.log")
    patch(
        s, p, "--fd", f"1={s.path('new.log')}", "--pos", "1=0", "--env", "PURPOSE=edited", "--comm", "main=edited",
        "--nice", "5", "--rlimit", "nofile=100:200", "--umask", "027", "--arg", "1=PLAIN",
    )
    before = p.log()
    p.changed += ["fd/[12]/*", "environ", "cmdline", "*comm", "*status/Name", "*status/Umask", "*prio", "*sched_getattr/nice"]
    p.changed += ["*getpriority", "*stat/nice", "*stat/priority", "*limits/Max open files", "prlimit/7", "*stat/env_end"]
    p.restart()
    folder = f"/proc/{p.pid}"
    s.expect(os.readlink(f"{folder}/fd/1") == s.path("new.log"), "descriptor 1 is elsewhere")
    s.expect(os.readlink(f"{folder}/fd/2") == s.path("new.log"), "descriptor 2, which shares the file, is elsewhere")
    environment = open(f"{folder}/environ", "rb").read().rstrip(b"\0").split(b"\0")
    s.expect(b"PURPOSE=edited" in environment and len(environment) == 2, f"environment {environment}")
    s.expect(open(f"{folder}/cmdline", "rb").read().endswith(b"\0PLAIN\0"), "the argument is as before")
    s.expect(open(f"{folder}/comm").read() == "edited\n", "the name is as before")
    s.expect(os.getpriority(os.PRIO_PROCESS, p.pid) == 5, "the nice value is as before")
    s.expect(resource.prlimit(p.pid, resource.RLIMIT_NOFILE) == (100, 200), "the limit is as before")
    s.expect("Umask:\t0027" in open(f"{folder}/status").read(), "the umask is as before")
    old, p.log_path = p.log_path, s.path("new.log")
    p.finish()
    s.expect(open(old).read() == before, "the old log was written to")


@scene("the comparer that watches all scenes names everything that was edited, and nothing else")
def compared(s):
    p = start(s)
    p.kill()
    patch(s, p, "--comm", "main=edited", "--nice", "5", "--rlimit", "nofile=100:200", "--umask", "027", "--env", "PURPOSE=edited")
    p.changed = ["*"]
    p.restart()
    p.changed = []
    found = {re.sub(r"^task/\d+/", "", name) for name in p.compare(strict=False, timeout=0)}
    names = {"comm", "stat/comm", "status/Name"}
    priority = {"getpriority", "stat/nice", "stat/priority", "sched/prio", "sched_getattr/nice"}
    limit = {"limits/Max open files", "prlimit/7"}
    edited = {*names, *priority, *limit, "status/Umask", "environ", "stat/env_end"}
    s.expect(found == edited, f"found {sorted(found - edited)} more and {sorted(edited - found)} less than was edited")
    p.finish()


@scene("a register and code that were edited are what runs")
def redirected(s):
    p = start(s)
    p.kill()
    patch(
        s, p, "--poke", f"0x401800={EXIT_42}", "--reg", "main:rip=0x401800", "--reg", "main:orig_rax=0xffffffffffffffff"
    )
    p.restart()
    code = p.wait()
    s.expect(code == 42, f"the process ended with {code}")


@scene("memory that was edited is so after the restart")
@scene("memory that was edited in a compressed image is so after the restart", "--zstd")
def poked(s, *how):
    p = s.start("small-static", "same")
    maps = open(f"/proc/{p.pid}/maps").read().splitlines()
    # Of the program's own memory: its heap, and pages that repeat.
    areas = [line.split() for line in maps]
    heap = next(int(a[0].split("-")[0], 16) for a in areas if a[-1] == "[heap]")
    p.kill(*how)
    patch(s, p, "--poke-text", f"{heap + 0x20f00:#x}=edited", "--poke", f"{heap + 0x20ffe:#x}=01020304")
    p.restart()
    with open(f"/proc/{p.pid}/mem", "rb") as memory:
        memory.seek(heap + 0x20F00)
        s.expect(memory.read(6) == b"edited", "the text is not there")
        memory.seek(heap + 0x20FFE)
        s.expect(memory.read(4) == b"\1\2\3\4", "the bytes across two pages are not there")
    p.finish()


@scene("an image whose edit was undone restarts as if nothing had been")
def undone(s):
    p = start(s)
    p.kill()
    old = open(p.image, "rb").read()
    patch(s, p, "--cwd", "/", "--poke", f"0x401800={EXIT_42}", "--reg", "main:rip=0x401800")
    s.expect(open(p.image, "rb").read() != old, "nothing was edited")
    s.crimg("patch", "--undo", p.image + ".undo", p.image)
    s.expect(open(p.image, "rb").read() == old, "the undo gives other bytes")
    p.restart()
    time.sleep(0.1)
    p.finish()


@scene("an edit that a restart would refuse is refused, and the image stays")
def refused(s):
    p = start(s)
    p.kill()
    old = open(p.image, "rb").read()
    for edit, rule in (
        (("--reg", "main:cs=0x10"), "TASKS-7"),
        (("--reg", "main:rip=0xffffffff81000000"), "TASKS-8"),
        (("--nice", "99"), "TASKS-11"),
        (("--rlimit", "core=2:1"), "LIMITS-2"),
    ):
        result = s.crimg("patch", *edit, p.image, code=2)
        s.expect_message(result, rule, edit[1])
    s.expect(open(p.image, "rb").read() == old, "the image has changed")
    p.restart()
    p.finish()


@scene("one process of a tree is edited, the tree is stored in another way and redacted, and all of it restarts")
def one_of_a_tree(s):
    p = s.start("tree", "workers", 4, env={"PATH": os.environ["PATH"], "PURPOSE": "as it was"})
    with open(f"/proc/{p.pid}/task/{p.pid}/children") as f:
        child = int(f.read().split()[1])
    p.kill()
    said = s.crimg("patch", "--nice", "5", p.image, code=2)
    s.expect("--pid" in said.err and str(child) in said.err, f"the processes are not named: {said}")
    s.crimg("patch", "--pid", child, "--nice", "5", "--comm", "main=edited", p.image)
    # Another image of the same tree, through every way that rewrites an image.
    ways = [f"{p.image}.{n}" for n in range(3)]
    s.crimg("repack", "--zstd", "--dedup", p.image, "-o", ways[0])
    s.crimg("export", "json", ways[0], "-o", f"{ways[1]}.json")
    s.crimg("import", "json", f"{ways[1]}.json", "-o", ways[1])
    s.crimg("redact", "--restartable", "--env", "PURPOSE", ways[1], "-o", ways[2])
    s.crimg("diff", p.image, ways[1])
    os.replace(ways[2], p.image)
    s.crimg("verify", p.image)
    p.changed = ["*environ", "*comm", "*status/Name", "*prio", "*sched_getattr/nice", "*getpriority", "*stat/nice", "*stat/priority", "*stat/comm"]
    p.restart()
    s.expect(open(f"/proc/{child}/comm").read() == "edited\n", "the name of the child is as before")
    s.expect(os.getpriority(os.PRIO_PROCESS, child) == 5, "the nice value of the child is as before")
    s.expect(os.getpriority(os.PRIO_PROCESS, p.pid) == 0, "the nice value of the first process changed too")
    p.finish()
