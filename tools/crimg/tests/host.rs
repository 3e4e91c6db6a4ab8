// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg verify --level host`: a host that fits, and one difference at a time.

#[path = "../../../format/tests/synth/mod.rs"]
mod synth;
mod tool;

use cr_format::{
    records_of, validate::MetaSet, FileRecord, MappedFileRecord, MmRecord, FILES, MEMORY,
};
use crimg::{
    load::{load, Image},
    verify::host::{judge, Answer, Files, Host, Severity},
};
use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

const MODULES: [&str; 8] = [
    "core", "tasks", "memory", "files", "pipes", "signals", "creds", "limits",
];

fn image(bytes: &[u8], dir: &Path) -> Image {
    let path = dir.join("image.ckpt");
    fs::write(&path, bytes).unwrap();
    let mut input = crimg::input::Input::open(path.to_str().unwrap()).unwrap();
    load(&mut input).unwrap()
}

fn file(root: &Path, path: &[u8], size: u64, mtime_s: i64, mtime_ns: u64) {
    let path = crimg::memory::below(root, path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = File::create(path).unwrap();
    file.set_len(size).unwrap();
    let time = Duration::new(mtime_s.try_into().unwrap(), mtime_ns.try_into().unwrap());
    file.set_modified(UNIX_EPOCH + time).unwrap();
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// A host on which the synthetic process could go on.
fn fitting(image: &Image, dir: &Path) -> Host {
    let root = dir.join("root");
    let section = |id| image.sections.section(id);
    for f in records_of::<MappedFileRecord<'_>>(section(MEMORY)).map(Result::unwrap) {
        file(&root, f.path, f.size, f.mtime_s, f.mtime_ns);
    }
    for f in records_of::<FileRecord<'_>>(section(FILES)).map(Result::unwrap) {
        if f.kind == cr_format::FILE_REGULAR {
            file(&root, f.path, f.size, f.mtime_s, f.mtime_ns);
        }
    }
    fs::create_dir_all(root.join("home/user")).unwrap();
    fs::create_dir_all(root.join("dev")).unwrap();
    symlink("/dev/null", root.join("dev/null")).unwrap();
    let (proc, sys, modules) = (dir.join("proc"), dir.join("sys"), dir.join("modules"));
    write(&proc.join("sys/kernel/pid_max"), "4194304\n");
    write(&proc.join("sys/vm/max_map_count"), "65530\n");
    write(&proc.join("sys/fs/nr_open"), "1073741816\n");
    write(
        &proc.join("meminfo"),
        "MemTotal: 10 kB\nMemAvailable:   4000000 kB\n",
    );
    write(&proc.join("self/ns/time_for_children"), "");
    write(&sys.join("devices/system/cpu/online"), "0-3\n");
    let dep: String = MODULES
        .iter()
        .map(|m| format!("updates/cr_{m}.ko.xz: updates/cr_core.ko.xz\n"))
        .collect();
    write(&modules.join("modules.dep"), &dep);
    let mm = records_of::<MmRecord<'_>>(section(MEMORY))
        .next()
        .unwrap()
        .unwrap();
    Host {
        sysroot: root,
        modules,
        proc,
        sys,
        release: "6.12.48+deb13-amd64".to_owned(),
        boot_id: None,
        vdso: Some((8192, mm.vdso_crc.try_into().unwrap())),
        xfeatures: 0x207,
        xsave_size: 2696,
        euid: 0,
        permitted: u64::MAX >> 23,
        bounding: u64::MAX >> 23,
        hard_limits: vec![Some(u64::MAX); 16],
        oom_score_adj: 0,
        pid: 1,
        files: Files::Check,
    }
}

/// The checks with findings that block.
fn blocks(answer: &Answer) -> Vec<&'static str> {
    let findings = answer.findings.iter();
    findings
        .filter(|f| f.severity == Severity::Blocks)
        .map(|f| f.check)
        .collect()
}

struct Case {
    dir: tempfile::TempDir,
    image: Image,
    host: Host,
}

fn case(change: impl FnOnce(&mut synth::Image)) -> Case {
    let dir = tempfile::tempdir().unwrap();
    let mut model = synth::process();
    change(&mut model);
    let image = image(&model.bytes(), dir.path());
    let host = fitting(&image, dir.path());
    Case { dir, image, host }
}

impl Case {
    fn judge(&self) -> Answer {
        judge(
            &self.image.sections,
            self.image.superblock.as_ref(),
            &self.host,
        )
    }
}

#[test]
fn a_host_that_fits_is_said_to_fit() {
    let c = case(|_| {});
    let answer = c.judge();
    assert!(answer.can_restart(), "{:#?}", answer.findings);
    // The clocks, and the terminal on 1 and 2.
    let checks: Vec<_> = answer.findings.iter().map(|f| f.check).collect();
    assert_eq!(checks, ["clock", "descriptor"]);
    assert_eq!(answer.checked["module"], 8);
}

