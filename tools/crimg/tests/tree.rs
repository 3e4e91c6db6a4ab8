// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Images of several processes: all commands take them; what looks at one process is told which.
//!
//! `CRKIT_UPDATE=1 cargo test -p crimg` writes the golden files anew; review them as a diff.

#[path = "../../../format/tests/synth/mod.rs"]
mod synth;
mod tool;

use cr_format::{
    records_of, validate::MetaSet, EditRecord, FsRecord, ProcessRecord, FILES, MEMORY, PROVENANCE,
    TASKS,
};
use crimg::file::ImageFile;
use std::path::{Path, PathBuf};
use tool::{crimg, golden, image, Run};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }
    fn put(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

/// Runs a command that must succeed and say nothing on standard error.
fn done(args: &[&str]) -> Run {
    let run = crimg(args);
    assert_eq!(
        (run.code, run.stderr.as_str()),
        (0, ""),
        "{args:?}: {}",
        run.stdout
    );
    run
}

fn open(path: &str) -> ImageFile {
    ImageFile::open(path).unwrap_or_else(|e| panic!("{e}"))
}

fn read(path: &str) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

/// A tree whose processes have environments of their own, and memory that is shared and stored with the second process,
/// for the first has mapped only half of it.
fn family() -> synth::Image {
    let mut image = synth::tree();
    let shared = |r: &&mut synth::Rec| r.kind == 2 && r.number(5) == 2;
    let area = image.section(0x11).iter_mut().find(shared).unwrap();
    let (start, end) = (area.number(1), area.number(2));
    area.set(2, start + (end - start) / 2);
    let stack = image.pages[1].clone();
    let of = |owner: u32, secret: &[u8]| {
        let mut pages = stack.clone();
        pages.owner = owner;
        // Where record `mm` says that the environment is.
        let environment = [b"PURPOSE=", secret, b"\0TERM=dumb"].concat();
        pages.data[0xf30..0xff0].fill(0);
        pages.data[0xf30..0xf30 + environment.len()].copy_from_slice(&environment);
        pages
    };
    let mut memory = synth::Pages {
        section: 0x11,
        owner: 2,
        runs: vec![(start, 1, 0), (end - 4096, 1, 0)],
        ..synth::Pages::default()
    };
    memory.data = b"shared by three ".repeat(256);
    memory.data.extend(b"its last page   ".repeat(256));
    let pages = [of(1, b"first!"), memory, of(2, b"second"), of(3, b"third!")];
    image.pages.splice(1..3, pages);
    image.stats[0].set(2, 10);
    image.stats[0].set(4, 10 * 4096);
    image
}

fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|w| w == needle)
}

#[test]
fn show_lists_the_processes_and_shows_each_of_them() {
    for (name, args) in [
        ("summary", &[][..]),
        ("child", &["--pid=1300", "--tree", "--maps", "--fds"]),
        ("json", &["--json", "--pid=1301", "--fds"]),
    ] {
        let mut all = vec!["show", "tree.ckpt"];
        all.extend(args);
        golden(&format!("tree/{name}.txt"), done(&all).stdout.as_bytes());
    }
    let run = crimg(&["show", "tree.ckpt", "--pid=77"]);
    assert_eq!(run.code, 2, "{}", run.stderr);
}

#[test]
fn a_page_shows_one_process_and_names_the_others() {
    for (pid, other) in [("1234", "1300 counter"), ("1300", "1234 counter")] {
        let page = done(&["report", "tree.ckpt", "--pid", pid, "-o", "-"]).stdout;
        assert!(page.contains(&format!("<title>counter {pid}")), "{pid}");
        assert!(page.contains(other) && page.contains("1302 true"), "{pid}");
    }
    let first = done(&["report", "tree.ckpt", "-o", "-"]).stdout;
    assert!(first.contains("<title>counter 1234"));
    let run = crimg(&["report", "tree.ckpt", "--pid", "77", "-o", "-"]);
    assert!(run.code == 2 && run.stderr.contains("1301 (counter)"));
    // Pages of the others are not counted.
    let maps = done(&["show", "tree.ckpt", "--maps"]).stdout;
    let stack = maps.lines().find(|l| l.contains("[stack]")).unwrap();
    assert!(stack.contains("  4 KiB  "), "{stack}");
}

