// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg diff`: each kind of difference is found and named, and what is only stored otherwise is none.
//!
//! `CRKIT_UPDATE=1 cargo test -p crimg` writes the golden files anew; review them as a diff.

#[path = "../../../format/tests/synth/mod.rs"]
mod synth;
mod tool;

use crimg::{
    diff::{compare, Diff, Kind, Mem, Options},
    file::ImageFile,
};
use std::path::{Path, PathBuf};
use synth::{rec, t, u, Image};
use tool::{crimg, golden};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

fn open(path: &Path) -> ImageFile {
    ImageFile::open(path.to_str().unwrap()).unwrap_or_else(|e| panic!("{e}"))
}

fn diff_with(a: &[u8], b: &[u8], options: &Options) -> Diff {
    let folder = Folder::new();
    let (a, b) = (folder.put("a", a), folder.put("b", b));
    compare(&open(&a), &open(&b), options).unwrap_or_else(|e| panic!("{e}"))
}

fn diff(a: &[u8], b: &[u8]) -> Diff {
    diff_with(a, b, &Options::default())
}

/// The synthetic process with a change.
fn with(change: impl FnOnce(&mut Image)) -> Vec<u8> {
    let mut image = synth::process();
    change(&mut image);
    image.bytes()
}

fn process() -> Vec<u8> {
    synth::process().bytes()
}

/// Another state of the synthetic process: something of every kind has changed.
fn changed() -> Vec<u8> {
    with(|x| {
        x.record(1, 1, 0).set(1, 1_700_000_100_000_000_000);
        let task = x.record(0x10, 2, 1);
        task.put(2, b"tocker");
        task.fields[2].payload[16 * 8..][..8].copy_from_slice(&0x7f00_0010_0099_u64.to_le_bytes());
        task.fields[3].payload[160..164].copy_from_slice(&[1, 2, 3, 4]);
        task.set(15, 3);
        x.record(0x10, 1, 0).set(12, 2);
        // The heap has grown, libc has moved, the stack is split.
        let areas = x.section(0x11);
        let vma = |n: u32| move |r: &synth::Rec| r.kind == 2 && r.id == n;
        let heap = areas.iter().position(vma(3)).unwrap();
        areas[heap].set(2, 0x5555_5558_0000);
        let libc = areas.iter().position(vma(4)).unwrap();
        areas[libc].set(1, 0x7f00_0110_0000);
        areas[libc].set(2, 0x7f00_0120_0000);
        areas.swap(libc, libc + 1);
        let stack = areas.iter().position(vma(6)).unwrap();
        let mut upper = areas[stack].clone();
        areas[stack].set(2, 0x7ffd_1233_0000);
        areas[stack].set(3, 1);
        upper.set(1, 0x7ffd_1233_0000);
        areas.insert(stack + 1, upper);
        for (n, area) in areas.iter_mut().filter(|r| r.kind == 2).enumerate() {
            area.id = n as u32 + 1;
        }
        // Descriptor 3 has written on, 2 is the log as well, 9 is closed, 7 is new.
        x.record(0x12, 2, 2).fields[3].payload = 42_i64.to_le_bytes().to_vec();
        x.record(0x12, 2, 2).set(6, 42);
        x.record(0x12, 3, 2).set(2, 3);
        let files = x.section(0x12);
        let last = files.last_mut().unwrap();
        last.id = 8;
        last.set(1, 7);
        last.set(2, 1);
        x.record(0x13, 2, 0).put(3, b"hullo");
        let signals = x.section(0x14);
        signals.retain(|r| r.kind != 1 || r.id != 13);
        x.record(0x14, 2, 0).set(2, 0x600);
        x.record(0x15, 1, 0).set(11, 0x1000);
        x.record(0x16, 1, 7).set(2, 4096);
        x.section(0x16).remove(9);
        let data = &mut x.pages[0].data;
        data[100] ^= 0x55;
        data[4096 * 2 - 1] ^= 1;
    })
}

#[test]
fn the_checked_in_image_is_the_changed_process() {
    golden("diff/changed.ckpt", &changed());
    assert_eq!(crimg(&["verify", "--quiet", "process.ckpt"]).code, 0);
}

