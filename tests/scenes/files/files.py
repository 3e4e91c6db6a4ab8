"""Files: descriptors, positions, contents that changed, files without a name, folders, devices."""

import os
import signal
import time

from stage import named_obstacle, scene


@scene("files, folders, devices and O_PATH descriptors are the same after kill and restart", 1)
@scene("files, folders, devices and O_PATH descriptors are the same after three restarts", 3)
def many(s, times):
    p = s.start("files", "many")
    p.kill_and_restart(times)
    p.finish()


@scene("unlinked files and O_TMPFILE keep their contents and stay without a name")
def deleted(s):
    p = s.start("files", "deleted")
    p.kill_and_restart(2)
    p.finish()


@scene("a log that a killed and restarted program appends to has every line once")
def append(s):
    p = s.start("files", "append", name="output")
    time.sleep(0.5)
    p.kill_and_restart(3)
    time.sleep(0.5)
    p.finish()
    lines = open(s.path("log")).read().splitlines()
    s.expect(lines == [f"line {k}" for k in range(len(lines))], "lines are missing or doubled")
    s.expect(len(lines) > 10, f"only {len(lines)} lines")


def checkpoint_then_grow(s):
    """An image of a program whose log went on growing afterwards."""
    p = s.start("files", "append", name="output")
    time.sleep(0.3)
    p.checkpoint()
    size = os.path.getsize(s.path("log"))
    end = time.monotonic() + 10
    while os.path.getsize(s.path("log")) <= size + 50 and time.monotonic() < end:
        time.sleep(0.05)
    os.kill(p.pid, signal.SIGKILL)
    p.reap()
    return p


@scene("a file that grew after the checkpoint makes the restart fail and is named")
def grown_is_refused(s):
    p = checkpoint_then_grow(s)
    size = os.path.getsize(s.path("log"))
    result = s.crctl("restart", p.image, code=122)
    s.expect_message(result, s.path("log"))
    s.expect(not p.exists(), "the refused restart left a process")
    s.expect(os.path.getsize(s.path("log")) == size, "the refused restart changed the file")


@scene("--files=truncate cuts a file that grew back to where it was")
def grown_is_truncated(s):
    p = checkpoint_then_grow(s)
    p.restart("--files=truncate")
    time.sleep(0.3)
    p.finish()
    lines = open(s.path("log")).read().splitlines()
    s.expect(lines == [f"line {k}" for k in range(len(lines))], "lines are missing or doubled")


@scene("--files=ignore takes a file that grew as it is")
def grown_is_ignored(s):
    p = checkpoint_then_grow(s)
    before = open(s.path("log")).read()
    p.restart("--files=ignore")
    time.sleep(0.3)
    p.finish()
    after = open(s.path("log")).read()
    s.expect(after.startswith(before) and len(after) > len(before), "the log was not simply appended to")


@scene("a file that is gone makes the restart fail and is named")
def gone(s):
    p = s.start("files", "many", name="output")
    p.kill()
    os.unlink(s.path("alphabet"))
    result = s.crctl("restart", p.image, code=122)
    s.expect_message(result, "alphabet")
    s.expect(not p.exists(), "the refused restart left a process")


@scene("a folder in the place of a file makes the restart fail, --files=ignore too")
def other_kind(s):
    p = s.start("files", "many", name="output")
    p.kill()
    os.unlink(s.path("appended"))
    os.mkdir(s.path("appended"))
    result = s.crctl("restart", p.image, "--files=ignore", code=122)
    s.expect_message(result, "appended")
    s.expect(not p.exists(), "the refused restart left a process")


@scene("a changed program file makes the restart fail")
def changed_program(s):
    s.run("cp", "/opt/crkit/programs/threads", s.path("copy"), code=0)
    p = s.start(s.path("copy"), 4)
    p.kill()
    with open(s.path("copy"), "ab") as f:
        f.write(b"more")
    s.crctl("restart", p.image, code=122)
    s.expect(not p.exists(), "the refused restart left a process")


@scene("a file only open for reading may have changed its times, not its contents")
def touched_input(s):
    p = s.start("files", "many", name="output")
    p.kill()
    with open(s.path("alphabet"), "a") as f:
        f.write("more")
    result = s.crctl("restart", p.image, code=122)
    s.expect_message(result, "alphabet")


NAMES = {
    "socket": "socket",
    "socketpair": "socket",
    "fanotify": "fanotify",
    "io_uring": "io_uring",
    "terminal": "t",
    "lease": "lease",
    "dnotify": "dnotify",
    "mqueue": "mqueue",
    "proc": "/proc",
    "device": "kmsg",
}


@scene("a network socket is a named obstacle", "socket")
@scene("a pair of unix sockets is a named obstacle", "socketpair")
@scene("a fanotify descriptor is a named obstacle", "fanotify")
@scene("an io_uring whose memory is not mapped is a named obstacle", "io_uring")
@scene("a terminal beyond standard input and output is a named obstacle", "terminal")
@scene("a held lease is a named obstacle", "lease")
@scene("a descriptor that reports changes of its folder by signal is a named obstacle", "dnotify")
@scene("a POSIX message queue is a named obstacle", "mqueue")
@scene("an open file of /proc that tells of changes is a named obstacle", "proc")
@scene("a device that cannot be kept is a named obstacle", "device")
def obstacle(s, kind):
    named_obstacle(s, kind, NAMES[kind])
