"""Event polls."""

from stage import scene


@scene("level, edge and one-shot entries, nested and waited-for polls are the same after kill and restart", 1)
@scene("level, edge and one-shot entries, nested and waited-for polls are the same after three restarts", 3)
def states(s, times):
    p = s.start("epoll", "states")
    p.kill_and_restart(times)
    p.finish()


@scene("a checkpoint takes no event from a poll of a program that goes on")
def checkpoint_only(s):
    p = s.start("epoll", "states")
    for _ in range(3):
        p.checkpoint()
    p.finish()


@scene("an entry whose descriptor was replaced by another file is a named obstacle")
def replaced(s):
    p = s.start("epoll", "replaced")
    result = p.check(code=1)
    s.expect_message(result, "epoll", "closed or replaced")
