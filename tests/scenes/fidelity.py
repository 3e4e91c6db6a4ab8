"""Compares what the kernel tells about a process before a checkpoint and after the restart.

`take(pid)` reads everything under /proc/PID, and what system calls tell about another process, into *facts*: a name such as
`status/Umask` or `task/12/syscall` and a text. Names of objects that are new at every start (inode numbers of pipes,
addresses in the kernel) are replaced by what they mean: which descriptors lead to the same pipe. `differences` holds two
such readings against each other. What may differ, and what is not read at all, is said with a reason in
`tests/FIDELITY.md`, which is read here; an entry of /proc/PID that is not known here is a difference.
"""

import ctypes
import fnmatch
import functools
import json
import os
import re
import struct

HERE = os.path.dirname(os.path.abspath(__file__))
# In the repository beside the folder of the scenes, in the test machine put there by the harness.
DOCUMENT = os.path.join(os.path.dirname(HERE), "FIDELITY.md")

# Of more threads or descriptors than this, some are read: the first, the last and some between.
MANY = 96
# A page here and there may be written by the program between the restart and the reading.
SLACK_KIB = 64

libc = ctypes.CDLL(None, use_errno=True)


class Gone(Exception):
    """The process ended while it was looked at."""


# What may differ -----------------------------------------------------------------------------------------------------


class Rule:
    """One line of a table in the document: a pattern of names, and why."""

    def __init__(self, pattern, reason):
        self.pattern, self.reason = pattern, reason
        self.match = re.compile(fnmatch.translate(pattern)).match


@functools.cache
def document():
    """Rules by the heading they stand under."""
    found, heading = {}, ""
    with open(DOCUMENT) as f:
        for line in f:
            if line.startswith("#"):
                heading = line.strip("# \n")
            cells = [c.strip() for c in line.strip().strip("|").split("|")]
            if line.startswith("| `") and len(cells) >= 2:
                for pattern in re.findall(r"`([^`]+)`", cells[0]):
                    found.setdefault(heading, []).append(Rule(pattern, cells[1]))
    return found


def rules(heading):
    found = document().get(heading)
    if not found:
        raise AssertionError(f"{DOCUMENT} has no table under {heading!r}")
    return found


# Reading -------------------------------------------------------------------------------------------------------------


def read(*parts):
    """A file of /proc as text, or how reading it fails. Missing files are the end of the process."""
    try:
        with open(f"/proc/{'/'.join(map(str, parts))}", "rb", buffering=0) as f:
            return f.readall().decode("latin-1")
    except FileNotFoundError:
        if not os.path.exists(f"/proc/{parts[0]}"):
            raise Gone() from None
        return "(missing)"
    except ProcessLookupError:
        raise Gone() from None
    except OSError as e:
        return f"({os.strerror(e.errno)})"


def link(*parts):
    try:
        return os.readlink(f"/proc/{'/'.join(map(str, parts))}")
    except FileNotFoundError:
        if not os.path.exists(f"/proc/{parts[0]}"):
            raise Gone() from None
        return "(missing)"
    except OSError as e:
        return f"({os.strerror(e.errno)})"


def listing(*parts):
    try:
        return os.listdir(f"/proc/{'/'.join(map(str, parts))}")
    except (FileNotFoundError, ProcessLookupError):
        raise Gone() from None


def lines_of(facts, prefix, text, separator):
    """`name: value` per line."""
    for line in text.splitlines():
        name, mark, value = line.partition(separator)
        if mark:
            facts[f"{prefix}/{name.strip()}"] = " ".join(value.split())


STAT = (
    "pid comm state ppid pgrp session tty_nr tpgid flags minflt cminflt majflt cmajflt utime stime cutime cstime priority"
    " nice num_threads itrealvalue starttime vsize rss rsslim startcode endcode startstack kstkesp kstkeip signal blocked"
    " sigignore sigcatch wchan nswap cnswap exit_signal processor rt_priority policy delayacct_blkio_ticks guest_time"
    " cguest_time start_data end_data start_brk arg_start arg_end env_start env_end exit_code"
).split()


