"""What all scenes use: processes under test, crctl, the kernel log, and the words to say that something is wrong.

A scene is a function with one sentence or more about behaviour:

    @scene("a half-read pipe keeps exactly its unread bytes")
    def states(s):
        p = s.start("pipes", "states")
        p.kill_and_restart()
        p.finish()

`s.start` waits until the program says `ready`; `p.finish` creates the file `go`, waits for the end and looks at the
program's verdict. Everything else that a scene expects it says with `s.expect`. `run.py` runs the scenes.
"""

import errno
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import time

import fidelity

SCENES = []
IMAGE_ERRORS = (120, 121)


def scene(sentence, *arguments, timeout=120):
    """Registers the function as the scene called `sentence`; `arguments` are handed to it after the stage."""

    def register(function):
        # Decorators are applied from the last to the first; scenes are played in the order they are written.
        at = len(SCENES)
        while at and SCENES[at - 1][1] is function:
            at -= 1
        SCENES.insert(at, (sentence, function, arguments, timeout))
        return function

    return register


class Failed(Exception):
    """The scene did not go as it must."""


class Skipped(Exception):
    """The scene cannot be played here."""


def quiet_number(text):
    try:
        return int(text)
    except ValueError:
        return None


class Result:
    """What a program that ran to its end left."""

    def __init__(self, arguments, code, out, err):
        self.arguments, self.code, self.out, self.err = arguments, code, out, err

    def __str__(self):
        return f"{' '.join(map(str, self.arguments))}: status {self.code}; {self.out.strip()} {self.err.strip()}"

    def json(self):
        try:
            return json.loads(self.out)
        except ValueError:
            raise Failed(f"no JSON: {self}") from None