#[test]
fn verify_checks_every_process_and_their_relations() {
    let run = crimg(&["verify", "tree.ckpt"]);
    assert_eq!(run.code, 0, "{}", run.stdout);
    for rule in ["TREE-3", "TREE-5", "ORDER-7"] {
        let bad = std::fs::read_dir(tool::folder().join("bad")).expect("folder");
        let names = bad.map(|e| e.expect("entry").file_name().into_string().expect("name"));
        let bad = names.filter(|n| n.starts_with(&format!("{rule}-")));
        for name in bad {
            let run = crimg(&["verify", &format!("bad/{name}")]);
            assert_eq!(run.code, 3, "{name}: {}", run.stderr);
            assert!(run.stderr.contains(rule), "{name}: {}", run.stderr);
        }
    }
}

#[test]
fn what_looks_at_one_process_asks_which() {
    let folder = Folder::new();
    let core = folder.path("core");
    for args in [
        &["patch", "tree.ckpt", "--cwd", "/", "--dry-run"][..],
        &["mem", "strings", "tree.ckpt"],
        &["mem", "hex", "tree.ckpt", "--vma", "stack"],
        &["mem", "grep", "tree.ckpt", "x"],
        &["mem", "find-ptr", "tree.ckpt", "0x1000"],
        &["mem", "extract", "tree.ckpt", "--vma", "stack", "-o", &core],
        &["mem", "disasm", "tree.ckpt", "--at", "0x555555555000"],
        &["export", "core", "tree.ckpt", "-o", &core],
    ] {
        let said = |pid: &[&str], what: &str| {
            let run = crimg(&[args, pid].concat());
            assert_eq!(run.code, 2, "{args:?}: {}", run.stderr);
            assert!(run.stderr.contains(what), "{args:?}: {}", run.stderr);
            run.stderr
        };
        let list = "1234 (counter) 1300 (counter) 1301 (counter) 1302 (true, ended)";
        assert!(said(&[], "several processes").contains(list));
        assert!(said(&["--pid", "77"], "no such process").contains(list));
        assert!(said(&["--pid", "1302"], "has ended").contains(list));
        assert!(!Path::new(&core).exists());
        // An image of one process has it named or not.
        let mut one: Vec<&str> = args.to_vec();
        one.iter_mut()
            .filter(|a| **a == "tree.ckpt")
            .for_each(|a| *a = "process.ckpt");
        let run = crimg(&[&one[..], &["--pid", "1235"]].concat());
        assert_eq!(run.code, 2, "{one:?}: {}", run.stderr);
        assert!(
            run.stderr.contains("It has process 1234 (counter)"),
            "{}",
            run.stderr
        );
    }
}

#[test]
fn mem_looks_into_the_memory_of_each_process() {
    let folder = Folder::new();
    let path = folder.put("family.ckpt", &family().bytes());
    let strings = |pid: &str| {
        let args = ["mem", "strings", &path, "--pid", pid, "--vma", "stack"];
        done(&args).stdout
    };
    assert!(
        strings("1300").contains("PURPOSE=second"),
        "{}",
        strings("1300")
    );
    assert!(strings("1301").contains("PURPOSE=third!"));
    assert!(!strings("1234").contains("second"));
    // Stored with the second process, seen by all that map it.
    for (pid, pages) in [("1234", 1), ("1300", 2), ("1301", 2)] {
        let args = [
            "mem",
            "grep",
            &path,
            "-e",
            "three|last page",
            "--pid",
            pid,
            "--count",
        ];
        let run = done(&args);
        assert_eq!(run.stdout.trim(), (pages * 256).to_string(), "{pid}");
    }
    let hex = |pid: &str| {
        let at = "0x7f0000300000,32";
        done(&["mem", "hex", &path, "--pid", pid, "--at", at]).stdout
    };
    assert!(hex("1301").contains("shared by three"));
    assert_eq!(hex("1234"), hex("1300"));
}

