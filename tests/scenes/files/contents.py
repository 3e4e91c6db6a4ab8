"""Contents of files that have paths: stored with --with-files, brought back with --files=content."""

import os
import time

from stage import scene


def unlink(path):
    os.unlink(path)


def overwrite(path):
    with open(path, "r+b") as f:
        f.write(b"not what it was")


def replace(path):
    with open(path + ".new", "w") as f:
        f.write("another file\n")
    os.rename(path + ".new", path)


# What has been brought back is a new file.
NEW_FILE = ["fd/*/ino", "fd/*/object"]


def log_of(s):
    """A program that appends to a log, killed with a checkpoint that has the log, which belongs to somebody else."""
    p = s.start("files", "append", name="output")
    time.sleep(0.5)
    os.chown(s.path("log"), 1000, 100)
    os.chmod(s.path("log"), 0o640)
    p.kill("--with-files")
    s.expect("with contents" in s.crimg("show", "--fds", p.image).out, "crimg does not say that the contents are there")
    return p


@scene("a log that was removed is brought back with its contents, owner and mode, and gets every line once", unlink)
@scene("a log that was overwritten is brought back with its contents, owner and mode, and gets every line once", overwrite)
@scene("a log that was replaced is brought back with its contents, owner and mode, and gets every line once", replace)
def back(s, harm):
    p = log_of(s)
    harm(s.path("log"))
    p.changed += NEW_FILE
    s.crctl("restart", p.image, code=122)
    p.restart("--files=content")
    time.sleep(0.3)
    said = open(s.path(f"restart-{p.pid}-{p.restarts}.err")).read()
    s.expect("log was" in said and "brought back from the image" in said, f"crctl does not say what it did: {said}")
    p.finish()
    lines = open(s.path("log")).read().splitlines()
    s.expect(lines == [f"line {k}" for k in range(len(lines))], "lines are missing or doubled")
    stat = os.stat(s.path("log"))
    s.expect((stat.st_uid, stat.st_gid, stat.st_mode & 0o777) == (1000, 100, 0o640), f"owner or mode is another one: {stat}")
    s.expect(not [n for n in os.listdir(s.dir) if n.endswith(".tmp")], f"a file is left behind: {os.listdir(s.dir)}")


@scene("a file that has not changed is left where it is, whatever the image has")
def untouched(s):
    p = log_of(s)
    inode = os.stat(s.path("log")).st_ino
    p.restart("--files=content")
    s.expect(os.stat(s.path("log")).st_ino == inode, "the log is another file")
    p.finish()


@scene("files of all kinds are removed and brought back from a compressed image, and the program finds them as they were")
def all_of_them(s):
    p = s.start("files", "many", name="output")
    p.kill("--with-files", "--zstd")
    fds = s.crimg("show", "--fds", "--json", p.image).json()["descriptors"]
    paths = {d["path"] for d in fds if d.get("with_contents")}
    s.expect(len(paths) > 1 and s.path("alphabet") in paths, f"only these have contents: {paths}")
    was = {path: (open(path, "rb").read(), os.stat(path).st_mtime_ns) for path in paths if path.startswith(s.dir)}
    for path in was:
        os.unlink(path)
    p.changed += NEW_FILE
    p.restart("--files=content")
    now = {path: (open(path, "rb").read(), os.stat(path).st_mtime_ns) for path in was}
    s.expect(now == was, f"not as before: {[path for path in was if now[path] != was[path]]}")
    p.finish()


@scene("a checkpoint with the contents of files harms a program that goes on neither now nor later")
def running(s):
    p = s.start("files", "append", name="output")
    for _ in range(3):
        time.sleep(0.2)
        p.checkpoint("--with-files")
    p.kill("--with-files")
    p.restart()
    p.finish()


@scene("no file is brought back from a damaged image")
def damaged(s):
    p = log_of(s)
    unlink(s.path("log"))
    data = bytearray(open(p.image, "rb").read())
    data[-3000] ^= 1
    with open(p.image, "wb") as f:
        f.write(data)
    s.crctl("restart", p.image, "--files=content", code=120)
    s.expect(not os.path.exists(s.path("log")), "the log was brought back")


@scene("what --files=content cannot do is refused: a folder in the place of a file, standard input, a dry run")
def refused(s):
    p = log_of(s)
    unlink(s.path("log"))
    os.mkdir(s.path("log"))
    result = s.crctl("restart", p.image, "--files=content", code=122)
    s.expect_message(result, "log is something else now", "Put the file back")
    s.crctl("restart", "-", "--files=content", code=2)
    s.crctl("restart", p.image, "--dry-run", "--files=content", code=2)
    os.rmdir(s.path("log"))
