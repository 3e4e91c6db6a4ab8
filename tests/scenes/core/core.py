"""The whole: many checkpoints, many restarts, exit statuses, streams, namespaces, loading and unloading."""

import os
import signal
import subprocess
import time

from stage import loaded_modules, scene, slab_objects

HUNDRED = int(os.environ.get("SCENES_HUNDRED", "100"))


@scene("the modules load and unload, and status tells which")
def load_unload(s):
    s.crctl("unload", code=None)
    s.crctl("status", code=1)
    s.crctl("load", "--all")
    status = s.crctl("status", "--json").json()
    words = {e["word"] for e in status["extensions"]}
    s.expect({"tasks", "memory", "signals", "files", "pipes", "creds", "limits"} <= words, f"extensions: {words}")
    s.expect(status["loaded"] is True, f"status: {status}")
    s.expect("cr_core" in loaded_modules(), f"modules: {loaded_modules()}")
    s.crctl("unload")
    s.expect(not loaded_modules(), f"modules: {loaded_modules()}")
    s.crctl("unload")
    s.crctl("load")


@scene("the modules load and unload eight times")
def load_often(s):
    for _ in range(8):
        s.crctl("load", "--all")
        s.crctl("unload")
    s.expect(not loaded_modules(), f"modules: {loaded_modules()}")


# What every process has.
ALWAYS = {"core", "tasks", "memory", "files", "signals", "creds", "limits"}


@scene("a program that only computes is checkpointed and restarted with the modules that it needs, and no other is loaded", ("work", 4, 1), set())
@scene("event counters bring one module more, and it is listed", ("eventfd",), {"eventfd"})
@scene("a confined program brings one module more, and it is listed", ("landlock", "layers"), {"landlock"})
def only_what_is_used(s, program, more):
    s.crctl("unload")
    p = s.start(*program)
    p.kill()
    p.restart()
    # Standard output is a file: pipes are not needed either.
    loaded = {name.removeprefix("cr_") for name in loaded_modules()}
    s.expect(loaded == ALWAYS | more, f"loaded are {sorted(loaded)}")
    listed = {e["word"] for e in s.crctl("status", "--json").json()["extensions"]}
    s.expect(listed == loaded - {"core"}, f"crctl status lists {sorted(listed)}")
    p.finish()


@scene("check and checkpoint load the modules when they are needed")
def autoload(s):
    s.crctl("unload")
    p = s.start("threads", 4)
    p.check()
    s.expect("cr_core" in loaded_modules(), f"modules: {loaded_modules()}")
    s.crctl("unload")
    p.kill()
    s.crctl("unload")
    p.restart()
    p.finish()


@scene("a program is checkpointed 100 times in a row while it runs", timeout=300)
def hundred(s):
    p = s.start("threads", 8)
    begin = time.monotonic()
    for _ in range(HUNDRED):
        p.checkpoint()
    s.note(f"{HUNDRED} checkpoints in {time.monotonic() - begin:.1f} s")
    s.crimg("verify", p.image)
    p.finish()


@scene("the last of many images of a running program can be restarted after its end")
def after_the_end(s):
    # Standard output is a pipe, so that no file changes after the checkpoint.
    first = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    s.started.append(first)
    p = s.start("threads", 8, wait=None, stdout=first.stdin)
    first.stdin.close()
    time.sleep(1)
    for _ in range(5):
        p.checkpoint()
    os.kill(p.pid, signal.SIGKILL)
    p.reap()
    p.changed.append("fd/1/*")
    with open(p.log_path, "ab") as out:
        p.restart(stdout=out)
    p.finish()


@scene("the same image is restarted three times")
def three_times(s):
    p = s.start("work", 16, 4)
    p.kill()
    size = os.path.getsize(s.path("log"))
    for _ in range(2):
        p.restart("--files=truncate")
        time.sleep(0.7)
        os.kill(p.pid, signal.SIGKILL)
        p.reap()
    s.expect(os.path.getsize(s.path("log")) > size, "the restarted program wrote nothing")
    p.restart("--files=truncate")
    p.finish()


@scene("a restarted program is checkpointed again, ten generations long")
def generations(s):
    p = s.start("threads", 8)
    p.kill_and_restart(10)
    p.finish()


@scene("exit status 0 of the restarted program is crctl's own", 0)
@scene("exit status 7 of the restarted program is crctl's own", 7)
@scene("exit status 255 of the restarted program is crctl's own", 255)
def exit_status(s, status):
    p = s.start("ending", "exit", status)
    p.kill_and_restart()
    p.finish(status=status)


@scene("death by SIGTERM of the restarted program is crctl's own", signal.SIGTERM)
@scene("death by SIGSEGV of the restarted program is crctl's own", signal.SIGSEGV)
@scene("death by SIGKILL of the restarted program is crctl's own", signal.SIGKILL)
def death(s, number):
    p = s.start("ending", "signal", int(number), preexec_fn=no_core)
    p.kill_and_restart()
    p.finish(status=-number, passed=False)


def no_core():
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