#[test]
fn bt_shows_all_processes_or_one() {
    // No program of this host is looked at.
    let all = crimg(&["bt", "tree.ckpt", "--sysroot", "/nowhere"]);
    golden("tree/bt.txt", [all.stdout, all.stderr].concat().as_bytes());
    let json = done(&["bt", "tree.ckpt", "--json", "--sysroot", "/nowhere"]);
    golden("tree/bt.json", json.stdout.as_bytes());
    let one = crimg(&["bt", "tree.ckpt", "--pid", "1301"]);
    assert_eq!(one.code, 0, "{}", one.stderr);
    assert!(one.stdout.starts_with("Thread 1301 "), "{}", one.stdout);
    let thread = crimg(&["bt", "tree.ckpt", "--tid", "1300"]);
    assert!(thread
        .stdout
        .starts_with("Process 1300 \"counter\":\nThread 1300"));
    assert_eq!(crimg(&["bt", "tree.ckpt", "--tid", "1302"]).code, 2);
}

#[test]
fn a_core_is_that_of_the_process_that_was_named() {
    let folder = Folder::new();
    let path = folder.put("family.ckpt", &family().bytes());
    for (pid, secret) in [("1234", "first!"), ("1300", "second"), ("1301", "third!")] {
        let (core, back) = (folder.path(pid), folder.path(&format!("{pid}.ckpt")));
        done(&["export", "core", &path, "--pid", pid, "-o", &core]);
        let run = crimg(&["import", "core", &core, "-o", &back]);
        assert_eq!(run.code, 0, "{}", run.stderr);
        let made = open(&back);
        let process = made.image.sections.process(0).unwrap();
        assert_eq!(process.tgid.to_string(), pid);
        let found = done(&["mem", "grep", &back, secret, "--count"]);
        assert_ne!(found.stdout.trim(), "0", "{pid}");
        let shared = ["mem", "hex", &back, "--at", "0x7f0000300000,16"];
        assert!(done(&shared).stdout.contains("shared by three"), "{pid}");
    }
}

/// Runs `crimg diff`; the exit status is the answer.
fn diff(a: &str, b: &str, more: &[&str]) -> Run {
    let run = crimg(&[&["diff", a, b], more].concat());
    assert!(run.code <= 1 && run.stderr.is_empty(), "{}", run.stderr);
    run
}

