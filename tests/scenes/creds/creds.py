"""Credentials: users, groups, capabilities."""

import os

from stage import scene


@scene("users, groups and supplementary groups are the same after a restart", "creds")
@scene("capabilities, bounding set and securebits are the same after a restart", "caps")
def attributes(s, mode):
    p = s.start("attributes", mode)
    p.kill_and_restart(2)
    p.finish()


@scene("a program that was started by an ordinary user belongs to that user after a restart by root")
def ordinary_user(s):
    def drop():
        os.setgroups([50, 1001])
        os.setresgid(1001, 1001, 1001)
        os.setresuid(1001, 1001, 1001)

    p = s.start("threads", 4, preexec_fn=drop)
    before = open(f"/proc/{p.pid}/status").read()
    p.kill_and_restart()
    after = open(f"/proc/{p.pid}/status").read()
    for key in ("Uid:", "Gid:", "Groups:", "CapPrm:", "CapEff:", "CapBnd:", "NoNewPrivs:"):
        a, b = (next((line for line in text.splitlines() if line.startswith(key)), "") for text in (before, after))
        s.expect(a == b, f"{a} became {b}")
    p.finish()
