"""Trees of processes: relations, what they share, those that have ended, a consistent cut."""

import contextlib
import os
import re
import subprocess
import time

from stage import Process, scene


def children_of(pid):
    """The pids of the children of a process with one thread."""
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        return [int(child) for child in f.read().split()]


def wait_gone(pids):
    """Waits until these processes have ended: the folder that tells them to must not go before."""
    end = time.monotonic() + 20
    while any(os.path.exists(f"/proc/{pid}") for pid in pids) and time.monotonic() < end:
        time.sleep(0.05)


@scene("a family with groups, sessions, zombies, shared memory and pipes goes on after kill and restart", 1)
@scene("a family with groups, sessions, zombies, shared memory and pipes goes on after three restarts", 3)
def family(s, times):
    p = s.start("tree", "family")
    p.kill_and_restart(times)
    p.finish()


@scene("memory that processes share since a fork is shared again after kill and restart", 1)
@scene("memory that processes share since a fork is shared again after three restarts", 3)
def copy_on_write(s, times):
    p = s.start("cow")
    p.kill_and_restart(times)
    p.finish()


@scene("memory that processes share since a fork is shared again after a restart of a compressed image")
def copy_on_write_compressed(s):
    p = s.start("cow")
    p.kill("--zstd")
    p.restart()
    p.finish()


@scene("a checkpoint of a family that goes on changes nothing")
def untouched(s):
    p = s.start("tree", "family")
    for _ in range(3):
        p.checkpoint()
    p.finish()


@scene("a tree is checkpointed and restarted with the modules of all resources loaded")
def all_modules(s):
    s.crctl("load", "--all")
    p = s.start("tree", "workers", 3)
    p.kill_and_restart(2)
    p.finish()


@scene("ten processes that pass a token around lose none over five restarts")
def ring(s):
    p = s.start("tree", "workers", 10)
    p.kill_and_restart(5)
    p.finish()


@scene("a storm of fork, vfork and exit is cut consistently, twenty times while it goes on and three times with a restart", timeout=600)
def storm(s):
    p = s.start("tree", "storm")
    for _ in range(20):
        p.checkpoint()
    p.kill_and_restart(3)
    p.finish()


@scene("a tree of 200 processes", timeout=600)
def many(s):
    p = s.start("tree", "sleepers", 200)
    p.kill_and_restart()
    p.finish()


@scene("--single leaves the descendants out and says so")
def single(s):
    p = s.start("tree", "plain", 3)
    children = children_of(p.pid)
    result = s.crctl("check", p.pid, "--single")
    s.expect("child processes are left out" in result.err + result.out, f"no note about the children: {result}")
    p.kill("--single")
    p.changed += ["task/*/children"]
    p.restart()
    p.finish()
    wait_gone(children)


@scene("all of a process group goes on after two restarts", "--pgrp")
@scene("all process groups of a session go on after two restarts", "--session")
def scoped(s, option):
    p = s.start("tree", "sleepers", 3)
    p.scope = [option, p.pid]
    result = s.crctl("check", *p.scope)
    s.expect("4 processes" in result.out, f"not all processes: {result}")
    p.kill_and_restart(2)
    p.finish()


@scene("a descendant that has left the process group or session is a named obstacle for a checkpoint of all of it")
def scope_left(s):
    p = s.start("tree", "family")
    for option, word in (("--pgrp", "process group"), ("--session", "session")):
        result = s.crctl("check", option, p.pid, code=1)
        s.expect_message(result, f"process outside of the {word}", "has left that", "by its pid")
    p.finish()


@scene("a process group of two that have another parent is checkpointed; no group and one's own are refused")
def scope_of_several(s):
    first = subprocess.Popen(["sleep", "100"], process_group=0)
    s.started.append(first)
    other = subprocess.Popen(["sleep", "100"], process_group=first.pid)
    s.started.append(other)
    result = s.crctl("check", "--pgrp", first.pid)
    s.expect("2 processes" in result.out, f"not all processes: {result}")
    s.expect_message(s.crctl("check", "--session", os.getsid(0), code=2), "this crctl itself is in session")
    other.kill()
    other.wait()
    s.crctl("check", "--pgrp", first.pid)
    first.kill()
    first.wait()
    s.expect_message(s.crctl("check", "--pgrp", first.pid, code=3), "there is no process group")


