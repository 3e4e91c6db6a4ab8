"""Event counters."""

from stage import scene


@scene("counters, semaphores, full and empty eventfds and one that is waited for are the same after kill and restart", 1)
@scene("counters, semaphores, full and empty eventfds and one that is waited for are the same after three restarts", 3)
def states(s, times):
    p = s.start("eventfd")
    p.kill_and_restart(times)
    p.finish()


@scene("a checkpoint takes nothing out of an eventfd of a program that goes on")
def checkpoint_only(s):
    p = s.start("eventfd")
    for _ in range(3):
        p.checkpoint()
    p.finish()
