"""Landlock: what threads have forbidden themselves stays forbidden, and nothing else becomes so."""

from stage import scene


@scene("threads with no layer, one and two find the same allowed and denied after kill and restart", 1)
@scene("threads with no layer, one and two find the same allowed and denied after three restarts", 3)
def layers(s, times):
    p = s.start("landlock", "layers")
    p.kill_and_restart(times)
    said = s.crimg("show", "--section", "landlock", p.image).out
    s.expect("write_file" in said and "signal" in said, f"crimg does not show what is denied: {said}")
    p.finish()


@scene("a checkpoint of a process that goes on changes nothing of its Landlock domains")
def untouched(s):
    p = s.start("landlock", "layers")
    for _ in range(3):
        p.checkpoint()
    p.finish()


@scene("processes of a tree that share a Landlock domain are confined by one each, and a note says so")
def family(s):
    p = s.start("landlock", "family")
    result = p.check()
    s.expect("share a Landlock domain" in result.out + result.err, f"no note: {result}")
    p.kill_and_restart(2)
    p.finish()


@scene("a Landlock domain that confines signals to the processes which share it is a named obstacle")
def scoped(s):
    p = s.start("landlock", "scoped")
    result = s.crctl("check", p.pid, code=1)
    s.expect_message(result, "Landlock domain", "another process is in it too", "--drop landlock")
    p.finish()


@scene("a Landlock domain that allows something by name is a named obstacle, and can be given up with --drop landlock")
def rules(s):
    p = s.start("landlock", "rules")
    result = s.crctl("check", p.pid, code=1)
    s.expect_message(result, "Landlock domain", "allows single files or ports", "--drop landlock")
    p.kill("--drop", "landlock")
    p.restart()
    p.finish()


@scene("a process without a Landlock domain needs no module for them")
def none(s):
    p = s.start("work", 1, 1)
    p.checkpoint()
    s.expect("landlock" not in s.crimg("show", p.image, "--chunks").out, "a section landlock")
    p.finish()
