"""Tasks: threads, registers, blocking system calls, attributes of process and threads."""

import os
import signal
import subprocess
import sys
import time

from stage import named_obstacle, scene


@scene("a program with 1 thread goes on after kill and restart", 1)
@scene("a program with 4 threads goes on after kill and restart", 4)
@scene("a program with 32 threads goes on after kill and restart", 32)
@scene("a program with 256 threads goes on after kill and restart", 256, timeout=240)
def threads(s, count):
    p = s.start("threads", count)
    s.expect(p.threads() == count, f"{p.threads()} threads instead of {count}")
    p.kill_and_restart(2 if count < 256 else 1)
    s.expect(p.threads() == count, f"{p.threads()} threads instead of {count} after the restart")
    p.finish()


@scene("a static program with 4 threads goes on after kill and restart")
def static(s):
    p = s.start("threads-static", 4)
    p.kill_and_restart(2)
    p.finish()


@scene("thread ids and their names are the same after a restart")
def same_ids(s):
    def ids(pid):
        found = {}
        for tid in sorted(os.listdir(f"/proc/{pid}/task"), key=int):
            with open(f"/proc/{pid}/task/{tid}/comm") as f:
                found[tid] = f.read()
        return found

    p = s.start("threads", 8)
    before = ids(p.pid)
    p.kill_and_restart()
    after = ids(p.pid)
    s.expect(before == after, f"before {before}, after {after}")
    p.finish()


@scene("256 threads are frozen and thawed five times without losing a wake-up")
def many_checks(s):
    p = s.start("threads", 256)
    for _ in range(5):
        p.check()
        time.sleep(0.1)
    p.finish()


@scene("21 blocking system calls see no EINTR and lose no wake-up when they are only checkpointed", 0)
@scene("21 blocking system calls see no EINTR and lose no wake-up over kill and restart", 1)
@scene("21 blocking system calls see no EINTR and lose no wake-up over two restarts", 2)
def blocking(s, restarts):
    release = s.hold_locks("lock")
    p = s.start("blocking", "pure", 6)
    # Threads end when their time is over.
    p.changed += ["thread/*", "task/count", "*num_threads", "*status/Threads"]
    if restarts:
        p.kill_and_restart(restarts)
    else:
        for _ in range(3):
            p.checkpoint()
            time.sleep(0.3)
    p.go()
    p.wait_for("awake")
    release()
    p.finish()


@scene("34 blocking system calls, of every kind, see no EINTR when the process is frozen and thawed ten times")
def blocking_all(s):
    release = s.hold_locks("lock")
    p = s.start("blocking", "all", 6)
    for _ in range(10):
        result = s.crctl("check", p.pid, code=(0, 1))
        s.expect(result.code == 1, "sockets are no obstacles")
        time.sleep(0.1)
    p.go()
    p.wait_for("awake")
    release()
    p.finish()


@scene("sleeps, polls and futex waits with a timeout end in time although the process is frozen again and again")
def deadlines(s):
    release = s.hold_locks("lock")
    p = s.start("blocking", "pure", 8)
    frozen = 0
    for _ in range(8):
        frozen += p.checkpoint("--json").json()["frozen_ns"] / 1e9
        time.sleep(0.6)
    p.go()
    p.wait_for("awake")
    release()
    s.expect(p.wait(60) == 0, f"the program found: {p.tail()}")
    # The kernel gives select and ppoll the time back that they were frozen; one wait is a second longer. sigtimedwait
    # is not among them: its timeout begins anew with each freeze, because the kernel does not say what is left of it.
    limit = 9 + frozen + 1.5
    timed = ("nanosleep", "(timeout", "(absolute)")
    for line in p.log().splitlines():
        if line.startswith("# ") and any(word in line for word in timed):
            took = float(line.split(" after ")[1].split()[0])
            s.expect(took < limit, f"a timeout began anew: {line}, frozen {frozen:.2f} s")


@scene("threads that are created and joined all the time survive ten checkpoints")
def storm(s):
    p = s.start("storm", 4, living=True)
    for _ in range(10):
        p.checkpoint()
    p.finish()


@scene("threads that are created and joined all the time go on after kill and restart")
def storm_restart(s):
    p = s.start("storm", 4, living=True)
    p.kill_and_restart(3)
    p.finish()


