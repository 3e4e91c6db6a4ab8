"""Playing images that were changed on purpose: they are refused, and no process is left."""

import os
import signal
import time

from image import Image


def image_of(s, *program):
    p = s.start(*program)
    p.kill()
    return p, open(p.image, "rb").read()


def play(s, data, timeout=60):
    """Restarts from these bytes in the background; what crctl said, and the pid if a process runs."""
    bad, pidfile = s.path("forged.ckpt"), s.path("forged.pid")
    with open(bad, "wb") as f:
        f.write(data)
    s.remove("forged.pid")
    command = ("restart", bad, "--files=ignore", "--detach", "--pidfile", pidfile)
    result = s.crctl(*command, code=None, timeout=timeout)
    return result, int(open(pidfile).read()) if result.code == 0 else None


def gone(pid, seconds=10):
    end = time.monotonic() + seconds
    while os.path.exists(f"/proc/{pid}") and time.monotonic() < end:
        time.sleep(0.02)
    return not os.path.exists(f"/proc/{pid}")


def slay(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    return gone(pid)


def refuse(s, p, good, what, change, codes=(120, 121)):
    image = Image(good)
    change(image)
    data = image.seal()
    s.expect(data != good, f"{what}: nothing was changed")
    result, pid = play(s, data)
    if pid is not None:
        slay(pid)
        s.expect(False, f"{what}: the image was restarted")
    s.expect(result.code in codes, f"{what}: {result}")
    s.expect(gone(p.pid, 2), f"{what}: a process was created")
    return result
