"""Real programs that nobody prepared: CPython, pigz, zstd, perl, lua, sqlite."""

import hashlib
import os
import signal
import sqlite3
import time

from stage import scene

SCRIPTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "scripts")
COMPRESS_KIB = int(os.environ.get("SCENES_COMPRESS_KIB", "24576"))


@scene("CPython with six threads goes on after kill and restart", 1)
@scene("CPython with six threads goes on after five restarts", 5)
def python(s, times):
    p = s.start("python3", os.path.join(SCRIPTS, "threads.py"), living=True)
    time.sleep(0.5)
    p.kill_and_restart(times)
    p.finish()


@scene("CPython is checkpointed twenty times while it runs")
def python_often(s):
    p = s.start("python3", os.path.join(SCRIPTS, "threads.py"), living=True)
    for _ in range(20):
        p.checkpoint()
    p.finish()


@scene("CPython that is stopped in the middle of its work is exactly what it was after kill and restart")
def python_stopped(s):
    p = s.start("python3", os.path.join(SCRIPTS, "threads.py"))
    time.sleep(0.5)
    os.kill(p.pid, signal.SIGSTOP)
    s.expect(p.is_in("T"), f"state {p.state()} after SIGSTOP")
    p.kill()
    p.changed += ["*status/SigPnd", "*stat/signal", "*stat/exit_code"]
    p.restart()
    s.expect(p.is_in("T"), f"state {p.state()} after the restart")
    os.kill(p.pid, signal.SIGCONT)
    os.kill(p.popen.pid, signal.SIGCONT)
    p.finish()


@scene("perl appending to a log writes every line once over three restarts", "perl", "append.pl")
@scene("lua appending to a log writes every line once over three restarts", "lua5.4", "append.lua")
def append(s, interpreter, script):
    p = s.start(interpreter, os.path.join(SCRIPTS, script), name="output", wait=None, living=True)
    # perl keeps its output back until it ends; the log tells that it runs.
    end = time.monotonic() + 20
    while not os.path.exists(s.path("log")) or os.path.getsize(s.path("log")) < 40:
        s.expect(time.monotonic() < end, f"the program does not write: {p.tail()}")
        time.sleep(0.05)
    for _ in range(3):
        p.kill_and_restart()
        time.sleep(0.3)
    p.finish()
    lines = open(s.path("log")).read().splitlines()
    s.expect(lines == [f"line {k}" for k in range(len(lines))], "lines are missing or doubled")
    s.expect(len(lines) > 20, f"only {len(lines)} lines")


def input_file(s):
    """Text that compresses a little, the same at every run."""
    state = 12345
    words = []
    for _ in range(4096):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        words.append(b"%x " % (state >> 34))
    block = b"".join(words)
    with open(s.path("input"), "wb") as f:
        k = 0
        while f.tell() < COMPRESS_KIB << 10:
            # Other lines each time, so that no two blocks are equal.
            f.write(b"%d\n" % (k * 7919))
            f.write(block[k % 997 : 30000 + k % 997])
            k += 1


@scene("pigz in the middle of compressing gives bit-identical output over kill and restart", ("pigz", "-p", "4", "-9", "-c", "input"), timeout=240)
@scene("zstd -T4 in the middle of compressing gives bit-identical output over kill and restart", ("zstd", "-q", "-T4", "-11", "-c", "input"), timeout=240)
@scene("xz -T4, which confines itself, gives bit-identical output over kill and restart", ("xz", "-T4", "-4", "--block-size=1MiB", "-c", "input"), timeout=240)
def compress(s, command, *more):
    input_file(s)
    begin = time.monotonic()
    with open(s.path("expected"), "wb") as out:
        reference = s.start(*command, wait=None, stdout=out)
        s.expect(reference.popen.wait(120) == 0, f"{command[0]} ended with {reference.popen.returncode}")
    whole = time.monotonic() - begin
    with open(s.path("result"), "wb") as out:
        p = s.start(*command, wait=None, stdout=out, living=True)
    cut = 0
    for _ in range(2):
        time.sleep(whole / 5)
        # It may end while it is looked at.
        if p.popen.poll() is not None or p.checkpoint("--kill", *more, code=(0, 3)).code:
            break
        p.reap()
        cut += 1
        p.restart()
    s.expect(cut, f"{command[0]} was too fast: {whole:.1f} s")
    s.expect(p.wait(120) == 0, f"{command[0]} ended with {p.popen.returncode}: {p.tail()}")
    s.note(f"{whole:.1f} s without, {cut} restarts")
    same = open(s.path("expected"), "rb").read() == open(s.path("result"), "rb").read()
    s.expect(same, f"the output of {command[0]} is another one")