@scene("general, x87, sse, avx and avx512 registers have their values after kill and restart")
def registers(s):
    p = s.start("registers")
    for _ in range(3):
        p.check()
    p.kill_and_restart(2)
    p.finish()


@scene("names, personality, oom score, dumpable flag and prctl values are the same after a restart", "plain")
@scene("policy, nice, priority, affinity and io priority of each thread are the same after a restart", "sched")
def attributes(s, mode):
    p = s.start("attributes", mode)
    p.kill_and_restart()
    p.finish()


@scene("a stopped process can be checkpointed, and is stopped after the restart")
def stopped(s):
    p = s.start("threads", 8)
    os.kill(p.pid, signal.SIGSTOP)
    end = time.monotonic() + 5
    while p.state() != "T" and time.monotonic() < end:
        time.sleep(0.02)
    s.expect(p.state() == "T", f"state {p.state()} after SIGSTOP")
    p.kill()
    # Each thread gets a SIGSTOP of its own. crctl in the foreground takes note of the stop, stops with its program, and
    # continues when the program does.
    p.changed += ["*status/SigPnd", "*stat/signal", "*stat/exit_code"]
    p.restart()
    end = time.monotonic() + 5
    while p.state() != "T" and time.monotonic() < end:
        time.sleep(0.02)
    s.expect(p.state() == "T", f"the restarted process is not stopped but in state {p.state()}")
    os.kill(p.pid, signal.SIGCONT)
    os.kill(p.popen.pid, signal.SIGCONT)
    p.finish()


@scene("a stopped process is still stopped after crctl check")
def stopped_check(s):
    p = s.start("threads", 4)
    os.kill(p.pid, signal.SIGSTOP)
    time.sleep(0.3)
    p.check()
    time.sleep(0.2)
    s.expect(p.state() == "T", f"state {p.state()} after the check")
    os.kill(p.pid, signal.SIGCONT)
    p.finish()


@scene("every image of a process that is stopped and continued all the time has all its threads", timeout=240)
def stopped_and_continued(s):
    p = s.start("threads", 32)
    switch = "import os, signal, sys\nwhile True:\n os.kill({0}, signal.SIGSTOP)\n os.kill({0}, signal.SIGCONT)\n"
    popen = subprocess.Popen([sys.executable, "-c", switch.format(p.pid)])
    s.started.append(popen)
    images = 0
    for _ in range(60):
        result = p.checkpoint(code=(0, 7))
        if result.code == 0:
            images += 1
            shown = s.crimg("show", "--section", "tasks", p.image).out.splitlines()
            tasks = sum(line.startswith("task ") for line in shown)
            s.expect(tasks == 32, f"an image with {tasks} threads: {shown[:3]}")
        else:
            s.expect_message(result, "continued")
    popen.kill()
    popen.wait()
    os.kill(p.pid, signal.SIGCONT)
    s.note(f"{images} of 60 checkpoints succeeded")
    s.expect(images > 0, f"no checkpoint succeeded: {result}")
    p.finish()


@scene("crctl check names every obstacle at once: socket, fanotify and aio in one go")
def all_at_once(s):
    p = s.start("obstacles", "socket", "fanotify", "aio")
    result = p.check("--json", code=1)
    found = result.json().get("obstacles", [])
    text = str(found).lower()
    for word in ("socket", "fanotify", "aio"):
        s.expect(word in text, f"{word} is not named: {text}")
    s.expect(len(found) >= 3, f"only {len(found)} obstacles: {found}")
    s.expect(s.beats(), "the process does not run on")
    # A checkpoint says the same and writes nothing.
    result = p.checkpoint(code=1)
    s.expect_message(result, "socket", "fanotify", "aio")
    s.expect(not os.path.exists(p.image), "a refused checkpoint left an image")
    p.finish()


# What crctl must call it, by kind.
NAMES = {
    "traced": "trace",
    "aio": "aio",
    "namespace": "namespace",
    "shared-memory-process": "memory",
    "credentials": "credentials",
}