def stat(facts, prefix, text):
    head, _, tail = text.rpartition(")")
    values = [*head.split("(", 1), *tail.split()]
    for number, value in enumerate(values):
        name = STAT[number] if number < len(STAT) else str(number + 1)
        facts[f"{prefix}/{name}"] = value.strip()


def limits(facts, text):
    for line in text.splitlines()[1:]:
        facts[f"limits/{line[:26].strip()}"] = " ".join(line[26:].split()[:2])


def posix_timers(facts, text):
    number = ""
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name == "ID":
            number = value.strip()
        # The signal's value stands behind its number.
        facts[f"timers/{number}/{name}"] = value.strip()


def sample(items):
    """All, or some from everywhere if there are too many."""
    items = sorted(items)
    if len(items) <= MANY:
        return items
    third = MANY // 3
    middle = items[third:-third]
    return items[:third] + middle[:: len(middle) // third + 1] + items[-third:]


# Memory --------------------------------------------------------------------------------------------------------------

AREA = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (\S+) ([0-9a-f]+) ([0-9a-f]+:[0-9a-f]+) (\d+) *(.*)$")
# Accounting and soft-dirty state are the kernel's own; see the document.
FLAGS_WITHOUT_MEANING = {"ac", "sd", "??"}


def without_name(path):
    """A path as it is compared: a removed file is made again in its folder, but without a name. Memory has never had another."""
    if path.startswith("/") and path.endswith(" (deleted)") and not path.startswith(("/memfd:", "/anon_hugepage", "/dev/zero")):
        return f"{os.path.dirname(path)}/(deleted)"
    return path


class Area:
    def __init__(self, match):
        self.start, self.end = int(match[1], 16), int(match[2], 16)
        self.perms, self.offset, self.device, self.inode = match[3], int(match[4], 16), match[5], int(match[6])
        self.name, self.values, self.flags, self.policy = without_name(match[7]), {}, "", ""
        if self.name.startswith("/anon_hugepage") and self.perms.endswith("p"):
            # Memory like any other, behind which the kernel has a file that says nothing.
            self.offset, self.device, self.inode = 0, "0:0", 0
        if self.name == "/dev/zero" and self.perms.endswith("p"):
            # It is anonymous memory in all but name.
            self.name, self.inode, self.offset = "", 0, 0

    def set_flags(self, words):
        # A shared area that can never be written is told apart by how its file was open, to no effect.
        unwritten = {"sh"} if "mw" not in words else set()
        self.flags = " ".join(w for w in words if w not in FLAGS_WITHOUT_MEANING | unwritten)

    def is_file(self):
        return self.inode != 0

    def attributes(self, objects):
        """What must be equal for two neighbours to be one area."""
        # Whether a file can have huge pages depends on who has it open for writing.
        keys = ("KernelPageSize", "ProtectionKey") if self.is_file() else ("KernelPageSize", "ProtectionKey", "THPeligible")
        values = " ".join(f"{k}={self.values[k]}" for k in keys if k in self.values)
        identity = ""
        if self.inode:
            identity = objects.get((self.device, self.inode)) or f"{self.device}:{self.inode}"
        return " ".join(x for x in (self.perms, identity, self.name, self.flags, values, self.policy) if x)

    def joins(self, other, objects):
        return (
            self.end == other.start
            and self.attributes(objects) == other.attributes(objects)
            and (not self.is_file() or self.offset + self.end - self.start == other.offset)
        )


def areas_of(text):
    areas = []
    for line in text.splitlines():
        match = AREA.match(line)
        if match:
            areas.append(Area(match))
            continue
        name, _, value = line.partition(":")
        if name == "VmFlags":
            areas[-1].set_flags(value.split())
        elif areas:
            areas[-1].values[name] = value.split()[0] if value.split() else ""
    return areas


def memory(facts, pid):
    areas = areas_of(read(pid, "smaps"))
    policies = {}
    for line in read(pid, "numa_maps").splitlines():
        words = line.split()
        if len(words) > 1:
            policies[words[0]] = words[1]
    objects = {}
    for a in areas:
        policy = policies.get(f"{a.start:08x}", "default")
        a.policy = "" if policy == "default" else f"policy={policy}"
        # Objects without a name of their own are new at a restart: what counts is which areas show the same one.
        if a.inode and (a.name.endswith("(deleted)") or a.name.startswith(("anon_inode:", "socket:"))):
            objects.setdefault((a.device, a.inode), f"object-{a.start:x}")
    joined = []
    for a in areas:
        if joined and joined[-1].joins(a, objects):
            last = joined[-1]
            last.end = a.end
            for name, value in a.values.items():
                if value.isdigit() and name not in ("KernelPageSize", "MMUPageSize", "THPeligible", "ProtectionKey"):
                    last.values[name] = str(int(last.values.get(name, "0")) + int(value))
        else:
            joined.append(a)
    for a in joined:
        # A stack grows by itself; its end stays where it is.
        name = f"{a.start:x}-{a.end:x}" if a.name != "[stack]" else f"stack-{a.end:x}"
        offset = f" +{a.offset:x}" if a.is_file() else ""
        facts[f"maps/{name}"] = a.attributes(objects) + offset
        private = int(a.values.get("Anonymous", "0")) + int(a.values.get("Swap", "0"))
        facts[f"anonymous/{name}"] = str(private)
        facts[f"huge/{name}"] = a.values.get("AnonHugePages", "0")
        locked = "some" if int(a.values.get("Locked", "0")) else "none"
        # Pages of files that are locked on fault are locked when they are touched again.
        facts[f"locked/{name}"] = "on fault" if "lf" in a.flags.split() else locked


# Descriptors ---------------------------------------------------------------------------------------------------------

KCMP_FILE, SYS_KCMP = 0, 312


def kcmp(pid, a, b):
    result = libc.syscall(SYS_KCMP, pid, pid, KCMP_FILE, ctypes.c_ulong(a), ctypes.c_ulong(b))
    return {0: 0, 1: -1, 2: 1}.get(result, a - b)


def descriptors(facts, pid):
    numbers = [int(n) for n in listing(pid, "fd")]
    facts["fd/count"] = str(len(numbers))
    links, first, alike = {}, {}, {}
    for fd in sample(numbers):
        target = link(pid, "fd", fd)
        if target == "(missing)":
            continue
        info = read(pid, "fdinfo", fd)
        if info == "(missing)":
            continue
        kind, has_number, number = target.partition(":[")
        try:
            place = os.stat(f"/proc/{pid}/fd/{fd}")
            identity = (place.st_dev, place.st_ino)
        except OSError:
            identity = (0, target)
        deleted = target.endswith(" (deleted)")
        # Below the folder of a process /proc numbers its files as it likes.
        named = target.startswith("/") and not deleted and not re.match(r"/proc/\d+(/|$)", target)
        if has_number and number.rstrip("]").isdigit() and kind in ("pipe", "socket"):
            target = f"{kind} of descriptor {first.setdefault(identity, fd)}"
        elif deleted:
            # It is made again without a name.
            target = f"{without_name(target)} of descriptor {first.setdefault(identity, fd)}"
        links[fd] = target
        facts[f"fd/{fd}/link"] = target
        if named:
            facts[f"fd/{fd}/object"] = f"{identity[0]:x}:{identity[1]}"
        repeated = {}
        for line in info.splitlines():
            name, mark, value = line.partition(":")
            value = " ".join(value.split())
            if line.startswith("inotify wd"):
                # Which object it is has a new number if it is a pipe or a removed file.
                name, value = "inotify", re.sub(r" ino:[0-9a-f]+| fhandle.*| f_handle.*", "", line)
            elif not mark:
                name, value = "line", line
            repeated.setdefault(name, []).append(value)
        for name, values in repeated.items():
            if name == "lock":  # its number in the list of locks says nothing
                values = sorted(re.sub(r"^\d+: ", "", v) for v in values)
                if deleted:
                    values = [re.sub(r"(:[0-9a-f]+):\d+ ", r"\1:- ", v) for v in values]
            if name == "ino" and not named:
                continue
            facts[f"fd/{fd}/{name}"] = "; ".join(values)
        # Without its position a file can still be told apart by kcmp; the position only saves calls.
        alike.setdefault((target, facts.get(f"fd/{fd}/pos")), []).append(fd)
    for fd in links:
        name = f"fd/{fd}/tfd"
        if name in facts:
            facts[name] = "; ".join(sorted(map(functools.partial(epoll_entry, links), facts[name].split("; "))))
    for group in alike.values():
        group.sort(key=functools.cmp_to_key(functools.partial(kcmp, pid)))
        together = []
        for fd in group:
            if together and kcmp(pid, together[-1][0], fd) == 0:
                together[-1].append(fd)
            else:
                together.append([fd])
        for fds in together:
            for fd in fds if len(fds) > 1 else ():
                facts[f"fd/{fd}/shares"] = f"open file of {min(fds)}"


def epoll_entry(links, entry):
    """An entry without the inode number of an object that is new at a restart."""
    words = entry.split()
    if words and words[0].isdigit() and not links.get(int(words[0]), "").startswith("/"):
        entry = re.sub(r" *(ino|sdev):[0-9a-f]+", "", entry)
    return entry


# System calls --------------------------------------------------------------------------------------------------------

SYS_GETPRIORITY, SYS_CAPGET, SYS_IOPRIO_GET, SYS_ROBUST, SYS_PRLIMIT, SYS_SCHED_GETATTR = 140, 125, 252, 274, 302, 315
PRIO_PROCESS, IOPRIO_WHO_PROCESS = 0, 1


def call(number, *arguments):
    result = libc.syscall(number, *arguments)
    return result if result >= 0 else f"({os.strerror(ctypes.get_errno())})"


def system_calls(facts, prefix, tid):
    facts[f"{prefix}getpriority"] = str(call(SYS_GETPRIORITY, PRIO_PROCESS, tid))
    facts[f"{prefix}ioprio_get"] = str(call(SYS_IOPRIO_GET, IOPRIO_WHO_PROCESS, tid))
    buffer = ctypes.create_string_buffer(56)
    size = call(SYS_SCHED_GETATTR, tid, buffer, 56, 0)
    if isinstance(size, int):
        names = "size policy flags nice priority runtime deadline period util_min util_max"
        for name, value in zip(names.split(), struct.unpack("IIQiIQQQII", buffer.raw)):
            facts[f"{prefix}sched_getattr/{name}"] = str(value)
    else:
        facts[f"{prefix}sched_getattr/size"] = size
    head, length = ctypes.c_ulong(), ctypes.c_ulong()
    said = call(SYS_ROBUST, tid, ctypes.byref(head), ctypes.byref(length))
    facts[f"{prefix}get_robust_list"] = f"{head.value:x} {length.value}" if said == 0 else str(said)
    header, data = struct.pack("Ii", 0x20080522, tid), ctypes.create_string_buffer(24)
    said = call(SYS_CAPGET, header, data)
    facts[f"{prefix}capget"] = data.raw.hex() if said == 0 else str(said)
    try:
        facts[f"{prefix}sched_getaffinity"] = str(sorted(os.sched_getaffinity(tid)))
    except OSError as e:
        facts[f"{prefix}sched_getaffinity"] = f"({os.strerror(e.errno)})"


def process_calls(facts, pid):
    for number in range(16):
        pair = ctypes.create_string_buffer(16)
        said = call(SYS_PRLIMIT, pid, number, None, pair)
        facts[f"prlimit/{number}"] = " ".join(map(str, struct.unpack("QQ", pair.raw))) if said == 0 else str(said)
    try:
        facts["getpgid"], facts["getsid"] = str(os.getpgid(pid)), str(os.getsid(pid))
    except ProcessLookupError:
        raise Gone() from None


# Everything ----------------------------------------------------------------------------------------------------------

WHOLE = (
    "auxv cgroup cmdline comm coredump_filter cpu_resctrl_groups cpuset environ gid_map loginuid oom_adj oom_score_adj"
    " patch_state personality projid_map sessionid setgroups timens_offsets timerslack_ns uid_map"
).split()
LINKS = "cwd exe root".split()
OF_A_THREAD = "cgroup comm cpuset loginuid oom_adj oom_score_adj patch_state personality sessionid".split()
TABLES = {"arch_status": ":", "autogroup": " nice ", "ksm_stat": " ", "sched": ":", "status": ":"}
# Read by functions of their own.
OWN = {"attr", "fd", "fdinfo", "limits", "maps", "numa_maps", "ns", "smaps", "stat", "statm", "task", "timers"}
STATM = "size resident shared text lib data dt".split()


def common(facts, prefix, *where):
    """What processes and threads both have. Threads do not repeat what is the process's."""
    own = {}
    everything(own, prefix, *where)
    if prefix:
        own = {n: t for n, t in own.items() if not n.startswith(f"{prefix}status/Vm") and n[len(prefix) :] not in SHARED}
    facts.update(own)


SHARED = {
    "stat/num_threads", "stat/vsize", "stat/rss", "stat/rsslim", "status/Threads", "status/FDSize", "status/SigQ",
    "status/ShdPnd", "status/RssAnon", "status/RssFile", "status/RssShmem", "status/HugetlbPages",
}


def everything(facts, prefix, *where):
    for name, separator in TABLES.items():
        text = read(*where, name)
        if name == "autogroup":  # its number is counted up for each session
            text = re.sub(r"autogroup-\d+", "autogroup", text)
        if name == "sched":  # the first line is a title
            text = text.partition("\n")[2]
        lines_of(facts, prefix + name, text, separator)
    stat(facts, prefix + "stat", read(*where, "stat"))
    for name in listing(*where, "ns"):
        facts[f"{prefix}ns/{name}"] = link(*where, "ns", name)
    for name in listing(*where, "attr"):
        text = read(*where, "attr", name)
        facts[f"{prefix}attr/{name}"] = text if not text.startswith("(Is a") else read(*where, "attr", name, "current")


def strangers(facts, prefix, names, known):
    for name in names:
        if name not in known and not any(r.match(prefix + name) for r in rules("Not read")):
            facts[f"{prefix}{name}"] = "an entry that the comparer does not know"


PF_USER_WORKER = 0x4000


def is_worker(pid, tid):
    """Is it a thread that the kernel has made for io_uring, which comes and goes as it likes?"""
    own = {}
    try:
        stat(own, "", read(pid, "task", tid, "stat"))
    except Gone:
        return False
    return int(own.get("/flags", "0")) & PF_USER_WORKER != 0


def body(pid):
    """A thread that has what all have in common: the main thread, or the first other one if that has ended alone."""
    for tid in [pid, *sorted(int(t) for t in listing(pid, "task"))]:
        own = {}
        stat(own, "", read(tid, "stat"))
        if own.get("/state") not in ("Z", "X", None):
            return tid
    raise Gone()


def take(pid):
    """All facts of one process, as a dictionary of names and texts."""
    facts = {}
    # The folder of any thread is one of its process, though it is not listed.
    pid = body(pid)
    names = listing(pid)
    strangers(facts, "", names, {*WHOLE, *LINKS, *TABLES, *OWN})
    for name in WHOLE:
        if name in names:
            facts[name] = read(pid, name)
    for name in LINKS:
        facts[name] = without_name(link(pid, name))
    common(facts, "", pid)
    limits(facts, read(pid, "limits"))
    posix_timers(facts, read(pid, "timers"))
    for name, value in zip(STATM, read(pid, "statm").split()):
        facts[f"statm/{name}"] = value
    memory(facts, pid)
    descriptors(facts, pid)
    process_calls(facts, pid)
    all_tids = [int(t) for t in listing(pid, "task")]
    tids = [t for t in all_tids if not is_worker(pid, t)]
    facts["task/count"] = str(len(tids))
    for name in ("stat/num_threads", "status/Threads"):
        facts[name] = str(int(facts.get(name, 0)) - (len(all_tids) - len(tids)))
    for number, tid in enumerate(sample(tids)):
        where = (pid, "task", tid)
        # In a pid namespace of its own a thread keeps the number that it has there.
        own = re.search(r"^NSpid:.*?(\d+)$", read(*where, "status"), re.M)
        prefix = f"task/{own[1] if own else tid}/"
        try:
            names = listing(*where)
            if number == 0:
                known = {*OF_A_THREAD, *LINKS, *TABLES, *OWN, *WHOLE, "children"}
                strangers(facts, "task/*/", names, known)
            for name in OF_A_THREAD + (["children"] if "children" in names else []):
                if name in names:
                    facts[prefix + name] = read(*where, name)
            common(facts, prefix, *where)
            # It stands only in the folder of the process, but every thread has one of those.
            facts[f"{prefix}timerslack_ns"] = read(tid, "timerslack_ns")
            system_calls(facts, prefix, tid)
        except Gone:
            facts = {name: text for name, text in facts.items() if not name.startswith(prefix)}
    if not os.path.exists(f"/proc/{pid}") or facts.get("stat/state") in ("Z", "X", None):
        raise Gone()
    return facts


class Reading:
    """Facts, and which of them change by themselves."""

    def __init__(self, facts, moving):
        self.facts, self.moving = facts, moving

    def save(self, path):
        with open(path, "w") as f:
            json.dump({"facts": self.facts, "moving": sorted(self.moving)}, f)

    @staticmethod
    def load(path):
        with open(path) as f:
            text = json.load(f)
        return Reading(text["facts"], set(text["moving"]))


def watch(pid, known=None):
    """Looks twice: what differs already then changes by itself. `known` is what was found so earlier."""
    facts = take(pid)
    if known is None:
        second = take(pid)
        known = {n for n in {*facts, *second} if facts.get(n) != second.get(n)}
    return Reading(facts, known)


# Holding against each other ------------------------------------------------------------------------------------------


class Difference:
    def __init__(self, name, before, after, reason=""):
        self.name, self.before, self.after, self.reason = name, before, after, reason

    def __str__(self):
        def shown(text):
            text = "nothing" if text is None else repr(text)
            return text if len(text) < 200 else text[:200] + "..."

        return f"{self.name}: {shown(self.before)} became {shown(self.after)}"


def at_most(_facts, _later, _name, before, after):
    """Memory of its own: not more than before."""
    return int(after or 0) <= int(before or 0) + SLACK_KIB


def not_more(_facts, _later, _name, before, after):
    """What is mapped at the moment of memory that is there anyway."""
    return int((after or "0").split()[0]) <= int((before or "0").split()[0])


def stays_huge(facts, later, name, before, after):
    """Huge pages stay huge, unless there was nothing in most of one."""
    memory = name.replace("huge/", "anonymous/")
    return int(after or 0) >= int(before or 0) or int(later.get(memory, "0")) < int(facts.get(memory, "0"))


def seconds(text):
    """`(seconds, nanoseconds)`; -1 if there are none."""
    numbers = re.findall(r"\d+", text or "")
    return int(numbers[0]) + int(numbers[1]) / 1e9 if len(numbers) == 2 else -1


def runs_down(facts, _later, name, before, after):
    """A timer: not more time left than before, and off only if it was. A periodic one begins anew meanwhile."""
    before, after = seconds(before), seconds(after)
    if before <= 0 or after <= 0:
        return before >= after >= 0
    interval = seconds(facts.get(name.replace("it_value", "it_interval")))
    return after <= max(before, interval)


def goes_on(facts, _later, name, before, after):
    """Expirations of a periodic timer go on."""
    periodic = seconds(facts.get(name.replace("ticks", "it_interval"))) > 0
    return periodic and int(after or 0) >= int(before or 0)


def appended(facts, _later, name, before, after):
    """Who writes at the end of a file stands at the end."""
    appends = int(facts.get(name.replace("pos", "flags"), "0"), 8) & os.O_APPEND
    return bool(appends) and int(after or 0) >= int(before or 0)


def same_flags(_facts, _later, _name, before, after):
    return bool(before and after) and (int(before) ^ int(after)) & ~FLAGS_OF_THE_MOMENT == 0


# PF_FORKNOEXEC, PF_SUPERPRIV; PF_MEMALLOC, PF_NPROC_EXCEEDED, PF_MEMALLOC_NOFS, PF_MEMALLOC_NOIO, PF_MEMALLOC_PIN,
# PF_BLOCK_TS: see the document. PR_SET_IO_FLUSHER sets PF_LOCAL_THROTTLE beside PF_MEMALLOC_NOIO, which stays compared.
FLAGS_OF_THE_MOMENT = 0x40 | 0x100 | 0x800 | 0x1000 | 0x40000 | 0x80000 | 0x10000000 | 0x20000000

# Names whose texts are not held against each other as texts.
MEANINGS = (
    ("anonymous/*", at_most),
    ("huge/*", stays_huge),
    ("*status/HugetlbPages", not_more),
    ("fd/*/it_value", runs_down),
    ("fd/*/ticks", goes_on),
    ("fd/*/pos", appended),
    ("*stat/flags", same_flags),
)


def differences(before, after, living=False, more=()):
    """Compares a [Reading] with facts: what must not differ but does, and what differs and may.

    A `living` program goes on computing between the two: only what programs do not change by accident is compared.
    `more` are patterns that this scene changes on purpose.
    """
    allowed = [*rules("May differ"), *document().get("Known losses", ()), *(Rule(p, "the scene changes it") for p in more)]
    if living:
        allowed += rules("May differ while the program computes")
    wrong, known = [], []
    a_facts, z_facts = threads_apart(before.facts, after)
    for name in sorted({*a_facts, *z_facts}):
        a, z = a_facts.get(name), z_facts.get(name)
        if a == z or name in before.moving:
            continue
        meaning = next((f for p, f in MEANINGS if fnmatch.fnmatchcase(name, p)), None)
        if meaning and meaning(a_facts, z_facts, name, a, z):
            continue
        rule = next((r for r in allowed if r.match(name)), None)
        if rule:
            known.append(Difference(name, a, z, rule.reason))
        else:
            wrong.append(Difference(name, a, z))
    return wrong, known


def threads_apart(before, after):
    """A thread that one side does not have is one difference, not one for each of its facts."""

    def of(facts):
        return {name.split("/")[1] for name in facts if re.fullmatch(r"task/\d+/stat/pid", name)}

    single = of(before) ^ of(after)

    def without(facts):
        kept = {name: text for name, text in facts.items() if not (name.startswith("task/") and name.split("/")[1] in single)}
        kept.update({f"thread/{tid}": "there" for tid in single & of(facts)})
        return kept

    return without(before), without(after)


if __name__ == "__main__":
    import sys

    for key, value in sorted(take(int(sys.argv[1])).items()):
        print(f"{key}: {value[:300]!r}")
