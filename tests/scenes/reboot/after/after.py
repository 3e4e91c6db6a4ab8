"""After the reboot: what was checkpointed before runs again."""

import json
import os
import time

from stage import scene

PLACE = "/data/reboot"


def again(s, name, living=False):
    s.live_in(os.path.join(PLACE, name))
    s.expect(os.path.exists(s.path("process.json")), "the boot before left no image")
    with open(s.path("process.json")) as f:
        known = json.load(f)
    p = s.adopt(known["pid"], known["log"])
    p.living = living
    p.image = s.path("image")
    # The clock goes on in a time namespace.
    p.changed += ["*ns/time", "*ns/time_for_children", "timens_offsets"]
    return p


@scene("the kernel was started anew since the checkpoint")
def other_boot(s):
    p = again(s, "threads")
    own = open("/proc/sys/kernel/random/boot_id").read().strip().replace("-", "")
    s.expect(bytes.fromhex(own) not in open(p.image, "rb").read(), "this is the same boot")


@scene("32 threads go on after the reboot")
def threads(s):
    p = again(s, "threads")
    p.restart()
    p.finish()


@scene("CPython with threads that wait for points in time goes on after the reboot")
def python(s):
    p = again(s, "python", living=True)
    p.restart()
    time.sleep(0.5)
    p.finish()


@scene("a program that appends to a file goes on after the reboot")
def append(s):
    p = again(s, "append", living=True)
    p.restart()
    time.sleep(0.5)
    p.finish()
    lines = open(s.path("log")).read().splitlines()
    s.expect(lines == [f"line {k}" for k in range(len(lines))], "lines are missing or doubled")


@scene("21 blocking system calls see no EINTR and keep their deadlines after the reboot")
def blocking(s):
    p = again(s, "blocking")
    release = s.hold_locks("lock")
    # Threads end when their time is over.
    p.changed += ["thread/*", "task/count", "*num_threads", "*status/Threads"]
    p.restart()
    p.go()
    p.wait_for("awake")
    release()
    begin = time.monotonic()
    p.finish()
    s.expect(time.monotonic() - begin < 15, "a deadline moved with the clock of the new boot")


@scene("a process of before the reboot can be checkpointed and restarted once more")
def once_more(s):
    p = again(s, "threads")
    s.remove("go")
    # Its log grew since the image was made.
    p.restart("--files=truncate")
    p.kill_and_restart()
    p.finish()
