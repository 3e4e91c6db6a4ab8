"""Descriptors of processes."""

from stage import scene


@scene("descriptors of a child, of one that has ended, of oneself and of the parent are the same after kill and restart", 1)
@scene("descriptors of a child, of one that has ended, of oneself and of the parent are the same after three restarts", 3)
def family(s, times):
    p = s.start("pidfd", "family")
    p.kill_and_restart(times)
    p.finish()


@scene("descriptors of processes lead to the same ones in a new pid namespace")
def in_namespace(s):
    p = s.start("pidfd", "family")
    p.kill()
    s.remove(f"{p.image}.facts")
    p.restart("--new-pidns")
    p.finish()


@scene("a family with descriptors of processes is checkpointed ten times and goes on")
def often(s):
    p = s.start("pidfd", "family")
    for _ in range(10):
        p.checkpoint()
    p.finish()


@scene("a program of python that waits for its child by a descriptor goes on after two restarts")
def python(s):
    with open(s.path("waits.py"), "w") as f:
        f.write(
            "import os, select, subprocess\n"
            "child = subprocess.Popen(['sh', '-c', 'until [ -e go ]; do sleep 0.05; done; exit 9'])\n"
            "fd = os.pidfd_open(child.pid)\n"
            "waits = select.epoll()\n"
            "waits.register(fd, select.EPOLLIN)\n"
            "print('ready', flush=True)\n"
            "waits.poll()\n"
            "print('PASS' if os.waitid(os.P_PIDFD, fd, os.WEXITED).si_status == 9 else 'FAIL', flush=True)\n"
        )
    p = s.start("python3", "waits.py", living=True)
    p.kill_and_restart(2)
    p.finish()


@scene("a descriptor of a thread that is no main thread is a named obstacle", "thread", "does not exist yet")
@scene("a descriptor of a process that was waited for is a named obstacle", "reaped", "was waited for")
@scene("a descriptor of a process outside of the checkpoint is a named obstacle", "outside", "not in the checkpoint")
def obstacle(s, kind, reason):
    p = s.start("pidfd", kind)
    result = p.check(code=1)
    s.expect_message(result, "pidfd", reason)
    p.finish()


@scene("an image of a process without such descriptors has no section for them")
def not_needed(s):
    p = s.start("threads", 2)
    p.checkpoint()
    s.expect("pidfd" not in s.crimg("show", p.image, "--chunks").out, "a section pidfd")
    p.finish()