@scene("SIGTERM to crctl in the foreground reaches the restarted program")
def passed_on(s):
    p = s.start("ending", "idle")
    p.kill_and_restart()
    p.popen.send_signal(signal.SIGTERM)
    s.expect(p.wait(20) == -signal.SIGTERM, f"crctl ended with {p.popen.returncode}")
    s.expect(not p.exists(), "the program is still there")


@scene("--detach returns when the program runs, and the program goes on alone")
def detach(s):
    p = s.start("threads", 4)
    p.kill()
    pidfile = s.path("pid")
    result = s.crctl("restart", p.image, "--detach", "--pidfile", pidfile, "--json")
    s.expect(int(open(pidfile).read()) == p.pid, "the pidfile is wrong")
    s.expect(result.json()["pid"] == p.pid, f"{result}")
    s.expect(p.exists(), "the program is not there")
    p.compare()
    p.go()
    end = time.monotonic() + 60
    while p.exists() and p.state() != "Z" and time.monotonic() < end:
        time.sleep(0.05)
    s.expect("PASS" in p.log() and "FAIL" not in p.log(), f"the program found: {p.tail()}")


@scene("--stop leaves the process stopped after the checkpoint")
def stop(s):
    p = s.start("threads", 4)
    p.checkpoint("--stop")
    end = time.monotonic() + 5
    while p.state() != "T" and time.monotonic() < end:
        time.sleep(0.02)
    s.expect(p.state() == "T", f"the process is in state {p.state()}")
    os.kill(p.pid, signal.SIGCONT)
    p.finish()


@scene("with --new-pidns a program is restarted although its pid is taken")
def new_pidns(s):
    p = s.start("threads", 4)
    p.checkpoint()
    p.finish()
    p.log_path = s.path("second")
    # The pid is taken by somebody else.
    holder = None
    if p.exists():
        s.skip("the pid is in use")
    with open("/proc/sys/kernel/ns_last_pid", "w") as f:
        f.write(str(p.pid - 1))
    holder = subprocess.Popen(["sleep", "60"])
    s.started.append(holder)
    s.remove("go")
    result = s.crctl("restart", p.image, "--files=ignore", code=None)
    s.expect(holder.pid != p.pid or result.code == 122, f"{result}")
    pidfile = s.path("outer")
    crctl = subprocess.Popen(
        ["crctl", "restart", p.image, "--new-pidns", "--files=ignore", "--pidfile", pidfile], cwd=s.dir
    )
    s.started.append(crctl)
    end = time.monotonic() + 30
    while not os.path.exists(pidfile) and crctl.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    s.expect(os.path.exists(pidfile), f"no pidfile; crctl: {crctl.poll()}")
    outer = int(open(pidfile).read())
    with open(f"/proc/{outer}/status") as f:
        spid = next(line for line in f if line.startswith("NSpid:")).split()
    s.expect(int(spid[-1]) == p.pid, f"the pid in the namespace is {spid}")
    # Seen from outside it has other numbers, and its session is one of its own.
    p.changed += ["*stat/pid", "*stat/pgrp", "*stat/session", "*status/Tgid", "*status/Pid", "*status/NS*", "getpgid", "getsid"]
    p.changed += ["*ns/pid", "*ns/pid_for_children"]
    p.compare(pid=outer)
    s.touch("go")
    s.expect(crctl.wait(60) == 0, f"crctl ended with {crctl.returncode}")
    text = open(s.path("log")).read()
    s.expect(text.count("PASS") == 2 and "FAIL" not in text, f"the program said: {text}")


@scene("an image goes through a pipe from one crctl to the other")
def stream(s):
    p = s.start("work", 16, 4)
    remember = p.look()
    with open(p.image, "wb") as out:
        cat = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=out)
        done = subprocess.run(
            ["crctl", "checkpoint", str(p.pid), "-o", "-", "--kill"], stdout=cat.stdin, stderr=subprocess.PIPE
        )
        cat.stdin.close()
        s.expect(cat.wait(30) == 0 and done.returncode == 0, f"crctl: {done.returncode} {done.stderr}")
    remember()
    p.reap()
    s.crimg("verify", p.image)
    cat = subprocess.Popen(["cat", p.image], stdout=subprocess.PIPE)
    s.started.append(cat)
    p.restart(image="-", stdin=cat.stdout)
    cat.stdout.close()
    p.finish()


@scene("an image is private, complete at once, and leaves no other file")
def image_file(s):
    p = s.start("threads", 4)
    os.umask(0)
    p.checkpoint()
    os.umask(0o022)
    mode = os.stat(p.image).st_mode & 0o777
    s.expect(mode == 0o600, f"the image has mode {mode:o}")
    # What the comparer keeps is not crctl's.
    left = sorted(name for name in os.listdir(s.dir) if not name.endswith(".facts"))
    s.expect(left == sorted(["log", os.path.basename(p.image)]), f"the folder has {left}")
    p.finish()


