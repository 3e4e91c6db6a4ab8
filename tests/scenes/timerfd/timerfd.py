"""Timers behind descriptors."""

from stage import scene


@scene("armed, disarmed, periodic, expired and absolute timerfds are the same after kill and restart", 1)
@scene("armed, disarmed, periodic, expired and absolute timerfds are the same after three restarts", 3)
def states(s, times):
    p = s.start("timerfd", "states")
    p.kill_and_restart(times)
    p.finish()


@scene("a periodic timerfd beats on through five restarts")
def flow(s):
    p = s.start("timerfd", "flow")
    # It reads every beat when it comes: there is one that it has not read yet only for a moment.
    p.changed += ["fd/*/ticks"]
    p.kill_and_restart(5)
    p.finish()


@scene("a checkpoint takes no expiration from a timerfd of a program that goes on")
def checkpoint_only(s):
    p = s.start("timerfd", "states")
    for _ in range(3):
        p.checkpoint()
    p.finish()