class Process:
    """A program under test. It keeps its pid over restarts, so it is the same object all the time."""

    def __init__(self, stage, popen, log, living=False):
        self.stage, self.popen, self.log_path = stage, popen, log
        # It goes on computing, so that its memory and positions are not the same a moment later.
        self.living = living
        # Patterns of facts that the scene changes on purpose; facts that change by themselves, once that is known.
        self.changed, self.moving = [], set() if living else None
        self.looks, self.checked = 0, False
        self.pid = popen.pid
        self.image = stage.path(f"image-{self.pid}.ckpt")
        self.restarts = 0

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def wait_for(self, text, timeout=60):
        """Waits until the log contains `text`."""
        end = time.monotonic() + timeout
        while text not in self.log():
            if self.popen.poll() is not None and text not in self.log():
                raise Failed(f"the program ended with {self.popen.returncode} before it said {text!r}: {self.tail()}")
            if time.monotonic() > end:
                raise Failed(f"the program did not say {text!r} within {timeout} s: {self.tail()}")
            time.sleep(0.02)

    def tail(self, lines=6):
        """The end of what the program and crctl said, on one line."""
        text = self.log().strip().splitlines()
        faults = [line for line in text if line.startswith("FAIL")]
        return " | ".join((faults or text)[:lines])

    def exists(self):
        return os.path.exists(f"/proc/{self.pid}")

    def state(self):
        """The letter that ps shows, or an empty string when the process is not there."""
        try:
            with open(f"/proc/{self.pid}/stat") as f:
                return f.read().rsplit(")", 1)[1].split()[0]
        except (OSError, IndexError):
            return ""

    def is_in(self, state, timeout=5):
        """Waits for a state that ps shows."""
        end = time.monotonic() + timeout
        while self.state() != state and time.monotonic() < end:
            time.sleep(0.02)
        return self.state() == state

    def threads(self):
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def check(self, *more, code=0):
        """`crctl check`; the process must run on."""
        result = self.stage.crctl("check", self.pid, *more, code=code)
        self.stage.expect(self.exists(), "the process is gone after crctl check")
        return result

    # What is checkpointed, if not the process with all its descendants.
    scope = ()

    def checkpoint(self, *more, image=None, code=0):
        """A checkpoint after which the process goes on, unless `more` says otherwise."""
        image = image or self.image
        arguments = ("checkpoint", *(self.scope or [self.pid]), "-o", image, "--force", *more)
        remember = self.look(image)
        try:
            result = self.stage.crctl(*arguments, code=code)
            remember()
            if not self.checked and not {"--kill", "--stop"} & {*more} and result.code == 0:
                # Once is enough: a program that goes on is the one that it was.
                self.checked = True
                self.compare(image)
            return result
        except Failed as e:
            ended = "runs" if self.popen.poll() is None else f"ended with {self.popen.returncode}"
            raise Failed(f"{e}; the program {ended}; {self.tail()}") from None

    def kill(self, *more, image=None):
        """A checkpoint after which the process is gone, and its pid is free."""
        result = self.checkpoint("--kill", *more, image=image)
        self.reap()
        return result

    def reap(self):
        """Takes the exit status of the killed process, so that its pid is free."""
        try:
            self.popen.wait(60)
        except subprocess.TimeoutExpired:
            raise Failed(f"process {self.pid} is still there after --kill, state {self.state()}") from None
        end = time.monotonic() + 10
        while self.exists() and time.monotonic() < end:
            time.sleep(0.02)
        self.stage.expect(not self.exists(), f"pid {self.pid} is still in use after --kill, state {self.state()}")

    def restart(self, *more, image=None, stdin=subprocess.DEVNULL, stdout=None, timeout=60):
        """Starts `crctl restart` in the foreground and waits until the process runs again."""
        self.restarts += 1
        pidfile = self.stage.path(f"pidfile-{self.pid}-{self.restarts}")
        errors = self.stage.path(f"restart-{self.pid}-{self.restarts}.err")
        if os.path.exists(pidfile):  # of an earlier boot
            os.unlink(pidfile)
        arguments = ["crctl", "restart", image or self.image, "--pidfile", pidfile, *map(str, more)]
        with open(errors, "wb") as err:
            out = stdout if stdout is not None else err
            self.popen = subprocess.Popen(arguments, cwd=self.stage.dir, stdin=stdin, stdout=out, stderr=err)
        self.stage.started.append(self.popen)
        end = time.monotonic() + timeout
        while not os.path.exists(pidfile) or not open(pidfile).read().strip():
            if self.popen.poll() is not None:
                if os.path.exists(pidfile):
                    break
                raise Failed(f"crctl restart: status {self.popen.returncode}: {open(errors, errors='replace').read()}")
            if time.monotonic() > end:
                raise Failed(f"crctl restart did not finish within {timeout} s: {open(errors, errors='replace').read()}")
            time.sleep(0.02)
        text = open(pidfile).read().strip()
        self.stage.expect(quiet_number(text) == self.pid or "--new-pidns" in more, f"the pidfile says {text!r}")
        self.compare(image, quiet_number(text))

    def look(self, image=None):
        """Reads what the kernel tells about the process; returns what keeps it beside the image, once there is one.

        Of many checkpoints of one process the first are looked at, and then every tenth.
        """
        begin, reading, image = time.monotonic(), None, image or self.image
        self.looks += 1
        if self.looks <= 5 or self.looks % 10 == 0:
            try:
                reading = fidelity.watch(self.pid, self.moving)
                self.moving = reading.moving
            except fidelity.Gone:
                pass
        self.stage.looking += time.monotonic() - begin

        def keep():
            self.stage.remove(f"{image}.facts")
            if reading and os.path.isfile(image):
                reading.save(f"{image}.facts")

        return keep

    def compare(self, image=None, pid=None, timeout=5, strict=True):
        """Holds the process against what was told about it before the checkpoint; returns what differs."""
        facts = f"{image if image and image != '-' else self.image}.facts"
        if not os.path.exists(facts):
            return []
        begin = time.monotonic()
        before, wrong = fidelity.Reading.load(facts), None
        # A thread needs a moment to be where it was: what was as before at any time is right.
        while wrong is None or (wrong and time.monotonic() - begin < timeout):
            try:
                found, _ = fidelity.differences(before, fidelity.take(pid or self.pid), self.living, self.changed)
            except fidelity.Gone:
                return []
            wrong = {d.name: d for d in found if wrong is None or d.name in wrong}
        self.stage.looking += time.monotonic() - begin
        self.stage.compared += 1
        for difference in wrong.values() if strict else ():
            self.stage.note(f"fidelity: {difference}")
        if os.environ.get("SCENES_FIDELITY") != "report":
            some = "; ".join(map(str, [*wrong.values()][:5]))
            self.stage.expect(not wrong or not strict, f"not as before: {some} ({len(wrong)} in all)")
        return [*wrong]

    def kill_and_restart(self, times=1, *more):
        """Checkpoint, kill, restart; `times` times over."""
        for _ in range(times):
            self.kill()
            self.restart(*more)

    def go(self):
        self.stage.touch("go")

    def finish(self, status=0, timeout=90, passed=True):
        """Lets the program check itself; it (or the crctl in its place) must end with `status`."""
        self.go()
        code = self.wait(timeout)
        self.stage.expect("FAIL" not in self.log(), f"the program found: {self.tail()}")
        self.stage.expect(code == status, f"the program ended with {code} instead of {status}: {self.tail()}")
        if passed:
            self.stage.expect("PASS" in self.log(), f"the program gave no verdict: {self.tail()}")

    def wait(self, timeout=90):
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Failed(
                f"the program did not end within {timeout} s (state {self.state()}): {self.tail()} {self.where()}"
            ) from None

    def where(self):
        """What each thread waits in, for the report."""
        lines = []
        try:
            for tid in sorted(os.listdir(f"/proc/{self.pid}/task"))[:40]:
                with open(f"/proc/{self.pid}/task/{tid}/syscall") as f:
                    lines.append(f"{tid}:{f.read().split()[0]}")
        except OSError:
            pass
        return "syscalls " + " ".join(lines) if lines else ""

    def end(self):
        """Kills the process; for scenes that do not need its verdict."""
        for pid in {self.pid, self.popen.pid}:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.popen.wait(30)