#[test]
fn both_views_are_as_reviewed() {
    for (name, args) in [
        ("diff/changed.txt", &[][..]),
        (
            "diff/changed.bytes",
            &["--mem", "bytes", "--section", "memory"],
        ),
        ("diff/changed.json", &["--json", "--mem", "bytes"]),
        (
            "diff/ignored.txt",
            &[
                "--mem",
                "none",
                "--ignore",
                "regs",
                "--ignore",
                "files.file.pos",
                "--section",
                "tasks",
                "--section",
                "files",
            ],
        ),
    ] {
        let mut all = vec!["diff", "process.ckpt", "diff/changed.ckpt"];
        all.extend(args);
        let r = crimg(&all);
        golden(name, r.stdout.as_bytes());
        assert_eq!((r.code, r.stderr.as_str()), (1, ""), "{name}");
    }
    let r = crimg(&["diff", "process.ckpt", "process.ckpt"]);
    golden("diff/same.txt", r.stdout.as_bytes());
    assert_eq!((r.code, r.stderr.as_str()), (0, ""));
}

#[test]
fn the_help_is_as_reviewed() {
    golden(
        "diff/help.txt",
        crimg(&["diff", "--help"]).stdout.as_bytes(),
    );
}

#[test]
fn an_image_does_not_differ_from_itself() {
    let mut names = vec!["process.ckpt".to_owned(), "diff/changed.ckpt".to_owned()];
    for entry in std::fs::read_dir(tool::folder().join("real")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".ckpt") {
            names.push(format!("real/{name}"));
        }
    }
    assert!(names.len() > 8);
    for name in names {
        for mem in [Mem::None, Mem::Pages, Mem::Bytes] {
            let file = open(&tool::folder().join(&name));
            let options = Options {
                mem,
                ..Options::default()
            };
            let diff = compare(&file, &file, &options).unwrap();
            assert!(diff.is_same() && diff.header.is_empty(), "{name}");
            assert_eq!(diff.memory.is_some(), mem != Mem::None);
        }
    }
}

/// Fields that tell an object apart, or only say where it is in the image: another value is another object.
const IDENTITY: [(u16, u16, usize); 14] = [
    (0x10, 1, 1), // process.tgid: another thread is the leader
    (0x10, 2, 1), // task.tid
    (0x11, 3, 1), // mapped_file.path
    (0x11, 4, 1), // guard.start
    (0x12, 3, 1), // descriptor.fd
    (0x12, 3, 2), // descriptor.file
    (0x13, 2, 1), // buffer.pipe
    (0x13, 3, 1), // end.file
    (0x13, 3, 2), // end.pipe
    (0x14, 1, 1), // action.signo
    (0x14, 2, 1), // task_signals.tid
    (0x14, 3, 1), // pending.tid
    (0x14, 3, 2), // pending.signo
    (0x16, 1, 1), // limit.resource
];

