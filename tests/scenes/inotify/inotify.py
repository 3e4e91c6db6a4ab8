"""Instances of inotify: what they watch, and what was not read."""

import os

from stage import scene


@scene("inotify watches keep numbers and masks and unread events their order, after kill and restart", 1)
@scene("inotify watches keep numbers and masks and unread events their order, after three restarts", 3)
def states(s, times):
    p = s.start("inotify")
    p.kill_and_restart(times)
    p.finish()


@scene("inotify goes on in the program that was not killed")
def goes_on(s):
    p = s.start("inotify")
    p.checkpoint()
    p.checkpoint()
    p.finish()


@scene("two processes share an instance of inotify, and watch what only the other one has open, after kill and restart", 1)
@scene("two processes share an instance of inotify, and watch what only the other one has open, after three restarts", 3)
@scene("two processes share an instance of inotify, and watch what only the other one has open, when only checkpointed", 0)
def family(s, times):
    p = s.start("inotify", "family")
    if times:
        p.kill_and_restart(times)
    else:
        p.checkpoint()
    p.finish()


@scene("unread events of inotify that look alike are both there after two restarts")
def alike(s):
    p = s.start("inotify", "alike")
    p.kill_and_restart(2)
    p.finish()


@scene("a watch of inotify on a removed file that only others have open is a named obstacle, as long as they do")
def lost(s):
    p = s.start("inotify", "lost")
    with open(s.path("lost")):
        os.unlink(s.path("lost"))
        s.expect_message(p.check(code=1), "watch 1", "no path")
    p.kill_and_restart()
    p.finish()


@scene("a full queue of inotify is full again, with what was lost")
def overflow(s):
    path = "/proc/sys/fs/inotify/max_queued_events"
    with open(path) as f:
        was = f.read()
    try:
        with open(path, "w") as f:
            f.write("20")
        p = s.start("inotify", "overflow")
        p.kill_and_restart(2)
        p.finish()
    finally:
        with open(path, "w") as f:
            f.write(was)


@scene("a restart fails, with the path, while a watched file is gone")
def gone(s):
    p = s.start("inotify")
    p.kill()
    os.rename(s.path("once"), s.path("elsewhere"))
    result = s.crctl("restart", p.image, code=122)
    s.expect_message(result, "once", "watched again")
    s.expect(not p.exists(), "the failed restart left a process")
    os.rename(s.path("elsewhere"), s.path("once"))
    p.restart()
    p.finish()


@scene("unread events of inotify are in the image by name")
def shown(s):
    p = s.start("inotify")
    p.kill()
    shown = s.crimg("show", "--section", "inotify", p.image).out
    for text in ("moved_from", "folder", "oneshot"):
        s.expect(text in shown, f"{text} is missing in {shown}")
    p.restart()
    p.finish()
