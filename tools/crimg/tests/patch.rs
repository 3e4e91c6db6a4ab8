// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg patch`: every kind of edit does what it says and nothing else, what cannot be is refused, and an
//! undo gives the old image back byte for byte.
//!
//! `CRKIT_UPDATE=1 cargo test -p crimg` writes the golden files anew; review them as a diff.

#[path = "../../../format/tests/synth/mod.rs"]
mod synth;
mod tool;

use cr_format::{
    records_of, validate::MetaSet, CredRecord, EditRecord, FileRecord, FsRecord, ImageRecord,
    LimitRecord, MappedFileRecord, PipeRecord, ProcessRecord, Record, TaskRecord, PROVENANCE,
};
use crimg::{
    file::{chunk_len, ImageFile},
    memory::Memory,
    patch::{self, edit::Edit, undo::Undo, Options, Trouble},
    process::{register, Process},
};
use std::path::{Path, PathBuf};
use tool::{crimg, golden, image, Run};

const PLAIN: &str = "real/plain.ckpt";

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

fn open(path: &Path) -> ImageFile {
    ImageFile::open(path.to_str().unwrap()).unwrap_or_else(|e| panic!("{e}"))
}

fn run(image: &Path, args: &[&str]) -> Run {
    let mut all = vec!["patch", image.to_str().unwrap()];
    all.extend(args);
    crimg(&all)
}

/// Edits a copy in place, verifies it, compares what should be the same, undoes it.
fn edit(name: &str, args: &[&str], look: impl FnOnce(&ImageFile)) -> String {
    let folder = Folder::new();
    let old = image(name);
    let path = folder.put("image.ckpt", &old);
    let r = run(&path, args);
    assert_eq!(r.code, 0, "{args:?}: {}{}", r.stdout, r.stderr);
    let bytes = std::fs::read(&path).unwrap();
    assert_ne!(bytes, old);
    let verify = crimg(&["verify", path.to_str().unwrap()]);
    assert_eq!(verify.code, 0, "{}{}", verify.stdout, verify.stderr);
    let file = open(&path);
    let edits: Vec<_> = records_of::<EditRecord<'_>>(file.image.sections.section(PROVENANCE))
        .map(Result::unwrap)
        .collect();
    let given = args
        .iter()
        .filter(|a| a.starts_with("--") && !OPTIONS.contains(a));
    let made = edits.iter().filter(|e| e.operation == b"patch");
    assert_eq!(made.count(), given.count());
    look(&file);
    drop(file);
    let undo = folder.path("image.ckpt.undo");
    let u = crimg(&[
        "patch",
        "--undo",
        undo.to_str().unwrap(),
        path.to_str().unwrap(),
    ]);
    assert_eq!(u.code, 0, "{}", u.stderr);
    assert!(
        std::fs::read(&path).unwrap() == old,
        "{args:?}: the undo gives other bytes"
    );
    // Two files: no temporary one is left.
    assert_eq!(std::fs::read_dir(folder.0.path()).unwrap().count(), 2);
    r.stdout
}

const OPTIONS: [&str; 4] = ["--no-stat", "--move-strings", "--other-build", "--sysroot"];

fn refused(name: &str, args: &[&str], messages: &[&str]) {
    let folder = Folder::new();
    let path = folder.put("image.ckpt", &image(name));
    let r = run(&path, args);
    assert_eq!(r.code, 2, "{args:?}: {}{}", r.stdout, r.stderr);
    for message in messages {
        assert!(r.stderr.contains(message), "{args:?}: {}", r.stderr);
    }
    assert_eq!(std::fs::read(&path).unwrap(), image(name));
    assert_eq!(std::fs::read_dir(folder.0.path()).unwrap().count(), 1);
}

fn first<'f, R: Record<'f>>(file: &'f ImageFile) -> R {
    nth(file, 0)
}

fn nth<'f, R: Record<'f>>(file: &'f ImageFile, n: usize) -> R {
    records_of::<R>(file.image.sections.section(R::SECTION))
        .nth(n)
        .unwrap()
        .unwrap()
}