#[test]
fn every_single_field_that_changes_is_named() {
    let model = synth::process();
    let before = model.bytes();
    let mut checked = 0;
    for (s, (section, _, records)) in model.sections.iter().enumerate() {
        for (r, record) in records.iter().enumerate() {
            for f in 0..record.fields.len() {
                let known = cr_format::record_of(*section, record.kind).unwrap();
                let name = known
                    .fields
                    .iter()
                    .find(|k| usize::from(k.id) == f + 1)
                    .unwrap()
                    .name;
                let mut image = model.clone();
                let field = &mut image.sections[s].2[r].fields[f];
                match (field.wire, field.payload.last_mut()) {
                    // A byte in the middle of a number or array, but for ends of areas which are pages.
                    (1, _) if field.hint == 2 => field.payload[1] ^= 0x10,
                    (1 | 2 | 5, Some(_)) => field.payload[0] ^= 4,
                    (_, Some(last)) => *last ^= 1,
                    (_, None) => field.payload.push(b'x'),
                }
                let diff = diff_with(
                    &before,
                    &image.bytes(),
                    &Options {
                        mem: Mem::None,
                        ..Options::default()
                    },
                );
                let all = || diff.changes.iter().chain(&diff.header);
                let what = format!("{section:#x} {} {} {name}", known.name, record.id);
                if *section == cr_format::SCHEMA {
                    assert!(diff.is_same() && diff.header.len() == 1, "{what}");
                    continue;
                }
                if (*section, name) == (0x11, "object") && record.fields[4].payload[0] != 1 {
                    // A number that only counts: the area has no file.
                    assert!(diff.is_same(), "{what}");
                    continue;
                }
                let is_header = matches!(*section, cr_format::IMAGE | cr_format::STATS);
                assert_eq!(diff.is_same(), is_header, "{what}");
                checked += 1;
                if IDENTITY.contains(&(*section, record.kind, f + 1)) {
                    continue;
                }
                let named = |field: &str| {
                    let field = field.split(' ').next().unwrap();
                    field == name || field.starts_with(&format!("{name}."))
                };
                let mut fields = all().flat_map(|c| &c.fields);
                assert!(
                    fields.any(|f| named(&f.field)),
                    "{what}: {}",
                    serde_json::to_string_pretty(&diff).unwrap()
                );
                // What follows from it may be told as well: the strings between other ends.
                let own =
                    all().filter(|c| !matches!(c.record.as_str(), "argument" | "environment"));
                assert!(own.count() <= 3, "{what}");
            }
        }
    }
    assert!(checked > 400, "{checked}");
}

#[test]
fn order_and_ids_of_records_do_not_matter() {
    let other = with(|x| {
        // Open files and pipes get other ids, records another order.
        for r in x.section(0x12) {
            match r.kind {
                2 => r.id = 7 - r.id,
                3 => {
                    let file = r.fields[1].payload[0];
                    r.set(2, 7 - u64::from(file));
                }
                _ => {}
            }
        }
        for r in x.section(0x13) {
            if r.kind == 3 {
                r.id = 7 - r.id;
                let file = r.fields[0].payload[0];
                r.set(1, 7 - u64::from(file));
            }
        }
        // The deleted file with them.
        for p in &mut x.pages {
            if p.section == 0x12 {
                p.owner = 7 - p.owner;
            }
        }
        for id in [0x12, 0x14, 0x16] {
            x.section(id).reverse();
        }
    });
    let diff = diff(&process(), &other);
    assert!(
        diff.is_same(),
        "{}",
        serde_json::to_string_pretty(&diff).unwrap()
    );
}

#[test]
fn how_unread_bytes_lie_in_buffers_is_no_difference_but_packets_are() {
    let split = with(|x| {
        let pipes = x.section(0x13);
        pipes[1].put(3, b"he");
        let mut rest = pipes[1].clone();
        rest.put(3, b"llo");
        pipes.insert(2, rest);
        pipes[2].id = 2;
        pipes[3].id = 3;
    });
    assert!(diff(&process(), &split).is_same());
    let packet = with(|x| x.record(0x13, 2, 0).set(2, 1));
    let d = diff(&process(), &packet);
    assert_eq!(d.changes.len(), 1);
    assert_eq!(d.changes[0].fields[0].field, "flags");
}

