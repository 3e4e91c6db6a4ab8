"""Workers of multiprocessing compute; the parent checks every result until `go` appears."""

import multiprocessing
import os


def work(n):
    x = n
    for _ in range(20000):
        x = (x * 1103515245 + 12345) % 2**31
    return n, x


if __name__ == "__main__":
    expected = [work(n) for n in range(8)]
    rounds = 0
    with multiprocessing.Pool(3) as pool:
        pool.map(work, range(3))
        print("ready", flush=True)
        last = False
        while not last:
            last = os.path.exists("go")
            found = pool.map(work, range(8), chunksize=1)
            if found != expected:
                print(f"FAIL round {rounds}: {found}", flush=True)
            rounds += 1
    print(f"{rounds} rounds PASS", flush=True)
