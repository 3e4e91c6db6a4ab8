"""Open files and folders of /proc."""

from stage import scene


@scene("open files and folders of /proc of a parent, its child and the system are the same after kill and restart", 1)
@scene("open files and folders of /proc of a parent, its child and the system are the same after three restarts", 3)
def family(s, times):
    p = s.start("proc", "family")
    p.kill_and_restart(times)
    p.finish()


@scene("a program that watches the system by open files of /proc goes on after ten checkpoints and two restarts")
def monitor(s):
    p = s.start("proc", "monitor", living=True)
    for _ in range(10):
        p.checkpoint()
    p.kill_and_restart(2)
    p.finish()


@scene("open files of processes are not made in a pid namespace that /proc does not show")
def in_namespace(s):
    p = s.start("proc", "family")
    p.kill()
    s.remove(f"{p.image}.facts")
    result = s.crctl("restart", p.image, "--new-pidns", code=122)
    s.expect(result.code != 0, "it was restarted")
    s.expect_message(result, "/proc", "pid namespace")
    p.restart()
    p.finish()


@scene("a file of /proc that is open for writing is a named obstacle", "writes", "open for writing")
@scene("a file of /proc that tells of changes is a named obstacle", "mounts", "tells of changes")
@scene("a file of /proc of a process outside of the checkpoint is a named obstacle", "outside", "not in the checkpoint")
def obstacle(s, kind, reason):
    p = s.start("proc", kind)
    result = p.check(code=1)
    s.expect_message(result, "/proc", reason)
    p.finish()
