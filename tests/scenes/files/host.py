"""What `crimg verify --level host` says beforehand, and what the kernel says then: the same, about the same file."""

import json
import os

from stage import scene


def verdict(s, image, code):
    """The files that stand in the way, as crimg says."""
    result = s.crimg("verify", "--level", "host", "--json", image, code=code)
    findings = json.loads(result.out)["host"]["findings"]
    return [f["subject"] for f in findings if f["severity"] == "blocks"]


def refused_by_both(s, p, path):
    blocking = verdict(s, p.image, 5)
    s.expect(blocking and all(path in b for b in blocking), f"crimg names {blocking}, not {path}")
    for more in ((), ("--dry-run",)):
        result = s.crctl("restart", p.image, *more, code=122)
        s.expect_message(result, path)
    s.expect(not p.exists(), "the refused restart left a process")


def unlink(path):
    os.unlink(path)


def grow(path):
    with open(path, "ab") as f:
        f.write(b"more")


def other_kind(path):
    os.unlink(path)
    os.mkdir(path)


@scene("verify --level host finds no fault where a restart succeeds")
def agrees_to_go(s):
    p = s.start("files", "many")
    p.kill()
    blocking = verdict(s, p.image, 0)
    s.expect(not blocking, f"crimg names {blocking}")
    p.restart()
    p.finish()


@scene("verify --level host and the restart name the same file: it is gone", unlink)
@scene("verify --level host and the restart name the same file: its size is another", grow)
@scene("verify --level host and the restart name the same file: it became a folder", other_kind)
def open_file(s, change):
    p = s.start("files", "many", name="output")
    p.kill()
    verdict(s, p.image, 0)
    change(s.path("alphabet"))
    refused_by_both(s, p, s.path("alphabet"))


@scene("a dry run judges changed files as --files says")
def dry_run(s):
    p = s.start("files", "many", name="output")
    p.kill()
    s.crctl("restart", p.image, "--dry-run")
    grow(s.path("alphabet"))
    s.expect_message(s.crctl("restart", p.image, "--dry-run", code=122), s.path("alphabet"))
    s.crctl("restart", p.image, "--dry-run", "--files=ignore")


@scene("verify --level host and the restart name the same library: it is gone", unlink)
@scene("verify --level host and the restart name the same library: its size is another", grow)
def library(s, change):
    copy = s.path("library.so")
    s.run("cp", "/lib/x86_64-linux-gnu/libm.so.6", copy, code=0)
    p = s.start("threads", 4, env=dict(os.environ, LD_PRELOAD=copy))
    p.kill()
    verdict(s, p.image, 0)
    change(copy)
    refused_by_both(s, p, copy)
