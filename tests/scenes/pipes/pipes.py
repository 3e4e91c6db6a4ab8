"""Pipes and FIFOs: unread bytes, modes, sizes, ends outside of the process."""

import os
import subprocess
import time

from stage import scene


@scene("half-read, full, packet, enlarged, empty and half-closed pipes and a FIFO are the same after kill and restart", 1)
@scene("half-read, full, packet, enlarged, empty and half-closed pipes and a FIFO are the same after three restarts", 3)
def states(s, times):
    p = s.start("pipes", "states")
    p.kill_and_restart(times)
    p.finish()


@scene("data that threads send each other all the time loses and doubles no byte over five restarts")
def flow(s):
    p = s.start("pipes", "flow")
    p.kill_and_restart(5)
    p.finish()


@scene("a checkpoint takes nothing out of a pipe of a program that goes on")
def checkpoint_only(s):
    p = s.start("pipes", "states")
    for _ in range(3):
        p.checkpoint()
    p.finish()


@scene("standard output that is a pipe of the shell is connected to crctl's own at the restart")
def outside(s):
    first = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=open(s.path("first"), "wb"))
    s.started.append(first)
    p = s.start("pipes", "outside", wait=None, stdout=first.stdin)
    time.sleep(1)
    p.check()
    p.kill()
    first.stdin.close()
    s.expect(first.wait(20) == 0, "the reader of the killed program did not end")
    p.changed.append("fd/1/*")
    with open(s.path("second"), "wb") as out:
        p.restart(stdout=out)
    time.sleep(0.5)
    p.go()
    s.expect(p.wait() == 0, f"the program ended with {p.popen.returncode}")
    text = open(s.path("first")).read() + open(s.path("second")).read()
    lines = [line for line in text.splitlines() if line.startswith("line ")]
    s.expect(lines == [f"line {k}" for k in range(len(lines))], f"lines are missing or doubled: {lines}")
    s.expect("line" in open(s.path("second")).read(), "nothing was written after the restart")
    s.expect("PASS" in text, "no verdict")


def start_with_pipe(s):
    """A program with the reading end of a foreign pipe as descriptor 5."""
    reader, writer = os.pipe()
    os.set_inheritable(reader, True)

    def move():
        os.dup2(reader, 5)

    p = s.start("threads", 4, pass_fds=(5,), preexec_fn=move)
    os.close(reader)
    return p, writer


@scene("the other end of a pipe outside beyond standard input and output is a named obstacle")
def foreign_end(s):
    p, writer = start_with_pipe(s)
    result = p.check(code=1)
    s.expect_message(result, "pipe", "5")
    p.finish()
    os.close(writer)


@scene("a foreign pipe end that is promised with --fd can be connected anew at the restart")
def promised_end(s):
    p, writer = start_with_pipe(s)
    p.check("--fd", 5)
    p.kill("--fd", 5)
    os.close(writer)
    result = s.crctl("restart", p.image, code=2)
    s.expect_message(result, "5")
    s.expect(not p.exists(), "the refused restart left a process")
    p.changed.append("fd/5/*")
    p.restart("--fd", "5=/dev/null")
    link = os.readlink(f"/proc/{p.pid}/fd/5")
    s.expect(link == "/dev/null", f"descriptor 5 is {link}")
    p.finish()
