"""Interval timers and POSIX timers."""

from stage import scene


@scene("alarm and POSIX timers keep ids, kinds and time left over kill and restart", 1)
@scene("alarm and POSIX timers keep ids, kinds and time left over three restarts", 3)
def states(s, times):
    p = s.start("timers", "states")
    p.kill_and_restart(times)
    p.finish()


@scene("periodic timers beat on after kill and restart", "flow")
@scene("timers of CPU time go on after kill and restart", "spent")
def goes_on(s, what):
    p = s.start("timers", what)
    p.kill_and_restart(2)
    p.finish()


@scene("a POSIX timer of a CPU clock is a named obstacle")
def cpu_clock(s):
    p = s.start("timers", "cpu")
    result = p.check(code=1)
    s.expect_message(result, "POSIX timer", "CPU clock")
    p.finish()
