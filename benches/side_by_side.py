#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
"""crkit beside criu, crit, gcore and gdb, on one and the same process; runs in the test machine.

    cargo xtask bench --side-by-side [-- --rounds 5 --mib 256]

Two processes: one with four threads and debug information, one with a heap of so many MiB of text, integers and zeros. Each
is checkpointed by crctl and by criu while it goes on, and then all programs run in turns: time and memory
are medians, as GNU time measures them. At last, backtraces are compared by content: those of `crimg bt IMAGE` with what gdb says about the core that
`crimg export core` made of the same image, thread by thread, name by name. The exit status is 1 if they differ, or a program fails.
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time

WORK = "/scratch/side-by-side"
HEAP = """
import sys, time
mib = int(sys.argv[1])
held = [b"a line of a log, as programs keep them: %08d" % n for n in range(mib * 4096)]
table = bytearray(b"".join(n.to_bytes(8, "little") for n in range(mib * 8192)) * 4)
empty = bytearray(mib << 18)
open("ready", "w").close()
def wait_for_ever(depth):
    if depth:
        return wait_for_ever(depth - 1)
    time.sleep(1e6)
wait_for_ever(10)
"""
problems = []


def wait_until(what, condition):
    end = time.monotonic() + 300
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"{what}: not within five minutes")
        time.sleep(0.1)


def measured(command, out):
    """Seconds, processor seconds and KiB of memory of one run; None if it failed."""
    with open(out, "wb") as stdout, open("errors", "wb") as stderr:
        code = subprocess.run(["/usr/bin/time", "-q", "-o", "times", "-f", "%e %U %S %M", *command],
                              stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr).returncode
    if code:
        said = open("errors", errors="replace").read().strip().splitlines()[-5:]
        problems.append(f"{' '.join(command)}: exit status {code}: {' / '.join(said)}")
        return None
    wall, user, system, memory = map(float, open("times").read().split()[-4:])
    return wall, user + system, memory


def race(name, runs, rounds, rows):
    """Runs all in turns; `runs` are label, command, and files to remove before it."""
    took = {}
    # The first turn loads modules and files, and is not counted.
    for turn in range(rounds + 1):
        for label, command, remove in runs if turn % 2 else runs[::-1]:
            for path in remove:
                subprocess.run(["rm", "-rf", path], check=True)
                if path.endswith("/"):
                    os.makedirs(path)
            os.sync()
            one = measured(command, f"out-{label.replace(' ', '-')}")
            if one is None:
                print(f"{name:10} {label:34} failed: {problems[-1]}", flush=True)
                return
            if turn:
                took.setdefault(label, []).append(one)
    first = None
    for label, _, _ in runs:
        wall, cpu, memory = (statistics.median(column) for column in zip(*took[label]))
        first = first or (wall, cpu, memory)
        print(f"{name:10} {label:34} {wall:8.2f} s {cpu:8.2f} s cpu {memory / 1024:8.1f} MiB   "
              f"{wall / max(first[0], 0.005):6.1f} x time {cpu / max(first[1], 0.005):6.1f} x cpu "
              f"{memory / first[2]:5.1f} x memory", flush=True)
        rows.append({"process": name, "what": label, "seconds": wall, "cpu_seconds": cpu, "memory_kib": memory,
                     "rounds": took[label]})


def folder_size(path):
    return sum(entry.stat().st_size for entry in os.scandir(path))


def by_crimg(image):
    """Thread id: (function, line) from the innermost."""
    told = json.loads(subprocess.run(["crimg", "bt", "--json", image], check=True, capture_output=True).stdout)
    return {t["tid"]: [(f["function"], f["line"]) for frame in t["frames"] for f in frame["functions"] or [{"function": None, "line": None}]]
            for t in told["threads"]}


def by_gdb(text):
    threads, frames = {}, None
    for line in text.splitlines():
        if new := re.match(r"Thread \d+ \(.*LWP (\d+)\)", line):
            frames = threads.setdefault(int(new[1]), [])
        elif (frame := re.match(r"#\d+ +(?:0x[0-9a-f]+ in )?(\S+)", line)) and frames is not None:
            at = re.search(r" at \S+:(\d+)$", line)
            frames.append((None if frame[1] == "??" else frame[1], int(at[1]) if at else None))
    return threads


def compare(name, image, core, exe):
    """Holds our backtrace against gdb's on our export: number of frames, names, and lines where both know them."""
    said = subprocess.run(["gdb", "-nx", "-batch", "-ex", "set debuginfod enabled off", "-ex", "thread apply all bt", exe, core],
                          capture_output=True, text=True).stdout
    ours, theirs = by_crimg(image), by_gdb(said)
    same = lines = 0
    different = []
    for tid in sorted(ours.keys() | theirs.keys()):
        a, b = ours.get(tid, []), theirs.get(tid, [])
        for n in range(max(len(a), len(b))):
            x, y = (side[n] if n < len(side) else ("(no frame)", None) for side in (a, b))
            plain = [(f or "?").split("@")[0].split("(")[0] for f in (x[0], y[0])]
            if plain[0] != plain[1]:
                different.append(f"thread {tid} frame {n}: crimg {x[0]}, gdb {y[0]}")
            elif x[1] and y[1] and x[1] != y[1]:
                different.append(f"thread {tid} frame {n}: {x[0]}: crimg line {x[1]}, gdb line {y[1]}")
            else:
                same += 1
                lines += bool(x[1] and y[1])
    print(f"{name:10} backtraces: {len(ours)} threads, {same} frames with equal names, {lines} of them with equal source lines, "
          f"{len(different)} different")
    for line in different[:20]:
        print(f"           {line}")
    return {"process": name, "threads": len(ours), "same": same, "lines": lines, "different": different}


