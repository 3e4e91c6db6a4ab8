"""Runtimes, a compiler and load generators that nobody prepared: node, ruby, java, make with gcc, sysbench, stress-ng."""

import glob
import os
import re
import signal
import time

from stage import Failed, scene

SCRIPTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "scripts")


def often_and_restarted(p, s, times=20, passing=None):
    """`times` checkpoints while the program runs, then it is killed and restarted twice.

    `passing` is an obstacle that is there for moments only: a checkpoint that is refused for nothing else is made again.
    """
    begin, refused = time.monotonic(), 0

    def made(checkpoint):
        nonlocal refused
        while True:
            try:
                return checkpoint()
            except Failed as e:
                if not passing or passing not in str(e) or "1 obstacle" not in str(e) or refused == 20:
                    raise
                refused += 1
            time.sleep(0.05)

    for _ in range(times):
        made(p.checkpoint)
    s.note(f"{times} checkpoints in {time.monotonic() - begin:.1f} s")
    for pause in (0.5, 0):
        made(p.kill)
        p.restart()
        time.sleep(pause)
    if refused:
        s.note(f"{refused} checkpoints were refused: {passing}")


@scene("node with timers, a worker and libuv's pool goes on after twenty checkpoints and two restarts", timeout=240)
def node(s):
    p = s.start("node", os.path.join(SCRIPTS, "timers.js"), living=True)
    # libuv has a ring for each loop; V8 has a protection key, if the processor has some.
    fds = f"/proc/{p.pid}/fd"
    rings = sum("io_uring" in os.readlink(f"{fds}/{fd}") for fd in os.listdir(fds))
    s.expect(rings, "node has no ring of io_uring")
    s.note(f"{rings} rings")
    often_and_restarted(p, s)
    s.expect(s.beats(), "node does not go on")
    p.finish()


@scene("ruby logging from five threads writes every line once over twenty checkpoints and two restarts", timeout=240)
def ruby(s):
    p = s.start("ruby", os.path.join(SCRIPTS, "lines.rb"), living=True)
    often_and_restarted(p, s)
    time.sleep(0.5)
    p.finish()
    lines = open(s.path("lines")).read().splitlines()
    s.expect(lines == [f"line {k}" for k in range(len(lines))], "lines are missing or doubled")
    s.expect(len(lines) > 20, f"only {len(lines)} lines")