def start_daemon(s):
    """A program whose session leader has ended, as daemons make themselves: the process, and the pid of that leader."""
    p = s.start("tree", "daemon", wait=None)
    p.popen.wait(20)
    end = time.monotonic() + 20
    while not (found := re.search(r"daemon (\d+) of (\d+)", p.log())) and time.monotonic() < end:
        time.sleep(0.02)
    s.expect(found, f"no daemon: {p.tail()}")
    p.pid, leader = map(int, found.groups())
    return p, leader


def restart_in_namespace(s, p):
    """Kill and restart in a new pid namespace. From outside all ids are others: the programs compare what they see."""
    p.kill()
    s.remove(f"{p.image}.facts")
    p.restart("--new-pidns")


@scene("groups and a session whose leaders have ended keep their ids after two restarts", "plain")
@scene("groups and a session whose leaders have ended keep their ids in a new pid namespace", "--new-pidns")
def leaderless(s, how):
    p = s.start("tree", "leaderless")
    p.checkpoint()
    if how == "plain":
        p.kill_and_restart(2)
    else:
        restart_in_namespace(s, p)
    p.finish()


@scene("a daemon whose session leader has ended keeps its session and group after two restarts")
def daemon(s):
    p, _ = start_daemon(s)
    p.kill_and_restart(2)
    p.finish()


@scene("a daemon whose session leader has ended keeps its session in a new pid namespace")
def daemon_in_namespace(s):
    p, _ = start_daemon(s)
    restart_in_namespace(s, p)
    p.finish()


@scene("a restart says who uses the number of a session whose leader has ended, and leaves nothing behind")
def leader_taken(s):
    p, leader = start_daemon(s)
    child = children_of(p.pid)[0]
    p.checkpoint()
    os.kill(p.pid, 9)
    wait_gone([p.pid])
    result = s.crctl("restart", p.image, code=122)
    s.expect_message(result, f"pid {leader} is taken by", "--new-pidns")
    s.expect(not os.path.exists(f"/proc/{p.pid}"), "something was restarted")
    os.kill(child, 9)
    wait_gone([child])
    p.restart()
    p.finish()


def parent_of(pid):
    with open(f"/proc/{pid}/stat") as f:
        return int(f.read().rsplit(")", 1)[1].split()[1])


@contextlib.contextmanager
def taken(s, pid):
    """Somebody else has this id meanwhile."""
    for _ in range(50):
        with open("/proc/sys/kernel/ns_last_pid", "w") as f:
            f.write(str(pid - 1))
        other = subprocess.Popen(["sleep", "1000"])
        if other.pid == pid:
            break
        other.kill()
        other.wait()
    s.expect(other.pid == pid, f"{pid} cannot be had")
    try:
        yield
    finally:
        other.kill()
        other.wait()


def start_pipeline(s, *programs):
    """Starts programs as a shell with job control does: in a group of their own, connected by pipes, we the parent of all."""
    members, before = [], subprocess.DEVNULL
    for program in programs:
        out = open(s.path("log"), "ab") if program is programs[-1] else subprocess.PIPE
        group = members[0].pid if members else 0
        popen = subprocess.Popen(
            program.split(), cwd=s.dir, stdin=before, stdout=out, stderr=subprocess.DEVNULL, process_group=group
        )
        for end in (before, out):
            if hasattr(end, "close"):
                end.close()
        before = popen.stdout
        members.append(popen)
        s.started.append(popen)
    p = Process(s, members[-1], s.path("log"))
    s.processes.append(p)
    p.scope = ["--pgrp", members[0].pid]
    p.wait_for("ready")
    p.pid = members[0].pid
    return p, members


FIVE = ("tree source", "cat", "cat", "cat", "tree sink")
ENDED = ("true", "tree source", "cat", "cat", "tree sink")


