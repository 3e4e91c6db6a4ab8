"""CPython with threads nobody prepared for a checkpoint: a queue, a lock, events with timeouts, sleeping, computing."""

import os
import queue
import threading
import time

stop = threading.Event()
lock = threading.Lock()
jobs, results = queue.Queue(8), queue.Queue()
total, counts, faults = 0, {"produced": 0, "consumed": 0, "slept": 0, "timeouts": 0}, []


def producer():
    k = 0
    while not stop.is_set():
        jobs.put(k)
        k += 1
        counts["produced"] = k
        time.sleep(0.005)
    jobs.put(None)


def consumer():
    global total
    expected = 0
    while (job := jobs.get()) is not None:
        if job != expected:
            faults.append(f"job {job} instead of {expected}")
        expected = job + 1
        with lock:
            total += job
        counts["consumed"] = expected


def sleeper():
    while not stop.is_set():
        before = time.monotonic()
        time.sleep(0.03)
        took = time.monotonic() - before
        if took < 0.029:
            faults.append(f"sleep(0.03) took {took}")
        counts["slept"] += 1


def waiter():
    never = threading.Event()
    while not stop.is_set():
        if never.wait(0.05):
            faults.append("an event that nobody sets was set")
        counts["timeouts"] += 1


def computing():
    while not stop.is_set():
        if sum(range(2000)) != 1999000:
            faults.append("the sum is wrong")
        time.sleep(0.001)


threads = [threading.Thread(target=f) for f in (producer, consumer, sleeper, waiter, computing)]
for t in threads:
    t.start()
print("ready", flush=True)
while not os.path.exists("go"):
    time.sleep(0.05)
before = dict(counts)
time.sleep(1.0)
for name, count in before.items():
    if counts[name] == count:
        faults.append(f"{name} stands still at {count}")
stop.set()
for t in threads:
    t.join(20)
    if t.is_alive():
        faults.append(f"{t.name} does not end")
if total != sum(range(counts["produced"])):
    faults.append(f"the total of {counts['produced']} jobs is {total}")
for fault in faults:
    print("FAIL", fault, flush=True)
print("PASS" if not faults else f"FAILED {len(faults)}", counts, flush=True)
os._exit(1 if faults else 0)
