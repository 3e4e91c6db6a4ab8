#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
"""crimg against what it has to stand up to, as ratios of one run.

    cargo xtask bench [-- --mib 2048 --rounds 7 --only grep --json FILE --check]

Both sides of a row run in turns on the same bytes in the page cache, so that whatever else the machine does hits
both, and each ratio is that of the medians. Above 1, crimg is faster. Two ratios: by the clock, and of processor time (user
and system, all threads). A row with a goal that is missed says so; the exit status is 1 for that only with --check.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
CRIMG = TARGET / "crimg"
MIB = 1 << 20


def run(command, to=None):
    """Runs to the end: seconds, processor seconds, bytes read, largest memory, first line of output."""
    with open(to or os.devnull, "wb") as file:
        out = file if to else subprocess.PIPE
        start = time.perf_counter()
        child = subprocess.Popen([str(c) for c in command], stdout=out, stderr=subprocess.DEVNULL)
        # Only lines of a few bytes come over the pipe, so it cannot fill.
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        wall = time.perf_counter() - start
        counters = dict(line.split(": ") for line in open(f"/proc/{child.pid}/io").read().splitlines())
        text = b"" if to else child.stdout.read()
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.stdout:
            child.stdout.close()
    if child.returncode not in (0, 1):
        sys.exit(f"{' '.join(map(str, command))}: exit status {child.returncode}")
    line = text.split(b"\n")[0].decode(errors="replace")
    return wall, used.ru_utime + used.ru_stime, int(counters["rchar"]), used.ru_maxrss * 1024, line


def side(command, before=None, to=None):
    """One side of a row: what to run, what to remove first, where its output goes."""
    return {"command": command, "before": before, "to": to}


class Table:
    def __init__(self, rounds, only):
        self.rounds, self.only, self.rows = rounds, only, []
        print(f"{'':42} {'crimg':>21} {'the other':>21} {'clock':>6} {'cpu':>6}  goal")

    def wants(self, name):
        return self.only is None or self.only in name

    def race(self, name, ours, other, goal=None, of="clock", same=False):
        """Both sides in turns; the ratio `of` (clock, cpu) is held against the goal."""
        if not self.wants(name):
            return
        walls, cpus, memory, lines = ([], []), ([], []), 0, [None, None]
        for turn in range(self.rounds + 1):
            # Who is first changes, and the first turn only warms up.
            for who in (0, 1) if turn % 2 else (1, 0):
                one = (ours, other)[who]
                if one["before"]:
                    one["before"].unlink(missing_ok=True)
                wall, cpu, _, most, lines[who] = run(one["command"], one["to"])
                if turn:
                    walls[who].append(wall)
                    cpus[who].append(cpu)
                if who == 0:
                    memory = max(memory, most)
        if same and lines[0] != lines[1]:
            sys.exit(f"{name}: the two sides found different things: {lines[0]} and {lines[1]}")
        wall, cpu = ([statistics.median(n) for n in side] for side in (walls, cpus))
        ratio = {"clock": wall[1] / wall[0], "cpu": cpu[1] / cpu[0]}
        cell = [f"{wall[n]:.3f} s ({cpu[n]:.3f} cpu)" for n in (0, 1)]
        met = None if goal is None else ratio[of] >= goal
        verdict = "" if goal is None else f"{of} >= {goal}: " + ("met" if met else "MISSED")
        print(f"{name:42} {cell[0]:>21} {cell[1]:>21} {ratio['clock']:6.2f} {ratio['cpu']:6.2f}  {verdict}", flush=True)
        self.rows.append({
            "name": name, "crimg_seconds": walls[0], "other_seconds": walls[1], "crimg_cpu_seconds": cpus[0],
            "other_cpu_seconds": cpus[1], "ratio_clock": ratio["clock"], "ratio_cpu": ratio["cpu"],
            "crimg_memory_bytes": memory, "goal": goal, "goal_of": of if goal else None, "met": met,
        })

    def limits(self, name, command, limits, rounds):
        """One side, held against limits: `bytes` read, milliseconds (`ms`), `memory`."""
        if not self.wants(name):
            return
        turns = [run(command) for _ in range(rounds + 1)][1:]
        seen = {
            "ms": statistics.median(t[0] for t in turns) * 1000,
            "bytes": max(t[2] for t in turns),
            "memory": max(t[3] for t in turns),
        }
        met = all(seen[what] < most for what, most in limits.items())
        best = min(t[0] for t in turns) * 1000
        print(f"{name:42} {seen['ms']:.1f} ms (best {best:.1f}), reads {seen['bytes'] / MIB:.2f} MiB, "
              f"{seen['memory'] / MIB:.0f} MiB of memory  < {limits['ms']} ms, {limits['bytes'] // MIB} MiB, "
              f"{limits['memory'] // MIB} MiB: {'met' if met else 'MISSED'}", flush=True)
        self.rows.append({"name": name, **seen, "best_ms": best, "limits": limits, "met": met})


def make(path, *options):
    if not path.exists():
        print(f"making {path.name}", file=sys.stderr)
        subprocess.run([TARGET / "examples/make_image", *options, path], check=True, stdout=subprocess.DEVNULL)
    return path


def warm(path):
    with open(path, "rb", buffering=0) as file:
        while file.read(8 * MIB):
            pass


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=1024, help="memory in the image that is searched, hashed and exported")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", help="rows whose name contains this")
    parser.add_argument("--json", type=pathlib.Path, default=TARGET / "bench.json", help="where the numbers go")
    parser.add_argument("--check", action="store_true", help="exit status 1 if a goal is missed")
    args = parser.parse_args()

    image = make(TARGET / f"bench-{args.mib}.ckpt", "--mib", str(args.mib))
    warm(image)
    size = image.stat().st_size
    print(f"{image.name}: {size / 2**30:.2f} GiB; {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}; "
          f"medians of {args.rounds} turns")
    table = Table(args.rounds, args.only)

    if table.wants("show"):
        holes = make(TARGET / "bench-10240-holes.ckpt", "--mib", "10240", "--holes")
        table.limits(f"show, image of {holes.stat().st_size / 2**30:.1f} GiB", [CRIMG, "show", holes],
                     {"ms": 20, "bytes": 4 * MIB, "memory": 64 * MIB}, 4 * args.rounds)

    table.race("verify --level crc, against crc32fast alone", side([CRIMG, "verify", "--level", "crc", image]),
               side([TARGET / "examples/hash_file", image]), 0.8)

    rg = ["rg", "-a", "--no-messages", "--no-config", "--count-matches"]
    grep = [CRIMG, "mem", "grep", "-c"]
    needle = "crkit-needle"
    table.race("mem grep, literal, rare", side([*grep, image, needle]), side([*rg, "-F", needle, image]), 1.0)
    none = "no-such-needle-anywhere"
    table.race("mem grep, literal, none", side([*grep, image, none]), side([*rg, "-F", none, image]), 1.0)
    many = "checkpoint"
    table.race("mem grep, literal, frequent", side([*grep, image, many]), side([*rg, "-F", many, image]), 1.0)
    table.race("mem grep -j1 --no-check, literal", side([*grep, "-j1", "--no-check", image, needle]),
               side([*rg, "-F", needle, image]))
    table.race("mem grep -e, regular expression", side([*grep, "-e", image, "crkit-[a-z]+-[0-9a-f]{8}"]),
               side([*rg, "(?-u)crkit-[a-z]+-[0-9a-f]{8}", image]))
    table.race("mem strings -n 8, against strings", side([CRIMG, "mem", "strings", "-n8", "-c", image]),
               side(["sh", "-c", 'strings -a -n8 "$0" | wc -l', image]))

    core, copy = TARGET / "bench.core", TARGET / "bench.copy"
    try:
        table.race("export core, against cp", side([CRIMG, "export", "core", image, "-o", "-"], core, core),
                   side(["cp", "--reflink=never", "--sparse=never", image, copy], copy), 0.8)
        table.race("export core, against cp, both synced", side([CRIMG, "export", "core", image, "-o", core], core),
                   side(["sh", "-c", 'cp --reflink=never --sparse=never "$0" "$1" && sync "$1"', image, copy], copy), 0.8)
    finally:
        core.unlink(missing_ok=True)
        copy.unlink(missing_ok=True)

    most = max((r.get("crimg_memory_bytes", r.get("memory", 0)) for r in table.rows), default=0)
    missed = [r["name"] for r in table.rows if r["met"] is False]
    print(f"most memory of crimg in any row: {most / MIB:.0f} MiB; goals missed: {', '.join(missed) or 'none'}")
    args.json.write_text(json.dumps({
        "image_bytes": size, "mib": args.mib, "processors": os.cpu_count(), "rounds": args.rounds,
        "load": os.getloadavg(), "rows": table.rows, "missed": missed,
    }, indent=1) + "\n")
    print(f"numbers: {args.json}")
    sys.exit(1 if args.check and missed else 0)


if __name__ == "__main__":
    main()
