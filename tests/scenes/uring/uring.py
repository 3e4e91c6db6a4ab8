"""Rings of io_uring with nothing in flight."""

from stage import scene


def start(s, mode):
    p = s.start("uring", mode)
    if "skipped io_uring" in p.log():
        s.skip("this kernel has no io_uring, or it is disabled")
    return p


@scene("rings that are idle, half read, half submitted, of one issuer, disabled and worn go on after kill and restart", 1)
@scene("rings that are idle, half read, half submitted, of one issuer, disabled and worn go on after three restarts", 3)
def states(s, times):
    p = start(s, "states")
    p.kill_and_restart(times)
    p.finish()


@scene("rings that tell an eventfd of their events tell it after kill and restart", 1)
@scene("rings that tell an eventfd of their events tell it after three restarts", 3)
def tells(s, times):
    p = start(s, "tells")
    p.kill_and_restart(times)
    p.finish()


@scene("a checkpoint changes nothing in the rings of a program that goes on")
def checkpoint_only(s):
    p = start(s, "states")
    for _ in range(3):
        p.checkpoint()
    p.finish()


@scene("a thread that waits for an event of a ring goes on waiting after kill and restart", 2)
@scene("a thread that waits for an event of a ring goes on waiting when the process is only checkpointed", 0)
def waits(s, times):
    p = start(s, "waits")
    if times:
        p.kill_and_restart(times)
    else:
        for _ in range(5):
            p.checkpoint()
    p.finish()


@scene("rings that processes share, or have each alone, go on after kill and restart", 1)
@scene("rings that processes share, or have each alone, go on after three restarts", 3)
@scene("rings that processes share, or have each alone, go on when the processes are only checkpointed", 0)
def family(s, times):
    p = start(s, "family")
    if times:
        p.kill_and_restart(times)
    else:
        p.checkpoint()
    p.finish()


@scene("a checkpoint waits for requests that end soon")
def busy(s):
    p = start(s, "busy")
    for _ in range(5):
        p.checkpoint()
    p.kill_and_restart(2)
    p.finish()


# What crctl must say, by kind.
NAMES = {
    "flight": ("1 io_uring requests in flight", "tid"),
    "polling": ("SQPOLL", "UV_USE_IO_URING"),
    "buffers": ("buffers are registered",),
    "files": ("files are registered",),
    "eventfd": ("tells an eventfd", "no descriptor"),
    "credentials": ("credentials are registered",),
    "closed": ("no descriptor any more",),
    "unmapped": ("not mapped",),
    "readonly": ("without read or write access",),
    "foreign": ("a process outside",),
}


@scene("a request in flight that does not end is a named obstacle", "flight")
@scene("a ring with a polling kernel thread is a named obstacle", "polling")
@scene("registered buffers are a named obstacle", "buffers")
@scene("registered files are a named obstacle", "files")
@scene("a registered eventfd whose descriptors are closed is a named obstacle", "eventfd")
@scene("registered credentials are a named obstacle", "credentials")
@scene("a ring whose descriptor is closed is a named obstacle", "closed")
@scene("a ring that is not mapped completely is a named obstacle", "unmapped")
@scene("a ring that is mapped for reading only is a named obstacle", "readonly")
@scene("a ring that a process outside has too is a named obstacle", "foreign")
def obstacle(s, kind):
    p = start(s, kind)
    single = ["--single"] if kind == "foreign" else []
    s.expect_message(p.check(*single, code=1), *(word for word in NAMES[kind] if word != "tid"))
    if "tid" in NAMES[kind]:
        found = p.check("--json", *single, code=1).json()["obstacles"]
        s.expect(any(o.get("tid") == p.pid for o in found), f"no thread is named: {found}")
    p.checkpoint(*single, code=1)
    p.finish()
