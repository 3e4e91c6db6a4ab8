"""Locks on files."""

import fcntl

from stage import scene


@scene("record locks, locks of open files and flock are held again after kill and restart", 1)
@scene("record locks, locks of open files and flock are held again after three restarts", 3)
def states(s, times):
    p = s.start("locks")
    p.kill_and_restart(times)
    p.finish()


@scene("a restart fails and leaves nothing while another process holds one of the locks")
def taken(s):
    p = s.start("locks")
    p.kill()
    with open(s.path("whole"), "r+") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        result = s.crctl("restart", p.image, code=125)
        s.expect_message(result, "lock", "another process")
        s.expect(not p.exists(), "the failed restart left a process")
    p.restart()
    p.finish()