PARTS = 10
UNIT = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static unsigned step(unsigned x) {{ return x * 1664525u + {0}u; }}
{1}
unsigned part_{0}(unsigned x) {{ for (int k = 0; k < 100; k++) x = step_{0}_{2}(x); return x; }}
"""


def project(s):
    """A program of some files; returns what it must print."""
    last = 11
    for k in range(PARTS):
        steps = [f"static unsigned step_{k}_0(unsigned x) {{ return step(x) ^ (x >> 3); }}"]
        steps += [
            f"static unsigned step_{k}_{n}(unsigned x) {{ for (int j = 0; j < 3; j++) x += step(x ^ {n}u); return x ^ step_{k}_{n - 1}(x); }}"
            for n in range(1, last + 1)
        ]
        with open(s.path(f"part_{k}.c"), "w") as f:
            f.write(UNIT.format(k, "\n".join(steps), last))
    with open(s.path("main.c"), "w") as f:
        f.write("#include <stdio.h>\n")
        f.write("".join(f"unsigned part_{k}(unsigned);\n" for k in range(PARTS)))
        calls = "".join(f" x = part_{k}(x);" for k in range(PARTS))
        f.write(f'int main(void) {{ unsigned x = 1;{calls} printf("%u\\n", x); }}\n')
    with open(s.path("Makefile"), "w") as f:
        objects = "main.o " + " ".join(f"part_{k}.o" for k in range(PARTS))
        f.write(f"program: {objects}\n\tgcc -o $@ $^\n%.o: %.c\n\tgcc -O2 -c -o $@ $<\n\techo $@ >> made\n")
    # The same in python.
    mask = 0xFFFFFFFF
    x = 1
    for k in range(PARTS):

        def step(x):
            return (x * 1664525 + k) & mask

        def nth(n, x):
            if n == 0:
                return step(x) ^ (x >> 3)
            for _ in range(3):
                x = (x + step(x ^ n)) & mask
            return x ^ nth(n - 1, x)

        for _ in range(100):
            x = nth(last, x)
    return x


@scene("a build by make -j2 and gcc that is killed twice and restarted makes a program that runs", "restart", timeout=240)
@scene("a build by make -j2 and gcc that is checkpointed twenty times makes a program that runs", "often", timeout=240)
def build(s, how):
    want = project(s)
    begin = time.monotonic()
    p = s.start("make", "-j2", wait="gcc -O2", living=True)
    # Children come and go.
    p.changed += ["task/*/children"]
    done = 0
    for _ in range(20 if how == "often" else 2):
        time.sleep(0.2 if how == "often" else 2)
        s.expect(p.popen.poll() is None, f"make was too fast: {time.monotonic() - begin:.1f} s, {done} checkpoints")
        p.checkpoint() if how == "often" else p.kill_and_restart()
        done += 1
    s.expect(p.wait(180) == 0, f"make ended with {p.popen.returncode}: {p.tail()}")
    s.note(f"{time.monotonic() - begin:.1f} s")
    made = sorted(open(s.path("made")).read().split())
    s.expect(made == sorted(["main.o", *(f"part_{k}.o" for k in range(PARTS))]), f"made: {made}")
    s.expect(int(s.run("./program", code=0).out) == want, "the program that was built computes something else")


@scene("java computing with seven threads goes on after twenty checkpoints and two restarts", timeout=300)
def java(s):
    # A link and the folder itself.
    [home] = {os.path.realpath(path) for path in glob.glob("/usr/lib/jvm/java-*-openjdk-amd64")}
    # Its optimising compiler costs more than it gives here.
    s.run(f"{home}/bin/javac", "-J-XX:TieredStopAtLevel=1", "-d", s.dir, os.path.join(SCRIPTS, "Threads.java"), code=0, timeout=120)
    p = s.start(f"{home}/bin/java", "-Xmx128m", "-cp", s.dir, "Threads", living=True)
    often_and_restarted(p, s)
    s.expect(s.beats(), "java does not go on")
    p.finish()


@scene("sysbench finds its prime numbers right over twenty checkpoints and two restarts", ("cpu", "--threads=4", "--cpu-max-prime=3000", "--events=90000", "--validate"), 90000, timeout=240)
def sysbench(s, arguments, events):
    p = s.start("sysbench", *arguments, "--time=0", "run", wait="Threads started", living=True)
    often_and_restarted(p, s)
    s.expect(p.popen.poll() is None, "sysbench was too fast")
    s.expect(p.wait(120) == 0, f"sysbench ended with {p.popen.returncode}: {p.tail()}")
    found = re.search(r"total number of events: +(\d+)", p.log())
    s.expect(found and int(found[1]) == events, f"not {events} events: {found and found[0]}")


# Others read files of /proc, which cannot be kept while they are open.
STRESSORS = "cpu vm pipe futex fork mutex"


@scene("stress-ng verifies its own work over twenty checkpoints and two restarts", timeout=480)
def stress(s):
    arguments = [word for name in STRESSORS.split() for word in (f"--{name}", "1")]
    p = s.start("stress-ng", *arguments, "--vm-bytes", "8M", "--verify", "-t", "600", "--temp-path", s.dir, wait="dispatching", living=True)
    p.changed += ["task/*/children"]
    time.sleep(2)
    # Children of some stressors open a socket for a moment.
    often_and_restarted(p, s, passing="sockets are not checkpointed")
    os.kill(p.pid, signal.SIGINT)
    s.expect(p.wait(120) == 0, f"stress-ng ended with {p.popen.returncode}: {p.tail(20)}")
    s.expect("failed: 0" in p.log() and "successful run" in p.log(), f"stress-ng says: {p.tail(20)}")