#[test]
fn areas_are_told_in_words() {
    let kinds = |bytes: Vec<u8>| -> Vec<(Kind, String)> {
        let diff = diff(&process(), &bytes);
        let areas = diff.changes.iter().filter(|c| c.record == "vma");
        areas
            .map(|c| (c.kind, c.note.clone().unwrap_or_default()))
            .collect()
    };
    let heap = |x: &mut Image, id, v| x.record(0x11, 2, 2).set(id, v);
    let one = |kind, note: &str| vec![(kind, note.to_owned())];
    assert_eq!(
        kinds(with(|x| heap(x, 2, 0x5555_5558_0000))),
        one(Kind::Grown, "by 64 KiB")
    );
    assert_eq!(
        kinds(with(|x| heap(x, 2, 0x5555_5556_8000))),
        one(Kind::Shrunk, "by 32 KiB")
    );
    assert_eq!(kinds(with(|x| heap(x, 3, 1))), one(Kind::Changed, ""));
    assert_eq!(
        kinds(with(|x| {
            heap(x, 1, 0x6555_5556_0000);
            heap(x, 2, 0x6555_5557_0000);
        })),
        one(Kind::Moved, "to 655555560000-655555570000")
    );
    let cut = |x: &mut Image, second: u64| {
        let at = x
            .section(0x11)
            .iter()
            .position(|r| r.kind == 2 && r.id == 3)
            .unwrap();
        let mut upper = x.section(0x11)[at].clone();
        x.section(0x11)[at].set(2, 0x5555_5556_4000);
        upper.set(1, second);
        upper.id = 33;
        x.section(0x11).insert(at + 1, upper);
    };
    let split = with(|x| cut(x, 0x5555_5556_4000));
    assert_eq!(kinds(split.clone()), one(Kind::Split, "into 2"));
    assert_eq!(
        kinds(with(|x| cut(x, 0x5555_5556_5000))),
        one(Kind::Remapped, "1 area became 2 areas")
    );
    // The other way round.
    let diff = diff(&split, &process());
    let merged = diff.changes.iter().find(|c| c.record == "vma").unwrap();
    assert_eq!(
        (merged.kind, merged.note.as_deref()),
        (Kind::Merged, Some("of 2 areas"))
    );
    let gone = with(|x| x.section(0x11).retain(|r| r.kind != 2 || r.id != 5));
    assert_eq!(kinds(gone), one(Kind::Removed, ""));
}

#[test]
fn records_and_sections_that_nobody_knows_are_compared_by_their_numbers() {
    let third = |value: u64, id: u32| {
        with(|x| {
            let section = 0x8000 | (synth::crc(b"clocks") & 0x7fff) as u16;
            x.sections[0].2.push(rec(
                2,
                section.into(),
                vec![t("clocks", 0), u(0, 1), t("", 0), u(1, 1)],
            ));
            x.sections[1].2.push(rec(
                1,
                3,
                vec![u(section.into(), 2), u(1, 1), t("clock\x1b", 0)],
            ));
            x.sections.push((
                section,
                false,
                vec![rec(1, id, vec![u(value, 2), t("utc", 0)])],
            ));
        })
    };
    assert!(diff(&third(1, 5), &third(1, 5)).is_same());
    let d = diff(&third(1, 5), &third(2, 5));
    let c = &d.changes[0];
    assert_eq!(
        (c.section.as_str(), c.object.as_str()),
        ("clocks", "clock\\x1b 5")
    );
    assert_eq!(c.fields[0].field, "field_1");
    let d = diff(&third(1, 5), &third(1, 6));
    assert_eq!(d.changes.len(), 2);
    assert_eq!(diff(&process(), &third(1, 5)).changes[0].kind, Kind::Added);
}

/// Writes text where the synthetic process has its arguments, with the page stored.
fn with_strings(args: &[u8], env: &[u8]) -> Vec<u8> {
    with(|x| {
        let base = 0x7ffd_1234_5000_u64;
        let (start, middle) = (base + 0x100, base + 0x100 + args.len() as u64);
        let mm = x.record(0x11, 1, 0);
        mm.set(8, start);
        mm.set(9, middle);
        mm.set(10, middle);
        mm.set(11, middle + env.len() as u64);
        x.record(0x10, 1, 0).put(7, args);
        let page = x
            .pages
            .iter_mut()
            .find(|p| p.runs.iter().any(|r| r.0 == base))
            .unwrap();
        let mut at = 0;
        for (start, n, kind) in &page.runs {
            if *kind == 0 {
                if *start == base {
                    break;
                }
                at += *n as usize * 4096;
            }
        }
        page.data[at + 0x100..][..args.len()].copy_from_slice(args);
        page.data[at + 0x100 + args.len()..][..env.len()].copy_from_slice(env);
    })
}

