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


@scene("POSIX timers of CPU clocks keep the CPU time left over kill and restart", "cpu", 1)
@scene("POSIX timers of CPU clocks keep the CPU time left over three restarts", "cpu", 3)
@scene("a POSIX timer of a CPU clock expires once after kill and restart", "due", 2)
def cpu_clocks(s, what, times):
    p = s.start("timers", what)
    p.kill_and_restart(times)
    p.finish()


@scene("a POSIX timer of the CPU clock of a thread that has ended is a named obstacle", "ended")
@scene("a POSIX timer of the CPU clock of another process is a named obstacle", "foreign")
def cpu_clock_elsewhere(s, what):
    p = s.start("timers", what)
    result = p.check(code=1)
    s.expect_message(result, "POSIX timer", "CPU time", "timer_delete")
    p.finish()