fn read(file: &ImageFile, address: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    Memory::new(file, None)
        .read_exact(address, &mut bytes)
        .unwrap()
        .unwrap();
    bytes
}

/// `/proc/PID/cmdline` and `environ` of the image.
fn strings(file: &ImageFile) -> (Vec<u8>, Vec<u8>) {
    let mm = Process::new(&file.image.sections).mm.unwrap();
    let of = |a: u64, b: u64| read(file, a, (b - a) as usize);
    (of(mm.arg_start, mm.arg_end), of(mm.env_start, mm.env_end))
}

#[test]
fn the_output_is_as_reviewed() {
    let all: &[&str] = &[
        "patch",
        PLAIN,
        "--dry-run",
        "--no-stat",
        "--fd",
        "1=/new/log",
        "--map-path",
        "/opt/crkit=/opt/new",
        "--cwd",
        "/new",
        "--reg",
        "main:rbx=0x1234",
        "--poke",
        "0x2165010=deadbeef",
        "--uid",
        "1000",
        "--rlimit",
        "nofile=100:200",
        "--env",
        "PURPOSE=patch",
        "--comm",
        "main=new name",
        "--umask",
        "077",
    ];
    let r = crimg(all);
    assert_eq!(r.code, 0, "{}", r.stderr);
    golden("patch/dry-run.txt", r.stdout.as_bytes());
    let with_json: Vec<&str> = all.iter().copied().chain(["--json"]).collect();
    golden("patch/dry-run.json", crimg(&with_json).stdout.as_bytes());
    let wrong: &[&str] = &[
        "patch",
        PLAIN,
        "--fd",
        "7=/x",
        "--nice",
        "99",
        "--reg",
        "main:rflags=0x1",
        "--poke",
        "0x10=00",
        "--rlimit",
        "core=5:4",
        "--unset",
        "NONE",
    ];
    let r = crimg(wrong);
    assert_eq!(r.code, 2);
    golden("patch/refused.txt", r.stderr.as_bytes());
    let with_json: Vec<&str> = wrong.iter().copied().chain(["--json"]).collect();
    golden("patch/refused.json", crimg(&with_json).stdout.as_bytes());
    golden(
        "patch/help.txt",
        crimg(&["patch", "--help"]).stdout.as_bytes(),
    );
}

