"""Owners of open files: whom they tell by signal that they are ready."""

from stage import named_obstacle, scene


@scene("owners, their signals and O_ASYNC of every kind of file are the same after kill and restart", 1)
@scene("owners, their signals and O_ASYNC of every kind of file are the same after three restarts", 3)
def states(s, times):
    p = s.start("owners")
    p.kill_and_restart(times)
    p.finish()


@scene("owners that root has set stay root's when the process is another user by then")
def dropped(s):
    p = s.start("owners", "dropped")
    p.kill_and_restart(2)
    p.finish()


@scene("an owner that is not part of the checkpoint is a named obstacle")
def outside(s):
    named_obstacle(s, "owner", "not part of the checkpoint")