TRANSACTION = """
CREATE TABLE t (k INTEGER PRIMARY KEY, v TEXT);
INSERT INTO t VALUES (-1, 'before');
BEGIN IMMEDIATE;
.print ready
WITH RECURSIVE n(k) AS (SELECT 0 UNION ALL SELECT k + 1 FROM n WHERE k < {rows} - 1)
INSERT INTO t SELECT k, printf('%08x-%d', k * 2654435761, k) FROM n;
COMMIT;
.print PASS
"""


@scene("sqlite in the middle of a transaction keeps its locks and commits all of it after kill and restart", timeout=240)
def sqlite(s):
    rows = int(os.environ.get("SCENES_ROWS", "150000"))
    with open(s.path("script"), "w") as f:
        f.write(TRANSACTION.format(rows=rows))
    p = s.start("sqlite3", "base", wait=None, stdin=open(s.path("script")), living=True)
    end = time.monotonic() + 30
    while not os.path.exists(s.path("base-journal")):
        s.expect(time.monotonic() < end and p.popen.poll() is None, f"no transaction was seen: {p.tail()}")
        time.sleep(0.01)
    time.sleep(0.3)
    for _ in range(2):
        s.expect(p.popen.poll() is None, "sqlite was too fast")
        p.kill()
        s.expect(os.path.exists(s.path("base-journal")), "the transaction had ended")
        p.restart()
        time.sleep(0.2)
    s.expect(p.wait(120) == 0, f"sqlite ended with {p.popen.returncode}: {p.tail()}")
    s.expect("PASS" in p.log(), f"sqlite says: {p.tail()}")
    base = sqlite3.connect(s.path("base"))
    s.expect(base.execute("PRAGMA integrity_check").fetchall() == [("ok",)], "the database is damaged")
    count = base.execute("SELECT count(*) FROM t").fetchone()[0]
    s.expect(count == rows + 1, f"{count} rows instead of {rows + 1}")
    base.close()


@scene("a pool of python's multiprocessing gives right results over kill and restart", 1)
@scene("a pool of python's multiprocessing gives right results over four restarts", 4)
def pool(s, times):
    p = s.start("python3", os.path.join(SCRIPTS, "pool.py"), living=True)
    for _ in range(times):
        time.sleep(0.3)
        p.kill_and_restart()
    p.finish()


@scene("a pool of python's multiprocessing is checkpointed twenty times while it works")
def pool_often(s):
    p = s.start("python3", os.path.join(SCRIPTS, "pool.py"), living=True)
    for _ in range(20):
        p.checkpoint()
    p.finish()


@scene("an OpenMP program with four threads gives the same numbers in every round over three restarts")
def openmp(s):
    p = s.start("env", "OMP_NUM_THREADS=4", "openmp", living=True)
    for _ in range(20):
        p.checkpoint()
    p.kill_and_restart(3)
    p.finish()


LINES = 6000
PIPELINE = """
echo ready >&2
perl -e '$| = 1; for (1..LINES) { print "line $_\\n"; select(undef, undef, undef, 0.01) if $_ % 20 == 0 }' |
  sed 's/line/row/' | tr a-z A-Z | awk '{ n += $2; print n, $0 }' | sha256sum > sum
""".replace("LINES", str(LINES))


@scene("a pipeline of five programs gives the same output over kill and three restarts", timeout=240)
def pipeline(s):
    with open(s.path("script"), "w") as f:
        f.write(PIPELINE)
    total, text = 0, []
    for k in range(1, LINES + 1):
        total += k
        text.append(f"{total} ROW {k}\n")
    p = s.start("bash", "script", living=True)
    for _ in range(3):
        time.sleep(0.4)
        s.expect(p.popen.poll() is None, "the pipeline was too fast")
        result = p.kill_and_restart()
    s.expect(p.wait(120) == 0, f"bash ended with {p.popen.returncode}: {p.tail()}")
    want = hashlib.sha256("".join(text).encode()).hexdigest()
    s.expect(open(s.path("sum")).read().split()[0] == want, f"the sum is another one: {result}")


@scene("a shell script between two commands goes on after kill and restart")
def shell(s):
    with open(s.path("script"), "w") as f:
        f.write("echo ready\nx=0\nuntil [ -e go ]; do x=$((x+1)); done\n[ $x -gt 10 ] && echo PASS\n")
    p = s.start("bash", "script", living=True)
    p.kill_and_restart(2)
    p.finish()
