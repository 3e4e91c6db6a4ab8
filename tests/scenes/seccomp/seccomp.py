"""seccomp: system calls that threads have forbidden themselves stay forbidden, and no others become so."""

import time

from stage import scene


@scene("threads with one filter, two and a long one find the same calls denied after kill and restart", 1)
@scene("threads with one filter, two and a long one find the same calls denied after three restarts", 3)
def layers(s, times):
    p = s.start("seccomp", "layers")
    p.kill_and_restart(times)
    said = s.crimg("show", "--section", "seccomp", p.image).out
    s.expect("getuid" in said and "return error 5" in said and ", logged" in said, f"crimg does not show what is denied: {said}")
    p.finish()


@scene("a checkpoint of a process that goes on changes nothing of its filters")
def untouched(s):
    p = s.start("seccomp", "layers")
    for _ in range(3):
        p.checkpoint()
    p.finish()


@scene("filters that some threads share are kept as one each, and a note says so")
def own(s):
    p = s.start("seccomp", "own")
    result = p.check()
    s.expect("share a seccomp filter" in result.out + result.err, f"no note: {result}")
    p.kill_and_restart(2)
    p.finish()


@scene("a thread in strict mode reads and writes on after two restarts, and one that does more is killed")
def strict(s):
    p = s.start("seccomp", "strict")
    p.kill_and_restart(2)
    p.finish()


@scene("a process whose filter kills it for restart_syscall sleeps on over five checkpoints and two restarts")
def sleeping(s):
    p = s.start("seccomp", "sleep")
    for pause in (0.3, 0.0, 0.7, 0.1, 0.5):
        time.sleep(pause)
        p.checkpoint()
    p.kill_and_restart()
    time.sleep(0.4)
    p.checkpoint()
    p.kill_and_restart()
    s.expect(p.exists(), "the process is gone")
    p.finish()


@scene("a parent and a child with one more filter are confined as before over two restarts")
def family(s):
    p = s.start("seccomp", "family")
    p.kill_and_restart(2)
    p.finish()


@scene("a confined process whose main thread has ended is confined after two restarts")
def headless(s):
    p = s.start("seccomp", "headless")
    s.expect(p.is_in("Z"), f"the main thread is in state {p.state()}")
    p.changed += [f"task/{p.pid}/status/Seccomp*"]
    p.kill_and_restart(2)
    p.finish()


@scene("a filter that another program answers for is a named obstacle")
def listener(s):
    p = s.start("seccomp", "listener")
    result = s.crctl("check", p.pid, code=1)
    s.expect_message(result, "seccomp filter", "another program answers", "without such a supervisor")
    p.finish()


@scene("a process that is not confined needs no module for it")
def none(s):
    p = s.start("work", 1, 1)
    p.checkpoint()
    s.expect("seccomp" not in s.crimg("show", p.image, "--chunks").out, "a section seccomp")
    p.finish()