#[test]
fn each_difference_blocks_by_itself() {
    type Change = fn(&mut Case);
    let changes: [(&str, Change); 16] = [
        ("kernel", |c| c.host.release = "6.12.48".into()),
        ("vdso", |c| c.host.vdso = Some((8192, 7))),
        ("module", |c| fs::remove_dir_all(&c.host.modules).unwrap()),
        ("clock", |c| {
            fs::remove_dir_all(c.host.proc.join("self/ns")).unwrap()
        }),
        ("processor", |c| c.host.xfeatures = 7),
        ("pid", |c| {
            write(
                &c.host.proc.join("1240/status"),
                "Name:\tsh\x1b[m\nTgid:\t1240\n",
            )
        }),
        ("pid", |c| {
            write(&c.host.proc.join("sys/kernel/pid_max"), "1000\n")
        }),
        ("mapped_file", |c| {
            fs::remove_file(c.host.sysroot.join("usr/bin/counter")).unwrap()
        }),
        ("mapped_file", |c| {
            let path = c.host.sysroot.join("usr/bin/counter");
            File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_len(1)
                .unwrap();
        }),
        ("mapped_file", |c| {
            let path = c.host.sysroot.join("usr/bin/counter");
            File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_modified(UNIX_EPOCH)
                .unwrap();
        }),
        ("directory", |c| {
            fs::remove_dir(c.host.sysroot.join("home/user")).unwrap()
        }),
        ("file", |c| {
            fs::remove_file(c.host.sysroot.join("dev/null")).unwrap()
        }),
        ("file", |c| {
            fs::write(
                c.host.sysroot.join("var/log/counter.log"),
                "longer than it was",
            )
            .unwrap()
        }),
        ("credentials", |c| c.host.bounding = 1),
        ("limit", |c| {
            c.host.permitted &= !(1 << 24);
            c.host.hard_limits = vec![Some(0); 16];
        }),
        ("memory", |c| {
            write(&c.host.proc.join("sys/vm/max_map_count"), "5\n")
        }),
    ];
    for (check, change) in changes {
        let mut c = case(|_| {});
        change(&mut c);
        let answer = c.judge();
        let found = blocks(&answer);
        assert!(
            !found.is_empty() && found.iter().all(|f| *f == check),
            "{check}: {:#?}",
            answer.findings
        );
        for f in answer
            .findings
            .iter()
            .filter(|f| f.severity == Severity::Blocks)
        {
            assert!(!f.remedy.is_empty(), "{check} has no remedy");
            let texts = [
                &f.message,
                &f.remedy,
                &f.subject,
                f.found.as_ref().unwrap_or(&f.remedy),
            ];
            assert!(!texts.iter().any(|t| t.contains('\u{1b}')), "{f:?}");
        }
        drop(c.dir);
    }
}

#[test]
fn changed_files_follow_the_policy_of_the_restart() {
    let mut c = case(|_| {});
    fs::write(
        c.host.sysroot.join("var/log/counter.log"),
        "longer than it was before",
    )
    .unwrap();
    assert_eq!(blocks(&c.judge()), ["file"]);
    for files in [Files::Ignore, Files::Truncate] {
        c.host.files = files;
        assert!(c.judge().can_restart(), "{files:?}");
    }
    fs::write(c.host.sysroot.join("var/log/counter.log"), "short").unwrap();
    assert_eq!(blocks(&c.judge()), ["file"]);
}

#[test]
fn without_root_the_rights_are_not_compared() {
    let mut c = case(|_| {});
    (c.host.euid, c.host.permitted, c.host.bounding) = (1000, 0, 0);
    let answer = c.judge();
    assert!(answer.can_restart(), "{:#?}", answer.findings);
    assert_eq!(answer.count(Severity::Warning), 1);
}

#[test]
fn an_external_descriptor_that_is_not_standard_needs_an_option() {
    let c = case(|model| {
        let descriptors = model.section(0x12);
        descriptors.retain(|r| r.kind != 3 || r.id == 1 || r.id > 3);
        let mut seven = descriptors
            .iter()
            .find(|r| r.kind == 3 && r.id == 6)
            .unwrap()
            .clone();
        seven.id = 8;
        seven.set(1, 7);
        seven.set(2, 2);
        let at = descriptors
            .iter()
            .position(|r| r.kind == 3 && r.id == 10)
            .unwrap();
        descriptors.insert(at, seven);
    });
    let answer = c.judge();
    let f = answer
        .findings
        .iter()
        .find(|f| f.check == "descriptor")
        .unwrap();
    assert_eq!(f.severity, Severity::Warning);
    assert!(f.remedy.contains("--fd 7=PATH"), "{f:?}");
}

#[test]
fn an_image_for_looking_at_only_cannot_be_restarted_anywhere() {
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = synth::process().bytes();
    bytes[112] = 1;
    let sum = synth::crc(&bytes[..4092]).to_le_bytes();
    bytes[4092..4096].copy_from_slice(&sum);
    let image = image(&bytes, dir.path());
    let host = fitting(&image, dir.path());
    assert_eq!(
        blocks(&judge(&image.sections, image.superblock.as_ref(), &host)),
        ["image"]
    );
}

#[test]
fn the_exit_status_says_that_this_host_cannot() {
    let r = tool::crimg(&["verify", "--level", "host", "process.ckpt"]);
    assert_eq!(r.code, 5, "{}{}", r.stdout, r.stderr);
    assert!(
        r.stdout.contains("this host: cannot restart it"),
        "{}",
        r.stdout
    );
    let r = tool::crimg(&["verify", "--level", "host", "--quiet", "process.ckpt"]);
    assert_eq!((r.code, r.stdout.as_str(), r.stderr.as_str()), (5, "", ""));
    let r = tool::crimg(&["verify", "--level", "host", "--json", "process.ckpt"]);
    let json: serde_json::Value = serde_json::from_str(&r.stdout).unwrap();
    assert_eq!((r.code, &json["verdict"]), (5, &"host_cannot".into()));
    assert_eq!(
        tool::crimg(&["verify", "--sysroot", "/", "process.ckpt"]).code,
        2
    );
}