class KernelLog:
    """The lines that the kernel wrote since the last look."""

    SIGNS = re.compile(
        r"WARNING:|BUG:|kernel BUG|Oops|Call Trace:|scheduling while atomic|sleeping function called|leak"
        r"|refcount_t|general protection|possible recursive locking|possible deadlock|circular locking"
        r"|inconsistent lock|hung task|blocked for more than|double free|use-after-free|unable to handle"
        r"|[Bb]ad page|Bad rss-counter|UBSAN:|KASAN:|list_(add|del) corruption|Objects remaining"
        r"|unregister_netdevice|invalid opcode|stack guard page|VFS: Busy inodes"
    )
    # A busy host makes an emulated processor stand still; that says nothing about the modules.
    STALLS = re.compile(r"soft lockup|rcu_sched|rcu_preempt|rcu: INFO|workqueue lockup|clocksource")

    def __init__(self):
        try:
            self.fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.lseek(self.fd, 0, os.SEEK_END)
        except OSError:
            self.fd = -1

    def lines(self):
        out = []
        while self.fd >= 0:
            try:
                record = os.read(self.fd, 8192).decode(errors="replace")
            except BlockingIOError:
                break
            except OSError as e:
                if e.errno == errno.EPIPE:  # records were lost: go on with the oldest that is there
                    continue
                break
            out.append(record.split("\n", 1)[0].split(";", 1)[-1])
        return out

    def complaints(self):
        return [line for line in self.lines() if self.SIGNS.search(line) and not self.STALLS.search(line)]


