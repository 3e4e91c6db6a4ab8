"""The demo's first program: four threads share work through a queue and count; nothing in it knows of checkpoints."""

import queue
import threading
import time

work, done = queue.Queue(16), queue.Queue()


def finder():
    while True:
        n = work.get()
        if all(n % d for d in range(2, int(n**0.5) + 1)):
            done.put(n)
        work.task_done()


def feeder():
    n = 2
    while True:
        work.put(n)
        n += 1
        time.sleep(0.001)


for f in (finder, finder, feeder):
    threading.Thread(target=f, daemon=True).start()

primes, last = 0, 0
for line in range(1, 1_000_000):
    time.sleep(0.2)
    while not done.empty():
        last = max(last, done.get())
        primes += 1
    print(f"line {line}: {primes} primes found, the largest is {last}", flush=True)