#[test]
fn diff_compares_processes_by_their_ids() {
    assert_eq!(diff("tree.ckpt", "tree.ckpt", &["--mem", "bytes"]).code, 0);
    let folder = Folder::new();
    let path = folder.put("edited.ckpt", &image("tree.ckpt"));
    let edit = |pid: &str, edits: &[&str]| {
        let args = ["patch", &path, "--pid", pid, "--no-undo", "--no-stat"];
        done(&[&args[..], edits].concat());
    };
    edit("1301", &["--umask", "77", "--cwd", "/srv"]);
    edit("1300", &["--poke", "0x7ffd12345000=0102"]);
    // A file that three processes share, and a pipe.
    edit("1234", &["--fd", "3=/var/log/other.log"]);
    let strip = |run: Run| run.stdout.replace(&path, "edited.ckpt");
    let run = diff("tree.ckpt", &path, &["--mem", "bytes"]);
    assert_eq!(run.code, 1);
    // The ids of images are new each time.
    let clean = |text: String| -> String {
        let new = |l: &&str| !l.contains("uuid") && !l.contains("made by") && !l.contains("edit ");
        let lines = text.lines().filter(new);
        lines.map(|l| format!("{l}\n")).collect()
    };
    let text = clean(strip(run));
    let from = text.find("\nprocess 1234\n").unwrap();
    golden("tree/diff.txt", &text.as_bytes()[from..]);
    let json: serde_json::Value =
        serde_json::from_str(&diff("tree.ckpt", &path, &["--json"]).stdout).unwrap();
    let of = |pid: u64| {
        let all = json["changes"].as_array().unwrap().iter();
        all.filter(|c| c["process"] == pid).count()
    };
    assert_eq!((of(1234), of(1300), of(1301), of(1302)), (1, 1, 2, 0));
    assert_eq!(
        (&json["a"]["processes"], &json["same"]),
        (&4.into(), &false.into())
    );
    let areas = json["memory"]["areas"].as_array().unwrap();
    assert!(areas
        .iter()
        .any(|a| a["process"] == 1300 && a["pages"]["changed"] == 1));

    // An image of one process against a tree: the others are not there.
    let run = diff("process.ckpt", "tree.ckpt", &[]);
    for line in [
        "+ process 1300",
        "+ process 1301",
        "+ process 1302 had ended",
    ] {
        assert!(run.stdout.contains(line), "{line}: {}", run.stdout);
    }
    assert_eq!(diff("process.ckpt", "tree.ckpt", &["--quiet"]).code, 1);
}

#[test]
fn diff_sees_shared_memory_wherever_it_is_stored() {
    let folder = Folder::new();
    let a = folder.put("a.ckpt", &family().bytes());
    let mut other = family();
    other.pages[2].data[4096 + 5] = b'?';
    let b = folder.put("b.ckpt", &other.bytes());
    assert_eq!(diff(&a, &a, &[]).code, 0);
    let run = diff(&a, &b, &["--json"]);
    let json: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let areas = json["memory"]["areas"].as_array().unwrap().iter();
    let changed: Vec<u64> = areas
        .filter(|a| a["pages"]["changed"] == 1)
        .map(|a| a["process"].as_u64().unwrap())
        .collect();
    // The first process has mapped the first half only.
    assert_eq!(changed, [1300, 1301], "{json:#}");
}

#[test]
fn patch_names_descriptors_of_other_processes_that_go_along() {
    let goes = |edit: &[&str]| {
        let args = ["patch", "tree.ckpt", "--no-stat", "--dry-run"];
        done(&[&args[..], edit].concat()).stdout
    };
    let others = "descriptors go along: descriptor 3 of process 1234, descriptor 3 of process 1300";
    for edit in [
        ["--fd", "3=/x"],
        ["--pos", "3=7"],
        ["--map-path", "/var=/srv"],
    ] {
        let said = goes(&[&["--pid", "1301"], &edit[..]].concat());
        assert!(said.contains(others), "{said}");
    }
    // What is about the process alone has no such note.
    let said = goes(&["--pid", "1301", "--umask", "77"]);
    assert!(!said.contains("go along"), "{said}");
}

