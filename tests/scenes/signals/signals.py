"""Signals: actions, masks, waiting signals, running handlers, alternate stacks."""

from stage import scene


@scene("running handlers, masks, waiting signals and alternate stacks are the same after kill and restart", 1)
@scene("running handlers, masks, waiting signals and alternate stacks are the same after three restarts", 3)
def signals(s, times):
    p = s.start("signals")
    p.kill_and_restart(times)
    p.finish()


@scene("freezing and thawing ten times disturbs no handler and no waiting signal")
def checks(s):
    p = s.start("signals")
    for _ in range(10):
        p.check()
    p.finish()