@scene("a pipeline of five programs goes on without the shell that has made it after two restarts", FIVE, 5)
@scene("a pipeline goes on without its shell when its first program has ended and was waited for", ENDED, 4)
@scene("a pipeline goes on without its shell when its first program has ended and was not waited for", ENDED, 5)
def pipeline(s, programs, count):
    p, members = start_pipeline(s, *programs)
    if count < len(programs):
        members[0].wait()
    pids = [m.pid for m in members[len(programs) - count :]]
    group = members[0].pid
    result = s.crctl("check", *p.scope)
    s.expect(f"{count} processes" in result.out, f"not all processes: {result}")
    # The first that lives is the first of the image.
    p.pid = pids[programs is ENDED and count == 5]
    p.checkpoint()
    p.checkpoint("--kill")
    for member in members:
        member.wait(30)
    for _ in range(2):
        p.restart()
        alive = [pid for pid in pids if os.path.exists(f"/proc/{pid}")]
        s.expect({os.getpgid(pid) for pid in alive} == {group}, "not all are in the group")
        s.expect({parent_of(pid) for pid in alive} == {p.popen.pid}, "crctl is not the parent of all")
        s.expect(len(alive) >= 4, f"{len(alive)} programs")
        p.kill()
    p.restart()
    p.finish(7)


@scene("a session with an orphan goes on over two restarts")
def session_with_orphan(s):
    p = s.start("sh", "-c", "(threads 3 > orphan &); exec threads 2")
    end = time.monotonic() + 30
    while "ready" not in open(s.path("orphan")).read() and time.monotonic() < end:
        time.sleep(0.02)
    p.scope = ["--session", p.pid]
    result = s.crctl("check", *p.scope)
    s.expect("2 processes, 5 threads" in result.out, f"not both: {result}")
    p.kill_and_restart(2)
    p.finish()
    s.expect("PASS" in open(s.path("orphan")).read(), "the orphan gave no verdict")


@scene("a pipeline is checkpointed twenty times without losing a line")
def pipeline_often(s):
    p, _ = start_pipeline(s, *FIVE)
    for _ in range(20):
        p.checkpoint()
    p.finish(7)


@scene("a restart of a pipeline of which an id is taken leaves nothing of the others behind")
def pipeline_fails(s):
    p, members = start_pipeline(s, *FIVE)
    p.checkpoint("--kill")
    for member in members:
        member.wait(30)
    # The last of them, so that the others are made before it.
    with taken(s, members[-1].pid):
        result = s.crctl("restart", p.image, code=122)
        s.expect_message(result, str(members[-1].pid), "taken")
        left = [m.pid for m in members[:-1] if os.path.exists(f"/proc/{m.pid}")]
        s.expect(not left, f"left behind: {left}")
    p.restart()
    p.finish(7)


# Of the five programs the first ends at once; the others hand lines on.
PIPELINE = "true | tree source | cat | cat | tree sink"


@scene("a shell goes on with a pipeline in the background whose first program has ended after two restarts")
def job(s):
    p = s.start("bash", "-mc", f"{PIPELINE} & wait $!", living=True)
    p.kill_and_restart(2)
    p.finish(7)


@scene("memory that is shared with a process that is left out is an obstacle")
def shared_outside(s):
    p = s.start("tree", "sleepers", 3)
    result = s.crctl("check", p.pid, "--single", code=1)
    s.expect("another process shares this memory" in result.out, f"no obstacle: {result}")
    p.finish()


@scene("checkpoints of a tree and of one of its processes at the same time do not keep each other from ending")
def tree_and_part(s):
    p = s.start("tree", "plain", 3)
    children = children_of(p.pid)
    child = children[0]
    for _ in range(6):
        both = [
            subprocess.Popen(
                ["crctl", "checkpoint", str(pid), "-o", f"{p.image}{pid}"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            for pid in (p.pid, child)
        ]
        s.started += both
        errors = [c.communicate(timeout=60)[1].decode() for c in both]
        codes = [c.returncode for c in both]
        s.expect(codes == [0, 0], f"crctl ended with {codes}: {errors}")
        for pid in (p.pid, child):
            os.unlink(f"{p.image}{pid}")
    # Its verdict is about another scene: it has children here.
    p.go()
    p.wait()
    wait_gone(children)