@scene("crimg shows and verifies every image, also as JSON")
def crimg(s):
    p = s.start("pipes", "states")
    p.checkpoint()
    s.crimg("verify", p.image)
    text = s.crimg("show", p.image).out
    s.expect(str(p.pid) in text, "crimg show does not name the pid")
    s.crimg("show", p.image, "--json").json()
    s.crimg("verify", p.image, "--json").json()
    p.finish()


@scene("the JSON of a checkpoint tells threads, bytes and times")
def json_output(s):
    p = s.start("threads", 8)
    result = p.checkpoint("--json").json()
    s.expect(result["threads"] == 8 and result["pid"] == p.pid, f"{result}")
    s.expect(result["image_bytes"] == os.path.getsize(p.image), f"{result}")
    s.expect(0 < result["frozen_ns"] <= result["total_ns"] < 60e9, f"{result}")
    p.finish()


@scene("two processes are checkpointed and restarted at the same time")
def two_at_once(s):
    first = s.start("work", 32, 4, name="log-1")
    second = s.start("work", 32, 4, name="log-2")
    both = [
        subprocess.Popen(["crctl", "checkpoint", str(p.pid), "-o", p.image, "--kill"], stdout=subprocess.DEVNULL)
        for p in (first, second)
    ]
    s.started += both
    codes = [c.wait(60) for c in both]
    s.expect(codes == [0, 0], f"crctl ended with {codes}")
    first.reap()
    second.reap()
    first.restart()
    second.restart()
    first.finish()
    second.finish()


@scene("two checkpoints of one process at the same time: each succeeds or says that it is busy")
def same_twice(s):
    p = s.start("work", 32, 4)
    # Which thread each of them reaches first is chance: several rounds.
    for _ in range(8):
        both = [
            subprocess.Popen(
                ["crctl", "checkpoint", str(p.pid), "-o", f"{p.image}{k}"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            for k in range(2)
        ]
        s.started += both
        errors = [c.communicate(timeout=60)[1].decode() for c in both]
        codes = [c.returncode for c in both]
        s.expect(0 in codes and all(c in (0, 7) for c in codes), f"crctl ended with {codes}: {errors}")
        for k, code in enumerate(codes):
            s.expect(os.path.exists(f"{p.image}{k}") == (code == 0), f"image {k} and status {code} do not agree")
            if code == 0:
                s.crimg("verify", f"{p.image}{k}")
                os.unlink(f"{p.image}{k}")
            else:
                s.expect("another checkpoint of process" in errors[k], errors[k])
    p.finish()


@scene("256 MiB in 16 threads are checkpointed and restarted, and the times are told", timeout=240)
def times(s):
    mib = int(os.environ.get("SCENES_TIMES_MIB", "256"))
    p = s.start("work", mib, 16, wait=None)
    p.wait_for("ready", 100)
    result = s.crctl("checkpoint", p.pid, "-o", p.image, "--kill", "--json").json()
    p.reap()
    s.expect(0 < result["frozen_ns"] <= result["total_ns"], f"{result}")
    begin = time.monotonic()
    p.restart()
    restart = time.monotonic() - begin
    s.note(
        f"{mib} MiB, 16 threads: frozen {result['frozen_ns'] / 1e6:.0f} ms, checkpoint {result['total_ns'] / 1e6:.0f} ms,"
        f" restart {restart * 1e3:.0f} ms"
    )
    p.finish()


CYCLES_TIMEOUT = int(os.environ.get("SCENES_CYCLES_TIMEOUT", "300"))


# The tree a thousand times: SCENES_CYCLES=1000 SCENES_CYCLES_TIMEOUT=3600 cargo test -p cr-tests --test vm -- "a tree of ten leak"
@scene("sixty cycles of checkpoint, kill and restart leak no task, memory map or file", 60, "threads", 4, timeout=300)
@scene("twenty cycles of checkpoint, kill and restart of a tree of ten leak no task, memory map or file", 20, "tree", "workers", 9, timeout=CYCLES_TIMEOUT)
def no_leak(s, cycles, *program):
    names = ("task_struct", "mm_struct", "filp", "vm_area_struct", "pid", "files_cache", "sighand_cache", "cred")
    cycles = int(os.environ.get("SCENES_CYCLES", cycles))
    p = s.start(*program)
    p.kill_and_restart(5)

    def settled():
        time.sleep(1)
        found = slab_objects(*names)
        with open("/proc/meminfo") as f:
            available = next(int(line.split()[1]) for line in f if line.startswith("MemAvailable"))
        return found, available

    before, available = settled()
    for _ in range(cycles):
        p.kill_and_restart()
        for _ in range(2):
            p.check()
    after, available_after = settled()
    s.note(f"before {before} {available} KiB available")
    s.note(f"after  {after} {available_after} KiB available")
    for name in before:
        # A leak of one object per cycle would show; caches breathe a little.
        s.expect(after[name] - before[name] < cycles * 0.8, f"{name}: {before[name]} became {after[name]}")
    s.expect(available - available_after < 40 << 10, f"{available - available_after} KiB of memory are gone")
    p.finish()