#[test]
fn patch_edits_one_process_and_leaves_the_others_alone() {
    let folder = Folder::new();
    let old = family().bytes();
    for (pid, number) in [("1234", 0), ("1300", 1), ("1301", 2)] {
        let path = folder.put("family.ckpt", &old);
        let args = [
            "patch",
            &path,
            "--pid",
            pid,
            "--no-stat",
            "--umask",
            "77",
            "--comm",
            "main=other",
            "--fd",
            "3=/somewhere",
            "--reg",
            "main:rax=7",
            "--rlimit",
            "nofile=9",
        ];
        done(&args);
        assert_eq!(crimg(&["verify", &path]).code, 0);
        let (before, after) = (open("../../tests/images/tree.ckpt"), open(&path));
        let sections = &after.image.sections;
        for n in 0..3 {
            let of = |f: &ImageFile| {
                let mut fs = records_of::<FsRecord<'_>>(f.image.sections.of(n, FILES));
                fs.find_map(Result::ok).unwrap().umask
            };
            let wanted = if n == number { 0o77 } else { 0o22 };
            assert_eq!((of(&before), of(&after)), (0o22, wanted), "{pid} {n}");
            // The open file is the same for all.
            let name = sections.process(n).unwrap().tgid.to_string();
            let fds = done(&["show", &path, "--pid", &name, "--fds"]).stdout;
            assert!(fds.contains("/somewhere"), "{fds}");
        }
        let edits: Vec<String> = records_of::<EditRecord<'_>>(sections.section(PROVENANCE))
            .map_while(Result::ok)
            .map(|e| String::from_utf8(e.description.to_vec()).unwrap())
            .collect();
        assert_eq!(edits[0], format!("process {pid}: --umask 77"));
        let undo = format!("{path}.undo");
        done(&["patch", &path, "--undo", &undo]);
        assert!(read(&path) == old, "{pid}");
        std::fs::remove_file(undo).unwrap();
    }
    let path = folder.put("family.ckpt", &old);
    let run = crimg(&[
        "patch",
        &path,
        "--pid",
        "1301",
        "--poke",
        "0x7f0000300000=00",
    ]);
    assert_eq!(run.code, 2);
    assert!(
        run.stderr.contains("edit it there with --pid 1300"),
        "{}",
        run.stderr
    );
    assert!(read(&path) == old);
    done(&[
        "patch",
        &path,
        "--pid",
        "1300",
        "--poke",
        "0x7f0000300000=4142",
    ]);
    let hex = [
        "mem",
        "hex",
        &path,
        "--pid",
        "1301",
        "--at",
        "0x7f0000300000,16",
    ];
    assert!(done(&hex).stdout.contains("ABared"));
    let run = crimg(&["patch", &path, "--pid", "1301"]);
    assert!(run.code == 2 && run.stderr.contains("id itself cannot be edited"));
}

#[test]
fn repack_takes_all_processes() {
    let folder = Folder::new();
    let old = folder.put("family.ckpt", &family().bytes());
    let new = folder.path("new.ckpt");
    done(&["repack", &old, "-o", &new]);
    assert!(read(&new) == read(&old), "not the image itself");
    for args in [
        &["--zstd", "--dedup", "--strip-zero"][..],
        &["--raw"],
        &["--dedup"],
    ] {
        done(&[&["repack", &old, "-o", &new, "--force"], args].concat());
        assert_eq!(crimg(&["verify", &new]).code, 0, "{args:?}");
        assert_eq!(diff(&old, &new, &["--mem", "bytes"]).code, 0, "{args:?}");
    }
    done(&["repack", &old, "-o", &new, "--force", "--no-pages"]);
    assert_eq!(open(&new).image.sections.processes(), 4);
}

#[test]
fn redact_takes_the_secrets_of_all_processes() {
    let folder = Folder::new();
    let old = folder.put("family.ckpt", &family().bytes());
    let new = folder.path("new.ckpt");
    let run = done(&[
        "redact",
        &old,
        "-o",
        &new,
        "--env",
        "PURPOSE,NOBODY",
        "--json",
    ]);
    let json: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(
        (&json["variables"], &json["checked"]),
        (&3.into(), &true.into())
    );
    assert_eq!(json["missing_variables"], serde_json::json!(["NOBODY"]));
    assert_eq!(crimg(&["verify", &new]).code, 0);
    let bytes = read(&new);
    for secret in [&b"first!"[..], b"second", b"third!"] {
        assert!(find(&read(&old), secret).is_some() && find(&bytes, secret).is_none());
    }
    // A range of memory that one process maps is gone where another has it stored.
    let range = "7f0000300000-7f0000300010";
    done(&[
        "redact", &old, "-o", &new, "--force", "--range", range, "--fill", "x",
    ]);
    for pid in ["1234", "1300", "1301"] {
        let hex = [
            "mem",
            "hex",
            &new,
            "--pid",
            pid,
            "--at",
            "0x7f0000300000,32",
        ];
        let shown = done(&hex).stdout;
        assert!(shown.contains("|xxxxxxxxxxxxxxxx|") && shown.contains("|shared by three |"));
    }
    let run = crimg(&["redact", &old, "-o", &new, "--force", "--vma", "nothing"]);
    assert_eq!(run.code, 2, "{}", run.stderr);
}