@scene("a traced process is a named obstacle", "traced")
@scene("an asynchronous I/O context is a named obstacle", "aio")
@scene("a thread in another namespace is a named obstacle", "namespace")
@scene("memory shared with another process is a named obstacle", "shared-memory-process")
@scene("threads with different credentials are a named obstacle", "credentials")
def obstacle(s, kind):
    named_obstacle(s, kind, NAMES[kind])


@scene("a Landlock domain can be given up with --drop landlock")
def drop_landlock(s):
    p = s.start("obstacles", "landlock")
    if "skipped landlock" in p.log():
        s.skip("this kernel has no Landlock")
    p.check("--drop", "landlock")
    p.kill("--drop", "landlock")
    p.restart()
    p.finish()


@scene("a process whose main thread has ended goes on without it over three restarts")
def headless(s):
    p = s.start("headless", "work")
    s.expect(p.state() == "Z", f"the main thread is in state {p.state()}")
    p.check()
    p.checkpoint()
    p.kill_and_restart(3)
    s.expect(p.state() == "Z", f"the main thread is in state {p.state()} after the restart")
    p.finish()


@scene("a process whose main thread has ended is stopped, killed and restarted like any other")
def headless_ends(s):
    p = s.start("headless", "work")
    p.checkpoint("--stop")
    s.expect(p.threads() == 3, f"{p.threads()} threads")
    os.kill(p.pid, signal.SIGCONT)
    p.kill()
    p.restart()
    p.end()


@scene("a process whose main thread has ended ends with the status of its last thread, also after a restart")
def headless_status(s):
    p = s.start("headless", "status")
    p.kill_and_restart(2)
    p.finish(status=3)


@scene("a child of a main thread that has ended hears nothing of its second end")
def headless_tree(s):
    p = s.start("headless", "tree")
    p.wait_for("child is set")
    p.checkpoint()
    p.kill_and_restart(2)
    p.finish()


@scene("a shell waits for a process whose main thread has ended over two restarts")
def headless_child(s):
    p = s.start("sh", "-c", "headless work; echo shell says $?")
    p.checkpoint()
    p.kill_and_restart(2)
    p.finish()
    s.expect("shell says 0" in p.log(), f"the shell said: {p.tail()}")


@scene("a process whose main thread has ended is checkpointed and thawed twenty times")
def headless_often(s):
    p = s.start("headless", "tree")
    p.wait_for("child is set")
    for _ in range(20):
        p.checkpoint()
    p.finish()


@scene("kill -9 while the process is frozen ends it, and the checkpoint says so")
def killed_frozen(s):
    s.crctl("load", "--all")
    p = s.start("work", 64, 4)
    reader, writer = os.pipe()
    crctl = subprocess.Popen(["crctl", "checkpoint", str(p.pid), "-o", "-"], stdout=writer, stderr=subprocess.PIPE)
    s.started.append(crctl)
    os.close(writer)
    # Nobody reads, so the checkpoint stands still with the process frozen.
    time.sleep(1)
    s.expect(crctl.poll() is None, "crctl did not wait for its reader")
    count = p.log()
    time.sleep(0.6)
    s.expect(p.log() == count, "the process runs during its checkpoint")
    os.kill(p.pid, signal.SIGKILL)
    p.popen.wait(30)
    while os.read(reader, 1 << 20):
        pass
    os.close(reader)
    err = crctl.communicate(timeout=30)[1].decode(errors="replace")
    s.expect(crctl.returncode not in (0, -9), f"crctl ended with {crctl.returncode}: {err}")
    s.note(f"crctl: status {crctl.returncode}: {err.strip()}")


@scene("a signal that arrives while the process is frozen is delivered afterwards")
def signal_while_frozen(s):
    s.crctl("load", "--all")
    p = s.start("ending", "idle")
    reader, writer = os.pipe()
    crctl = subprocess.Popen(["crctl", "checkpoint", str(p.pid), "-o", "-"], stdout=writer, stderr=subprocess.DEVNULL)
    s.started.append(crctl)
    os.close(writer)
    time.sleep(0.5)
    os.kill(p.pid, signal.SIGTERM)
    while os.read(reader, 1 << 20):
        pass
    os.close(reader)
    s.expect(crctl.wait(30) in (0, 3, 7), f"crctl ended with {crctl.returncode}")
    s.expect(p.popen.wait(30) == -signal.SIGTERM, f"the process ended with {p.popen.returncode}")
