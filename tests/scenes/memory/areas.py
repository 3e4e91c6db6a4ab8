"""Areas: very many, what they do besides holding bytes, and memory that has been swapped out."""

import os
import time

from stage import scene

AREAS = 20000
# For a machine that is shared with others; alone it takes a tenth.
SECONDS = 20


def seconds(s, f):
    """How long it takes, without the comparer, which reads all areas for longer than that."""
    begin, looking = time.monotonic(), s.looking
    f()
    return time.monotonic() - begin - (s.looking - looking)


@scene("20000 areas are checkpointed and restarted in seconds")
def many(s):
    p = s.start("areas", "many", AREAS)
    taken = seconds(s, p.kill)
    restarted = seconds(s, p.restart)
    s.note(f"checkpoint and end {taken:.1f} s, restart {restarted:.1f} s")
    s.expect(taken < SECONDS and restarted < SECONDS, f"checkpoint {taken:.1f} s, restart {restarted:.1f} s")
    p.finish()


@scene("guards kill, stacks grow, and a child does not get what it should not, after kill and restart", 1)
@scene("guards kill, stacks grow, and a child does not get what it should not, after three restarts", 3)
def kinds(s, times):
    p = s.start("areas", "kinds")
    p.kill_and_restart(times)
    p.finish()


@scene("private, shared and file memory that was swapped out is the same after two restarts", timeout=300)
def swapped(s):
    swap = s.path("swap")
    s.run("dd", "if=/dev/zero", f"of={swap}", "bs=1M", "count=96", code=0)
    os.chmod(swap, 0o600)
    s.run("mkswap", swap, code=0)
    s.run("swapon", swap, code=0)
    s.cleanups.append(lambda: s.run("swapoff", swap))
    p = s.start("areas", "swapped", 24, wait=None)
    p.wait_for("ready", 120)
    s.note(p.log().splitlines()[0])
    p.kill_and_restart(2)
    p.finish()
