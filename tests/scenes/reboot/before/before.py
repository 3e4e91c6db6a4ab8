"""Before the reboot: programs are checkpointed to a disk that stays, and killed."""

import json
import os
import time

from stage import scene

PLACE = "/data/reboot"
PYTHON = "/opt/crkit/scenes/programs/scripts/threads.py"


def keep(s, name, p, **more):
    p.image = s.path("image")
    p.kill()
    with open(s.path("process.json"), "w") as f:
        json.dump({"pid": p.pid, "log": os.path.basename(p.log_path), **more}, f)
    os.sync()


def stage(s, name):
    s.live_in(os.path.join(PLACE, name))
    # Pids far above those that a young system uses.
    with open("/proc/sys/kernel/ns_last_pid", "w") as f:
        f.write(str({"threads": 20000, "python": 21000, "append": 22000, "blocking": 23000}[name]))


@scene("32 threads are checkpointed and killed")
def threads(s):
    stage(s, "threads")
    keep(s, "threads", s.start("threads", 32))


@scene("CPython is checkpointed and killed")
def python(s):
    stage(s, "python")
    p = s.start("python3", PYTHON, living=True)
    time.sleep(0.5)
    keep(s, "python", p)


@scene("a program that appends to a file is checkpointed and killed")
def append(s):
    stage(s, "append")
    p = s.start("files", "append", name="output")
    time.sleep(0.5)
    keep(s, "append", p)


@scene("a program in 21 blocking system calls is checkpointed and killed")
def blocking(s):
    stage(s, "blocking")
    release = s.hold_locks("lock")
    keep(s, "blocking", s.start("blocking", "pure", 8))
    release()