#[test]
fn json_brings_the_tree_back_byte_for_byte() {
    let folder = Folder::new();
    let old = folder.put("family.ckpt", &family().bytes());
    let (json, new) = (folder.path("family.json"), folder.path("new.ckpt"));
    done(&["export", "json", &old, "-o", &json]);
    done(&["import", "json", &json, "-o", &new]);
    assert!(read(&new) == read(&old), "not the image itself");

    // An edit of one process.
    let mut doc: serde_json::Value = serde_json::from_slice(&read(&json)).unwrap();
    let sections = doc["sections"].as_array_mut().unwrap();
    let is = |s: &&mut serde_json::Value| s["name"] == "files" && s["process"] == 2;
    let fs = &mut sections.iter_mut().find(is).unwrap()["records"][0];
    fs["cwd"] = "/elsewhere".into();
    let edited = folder.put("edited.json", doc.to_string().as_bytes());
    done(&["import", "json", &edited, "-o", &new, "--force"]);
    assert_eq!(crimg(&["verify", &new]).code, 0);
    let made = open(&new);
    for (n, wanted) in [(0, "/home/user"), (1, "/home/user"), (2, "/elsewhere")] {
        let mut fs = records_of::<FsRecord<'_>>(made.image.sections.of(n, FILES));
        assert_eq!(
            fs.find_map(Result::ok).unwrap().cwd,
            wanted.as_bytes(),
            "{n}"
        );
    }

    // Numbers and order.
    for (find, replace, what) in [
        (
            "\"process\": 3",
            "\"process\": 4096",
            "at most 4096 processes",
        ),
        ("\"process\": 2", "\"process\": 1", "by process, each once"),
    ] {
        let text = String::from_utf8(read(&json))
            .unwrap()
            .replacen(find, replace, 1);
        let bad = folder.put("bad.json", text.as_bytes());
        let run = crimg(&["import", "json", &bad, "-o", &new, "--force"]);
        assert_eq!(run.code, 3, "{}", run.stderr);
        assert!(run.stderr.contains(what), "{}", run.stderr);
    }
}

#[test]
fn a_process_that_no_image_can_have_is_damage() {
    let mut image = family();
    for other in &mut image.others {
        if other.0 == 3 {
            other.0 = u32::MAX;
        }
    }
    let folder = Folder::new();
    let path = folder.put("far.ckpt", &image.bytes());
    for args in [
        &["show", &path][..],
        &["verify", &path],
        &["bt", &path],
        &["diff", &path, &path],
    ] {
        let run = crimg(args);
        assert_eq!(run.code, 4, "{args:?}: {}{}", run.stdout, run.stderr);
    }
}

#[test]
fn what_is_shared_is_with_every_process_that_has_it() {
    let path = PathBuf::from("../../tests/images/tree.ckpt");
    let whole = open(path.to_str().unwrap());
    let processes: Vec<ImageFile> = whole.each_process().collect();
    assert_eq!(processes.len(), 4);
    for (n, process) in processes.iter().enumerate() {
        let sections = &process.image.sections;
        assert_eq!(sections.processes(), 1);
        let mut records = records_of::<ProcessRecord<'_>>(sections.section(TASKS));
        let pid = records.find_map(Result::ok).unwrap().tgid;
        assert_eq!(pid, [1234, 1300, 1301, 1302][n]);
        assert_eq!(sections.section(MEMORY).is_empty(), n == 3);
    }
}