#[test]
fn arguments_and_environment_are_compared_as_the_program_sees_them() {
    let a = with_strings(b"prog\0-v\0last\0", b"PATH=/bin\0HOME=/root\0X=1\0");
    let b = with_strings(b"prog\0-q\0-v\0last\0", b"HOME=/home\0PATH=/bin\0Y=1\x1b\0");
    let d = diff_with(
        &a,
        &b,
        &Options {
            mem: Mem::None,
            ..Options::default()
        },
    );
    let found: Vec<(Kind, &str)> = d
        .changes
        .iter()
        .filter(|c| matches!(c.record.as_str(), "argument" | "environment"))
        .map(|c| (c.kind, c.object.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            (Kind::Changed, "environment HOME"),
            (Kind::Removed, "environment X"),
            (Kind::Added, "environment Y"),
            (Kind::Added, "argument 1"),
        ]
    );
    // Not a second time as one string of bytes.
    assert!(!d
        .changes
        .iter()
        .flat_map(|c| &c.fields)
        .any(|f| f.field == "args"));
    let ignore = Options {
        mem: Mem::None,
        ignore: vec!["environment".into(), "argument.value".into(), "mm".into()],
        ..Options::default()
    };
    assert!(diff_with(&a, &b, &ignore).is_same());
}

#[test]
fn how_pages_are_stored_is_no_difference() {
    // A stored page of zeros, a noted one, and one that no run names.
    let variants: Vec<Vec<u8>> = [0, 1, 2]
        .into_iter()
        .map(|how| {
            with(|x| {
                let at = 0x5555_5556_8000_u64;
                let page = &mut x.pages[0];
                page.runs.retain(|r| r.0 < at);
                page.data.truncate(
                    page.runs
                        .iter()
                        .filter(|r| r.2 == 0)
                        .map(|r| r.1 as usize * 4096)
                        .sum(),
                );
                match how {
                    0 => {
                        page.runs.push((at, 1, 0));
                        page.data.extend([0; 4096]);
                    }
                    1 => page.runs.push((at, 1, 1)),
                    _ => {}
                }
                x.stats.clear();
            })
        })
        .collect();
    for a in &variants {
        for b in &variants {
            let d = diff(a, b);
            assert!(d.is_same());
        }
    }
    let d = diff(&variants[1], &variants[2]);
    assert_eq!(d.memory.unwrap().total.zero_or_absent, 1);
}

#[test]
fn a_byte_that_differs_is_found_and_shown_however_it_is_stored() {
    let before = process();
    let after = with(|x| {
        let data = &mut x.pages[1].data;
        data[17] ^= 0xff;
    });
    let options = Options {
        mem: Mem::Bytes,
        ..Options::default()
    };
    let d = diff_with(&before, &after, &options);
    assert!(d.changes.is_empty() && !d.is_same());
    let report = d.memory.unwrap();
    assert_eq!((report.total.changed, report.total.bytes), (1, 1));
    let piece = &report.pieces[0];
    assert_eq!((piece.a, piece.b, piece.old.len()), (piece.b, piece.a, 16));
    assert_eq!(piece.old[1] ^ piece.new[1], 0xff);
    // With a limit of nothing it is counted only.
    let none = diff_with(
        &before,
        &after,
        &Options {
            max_bytes: 0,
            ..options
        },
    );
    let report = none.memory.unwrap();
    assert!(report.pieces.is_empty());
    assert_eq!(report.left_out, 16);
}

#[test]
fn equal_checksums_are_believed_only_on_demand() {
    let d = |trust_crc| {
        diff_with(
            &process(),
            &process(),
            &Options {
                trust_crc,
                ..Options::default()
            },
        )
    };
    let (read, believed) = (
        d(false).memory.unwrap().total,
        d(true).memory.unwrap().total,
    );
    // Pages of zeros that are stored are not told from others without reading them.
    assert_eq!(read.same + read.zero, believed.same + believed.zero);
    let after = changed();
    let trust = Options {
        trust_crc: true,
        ..Options::default()
    };
    assert_eq!(
        diff(&process(), &after).memory.unwrap().total.changed,
        diff_with(&process(), &after, &trust)
            .memory
            .unwrap()
            .total
            .changed
    );
}

#[test]
fn contents_of_a_deleted_file_are_compared_by_its_descriptor() {
    let after = with(|x| {
        let page = x.pages.iter_mut().find(|p| p.section == 0x12).unwrap();
        page.data[0] ^= 1;
    });
    let d = diff(&process(), &after);
    let report = d.memory.unwrap();
    let row = report.rows.iter().find(|r| r.counts.changed > 0).unwrap();
    assert_eq!(
        row.name,
        "deleted file /tmp/scratch (deleted) (descriptor 9)"
    );
}

