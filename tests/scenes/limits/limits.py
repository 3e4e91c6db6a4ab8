"""Limits, working folder, root folder and umask."""

import os

from stage import scene


@scene("resource limits are the same after a restart", "limits")
@scene("working folder and umask are the same after a restart", "fs")
def attributes(s, mode):
    p = s.start("attributes", mode)
    p.kill_and_restart(2)
    p.finish()


@scene("a working folder that is gone makes the restart fail and is named")
def folder_gone(s):
    os.mkdir(s.path("home"))
    p = s.start("sh", "-c", "cd home && exec threads 4")
    p.kill()
    os.rmdir(s.path("home"))
    result = s.crctl("restart", p.image, code=122)
    s.expect_message(result, "home")
    s.expect(not p.exists(), "the refused restart left a process")


@scene("a low limit of open files is no hindrance to a restart")
def low_limit(s):
    import resource

    p = s.start("threads", 4, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (4, 4)))
    p.kill_and_restart()
    p.finish()
