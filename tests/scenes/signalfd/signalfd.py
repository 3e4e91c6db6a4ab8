"""Descriptors that signals are read from."""

from stage import scene


@scene("pending signals are read from a signalfd, and a waiting reader goes on waiting, after kill and restart", 1)
@scene("pending signals are read from a signalfd, and a waiting reader goes on waiting, after three restarts", 3)
def states(s, times):
    p = s.start("signalfd")
    p.kill_and_restart(times)
    p.finish()
