"""Control groups: a restarted process is in the group it was in, or says that it is not."""

import os

from stage import scene

ROOT = "/sys/fs/cgroup"


def group(s, name):
    path = f"{ROOT}/{name}"
    os.mkdir(path)
    s.cleanups.append(lambda: os.path.isdir(path) and os.rmdir(path))
    return path


def join(path, pid):
    with open(f"{path}/cgroup.procs", "w") as f:
        f.write(str(pid))


def of(pid):
    with open(f"/proc/{pid}/cgroup") as f:
        return f.read().strip()


@scene("a process is in its control group after a restart, and its memory is counted there")
def kept(s):
    path = group(s, "kept")
    p = s.start("work", 8, 2)
    join(path, p.pid)
    for _ in range(2):
        p.kill_and_restart()
        s.expect(of(p.pid) == "0::/kept", of(p.pid))
    if os.path.exists(f"{path}/memory.current"):
        charged = int(open(f"{path}/memory.current").read())
        s.expect(charged >= 8 << 20, f"{charged} bytes are counted")
    p.finish()


@scene("processes of a tree are in a control group each after a restart")
def tree(s):
    path, below = group(s, "tree"), None
    p = s.start("tree", "workers", 4)
    with open(f"/proc/{p.pid}/task/{p.pid}/children") as f:
        child = int(f.read().split()[0])
    below = group(s, "branch")
    join(path, p.pid)
    join(below, child)
    p.kill_and_restart()
    s.expect((of(p.pid), of(child)) == ("0::/tree", "0::/branch"), f"{of(p.pid)} {of(child)}")
    p.finish()


@scene("a control group that is gone is noted, or makes the restart fail, or does not matter, as one wants")
def gone(s):
    path = group(s, "gone")
    p = s.start("work", 4, 1)
    join(path, p.pid)
    p.kill()
    os.rmdir(path)
    result = s.crctl("restart", p.image, "--cgroups=require", code=122)
    s.expect_message(result, "the control group /gone does not exist here")
    s.expect(not p.exists(), "the refused restart left a process")
    p.changed += ["cgroup", "task/*/cgroup"]
    p.restart()
    s.expect(of(p.pid) == "0::/", of(p.pid))
    errors = open(s.path(f"restart-{p.pid}-1.err")).read()
    s.expect("the control group /gone does not exist here: the process stays in that of crctl" in errors, errors)
    p.kill()
    p.restart("--cgroups=ignore")
    s.expect("control group" not in open(s.path(f"restart-{p.pid}-2.err")).read(), "a note")
    p.finish()


@scene("a process in the root group needs no module for control groups")
def root(s):
    p = s.start("work", 1, 1)
    result = p.checkpoint()
    s.expect("cgroups" not in s.crimg("show", p.image, "--chunks").out, f"{result}")
    p.finish()
