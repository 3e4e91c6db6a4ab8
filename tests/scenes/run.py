#!/usr/bin/env python3
"""Runs scenes inside the test machine and prints KTAP: run.py GROUP WORD... [--only FILE]

Each WORD is a folder of scenes; FILE has one sentence per line, and other scenes are left out. After each scene the
kernel log must be without complaint and no process may be left; at the end the modules must unload.
"""

import importlib.util
import os
import signal
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import stage  # noqa: E402

SCRATCH = os.environ.get("SCENES_FOLDER", "/scratch/scenes")


def load(word):
    """Imports every file of a word; its scenes register themselves."""
    folder = os.path.join(HERE, word)
    for name in sorted(os.listdir(folder)):
        if name.endswith(".py"):
            spec = importlib.util.spec_from_file_location(f"{word.replace('/', '_')}_{name[:-3]}", os.path.join(folder, name))
            spec.loader.exec_module(importlib.util.module_from_spec(spec))


def say(text):
    print(text, flush=True)


def diagnostics(lines):
    for line in lines:
        for part in str(line).splitlines():
            say(f"# {part[:2000]}")


def one_line(text):
    return " ".join(str(text).split())[:1500].replace("#", "")


class Alarm(Exception):
    """The scene took too long."""


def on_alarm(_signal, _frame):
    raise Alarm()


def leftovers(known):
    """Processes that the scene left, after a moment to go away."""
    end = time.monotonic() + 3
    while True:
        while True:
            try:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    break
            except ChildProcessError:
                break
        left = {pid: line for pid, line in stage.processes().items() if pid not in known}
        if not left or time.monotonic() > end:
            return left
        time.sleep(0.05)


def play(number, sentence, function, arguments, timeout, log):
    """Plays one scene; returns its KTAP line without the number."""
    known = stage.processes()
    log.lines()
    folder = os.path.join(SCRATCH, str(number))
    s = stage.Stage(folder, sentence)
    begin = time.monotonic()
    verdict, reason = "ok", ""
    signal.signal(signal.SIGALRM, on_alarm)
    signal.alarm(timeout)
    try:
        function(s, *arguments)
    except stage.Skipped as e:
        reason = f" # SKIP {one_line(e)}"
    except stage.Failed as e:
        verdict, reason = "not ok", f" # {one_line(e)}"
    except Alarm:
        verdict, reason = "not ok", f" # no end after {timeout} s"
    except Exception as e:  # a fault of the scene itself
        verdict, reason = "not ok", f" # {type(e).__name__}: {one_line(e)}"
        diagnostics(traceback.format_exc().splitlines())
    signal.alarm(0)
    if verdict == "not ok":
        diagnostics(line for line in log.lines()[-40:])
    s.close()
    left = leftovers(known)
    if left:
        diagnostics(f"left behind: {pid} {line}" for pid, line in left.items())
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if verdict == "ok":
            verdict, reason = "not ok", f" # left behind: {one_line(list(left.values()))}"
        leftovers(known)
    complaints = log.complaints()
    if complaints:
        diagnostics(complaints)
        if verdict == "ok":
            verdict, reason = "not ok", f" # the kernel complained: {one_line(complaints[0])}"
    diagnostics(s.notes)
    compared = f", {s.looking:.1f} s for {s.compared} comparisons" if s.compared else ""
    say(f"# took {time.monotonic() - begin:.1f} s{compared}")
    return verdict, reason


def unload_scene(s):
    """The last scene of every boot: nothing holds the modules."""
    end = time.monotonic() + 10
    while True:
        result = s.crctl("unload", code=None)
        if not stage.loaded_modules() or time.monotonic() > end:
            break
        time.sleep(0.2)
    s.expect(result.code == 0, f"{result}; loaded: {stage.loaded_modules()}")
    s.expect(not stage.loaded_modules(), f"still loaded: {stage.loaded_modules()}")
    s.expect(not os.path.exists("/dev/crkit"), "/dev/crkit is still there")


def main():
    arguments = sys.argv[1:]
    only = None
    if "--only" in arguments:
        at = arguments.index("--only")
        with open(arguments[at + 1]) as f:
            only = {line.rstrip("\n") for line in f}
        del arguments[at : at + 2]
    group, words = arguments[0], arguments[1:]
    plan = []
    for word in words:
        stage.SCENES.clear()
        load(word)
        plan += [(f"{word}: {scene[0]}", *scene[1:]) for scene in stage.SCENES]
    plan.append((f"{group}: afterwards the modules unload and leave nothing", unload_scene, (), 60))
    plan = [entry for entry in plan if only is None or entry[0] in only]
    # A shell starts its background programs with these ignored, and everything below would inherit that.
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    log = stage.KernelLog()
    os.makedirs(SCRATCH, exist_ok=True)
    say("KTAP version 1")
    say(f"1..{len(plan)}")
    failed = 0
    for number, (sentence, function, extra, timeout) in enumerate(plan, 1):
        verdict, reason = play(number, sentence, function, extra, timeout, log)
        failed += verdict != "ok"
        say(f"{verdict} {number} - {sentence}{reason}")
    say(f"# {len(plan) - failed} of {len(plan)} scenes passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
