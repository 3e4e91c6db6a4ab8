"""What goes wrong: no process, no permission, no space, no module, killed half-way, damaged images."""

import os
import random
import select
import signal
import subprocess
import time

from stage import IMAGE_ERRORS, loaded_modules, scene


@scene("a pid that does not exist is refused with status 3")
def no_process(s):
    last = int(open("/proc/sys/kernel/pid_max").read()) - 1
    for command in (("check", last), ("checkpoint", last, "-o", s.path("x"))):
        result = s.crctl(*command, code=3)
        s.expect_message(result, str(last))
    s.expect(not os.path.exists(s.path("x")), "an image was written")


@scene("the id of a thread that is no process is refused and its process is named")
def thread_id(s):
    p = s.start("threads", 4)
    tid = next(t for t in os.listdir(f"/proc/{p.pid}/task") if int(t) != p.pid)
    result = s.crctl("check", tid, code=3)
    s.expect_message(result, str(p.pid))
    p.finish()


@scene("a kernel thread is refused")
def kernel_thread(s):
    result = s.crctl("check", 2, code=(1, 4, 7))
    s.expect_message(result, "kernel")


@scene("a user may not checkpoint the process of another, and nothing happens to it")
def not_permitted(s):
    p = s.start("threads", 4)

    def drop():
        os.setgroups([])
        os.setresgid(1001, 1001, 1001)
        os.setresuid(1001, 1001, 1001)

    s.crctl("load")
    result = s.crctl("check", p.pid, code=4, preexec_fn=drop)
    s.note(result.err.strip())
    s.crctl("checkpoint", p.pid, "-o", s.path("x"), "--kill", code=4, preexec_fn=drop)
    s.expect(not os.path.exists(s.path("x")), "an image was written")
    p.finish()


@scene("wrong use is status 2")
def usage(s):
    s.crctl("checkpoint", code=2)
    s.crctl("check", "0", code=2)
    s.crctl("check", "-5", code=2)
    s.crctl("restart", code=2)
    s.crctl("checkpoint", 1, "-o", "x", "--kill", "--stop", code=2)


def little_disk(s, mib):
    folder = s.path("disk")
    os.mkdir(folder)
    s.run("mount", "-t", "tmpfs", "-o", f"size={mib}m", "little", folder, code=0)
    s.cleanups.append(lambda: subprocess.run(["umount", folder], check=False))
    return folder


@scene("a full disk is status 6, the program goes on, and no image is left")
def disk_full(s):
    p = s.start("work", 64, 4)
    folder = little_disk(s, 8)
    for more in ((), ("--kill",), ("--stop",)):
        result = s.crctl("checkpoint", p.pid, "-o", f"{folder}/image", *more, code=6)
        s.expect_message(result, "space")
        s.expect(os.listdir(folder) == [], f"left on the full disk: {os.listdir(folder)}")
    p.finish()


