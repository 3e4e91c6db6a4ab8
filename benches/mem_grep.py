#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
"""`crimg mem grep` against ripgrep on the same bytes: the image as it lies in the page cache.

    cargo build --release -p crimg --bins --examples
    benches/mem_grep.py [--mib 2048] [--image FILE] [--rounds 5]

Both run in turns, so that whatever else the machine does hits both. Printed are the medians of the wall
clock and of processor time, and the ratio (ripgrep / crimg: above 1, crimg is faster). crimg verifies the checksums
of everything it searches, finds matches over the borders of pages, and knows where in the process they are.
"""
import argparse, os, pathlib, resource, statistics, subprocess, sys, time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"


def run(command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 1):
        sys.exit(f"{command}: exit status {done.returncode}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, int(done.stdout or b"0")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=2048, help="size of the image that is made")
    parser.add_argument("--image", type=pathlib.Path, help="take this image instead")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    image = args.image
    if image is None:
        image = TARGET / f"bench-{args.mib}.ckpt"
        if not image.exists():
            subprocess.run([TARGET / "examples/make_image", "--mib", str(args.mib), image], check=True)
    with open(image, "rb") as file:  # Into the page cache.
        while file.read(1 << 20):
            pass
    size = image.stat().st_size
    crimg, rg = [TARGET / "crimg", "mem", "grep", "-c"], ["rg", "-a", "--no-messages", "--count-matches"]
    print(f"{image.name}: {size / 2**30:.2f} GiB, {os.cpu_count()} processors, medians of {args.rounds}")
    print(f"{'':34} {'crimg':>22} {'ripgrep':>22}  ratio")
    for name, ours, theirs in [
        ("literal, 128 matches per 2 GiB", ["crkit-needle"], ["-F", "crkit-needle"]),
        ("literal, none", ["no-such-needle-anywhere"], ["-F", "no-such-needle-anywhere"]),
        ("literal, frequent", ["checkpoint"], ["-F", "checkpoint"]),
        ("literal, one thread", ["-j1", "crkit-needle"], ["-F", "crkit-needle"]),
        ("literal, no checksums", ["--no-check", "crkit-needle"], ["-F", "crkit-needle"]),
        ("regular expression", ["-e", "crkit-[a-z]+-[0-9a-f]{8}"], ["(?-u)crkit-[a-z]+-[0-9a-f]{8}"]),
    ]:
        walls, cpus, found = ([], []), ([], []), [0, 0]
        for _ in range(args.rounds):
            for who, command in enumerate([crimg + ours[:-1] + [image, ours[-1]], rg + theirs + [image]]):
                wall, cpu, found[who] = run(command)
                walls[who].append(wall)
                cpus[who].append(cpu)
        wall = [statistics.median(w) for w in walls]
        cpu = [statistics.median(c) for c in cpus]
        cell = lambda n: f"{wall[n]:.3f} s ({cpu[n]:.3f} cpu)"
        rate = size / wall[0] / 1e9
        print(f"{name:34} {cell(0):>22} {cell(1):>22}  {wall[1] / wall[0]:.2f}  {rate:.1f} GB/s, {found[0]} / {found[1]} found")


if __name__ == "__main__":
    main()