#[test]
fn a_descriptor_is_redirected_and_takes_size_and_time_of_the_new_file() {
    let folder = Folder::new();
    let log = folder.put("new.log", b"0123456789");
    let to = format!("1={}", log.display());
    let out = edit(PLAIN, &["--fd", &to, "--pos", "1=10"], |file| {
        let f: FileRecord<'_> = nth(file, 1);
        assert_eq!(f.path, log.as_os_str().as_encoded_bytes());
        assert_eq!((f.size, f.pos, f.kind), (10, 10, 1));
        // The other descriptor, of the same open file, and the other file.
        assert_eq!(first::<FileRecord<'_>>(file).path, b"/dev/null");
    });
    assert!(out.contains("shares its open file with 2"), "{out}");
    edit(PLAIN, &["--no-stat", "--fd", &to], |file| {
        let f: FileRecord<'_> = nth(file, 1);
        assert_eq!((f.size, f.pos), (6, 6));
    });
    let missing = edit(PLAIN, &["--fd", "1=/nowhere/at all"], |_| {});
    assert!(missing.contains("stay as recorded"), "{missing}");
    let wrong = format!("1={}", folder.0.path().display());
    refused(PLAIN, &["--fd", &wrong], &["is a directory"]);
    refused(
        PLAIN,
        &["--fd", "7=/x"],
        &["no descriptor 7", "It has 0 1 2."],
    );
    refused(
        "real/pipes.ckpt",
        &["--fd", "3=/x"],
        &["end of a pipe", "FIFO"],
    );
    refused("real/deleted.ckpt", &["--fd", "3=/x"], &["removed file"]);
    refused(PLAIN, &["--pos", "0=5"], &["without a position"]);
    refused(
        "real/pipes.ckpt",
        &["--pos", "3=5"],
        &["without a position"],
    );
}

#[test]
fn paths_are_mapped_by_whole_names() {
    edit(
        "real/pipes.ckpt",
        &[
            "--no-stat",
            "--map-path",
            "/scratch=/mnt/x",
            "--map-path",
            "/opt/crkit/programs=/p",
        ],
        |file| {
            assert_eq!(first::<FsRecord<'_>>(file).cwd, b"/mnt/x/real/pipes");
            assert_eq!(
                nth::<FileRecord<'_>>(file, 1).path,
                b"/mnt/x/real/pipes/log"
            );
            assert_eq!(first::<MappedFileRecord<'_>>(file).path, b"/p/small-static");
            assert_eq!(first::<ProcessRecord<'_>>(file).exe, b"/p/small-static");
            let pipes =
                records_of::<PipeRecord<'_>>(file.image.sections.section(PipeRecord::SECTION));
            assert!(pipes
                .map(Result::unwrap)
                .any(|p| p.fifo_path == b"/mnt/x/real/pipes/fifo"));
        },
    );
    refused(PLAIN, &["--map-path", "/scratc=/x"], &["no path"]);
    edit(
        PLAIN,
        &[
            "--no-stat",
            "--exe",
            "/bin/other",
            "--cwd",
            "/there",
            "--umask",
            "27",
        ],
        |file| {
            assert_eq!(first::<MappedFileRecord<'_>>(file).path, b"/bin/other");
            assert_eq!(first::<ProcessRecord<'_>>(file).exe, b"/bin/other");
            let fs: FsRecord<'_> = first(file);
            assert_eq!((fs.cwd, fs.umask), (&b"/there"[..], 0o27));
        },
    );
    refused(PLAIN, &["--cwd", "/etc/passwd"], &["no directory"]);
    refused(PLAIN, &["--root", "/jail"], &["root directory / only"]);
    // Another program under the same path is another build.
    let folder = Folder::new();
    let root = folder.path("root");
    std::fs::create_dir_all(root.join("bin")).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_crimg"), root.join("bin/other")).unwrap();
    let root = root.to_str().unwrap();
    let bt = ["--sysroot", root, "--exe", "/bin/other"];
    let r = crimg(&[&["patch", "real/bt.ckpt", "-n"], &bt[..]].concat());
    if r.code == 2 {
        assert!(r.stderr.contains("another build"), "{}", r.stderr);
        let r = crimg(&[&["patch", "real/bt.ckpt", "-n", "--other-build"], &bt[..]].concat());
        assert_eq!(r.code, 0, "{}", r.stderr);
    }
}

#[test]
fn environment_and_arguments_change_on_the_stack() {
    edit(PLAIN, &["--env", "PURPOSE=xmage for tests"], |file| {
        assert_eq!(strings(file).1, b"PATH=/usr/bin\0PURPOSE=xmage for tests\0");
    });
    edit(PLAIN, &["--env", "PURPOSE=x"], |file| {
        let (args, env) = strings(file);
        assert_eq!(args, b"/opt/crkit/programs/small-static\0plain\0");
        assert_eq!(env, b"PATH=/usr/bin\0PURPOSE=x\0");
    });
    edit(PLAIN, &["--unset", "PATH", "--env", "NEW=value"], |file| {
        assert_eq!(strings(file).1, b"PURPOSE=image for tests\0NEW=value\0");
        // The pointers follow.
        let mm = Process::new(&file.image.sections).mm.unwrap();
        let word = |at| u64::from_le_bytes(read(file, at, 8).try_into().unwrap());
        let argc = word(mm.start_stack);
        let envp = mm.start_stack + 8 * (argc + 2);
        assert_eq!((word(envp), word(envp + 16)), (mm.env_start, 0));
        assert_eq!(read(file, word(envp + 8), 10), b"NEW=value\0");
    });
    edit(PLAIN, &["--arg", "1=PLAIN"], |file| {
        assert_eq!(
            strings(file).0,
            b"/opt/crkit/programs/small-static\0PLAIN\0"
        );
        assert!(first::<ProcessRecord<'_>>(file)
            .args
            .ends_with(b"\0PLAIN\0"));
    });
    refused(
        PLAIN,
        &["--env", "NEW=1", "--env", "PURPOSE=x"],
        &["pointers for 2"],
    );
    refused(
        PLAIN,
        &["--env", "PATH=/usr/bin:/usr/local/bin"],
        &["need 92 bytes", "Make 15 bytes free"],
    );
    refused(PLAIN, &["--unset", "NEW"], &["no variable \"NEW\""]);
    refused(PLAIN, &["--arg", "2=x"], &["no argument 2: it has 2"]);
    refused(
        PLAIN,
        &["--args", "one two three"],
        &["3 words", "2 arguments"],
    );
    // The synthetic process has no such stack.
    refused(
        "process.ckpt",
        &["--env", "A=b"],
        &["not as the kernel has made them"],
    );
}

#[test]
fn strings_that_move_are_looked_for_in_memory_and_registers() {
    let at = {
        let folder = Folder::new();
        let file = open(&folder.put("i", &image(PLAIN)));
        Process::new(&file.image.sections).mm.unwrap().env_start
    };
    // A pointer to the second variable, behind the first that becomes shorter.
    let second = at + b"PATH=/usr/bin\0".len() as u64;
    let folder = Folder::new();
    let path = folder.put("i", &image(PLAIN));
    let hex: String = second
        .to_le_bytes()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    assert_eq!(run(&path, &["--poke", &format!("0x2165010={hex}")]).code, 0);
    let r = run(&path, &["--env", "PATH=/bin"]);
    assert_eq!(r.code, 2);
    assert!(r.stderr.contains("0x2165010"), "{}", r.stderr);
    assert_eq!(
        run(&path, &["--env", "PURPOSE=x"]).code,
        0,
        "the first does not move"
    );
    assert_eq!(
        run(&path, &["--env", "PATH=/bin", "--move-strings"]).code,
        0
    );
    let path = folder.put("j", &image(PLAIN));
    assert_eq!(
        run(&path, &["--reg", &format!("main:rbx={second:#x}")]).code,
        0
    );
    let r = run(&path, &["--env", "PATH=/bin"]);
    assert!(
        r.code == 2 && r.stderr.contains("rbx of thread 143"),
        "{}",
        r.stderr
    );
}

#[test]
fn registers_are_set_as_far_as_the_kernel_takes_them() {
    edit(
        PLAIN,
        &[
            "--reg",
            "143:r15=0x1234",
            "--reg",
            "main:eflags=0x246",
            "--xmm",
            "main:xmm3=0x0102",
        ],
        |file| {
            let process = Process::new(&file.image.sections);
            let task = process.task(143).unwrap();
            assert_eq!(
                (register(task, "r15"), register(task, "rflags")),
                (Some(0x1234), Some(0x246))
            );
            assert_eq!(
                task.xstate[160 + 48..160 + 64],
                *b"\x02\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
            );
            assert_eq!(task.xstate[512] & 2, 2);
        },
    );
    refused(
        PLAIN,
        &["--reg", "main:cs=0x10"],
        &["TASKS-7", "--reg main:cs=0x10"],
    );
    refused(PLAIN, &["--reg", "main:rflags=0x3202"], &["TASKS-7"]);
    refused(
        PLAIN,
        &["--reg", "main:rip=0xffffffff81000000"],
        &["TASKS-8"],
    );
    refused(PLAIN, &["--reg", "1:rip=1"], &["no thread 1"]);
    let out = crimg(&["patch", PLAIN, "-n", "--reg", "main:rip=0x401000"]);
    assert!(
        out.stdout.contains("inside of the system call"),
        "{}",
        out.stdout
    );
}

#[test]
fn names_priorities_limits_and_credentials_are_set() {
    edit(
        PLAIN,
        &[
            "--comm",
            "main=renamed",
            "--nice",
            "5",
            "--rlimit",
            "core=1M:2M",
            "--hostname",
            "elsewhere",
        ],
        |file| {
            let task: TaskRecord<'_> = first(file);
            assert_eq!((task.comm, task.nice), (&b"renamed"[..], 5));
            assert_eq!(first::<ProcessRecord<'_>>(file).comm, b"renamed");
            let core: LimitRecord = nth(file, 4);
            assert_eq!((core.resource, core.soft, core.hard), (4, 1 << 20, 2 << 20));
            assert_eq!(first::<ImageRecord<'_>>(file).hostname, b"elsewhere");
        },
    );
    let out = edit(
        PLAIN,
        &["--uid", "1000", "--gid", "7:8:9:10", "--groups", "5,3"],
        |file| {
            let c: CredRecord<'_> = first(file);
            assert_eq!((c.uid, c.euid, c.suid, c.fsuid), (1000, 1000, 1000, 1000));
            assert_eq!((c.gid, c.egid, c.sgid, c.fsgid), (7, 8, 9, 10));
            assert_eq!((c.cap_permitted, c.cap_effective, c.cap_ambient), (0, 0, 0));
            assert_eq!(c.groups.iter().collect::<Vec<_>>(), [3, 5]);
        },
    );
    assert!(out.contains("setresuid(2)"), "{out}");
    // The effective user is not root, the saved one is: as in a program that has dropped its rights for a while.
    edit(PLAIN, &["--uid", "0:1000:0:1000"], |file| {
        let c: CredRecord<'_> = first(file);
        assert!(c.cap_permitted != 0 && c.cap_effective == 0);
    });
    refused(PLAIN, &["--nice", "99"], &["TASKS-11"]);
    refused(PLAIN, &["--uid", "4294967295"], &["CREDS-2"]);
    refused(PLAIN, &["--rlimit", "core=2:1"], &["LIMITS-2"]);
    refused(PLAIN, &["--comm", "main=sixteen bytes on"], &["TASKS-5"]);
    refused(PLAIN, &["--umask", "7777777"], &["FILES-1"]);
    refused(PLAIN, &["--pid", "5"], &["cannot be edited"]);
}

#[test]
fn memory_is_written_however_it_is_stored() {
    for (name, address) in [
        (PLAIN, 0x2165010_u64),                 // stored, raw
        (PLAIN, 0x4c5800),                      // zero, in no run
        ("real/threads.ckpt", 0x5e36010),       // compressed
        ("real/same.ckpt", 0x7fdb_8c80_1010),   // in a chunk of equal pages
        ("real/same.ckpt", 0x7fdb_8cb3_6010),   // shared
        ("real/memory.ckpt", 0x7f91_cd1f_4010), // in a run of zeros
        ("real/memory.ckpt", 0x7f91_cd61_5010), // the second mapping of shared memory
        ("compressed.ckpt", 0x5555_5555_7010),  // source of duplicates
    ] {
        let folder = Folder::new();
        let before = open(&folder.put("old", &image(name)));
        if Memory::new(&before, None).area_at(address).is_none() {
            continue;
        }
        let poke = format!("{address:#x}=01020304");
        edit(name, &["--poke", &poke], |file| {
            assert_eq!(read(file, address, 4), [1, 2, 3, 4], "{name} {address:#x}");
            // Everything else is as before.
            let (a, b) = (Memory::new(&before, None), Memory::new(file, None));
            for area in a.areas() {
                let mut at = area.start;
                while at < area.end {
                    let (mut x, mut y) = (vec![0; 4096], vec![0; 4096]);
                    let (n, m) = (a.read(at, &mut x).unwrap(), b.read(at, &mut y).unwrap());
                    if x != y {
                        let within = (address % 4096) as usize;
                        x[within..within + 4].copy_from_slice(&[1, 2, 3, 4]);
                    }
                    assert!(n == m && x == y, "{name}: {at:#x} differs");
                    at += 4096;
                }
            }
            // Chunks that hold other pages are as they were, but for their number.
            let kept = file.page_chunks().filter(|e| {
                before.page_chunks().any(|o| {
                    (o.section, o.owner, o.key, o.raw_crc, chunk_len(o))
                        == (e.section, e.owner, e.key, e.raw_crc, chunk_len(e))
                })
            });
            assert!(kept.count() + 2 >= before.page_chunks().count(), "{name}");
            // A compressed chunk is compressed again.
            let zstd = |f: &ImageFile| f.page_chunks().filter(|e| e.codec == 1).count();
            assert!(zstd(file) >= zstd(&before), "{name}");
        });
    }
    edit(PLAIN, &["--poke-text", "0x2165ffe=abcd"], |file| {
        assert_eq!(read(file, 0x2165ffe, 4), b"abcd");
    });
    let vdso = "0x7fabadcfb000=00";
    refused(PLAIN, &["--poke", vdso], &["[vdso]", "made by the kernel"]);
    refused(
        PLAIN,
        &["--poke", "0x10=00"],
        &["nothing is mapped at 0x10"],
    );
    refused(PLAIN, &["--poke", "0x401000=00"], &["--sysroot"]);
    refused(PLAIN, &["--poke", "0xffffffffffffffff=0000"], &["mapped"]);
    // A whole page needs nothing of the file.
    let page = format!("0x401000={}", "90".repeat(4096));
    edit(PLAIN, &["--poke", &page], |file| {
        assert_eq!(read(file, 0x401000, 4096), vec![0x90; 4096]);
    });
}

#[test]
fn pages_of_mapped_files_come_from_below_the_sysroot_if_they_are_the_same() {
    let folder = Folder::new();
    let at = folder.path("opt/crkit/programs");
    std::fs::create_dir_all(&at).unwrap();
    let size = {
        let file = open(&folder.put("i", &image(PLAIN)));
        first::<MappedFileRecord<'_>>(&file).size as usize
    };
    std::fs::write(at.join("small-static"), vec![0x77; size]).unwrap();
    let root = folder.0.path().to_str().unwrap().to_owned();
    edit(
        PLAIN,
        &["--sysroot", &root, "--poke", "0x401001=01"],
        |file| {
            assert_eq!(read(file, 0x401000, 3), [0x77, 1, 0x77]);
        },
    );
    std::fs::write(at.join("small-static"), vec![0x77; size - 1]).unwrap();
    refused(
        PLAIN,
        &["--sysroot", &root, "--poke", "0x401001=01"],
        &["is another"],
    );
}

#[test]
fn several_edits_are_all_done_or_none() {
    refused(
        PLAIN,
        &[
            "--nice",
            "99",
            "--fd",
            "9=/x",
            "--reg",
            "main:cs=1",
            "--env",
            "PATH=/",
            "--cwd",
            "/",
        ],
        &[
            "--nice 99",
            "TASKS-11",
            "no descriptor 9",
            "TASKS-7",
            "--reg main:cs=1",
        ],
    );
    // Alone each would be wrong or right; together they are right.
    edit(
        PLAIN,
        &["--rlimit", "core=9:9", "--rlimit", "core=3"],
        |file| {
            assert_eq!(nth::<LimitRecord>(file, 4).soft, 3);
        },
    );
}

#[test]
fn a_script_has_the_same_edits() {
    let folder = Folder::new();
    let script = folder.put("edits", b"# comment\nnice 3\n\n--cwd /tmp dir\n  umask 0\n");
    let path = folder.put("i", &image(PLAIN));
    let r = run(
        &path,
        &["--script", script.to_str().unwrap(), "--nice", "4"],
    );
    assert_eq!(r.code, 0, "{}", r.stderr);
    let file = open(&path);
    assert_eq!(first::<TaskRecord<'_>>(&file).nice, 4);
    assert_eq!(first::<FsRecord<'_>>(&file).cwd, b"/tmp dir");
    let r = tool::stdin(
        &["patch", PLAIN, "-n", "--script", "-"],
        b"nice 1\nnonsense\nfd 1",
    );
    assert_eq!(r.code, 2);
    for word in ["line 2", "no such edit", "line 3"] {
        assert!(r.stderr.contains(word), "{}", r.stderr);
    }
    assert_eq!(run(&path, &["--script", "/nowhere"]).code, 6);
    assert_eq!(run(&path, &[]).code, 2);
}

#[test]
fn a_dry_run_and_an_edit_that_changes_nothing_write_nothing() {
    let folder = Folder::new();
    let path = folder.put("i", &image(PLAIN));
    for args in [
        &["--nice", "7", "-n"][..],
        &["--nice", "0"],
        &["--poke", "0x2165fff=00", "--dry-run"],
    ] {
        let r = run(&path, args);
        assert_eq!(r.code, 0, "{}", r.stderr);
        assert_eq!(std::fs::read(&path).unwrap(), image(PLAIN));
        assert_eq!(std::fs::read_dir(folder.0.path()).unwrap().count(), 1);
    }
    assert!(run(&path, &["--nice", "0"])
        .stdout
        .contains("nothing changes"));
}

#[test]
fn other_targets_leave_the_old_image() {
    let folder = Folder::new();
    let path = folder.put("i", &image(PLAIN));
    let new = folder.path("new");
    let (n, undo) = (new.to_str().unwrap(), folder.path("undo"));
    let args = [
        "--nice",
        "7",
        "-o",
        n,
        "--save-undo",
        undo.to_str().unwrap(),
        "--json",
    ];
    let r = run(&path, &args);
    assert_eq!(r.code, 0, "{}", r.stderr);
    let document: serde_json::Value = serde_json::from_str(&r.stdout).unwrap();
    assert_eq!(document["written"]["undo"], undo.to_str().unwrap());
    assert_eq!(std::fs::read(&path).unwrap(), image(PLAIN));
    assert_eq!(run(&path, &["--nice", "8", "-o", n]).code, 2, "it exists");
    let back = folder.path("back");
    let b = back.to_str().unwrap();
    let r = crimg(&[
        "patch",
        "--undo",
        undo.to_str().unwrap(),
        n,
        "-o",
        b,
        "--json",
    ]);
    assert_eq!(r.code, 0, "{}", r.stderr);
    assert_eq!(std::fs::read(&back).unwrap(), image(PLAIN));
    assert_eq!(first::<TaskRecord<'_>>(&open(&new)).nice, 7);
    assert_eq!(
        run(&path, &["--nice", "8", "-o", n, "--force", "--no-undo"]).code,
        0
    );
    // An undo file is for one image only.
    let r = crimg(&["patch", "--undo", undo.to_str().unwrap(), n]);
    assert_eq!(r.code, 2);
    assert!(
        r.stderr.contains("goes with one edited image only"),
        "{}",
        r.stderr
    );
    let r = crimg(&[
        "patch",
        "--undo",
        undo.to_str().unwrap(),
        path.to_str().unwrap(),
    ]);
    assert!(
        r.code == 2 && r.stderr.contains("old image already"),
        "{}",
        r.stderr
    );
}

#[test]
fn edits_are_undone_one_after_the_other() {
    let folder = Folder::new();
    let path = folder.put("i", &image("real/same.ckpt"));
    let mut states = vec![image("real/same.ckpt")];
    for args in [
        ["--nice", "1"],
        ["--poke", "0x7fdb8c801000=55"],
        ["--cwd", "/x"],
        ["--poke", "0x7fdb8c802000=55"],
    ] {
        assert_eq!(run(&path, &args).code, 0);
        states.push(std::fs::read(&path).unwrap());
    }
    for n in (1..=4).rev() {
        states.pop();
        let undo = folder.path(&if n == 1 {
            "i.undo".to_owned()
        } else {
            format!("i.undo{n}")
        });
        assert!(
            undo.metadata().unwrap().len() < 64 << 10,
            "an undo file is small"
        );
        let r = crimg(&[
            "patch",
            "--undo",
            undo.to_str().unwrap(),
            path.to_str().unwrap(),
        ]);
        assert_eq!(r.code, 0, "{}", r.stderr);
        assert!(&std::fs::read(&path).unwrap() == states.last().unwrap());
    }
}

#[test]
fn a_damaged_undo_file_or_image_is_refused_and_nothing_changes() {
    let folder = Folder::new();
    let path = folder.put("i", &image(PLAIN));
    assert_eq!(run(&path, &["--nice", "1"]).code, 0);
    let undo = folder.path("i.undo");
    let good = std::fs::read(&undo).unwrap();
    let edited = std::fs::read(&path).unwrap();
    for at in (0..good.len()).step_by(37) {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert!(Undo::parse(&bad).is_err(), "byte {at}");
        assert!(Undo::parse(&good[..at]).is_err(), "cut at {at}");
    }
    std::fs::write(&undo, &good[..good.len() - 1]).unwrap();
    let r = crimg(&[
        "patch",
        "--undo",
        undo.to_str().unwrap(),
        path.to_str().unwrap(),
    ]);
    assert_eq!(r.code, 3, "{}", r.stderr);
    assert_eq!(std::fs::read(&path).unwrap(), edited);
    // A page of the edited image is damaged: the result would not be the old one.
    std::fs::write(&undo, &good).unwrap();
    let mut bytes = edited.clone();
    let page = open(&path).page_chunks().next().unwrap().offset as usize + 5000;
    bytes[page] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let r = crimg(&[
        "patch",
        "--undo",
        undo.to_str().unwrap(),
        path.to_str().unwrap(),
    ]);
    assert_eq!(r.code, 3, "{}", r.stderr);
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    assert_eq!(std::fs::read_dir(folder.0.path()).unwrap().count(), 2);
}

#[test]
fn damaged_images_are_not_edited() {
    let folder = Folder::new();
    let mut bytes = image(PLAIN);
    bytes[4200] ^= 1;
    let path = folder.put("i", &bytes);
    assert_eq!(run(&path, &["--nice", "1"]).code, 3);
    bytes[0] ^= 1;
    let path = folder.put("i", &bytes);
    assert_eq!(run(&path, &["--nice", "1"]).code, 3);
    assert_eq!(run(&folder.path("none"), &["--nice", "1"]).code, 6);
    // Nothing comes from standard input.
    assert_eq!(run(Path::new("-"), &["--nice", "1"]).code, 3);
}

#[test]
fn text_of_an_image_or_an_edit_does_not_steer_the_terminal() {
    let mut evil = synth::process();
    evil.record(0x12, 2, 2)
        .put(2, "/\u{202e}gpj\n.x".as_bytes());
    evil.record(0x12, 1, 0).put(1, b"/\x1b[2J");
    evil.record(0x10, 2, 0).put(2, b"\x1b[2J\xc2\x9b");
    let folder = Folder::new();
    let path = folder.put("i", &evil.bytes());
    let edits = [
        "-n",
        "--no-stat",
        "--cwd",
        "/\x1b[31m",
        "--comm",
        "main=a\u{9b}",
        "--map-path",
        "/=/\u{202e}",
    ];
    for more in [
        &[][..],
        &["--json"],
        &["--unset", "\x1b[2J"],
        &["--fd", "77=/\x1b"],
        &["--json", "--fd", "77=/\x1b"],
    ] {
        let r = run(&path, &[&edits[..], more].concat());
        let bad = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        assert!(
            !r.stdout.contains(bad) && !r.stderr.contains(bad),
            "{}{}",
            r.stdout,
            r.stderr
        );
    }
}

#[test]
fn the_library_gives_a_plan_or_all_errors() {
    let folder = Folder::new();
    let file = open(&folder.put("i", &image(PLAIN)));
    let edits = Edit::script(b"nice 3\nfd 1=/x").unwrap();
    let plan = patch::apply(&file, &edits, &Options::default())
        .map_err(|_| ())
        .unwrap();
    assert_eq!(
        plan.describe(),
        [
            "tasks task thread 143: nice: 0 → 3",
            "files file descriptors 1 2: path: \"/scratch/real/plain/log\" → \"/x\"",
        ]
    );
    let edits = Edit::script(b"nice 33\nfd 9=/x").unwrap();
    match patch::apply(&file, &edits, &Options::default()) {
        Err(Trouble::Edits(errors)) => assert_eq!(errors.len(), 2),
        _ => panic!("refused"),
    }
}