@scene("a disk that is full at every possible place of the image is status 6")
def disk_full_everywhere(s):
    p = s.start("threads-static", 4)
    p.checkpoint()
    size = os.path.getsize(p.image)
    folder = little_disk(s, 32)
    page = 4096
    # All but so many bytes of the little disk are taken by another file.
    pick = random.Random(1)
    rooms = {1, size // page - 1} | {pick.randrange(0, size // page) for _ in range(8)}
    for room in sorted(rooms):
        with open(f"{folder}/filler", "wb") as f:
            os.posix_fallocate(f.fileno(), 0, (32 << 20) - room * page)
        s.crctl("checkpoint", p.pid, "-o", f"{folder}/image", code=6)
        s.expect(os.listdir(folder) == ["filler"], f"{room} pages of room left {os.listdir(folder)}")
        os.unlink(f"{folder}/filler")
    s.crctl("checkpoint", p.pid, "-o", f"{folder}/image")
    s.crimg("verify", f"{folder}/image")
    p.finish()


@scene("an existing file is not overwritten without --force")
def existing(s):
    p = s.start("threads", 4)
    with open(p.image, "w") as f:
        f.write("precious")
    s.crctl("checkpoint", p.pid, "-o", p.image, "--kill", code=6)
    s.expect(open(p.image).read() == "precious", "the file was overwritten")
    s.expect(p.popen.poll() is None, "the process was killed")
    p.finish()


@scene("a folder that does not exist, or a terminal as output, is refused before anything is frozen")
def bad_output(s):
    p = s.start("threads", 4)
    s.crctl("checkpoint", p.pid, "-o", s.path("none/image"), code=6)
    s.crctl("checkpoint", p.pid, "-o", s.dir, "--force", code=(2, 6))
    with open("/dev/full", "w") as full:
        code = subprocess.run(["crctl", "checkpoint", str(p.pid), "-o", "-"], stdout=full, stderr=subprocess.PIPE)
    s.expect(code.returncode == 6, f"/dev/full: status {code.returncode}: {code.stderr}")
    p.finish()


def stalled(s, p, *more):
    """A checkpoint that stands still with the process frozen, because nobody reads its output."""
    s.crctl("load", "--all")
    reader, writer = os.pipe()
    crctl = subprocess.Popen(
        ["crctl", "checkpoint", str(p.pid), "-o", "-", *more], stdout=writer, stderr=subprocess.PIPE
    )
    s.started.append(crctl)
    os.close(writer)
    # The first bytes come when everything but the memory has been read.
    s.expect(select.select([reader], [], [], 20)[0], "the checkpoint does not begin")
    time.sleep(0.3)
    s.expect(crctl.poll() is None, "crctl did not wait for its reader")
    before = p.log()
    time.sleep(0.7)
    s.expect(p.log() == before, "the process runs during its checkpoint")
    return crctl, reader


@scene("crctl killed with -9 while the process is frozen: the process goes on", signal.SIGKILL)
@scene("crctl interrupted while the process is frozen: the process goes on", signal.SIGINT)
@scene("crctl terminated while the process is frozen: the process goes on", signal.SIGTERM)
def crctl_killed(s, number):
    p = s.start("work", 64, 4)
    crctl, reader = stalled(s, p, "--kill")
    crctl.send_signal(number)
    s.expect(crctl.wait(20) != 0, "the killed crctl ended with 0")
    os.close(reader)
    before = p.log()
    end = time.monotonic() + 20
    while p.log() == before and time.monotonic() < end:
        time.sleep(0.05)
    s.expect(p.log() != before, f"the process does not go on (state {p.state()})")
    p.kill_and_restart()
    p.finish()


@scene("the reader of the image goes away: the checkpoint fails and the process goes on")
def reader_gone(s):
    p = s.start("work", 64, 4)
    crctl, reader = stalled(s, p, "--kill")
    os.close(reader)
    err = crctl.communicate(timeout=20)[1].decode(errors="replace")
    s.expect(crctl.returncode == 6, f"status {crctl.returncode}: {err}")
    s.expect(p.popen.poll() is None, "the process is gone")
    p.finish()


@scene("crctl killed at twenty random moments: the process goes on and no image appears", "crctl", timeout=240)
@scene("the program killed at twenty random moments: crctl ends and says so", "target", timeout=240)
def random_kills(s, victim):
    pick = random.Random(7)
    p = s.start("work", 16, 4)
    begin = time.monotonic()
    p.checkpoint()
    whole = time.monotonic() - begin
    codes = {}
    for _ in range(20):
        s.remove(os.path.basename(p.image))
        crctl = subprocess.Popen(
            ["crctl", "checkpoint", str(p.pid), "-o", p.image], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        time.sleep(pick.random() * whole)
        if victim == "crctl":
            crctl.kill()
        else:
            os.kill(p.pid, signal.SIGKILL)
        try:
            err = crctl.communicate(timeout=30)[1].decode(errors="replace")
        except subprocess.TimeoutExpired:
            crctl.kill()
            s.expect(False, "crctl hangs")
        codes[crctl.returncode] = codes.get(crctl.returncode, 0) + 1
        if os.path.exists(p.image):
            # It came through before the kill: then it must be complete.
            s.crimg("verify", p.image)
            s.expect(crctl.returncode in (0, -9), f"an image is there and crctl ended with {crctl.returncode}")
        else:
            s.expect(crctl.returncode != 0, f"no image although crctl ended with 0: {err}")
        if victim == "target":
            p.popen.wait(30)
            s.remove("log")
            p = s.start("work", 16, 4)
    s.note(f"ends of crctl: {codes}")
    p.kill_and_restart()
    p.finish()
    # What a killed crctl left half-written was removed by the next checkpoint to the same name.
    left = [name for name in os.listdir(s.dir) if ".tmp" in name and f"image-{p.pid}" in name]
    s.expect(not left, f"left behind: {left}")


@scene("crctl restart killed at twenty random moments leaves a whole process or none", timeout=240)
def restart_killed(s):
    pick = random.Random(9)
    p = s.start("work", 16, 4)
    p.kill()
    begin = time.monotonic()
    p.restart()
    whole = time.monotonic() - begin

    def clear():
        try:
            os.kill(p.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        end = time.monotonic() + 10
        while p.exists() and time.monotonic() < end:
            time.sleep(0.02)
        s.expect(not p.exists(), f"pid {p.pid} stays in use, state {p.state()}")

    def runs():
        before = p.log()
        end = time.monotonic() + 20
        while p.log() == before and time.monotonic() < end:
            time.sleep(0.05)
        s.expect(p.log() != before, f"the process does not run, state {p.state()}")

    clear()
    p.popen.wait(20)
    outcomes = {"whole": 0, "none": 0}
    for _ in range(20):
        # Its log grew in an earlier life; the image knows the old length.
        command = ["crctl", "restart", p.image, "--files=truncate"]
        crctl = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=s.dir)
        time.sleep(pick.random() * whole * 1.2)
        crctl.kill()
        crctl.wait(30)
        time.sleep(0.3)
        if p.state() in ("", "Z"):
            outcomes["none"] += 1
        else:
            # It was whole before the kill: then it works.
            comm = open(f"/proc/{p.pid}/comm").read().strip()
            s.expect(comm == "work", f"a half-built process called {comm!r}, state {p.state()}, is left")
            s.expect(p.threads() == 5, f"a half-built process with {p.threads()} threads is left")
            runs()
            outcomes["whole"] += 1
        clear()
    s.note(str(outcomes))
    s.crctl("restart", p.image, "--files=truncate", "--detach")
    runs()
    clear()


def image_of(s, *program):
    """A program that was killed by its checkpoint; any life in it would show in its log."""
    p = s.start(*program)
    p.kill()
    return p, open(p.image, "rb").read()


def must_refuse(s, p, data, what):
    """verify and restart both refuse the image, and nothing is created."""
    bad = s.path("bad.ckpt")
    with open(bad, "wb") as f:
        f.write(data)
    verify = s.crimg("verify", bad, code=None)
    s.expect(verify.code in (3, 4), f"{what}: verify says {verify}")
    restart = s.crctl("restart", bad, "--files=ignore", code=None)
    s.expect(restart.code in IMAGE_ERRORS, f"{what}: restart says {restart}")
    s.expect(restart.err.startswith("crctl restart:"), f"{what}: no message: {restart}")
    s.expect(not p.exists(), f"{what}: pid {p.pid} exists, state {p.state()}")


@scene("one flipped bit at each of 200 random places is refused by verify and restart, and nothing is created", timeout=400)
def flipped_bits(s):
    p, good = image_of(s, "threads-static", 4)
    log = p.log()
    seed = int(os.environ.get("SCENES_SEED", "20261"))
    pick = random.Random(seed)
    s.note(f"seed {seed}, {len(good)} bytes")
    for k in range(int(os.environ.get("SCENES_FLIPS", "200"))):
        # A quarter in the first two pages and in the last: headers are a small part of the file.
        where = pick.randrange(8192) if k % 8 == 0 else pick.randrange(len(good))
        if k % 8 == 1:
            where = len(good) - 1 - pick.randrange(4096)
        bad = bytearray(good)
        bad[where] ^= 1 << pick.randrange(8)
        must_refuse(s, p, bad, f"bit flipped at {where:#x}")
    s.expect(p.log() == log, "the program ran from a damaged image")
    p.restart()
    p.finish()


@scene("an image that is cut off anywhere, or longer, is refused by verify and restart", timeout=240)
def truncated(s):
    p, good = image_of(s, "threads-static", 4)
    pick = random.Random(3)
    lengths = [0, 1, 63, 4095, 4096, 4097, 8192, len(good) - 1, len(good) - 64, len(good) - 4096]
    lengths += [pick.randrange(len(good)) for _ in range(15)]
    for length in lengths:
        must_refuse(s, p, good[:length], f"cut to {length} of {len(good)} bytes")
    must_refuse(s, p, good + b"\0", "one byte more")
    must_refuse(s, p, good + good, "twice the image")
    must_refuse(s, p, b"\0" * len(good), "only zeros")
    p.restart()
    p.finish()


@scene("two images mixed at a page boundary are refused")
def mixed(s):
    p, first = image_of(s, "threads-static", 4)
    p.restart()
    time.sleep(0.3)
    p.kill()
    second = open(p.image, "rb").read()
    s.expect(first != second, "the two images are equal")
    length = min(len(first), len(second))
    for page in (1, 2, length // 8192, length // 4096 - 1):
        must_refuse(s, p, first[: page * 4096] + second[page * 4096 :], f"mixed at page {page}")
    p.restart()
    p.finish()


@scene("a file that is no image, a folder, or no file is refused")
def no_image(s):
    with open(s.path("text"), "w") as f:
        f.write("#!/bin/sh\n" * 1000)
    s.crctl("restart", s.path("text"), code=120)
    s.crctl("restart", "/dev/null", code=120)
    s.crctl("restart", s.dir, code=(120, 124))
    s.crctl("restart", s.path("missing"), code=124)
    s.crctl("restart", "/dev/zero", code=120)


@scene("a restart while the process still runs is refused because its pid is taken")
def pid_taken(s):
    p = s.start("threads", 4)
    p.checkpoint()
    result = s.crctl("restart", p.image, code=122)
    s.expect_message(result, str(p.pid))
    p.finish()


@scene("a restart by an ordinary user is refused")
def restart_not_permitted(s):
    p = s.start("threads", 4)
    p.kill()
    os.chmod(p.image, 0o644)

    def drop():
        os.setgroups([])
        os.setresgid(1001, 1001, 1001)
        os.setresuid(1001, 1001, 1001)

    s.crctl("restart", p.image, code=123, preexec_fn=drop)
    s.expect(not p.exists(), "a process was created")
    p.restart()
    p.finish()


def module_files():
    release = os.uname().release
    for folder, _, names in os.walk(f"/lib/modules/{release}/updates"):
        for name in names:
            if name.startswith("cr_"):
                yield os.path.join(folder, name)


@scene("a missing extension is named, by restart and by check, and the process goes on")
def extension_missing(s):
    p = s.start("pipes", "states")
    p.checkpoint()
    s.crctl("unload")
    path = next((f for f in module_files() if os.path.basename(f).startswith("cr_pipes.ko")), None)
    s.expect(path, "there is no cr_pipes.ko")
    os.rename(path, path + ".away")
    try:
        result = s.crctl("check", p.pid, code=(1, 5))
        s.expect_message(result, "pipes")
        os.kill(p.pid, signal.SIGKILL)
        p.reap()
        result = s.crctl("restart", p.image, code=122)
        s.expect_message(result, "pipes")
        s.expect(not p.exists(), "a process was created")
    finally:
        os.rename(path + ".away", path)
    p.restart()
    p.finish()


@scene("missing modules are status 5, and crctl says what to do")
def modules_missing(s):
    p = s.start("threads", 4)
    s.crctl("unload")
    files = list(module_files())
    for path in files:
        os.rename(path, path + ".away")
    try:
        for command in (("check", p.pid), ("checkpoint", p.pid, "-o", p.image), ("load",)):
            result = s.crctl(*command, code=5)
            s.expect_message(result, "cr_core")
        s.crctl("status", code=1)
    finally:
        for path in files:
            os.rename(path + ".away", path)
    p.finish()


@scene("modules of another kernel are refused by the kernel, and crctl says so")
def other_kernel(s):
    s.crctl("unload")
    path = next(f for f in module_files() if "cr_core.ko" in f)
    good = open(path, "rb").read()
    release = os.uname().release.encode()
    s.expect(b"vermagic=" + release in good, "the module has no readable vermagic")
    other = release[:-1] + (b"X" if release[-1:] != b"X" else b"Y")
    with open(path, "wb") as f:
        f.write(good.replace(b"vermagic=" + release, b"vermagic=" + other))
    try:
        result = s.crctl("load", code=5)
        s.note(result.err.strip())
    finally:
        with open(path, "wb") as f:
            f.write(good)
    s.expect(not loaded_modules(), f"loaded: {loaded_modules()}")
    s.crctl("load")


@scene("the modules cannot be unloaded while a checkpoint is in progress")
def busy(s):
    p = s.start("work", 64, 4)
    crctl, reader = stalled(s, p)
    result = s.crctl("unload", code=None)
    s.expect(result.code != 0, "the modules were unloaded under a checkpoint")
    s.run("rmmod", "cr_core", code=1)
    while os.read(reader, 1 << 20):
        pass
    os.close(reader)
    s.expect(crctl.wait(60) == 0, f"crctl ended with {crctl.returncode}")
    p.finish()
