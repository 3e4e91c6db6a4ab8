"""No silent loss: one of everything that the running kernel offers is kept, or named as an obstacle before anything is done.

Programs make every kind of descriptor, of memory area and of other state that they can (`programs/kinds_*.c`). What `crctl
check` names is held against what was made: each obstacle has its place, a reason and a remedy. Programs with all that it does
not name are then killed and restarted, and must find it as it was; the comparer of all scenes looks too.
"""

import contextlib
import os
import re

from stage import Failed, scene

MODULES = (
    "tun loop fuse cuse uinput uhid vhost_net vhost_vsock vhost_vdpa msr cpuid nvram ppp_generic dm_mod evdev ntsync zram null_blk"
    " nbd ublk_drv vduse brd btrfs macvtap vfio vfio_pci vsock_loopback kcm sctp tipc rds af_key xsk_diag l2tp_ip sg uio"
    " rdma_ucm ib_uverbs tcm_loop comedi stm_core dummy_stm ttyprintk hwpoison_inject autofs4"
).split()


def more_of_the_kernel(s):
    """Modules that bring devices and protocols, as far as there are any, and huge pages."""
    for name in MODULES:
        s.run("modprobe", "-q", name)
    pages = "/proc/sys/vm/nr_hugepages"
    with open(pages, "w") as f:
        f.write("8")
    s.cleanups.append(lambda: open(pages, "w").write("0"))


@contextlib.contextmanager
def quiet_modprobe():
    """The kernel loads no modules by itself for a while."""
    with open("/proc/sys/kernel/modprobe", "r+") as f:
        before = f.read()
        f.seek(0)
        f.write("\n")
        f.flush()
        try:
            yield
        finally:
            f.seek(0)
            f.write(before)


def listed(p):
    """What the program made: a dictionary of names and places."""
    found = re.findall(r"^made (\S+)(?: (?:fd|at) (\w+))?$", p.log(), re.M)
    return dict(found)


def obstacles(s, p):
    """What `crctl check` names. Whatever it is, people must be able to act on it."""
    report = p.check("--json", code=(0, 1)).json()
    found = report.get("obstacles", [])
    s.expect((report["exit_code"] == 1) == bool(found), f"exit status {report['exit_code']} with {len(found)} obstacles")
    for o in found:
        for member in ("word", "object", "reason", "remedy"):
            s.expect(o.get(member), f"an obstacle without {member}: {o}")
    return found, [n["message"] for n in report.get("notes", [])]


def absent(p):
    return re.findall(r"^none (\S+): (.*)$", p.log(), re.M)


def survey(s, program, place_of, named_at):
    """Makes everything; `named_at` gives the places of obstacles, `place_of` turns what was made into such a place."""
    # Each protocol that is not there would be looked for with modprobe, hundreds of times.
    with quiet_modprobe():
        p = s.start(program, "all", name="all.log")
    made = listed(p)
    found, _ = obstacles(s, p)
    places = {named_at(o) for o in found}
    named = {name for name, where in made.items() if place_of(p, where) in places}
    kept = [name for name in made if name not in named]
    s.note(f"{len(made)} made, {len(named)} are named as obstacles; kept: {' '.join(kept)}")
    s.note(f"not here: {'; '.join(f'{n} ({why})' for n, why in absent(p))}")
    p.end()
    s.expect(len(named) > 10 and len(kept) > 10, f"{len(named)} named, {len(kept)} kept")

    with quiet_modprobe():
        p = s.start(program, *kept, name="kept.log")
    s.expect(sorted(listed(p)) == sorted(kept), f"not made again: {sorted(set(kept) - set(listed(p)))}")
    found, _ = obstacles(s, p)
    s.expect(not found, f"named only without the others: {[(o['word'], o['object'], o['reason']) for o in found]}")
    p.kill_and_restart()
    p.finish()


@scene("of every kind of descriptor that this kernel offers, one is kept or a named obstacle", timeout=300)
def descriptors(s):
    more_of_the_kernel(s)
    survey(s, "kinds_fds", lambda _p, where: int(where), lambda o: o.get("fd"))


@scene("of every kind of memory area that this kernel offers, one is kept or a named obstacle", timeout=300)
def areas(s):
    more_of_the_kernel(s)

    def area(p, where):
        """Neighbours may have become one area."""
        at = int(where, 16)
        with open(f"/proc/{p.pid}/maps") as f:
            for line in f:
                start, end = (int(x, 16) for x in line.split()[0].split("-"))
                if start <= at < end:
                    return start
        return None

    survey(s, "kinds_areas", area, lambda o: int(o["address"], 16) if "address" in o else None)
    for name in os.listdir("/dev/shm"):
        os.unlink(f"/dev/shm/{name}")


# A removed folder: the program cannot find `go` and is not asked.
SILENT = {"folder-removed"}
# PR_FUTEX_HASH_SET_SLOTS: the kernel does not tell what it was, and it changes nothing but speed.
HINTS = {"futex-hash"}


@scene("of every other kind of state that this kernel offers, one is kept, noted or a named obstacle", timeout=900)
def states(s):
    more_of_the_kernel(s)
    names = s.run("kinds_states", "list", code=0).out.split()
    fate, lost = {}, []
    for name in names:
        try:
            fate.setdefault(one_state(s, name), []).append(name)
        except Failed as e:
            lost.append(f"{name}: {e}")
    for kind, some in sorted(fate.items()):
        s.note(f"{kind}: {' '.join(some)}")
    for line in lost:
        s.note(f"lost: {line}")
    s.expect(not lost, f"{len(lost)} of {len(names)}: {' | '.join(lost)[:1200]}")
    kept = fate.get("kept", [])
    s.expect("landlock" in kept and "breakpoint-off" in kept, f"kept are {' '.join(kept)}")
    s.expect("breakpoint" in fate.get("named", []), "a hardware breakpoint is not named")


def one_state(s, name):
    s.remove("go")
    p = s.start("kinds_states", name, name=f"{name}.log")
    if not listed(p):
        p.finish()
        return "not here"
    found, notes = obstacles(s, p)
    if found:
        if name not in SILENT:
            p.finish()
        else:
            p.end()
        return "named"
    p.kill_and_restart()
    if name in HINTS:
        p.end()
        return "a hint, not kept"
    if notes:
        # What is lost, and said: the program's own look would find it missing.
        p.end()
        return f"noted ({'; '.join(notes)})"
    p.finish()
    return "kept"