#[test]
fn quiet_prints_nothing_and_wrong_use_is_told() {
    let r = crimg(&["diff", "--quiet", "process.ckpt", "diff/changed.ckpt"]);
    assert_eq!((r.code, r.stdout.as_str(), r.stderr.as_str()), (1, "", ""));
    let r = crimg(&["diff", "-q", "process.ckpt", "process.ckpt"]);
    assert_eq!((r.code, r.stdout.as_str()), (0, ""));
    let r = crimg(&[
        "diff",
        "process.ckpt",
        "process.ckpt",
        "--ignore",
        "nonsense",
    ]);
    assert_eq!(r.code, 2);
    assert!(
        r.stderr
            .contains("--ignore: no record has a field \"nonsense\""),
        "{}",
        r.stderr
    );
    let r = crimg(&[
        "diff",
        "process.ckpt",
        "process.ckpt",
        "--section",
        "nonsense",
    ]);
    assert_eq!(r.code, 2);
    let r = crimg(&["diff", "process.ckpt", "missing.ckpt"]);
    assert_eq!(r.code, 6);
    let r = crimg(&["diff", "process.ckpt", "process.show"]);
    assert_eq!(r.code, 3, "{}", r.stderr);
}

#[test]
fn damage_is_told_and_the_rest_compared() {
    let folder = Folder::new();
    let mut bytes = process();
    let len = bytes.len();
    bytes.truncate(len - 1);
    let cut = folder.put("cut", &bytes);
    let r = crimg(&["diff", "process.ckpt", cut.to_str().unwrap()]);
    assert_eq!(r.code, 3);
    assert!(
        r.stdout.contains("DAMAGED") && r.stdout.contains("same"),
        "{}",
        r.stdout
    );
    // Damaged page data is found because it is read.
    let mut bytes = process();
    bytes[len - 8192] ^= 1;
    let bad = folder.put("bad", &bytes);
    let r = crimg(&["diff", "process.ckpt", bad.to_str().unwrap()]);
    assert_eq!(r.code, 3, "{}{}", r.stdout, r.stderr);
}

#[test]
fn text_of_an_image_does_not_steer_the_terminal() {
    let evil = with(|x| {
        x.record(0x10, 2, 1).put(2, b"\x1b[2J\xc2\x9b");
        x.record(0x12, 2, 2).put(2, "/\u{202e}gpj\n.x".as_bytes());
        x.record(0x11, 2, 2).put(8, b"\x1b]0;x\x07");
        x.record(0x11, 3, 0).put(1, b"/\x1b[31m");
        x.section(0x12).retain(|r| r.kind != 3 || r.id != 5);
    });
    let folder = Folder::new();
    let path = folder.put("evil", &evil);
    for args in [&[][..], &["--json"]] {
        for (a, b) in [
            ("process.ckpt", path.to_str().unwrap()),
            (path.to_str().unwrap(), "process.ckpt"),
        ] {
            let mut all = vec!["diff", a, b];
            all.extend(args);
            let r = crimg(&all);
            assert_eq!(r.code, 1);
            let bad = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
            assert!(!r.stdout.contains(bad), "{}", r.stdout);
        }
    }
}

#[test]
fn compressed_pages_and_duplicates_equal_raw_ones() {
    let compressed = synth::compressed();
    let mut raw = compressed.clone();
    let page = &mut raw.pages[0];
    (page.frame, raw.features) = (None, 0);
    // The duplicates are written out.
    let of = page.data[2 * 4096..].to_vec();
    let last = page.runs.pop().unwrap();
    assert_eq!((last.1, last.2), (3, 2));
    page.sources.clear();
    page.runs.push((last.0, 3, 0));
    page.data.extend([&of[..], &of, &of].concat());
    let d = diff(&compressed.bytes(), &raw.bytes());
    assert!(d.is_same(), "{}", serde_json::to_string_pretty(&d).unwrap());
    assert!(d.memory.unwrap().total.same >= 9);
}