def subject(name, command, ready, rounds, numbers):
    os.makedirs(f"{WORK}/{name}")
    os.chdir(f"{WORK}/{name}")
    with open("log", "wb") as log:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    wait_until(name, ready)
    pid, rows = child.pid, numbers["rows"]
    exe = os.readlink(f"/proc/{pid}/exe")
    criu = ["criu", "dump", "-v1", "-t", str(pid), "-D", "dump/", "-o", "log", "--leave-running"]
    # Not in turns: criu leaves things in the process, a switched-off hardware breakpoint for example; ours is first.
    race(name, [("crctl checkpoint", ["crctl", "checkpoint", str(pid), "-o", "image.ckpt", "--force"], [])], rounds, rows)
    if not os.path.exists("image.ckpt"):
        sys.exit(f"{name}: no checkpoint: {problems}")
    race(name, [("criu dump --leave-running", criu, ["dump/"])], rounds, rows)
    after = subprocess.run(["crctl", "check", str(pid)], capture_output=True, text=True)
    print(f"{name:10} crctl check after criu's dump: exit status {after.returncode}", flush=True)
    open(f"/out/{name}-check-after-criu", "w").write(after.stdout + after.stderr)
    if not os.path.exists("dump/core-%d.img" % pid):
        print(open("dump/log", errors="replace").read()[-3000:] if os.path.exists("dump/log") else "criu wrote no log")
    else:
        sizes = os.path.getsize("image.ckpt"), folder_size("dump")
        numbers["sizes"][name] = sizes
        print(f"{name:10} the image: {sizes[0] / 2**20:.1f} MiB, criu's files: {sizes[1] / 2**20:.1f} MiB")
        race(name, [
            ("crimg show", ["crimg", "show", "image.ckpt"], []),
            ("crit show core-PID.img", ["crit", "show", f"dump/core-{pid}.img"], []),
            ("crit x DIR ps", ["crit", "x", "dump", "ps"], []),
        ], rounds, rows)
        race(name, [
            ("crimg show --maps", ["crimg", "show", "--maps", "image.ckpt"], []),
            ("crit x DIR mems", ["crit", "x", "dump", "mems"], []),
        ], rounds, rows)
        race(name, [
            ("crimg show --fds", ["crimg", "show", "--fds", "image.ckpt"], []),
            ("crit x DIR fds", ["crit", "x", "dump", "fds"], []),
        ], rounds, rows)
    race(name, [
        ("crimg export core", ["crimg", "export", "core", "image.ckpt", "-o", "ours.core", "--force"], []),
        ("gcore", ["gcore", "-o", "gcore", str(pid)], [f"gcore.{pid}"]),
    ], rounds, rows)
    quiet = ["-nx", "-batch", "-ex", "set debuginfod enabled off", "-ex", "thread apply all bt"]
    race(name, [
        ("crimg bt", ["crimg", "bt", "image.ckpt"], []),
        ("gdb bt, attached", ["gdb", *quiet, "-p", str(pid)], []),
        ("gdb bt, on our core", ["gdb", *quiet, exe, "ours.core"], []),
    ], rounds, rows)
    numbers["backtraces"].append(compare(name, "image.ckpt", "ours.core", exe))
    for kept in ("out-crimg-bt", "out-gdb-bt,-on-our-core", "out-crimg-show", "out-crit-show-core-PID.img", "dump/log"):
        if os.path.exists(kept):
            subprocess.run(["cp", kept, f"/out/{name}-{os.path.basename(kept)}"], check=True)
    if child.poll() is not None:
        problems.append(f"{name}: the process ended with {child.returncode}")
    child.kill()
    child.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mib", type=int, default=256)
    args = parser.parse_args()
    subprocess.run(["tar", "-C", "/", "--keep-directory-symlink", "-xf", "/opt/comparison.tar"], check=True)
    subprocess.run(["ldconfig"], check=True)
    os.makedirs(WORK)
    version = lambda *c: (subprocess.run(c, capture_output=True, text=True).stdout.splitlines() or ["?"])[0]
    numbers = {"kernel": os.uname().release, "criu": version("criu", "--version"), "gdb": version("gdb", "--version"),
               "rounds": args.rounds, "mib": args.mib, "rows": [], "sizes": {}, "backtraces": []}
    print(f"kernel {numbers['kernel']}, criu {numbers['criu']}, {numbers['gdb']}; medians of {args.rounds} turns")
    check = subprocess.run(["criu", "check"], capture_output=True, text=True)
    print("criu check:", (check.stdout + check.stderr).strip().replace("\n", " / "), flush=True)
    subject("threads", ["bt"], lambda: b"ready" in open("log", "rb").read(), args.rounds, numbers)
    subject("heap", ["python3", "-c", HEAP, str(args.mib)], lambda: os.path.exists("ready"), args.rounds, numbers)
    numbers["problems"] = problems
    with open("/out/side-by-side.json", "w") as out:
        json.dump(numbers, out, indent=1)
    for problem in problems:
        print(f"problem: {problem}")
    sys.exit(1 if problems or any(b["different"] for b in numbers["backtraces"]) else 0)


if __name__ == "__main__":
    main()