class Stage:
    """One scene while it is played."""

    def __init__(self, folder, sentence):
        self.dir, self.sentence, self.keeps = folder, sentence, False
        self.started, self.processes, self.notes, self.cleanups = [], [], [], []
        # Restarts that were compared, and the seconds that it took.
        self.compared, self.looking = 0, 0.0
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        os.chmod(folder, 0o777)

    def live_in(self, folder):
        """Plays the scene in a folder that stays, for a later boot."""
        self.dir, self.keeps = folder, True
        os.makedirs(folder, exist_ok=True)
        os.chmod(folder, 0o777)

    def adopt(self, pid, log="log"):
        """A process of an earlier boot, of which only the image is left."""

        class Gone:
            returncode = None

            def __init__(self):
                self.pid = pid

            def poll(self):
                return self.returncode

        process = Process(self, Gone(), self.path(log))
        self.processes.append(process)
        return process

    def path(self, name):
        return os.path.join(self.dir, name)

    def touch(self, name):
        with open(self.path(name), "a"):
            pass

    def remove(self, name):
        try:
            os.unlink(self.path(name))
        except FileNotFoundError:
            pass

    def note(self, text):
        self.notes.append(text)

    def expect(self, condition, complaint):
        if not condition:
            raise Failed(complaint)

    def skip(self, reason):
        raise Skipped(reason)

    def start(self, program, *arguments, wait="ready", name="log", stdin=subprocess.DEVNULL, stdout=None, living=False, **more):
        """Starts a program under test with its output in a file and waits for `wait`.

        `living` programs go on computing while they are compared with themselves.
        """
        log = self.path(name)
        with open(log, "ab") as out:
            popen = subprocess.Popen(
                [program, *map(str, arguments)],
                cwd=self.dir,
                stdin=stdin,
                stdout=stdout if stdout is not None else out,
                stderr=out,
                start_new_session=True,
                **more,
            )
        self.started.append(popen)
        process = Process(self, popen, log, living)
        self.processes.append(process)
        if wait:
            process.wait_for(wait)
        return process

    def run(self, *arguments, code=None, timeout=60, **more):
        """Runs a command to its end."""
        arguments = [str(a) for a in arguments]
        try:
            done = subprocess.run(
                arguments, cwd=self.dir, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, **more
            )
        except subprocess.TimeoutExpired:
            raise Failed(f"{' '.join(arguments)}: no end after {timeout} s") from None
        result = Result(
            arguments, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        )
        if code is not None:
            codes = code if isinstance(code, tuple) else (code,)
            self.expect(result.code in codes, f"{result} (expected status {' or '.join(map(str, codes))})")
        return result

    def crctl(self, *arguments, code=0, timeout=60, **more):
        return self.run("crctl", *arguments, code=code, timeout=timeout, **more)

    def crimg(self, *arguments, code=0, timeout=60):
        return self.run("crimg", *arguments, code=code, timeout=timeout)

    def expect_message(self, result, *words):
        """A refusal must name its cause: each word, in whatever case, in what was said to people."""
        text = (result.err + result.out).lower()
        for word in words:
            self.expect(word.lower() in text, f"the message does not say {word!r}: {result}")

    def beats(self):
        """True if the program goes on writing its file `heartbeat`, which is empty for moments."""
        seen = set()
        end = time.monotonic() + 10
        while len(seen) < 2 and time.monotonic() < end:
            with open(self.path("heartbeat")) as f:
                seen.add(f.read())
            seen.discard("")
            time.sleep(0.05)
        return len(seen) >= 2

    def hold_locks(self, name):
        """Takes a flock and a record lock on a file; returns what releases both."""
        f = open(self.path(name), "a+")
        fcntl.flock(f, fcntl.LOCK_EX)
        fcntl.lockf(f, fcntl.LOCK_EX)
        self.cleanups.append(f.close)
        return f.close

    def close(self):
        """Ends what the scene started."""
        for process in self.processes:
            # After a restart the process is not our child; crctl in its place ends with it.
            if process.restarts and process.popen.poll() is None:
                try:
                    os.kill(process.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        for popen in self.started:
            if popen.poll() is None:
                popen.kill()
                try:
                    popen.wait(20)
                except subprocess.TimeoutExpired:
                    self.note(f"process {popen.pid} cannot be killed")
        for action in self.cleanups:
            try:
                action()
            except OSError:
                pass
        if not self.keeps:
            shutil.rmtree(self.dir, ignore_errors=True)


def named_obstacle(s, kind, word):
    """A program with state of this kind: check says so by this word, nothing is written, the program runs on."""
    p = s.start("obstacles", kind)
    if f"skipped {kind}" in p.log():
        p.finish()
        s.skip(f"this kernel has no {kind}")
    result = p.check(code=1)
    s.expect_message(result, word)
    s.note(" | ".join((result.err or result.out).strip().splitlines()[:4]))
    s.expect(s.beats(), "the process does not run on")
    s.crctl("checkpoint", p.pid, "-o", p.image, "--kill", code=1)
    s.expect(not os.path.exists(p.image), "a refused checkpoint left an image")
    s.expect(p.exists() and p.popen.poll() is None, "a refused checkpoint with --kill killed the process")
    p.finish()


def processes():
    """Pids of all programs, with their command lines; kernel threads have no executable."""
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat") as f:
                stat = f.read()
            fields = stat.rsplit(")", 1)[1].split()
            if int(fields[6]) & 0x00200000:  # PF_KTHREAD
                continue
            with open(f"/proc/{name}/cmdline") as f:
                line = f.read().replace("\0", " ").strip()
            found[int(name)] = f"{line or stat.split('(', 1)[1].rsplit(')', 1)[0]} (state {fields[0]})"
        except (OSError, IndexError):
            continue
    return found


def loaded_modules():
    with open("/proc/modules") as f:
        return [line.split()[0] for line in f if line.startswith("cr_")]


def slab_objects(*names):
    """Objects in use per slab cache, as far as the kernel tells.

    What was looked at under /proc keeps pids until it is forgotten, and a processor's own stock of objects counts as in
    use until it is given back.
    """
    found = {}
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("2")
    for name in names:
        try:
            with open(f"/sys/kernel/slab/{name}/shrink", "w") as f:
                f.write("1")
        except OSError:
            pass
    try:
        with open("/proc/slabinfo") as f:
            for line in f:
                words = line.split()
                if words and words[0] in names:
                    found[words[0]] = int(words[1])
    except OSError:
        pass
    return found
