// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg export json`, `crimg import json`: what is not edited comes back byte for byte, what is edited
//! becomes a sound image, what does not fit together is refused with its place.
//!
//! `CRKIT_UPDATE=1 cargo test -p crimg` writes the golden files anew; review them as a diff.

#[path = "../../../format/tests/synth/mod.rs"]
mod synth;
mod tool;

use crimg::{
    diff::{compare, Options},
    error::Failure,
    file::ImageFile,
    json_image::{
        export::{export, Pages},
        import::{import, import_file, Job, Pass},
        make::Made,
        target::Sink,
    },
};
use serde_json::{json, Value};
use std::{
    fs::File,
    path::{Path, PathBuf},
};
use synth::{rec, t, u, Chunk, Image};
use tool::{crimg, golden, stdin};

/// A folder in memory: every import flushes its file.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let shm = Path::new("/dev/shm");
        let dir = if shm.is_dir() {
            tempfile::tempdir_in(shm)
        } else {
            tempfile::tempdir()
        };
        Self(dir.unwrap())
    }
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        std::fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }
    fn job(&self) -> Job {
        Job {
            name: "document".to_owned(),
            target: self.path("made"),
            force: true,
            folder: Some(self.0.path().to_owned()),
            pages_file: None,
        }
    }
    /// The document of an image.
    fn export(&self, image: &[u8], pages: &Pages) -> Result<Vec<u8>, Failure> {
        let path = self.put("image", image);
        let file = ImageFile::open(path.to_str().unwrap())?;
        let mut out = Vec::new();
        export(&file, pages, true, &mut Sink::Bytes(&mut out), false)?;
        Ok(out)
    }
    /// What becomes of a document.
    fn import(&self, document: &[u8]) -> Result<(Made, Vec<u8>), Failure> {
        let made = import(&self.job(), document, Pass::Both)?;
        Ok((made, std::fs::read(self.path("made")).unwrap()))
    }
    fn document(&self) -> Value {
        let text = self
            .export(&synth::process().bytes(), &Pages::Embed)
            .unwrap();
        serde_json::from_slice(&text).unwrap()
    }
}

fn verify(path: &Path) -> tool::Run {
    crimg(&["verify", path.to_str().unwrap()])
}

fn with(change: impl FnOnce(&mut Image)) -> Vec<u8> {
    let mut image = synth::process();
    change(&mut image);
    image.bytes()
}

/// Images of every layout: real ones, small chunks, much padding, no pages, third parties, unknown records.
fn images() -> Vec<(String, Vec<u8>)> {
    let mut list = vec![
        ("process".to_owned(), synth::process().bytes()),
        ("compressed".to_owned(), synth::compressed().bytes()),
    ];
    for entry in std::fs::read_dir(tool::folder().join("real")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".ckpt") {
            list.push((name.clone(), tool::image(&format!("real/{name}"))));
        }
    }
    assert!(list.len() > 8);
    list.push(("one record per chunk".into(), with(|x| x.chunk_max = 1)));
    list.push((
        "some records per chunk".into(),
        with(|x| x.chunk_max = 1000),
    ));
    list.push((
        "no pages".into(),
        with(|x| {
            x.pages.clear();
            x.stats.clear();
        }),
    ));
    let mut chunks = synth::process().chunks();
    let at = chunks.iter().position(|c| &c.code == b"PAD_").unwrap();
    for _ in 0..3 {
        chunks.insert(at + 1, Chunk::new(b"PAD_", vec![0; 2 * 4096 - 64]));
    }
    for (n, c) in chunks.iter_mut().filter(|c| &c.code == b"PAD_").enumerate() {
        c.seq = n as u32;
    }
    list.push((
        "padding".into(),
        synth::assemble(&synth::superblock(), &chunks),
    ));
    list.push((
        "third party".into(),
        with(|x| {
            let section = 0x8000 | (synth::crc(b"clocks") & 0x7fff) as u16;
            x.sections[0].2.push(rec(
                2,
                section.into(),
                vec![t("clocks", 0), u(1, 1), t("", 0), u(1, 1)],
            ));
            let schema = |id, field: u64, name: &str| {
                let numbers = [
                    u(section.into(), 2),
                    u(1, 1),
                    u(field, 1),
                    t(name, 0),
                    u(1, 1),
                    u(2, 1),
                ];
                rec(2, id, numbers.to_vec())
            };
            // Names that are in the way.
            for (n, name) in [
                "id",
                "record",
                "_x",
                "same",
                "same",
                "field_5",
                "~/\u{1b}[m",
            ]
            .iter()
            .enumerate()
            {
                x.sections[1]
                    .2
                    .push(schema(10 + n as u32, n as u64 + 1, name));
            }
            let fields: Vec<_> = (0..8).map(|n| u(1 << 60 | n, 2)).collect();
            x.sections.push((
                section,
                true,
                vec![rec(1, 5, fields), rec(9, 0, vec![synth::b(b"\xff\0", 9)])],
            ));
            let mut page = x.pages[2].clone();
            (page.section, page.owner) = (section, 77);
            x.pages.push(page);
        }),
    ));
    list.push((
        "unknown records and fields".into(),
        with(|x| {
            x.section(0x16).push(rec(
                7,
                1,
                vec![t("new", 0), synth::a(&[1, 2], 8), synth::i(-5, 1)],
            ));
            let limit = x.record(0x16, 1, 2);
            limit.fields.push(u(5, 4));
            limit.fields[1].wire = 2;
            limit.fields[2].hint = 99;
            x.record(0x10, 1, 0).put(6, b"/\xff\xfe/\xe2\x80\xae");
            x.record(0x10, 2, 1).fields[2].payload.truncate(24);
        }),
    ));
    list
}

#[test]
fn every_image_comes_back_byte_for_byte() {
    let folder = Folder::new();
    let schema = include_str!("../schema/image.schema.json");
    let schema = jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap();
    for (name, image) in images() {
        let text = folder
            .export(&image, &Pages::Embed)
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        let document = serde_json::from_slice(&text).unwrap();
        assert!(schema.is_valid(&document), "{name}");
        let (made, back) = folder
            .import(&text)
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(made, Made::Identical, "{name}");
        assert!(back == image, "{name}");
        assert!(
            !String::from_utf8(text)
                .unwrap()
                .contains(|c: char| c.is_control() && c != '\n' || c == '\u{202e}'),
            "{name}"
        );
    }
}

#[test]
fn images_that_break_a_rule_come_back_too_or_are_refused() {
    let folder = Folder::new();
    let (mut back, mut refused) = (0, 0);
    for bad in synth::bad() {
        let Ok(text) = folder.export(&bad.bytes, &Pages::Embed) else {
            continue;
        };
        match folder.import(&text) {
            Ok((made, bytes)) => {
                assert_eq!(made, Made::Identical, "{}", bad.name);
                assert!(bytes == bad.bytes, "{}", bad.name);
                back += 1;
            }
            Err(e) => {
                assert!(matches!(e, Failure::Malformed { .. }), "{}: {e}", bad.name);
                refused += 1;
            }
        }
    }
    assert!(back > 80 && refused < 10, "{back} {refused}");
}

#[test]
fn page_data_in_a_file_comes_back() {
    let folder = Folder::new();
    for (name, image) in images() {
        let text = folder
            .export(&image, &Pages::File(folder.path("data")))
            .unwrap();
        let (made, back) = folder
            .import(&text)
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(made == Made::Identical && back == image, "{name}");
    }
    // The file may be elsewhere, if the user says so.
    std::fs::rename(folder.path("data"), folder.path("moved")).unwrap();
    let (_, image) = images().pop().unwrap();
    let text = folder
        .export(&image, &Pages::File(folder.path("data")))
        .unwrap();
    std::fs::rename(folder.path("data"), folder.path("moved")).unwrap();
    assert!(matches!(folder.import(&text), Err(Failure::Read { .. })));
    let job = Job {
        pages_file: Some(folder.path("moved")),
        ..folder.job()
    };
    assert_eq!(
        import(&job, &text[..], Pass::Both).unwrap(),
        Made::Identical
    );
    // The document cannot name a file elsewhere.
    let mut doc: Value = serde_json::from_slice(&text).unwrap();
    for evil in ["/etc/passwd", "../moved", "..", ""] {
        doc["pages_file"] = json!(evil);
        let e = folder.import(doc.to_string().as_bytes()).unwrap_err();
        assert!(e.to_string().contains("/pages_file"), "{e}");
    }
    std::fs::write(folder.path("short"), b"x").unwrap();
    let job = Job {
        pages_file: Some(folder.path("short")),
        ..folder.job()
    };
    assert!(matches!(
        import(&job, &text[..], Pass::Both),
        Err(Failure::Malformed { .. })
    ));
}

#[test]
fn the_order_of_members_and_the_layout_of_the_text_do_not_matter() {
    let folder = Folder::new();
    fn sorted(v: &Value) -> Value {
        match v {
            Value::Object(m) => {
                let mut keys: Vec<_> = m.keys().collect();
                keys.sort();
                Value::Object(
                    keys.into_iter()
                        .map(|k| (k.clone(), sorted(&m[k])))
                        .collect(),
                )
            }
            Value::Array(a) => a.iter().map(sorted).collect(),
            v => v.clone(),
        }
    }
    for image in [synth::process().bytes(), synth::compressed().bytes()] {
        let text = folder.export(&image, &Pages::Embed).unwrap();
        let doc: Value = serde_json::from_slice(&text).unwrap();
        // On one line.
        assert_eq!(
            folder.import(doc.to_string().as_bytes()).unwrap(),
            (Made::Identical, image.clone())
        );
        // Sorted: "pages" comes before the sections, so a stream cannot be taken but a file can.
        let text = sorted(&doc).to_string();
        let e = folder.import(text.as_bytes()).unwrap_err();
        assert!(e.to_string().contains("must come before"), "{e}");
        let path = folder.put("sorted", text.as_bytes());
        let made = import_file(&folder.job(), &File::open(path).unwrap()).unwrap();
        assert_eq!(made, Made::Identical);
        assert!(std::fs::read(folder.path("made")).unwrap() == image);
    }
}

fn section<'d>(doc: &'d mut Value, name: &str) -> &'d mut Vec<Value> {
    let sections = doc["sections"].as_array_mut().unwrap();
    let section = sections.iter_mut().find(|s| s["name"] == name).unwrap();
    section["records"].as_array_mut().unwrap()
}

fn record<'d>(doc: &'d mut Value, name: &str, kind: &str, n: usize) -> &'d mut Value {
    section(doc, name)
        .iter_mut()
        .filter(|r| r["record"] == kind)
        .nth(n)
        .unwrap()
}

#[test]
fn an_edit_gives_a_sound_image_that_differs_in_just_that() {
    type Edit = fn(&mut Value);
    let edits: [(&str, Edit); 8] = [
        ("soft", |d| {
            record(d, "limits", "limit", 7)["soft"] = json!("2048")
        }),
        ("path", |d| {
            record(d, "files", "file", 2)["path"] = json!("/var/log/other.log")
        }),
        ("regs.rip", |d| {
            record(d, "tasks", "task", 1)["regs"]["rip"] = json!("0x7f0000100044")
        }),
        ("blocked", |d| {
            record(d, "signals", "task_signals", 0)["blocked"] = json!("0x0")
        }),
        ("groups", |d| {
            record(d, "creds", "cred", 0)["groups"] = json!([1, 2, 3])
        }),
        ("args", |d| {
            record(d, "tasks", "process", 0)["args"] = json!({"text": "counter\0--slow\0"})
        }),
        ("mode", |d| {
            record(d, "files", "file", 2)["mode"] = json!("0o100600")
        }),
        ("handler", |d| drop(section(d, "signals").remove(1))),
    ];
    for (field, edit) in edits {
        let folder = Folder::new();
        let mut doc = folder.document();
        edit(&mut doc);
        let (made, _) = folder
            .import(doc.to_string().as_bytes())
            .unwrap_or_else(|e| panic!("{field}: {e}"));
        assert_eq!(made, Made::Edited, "{field}");
        let r = verify(&folder.path("made"));
        assert_eq!(r.code, 0, "{field}: {}", r.stderr);
        let before = folder.path("image");
        let open = |p: &Path| ImageFile::open(p.to_str().unwrap()).unwrap();
        let (a, b) = (open(&before), open(&folder.path("made")));
        let diff = compare(&a, &b, &Options::default()).unwrap();
        assert_eq!(diff.changes.len(), 1, "{field}");
        assert!(
            diff.changes[0].fields.iter().any(|f| f.field == field),
            "{field}"
        );
        let edit = diff
            .header
            .iter()
            .find(|c| c.section == "provenance")
            .unwrap();
        let operation = edit.fields.iter().find(|f| f.field == "operation").unwrap();
        assert_eq!(operation.new.as_ref().unwrap().text, "\"import\"");
        assert_ne!(
            a.image.superblock.unwrap().uuid,
            b.image.superblock.unwrap().uuid
        );
    }
}

#[test]
fn remarks_are_no_edits() {
    let folder = Folder::new();
    let mut doc = folder.document();
    doc["_note"] = json!({"deep": [1, 2, {"x": null}]});
    record(&mut doc, "files", "file", 2)["_flags"] = json!("something else");
    doc["sections"][0]["_x"] = json!([]);
    let (made, bytes) = folder.import(doc.to_string().as_bytes()).unwrap();
    assert_eq!(made, Made::Identical);
    assert!(bytes == synth::process().bytes());
}

#[test]
fn edited_page_data_is_counted_anew() {
    let folder = Folder::new();
    let mut doc = folder.document();
    // The second page of the first chunk becomes zero.
    let chunk = &mut doc["pages"][0];
    let runs = chunk["runs"].as_array_mut().unwrap();
    let before = runs.len();
    runs.truncate(1);
    let data =
        crimg::json_image::base64::decode(chunk["data"].as_str().unwrap().as_bytes()).unwrap();
    let mut text = Vec::new();
    crimg::json_image::base64::encode(&data[..4096], &mut text);
    chunk["data"] = json!(String::from_utf8(text).unwrap());
    assert!(before > 1);
    let (made, _) = folder.import(doc.to_string().as_bytes()).unwrap();
    assert_eq!(made, Made::Edited);
    assert_eq!(verify(&folder.path("made")).code, 0);
}

#[test]
fn without_pages_the_image_cannot_be_restarted() {
    let folder = Folder::new();
    let text = folder
        .export(&synth::process().bytes(), &Pages::None)
        .unwrap();
    golden("image/process.json", &text);
    let (made, _) = folder.import(&text).unwrap();
    assert_eq!(made, Made::Edited);
    let file = ImageFile::open(folder.path("made").to_str().unwrap()).unwrap();
    assert!(!file.image.superblock.unwrap().is_restartable());
    assert_eq!(file.page_chunks().count(), 0);
    assert_eq!(verify(&folder.path("made")).code, 0);
}

/// Place and a word of the message of a document that must be refused.
fn refused(doc: &Value, place: &str, word: &str) {
    let folder = Folder::new();
    match folder.import(doc.to_string().as_bytes()) {
        Err(Failure::Malformed {
            place: at,
            message,
            remedy,
            ..
        }) => {
            assert!(
                at == place || at.starts_with(&format!("{place} (line")),
                "{at} is not {place}: {message}"
            );
            assert!(message.contains(word), "{place}: {message}");
            assert!(!remedy.is_empty());
        }
        Err(e) => panic!("{place}: {e}"),
        Ok(_) => panic!("{place}: accepted"),
    }
    assert!(!folder.path("made").exists(), "nothing appears");
    let leftovers = std::fs::read_dir(folder.0.path()).unwrap().count();
    assert_eq!(leftovers, 0, "nothing is left");
}

#[test]
fn what_does_not_fit_together_is_refused_with_its_place() {
    type Edit = fn(&mut Value);
    let cases: [(&str, &str, Edit); 33] = [
        ("/crimg_schema", "crimg_schema 1", |d| {
            d["crimg_schema"] = json!(2)
        }),
        ("/document", "another kind", |d| {
            d["document"] = json!("show")
        }),
        ("/stuff", "no such member", |d| d["stuff"] = json!(1)),
        ("/superblock/uuid", "UUID", |d| {
            d["superblock"]["uuid"] = json!("1234")
        }),
        ("/superblock", "missing", |d| {
            drop(d["superblock"].as_object_mut().unwrap().remove("flags"))
        }),
        ("/superblock/flagz", "no such member", |d| {
            d["superblock"]["flagz"] = json!(1)
        }),
        ("/superblock/minor", "65535", |d| {
            d["superblock"]["minor"] = json!(70_000)
        }),
        ("/superblock/writer", "32", |d| {
            d["superblock"]["writer"] = json!("x".repeat(33))
        }),
        ("/superblock", "not supported", |d| {
            d["superblock"]["major"] = json!(9)
        }),
        ("/sections/3/name", "ascend", |d| {
            d["sections"][3]["name"] = json!("tasks")
        }),
        ("/sections/3/name", "neither", |d| {
            d["sections"][3]["name"] = json!("memroy")
        }),
        ("/sections/3/kind", "no such member", |d| {
            d["sections"][3]["kind"] = json!(1)
        }),
        ("/sections/3/records/0/start_cod", "no such field", |d| {
            section(d, "memory")[0]["start_cod"] = json!(1);
        }),
        ("/sections/3/records/1/size", "not a number", |d| {
            section(d, "memory")[1]["size"] = json!("many");
        }),
        ("/sections/3/records/1/size", "not a number", |d| {
            section(d, "memory")[1]["size"] = json!(-1);
        }),
        ("/sections/3/records/1/record", "no record type", |d| {
            section(d, "memory")[1]["record"] = json!("mapped-file");
        }),
        ("/sections/3/records/1/id", "2^32", |d| {
            section(d, "memory")[1]["id"] = json!(1_u64 << 32)
        }),
        ("/sections/3/records/1", "\"id\"", |d| {
            section(d, "memory")[1]
                .as_object_mut()
                .unwrap()
                .remove("id");
        }),
        ("/sections/3/records/1/path", "NUL", |d| {
            section(d, "memory")[1]["path"] = json!("/a\0b")
        }),
        ("/sections/3/records/1/path", "not a string", |d| {
            section(d, "memory")[1]["path"] = json!(5)
        }),
        ("/sections/3/records/1/build_id", "hexadecimal", |d| {
            section(d, "memory")[1]["build_id"] = json!("abc");
        }),
        ("/sections/3/records/0/auxv/1", "not a number", |d| {
            section(d, "memory")[0]["auxv"][1] = json!({})
        }),
        ("/sections/2/records/1/regs/rax", "not a number", |d| {
            record(d, "tasks", "task", 0)["regs"]["rax"] = json!("zero");
        }),
        (
            "/sections/2/records/1/regs",
            "register r15 is missing",
            |d| {
                record(d, "tasks", "task", 0)["regs"]
                    .as_object_mut()
                    .unwrap()
                    .remove("r15");
            },
        ),
        ("/sections/2/records/1/regs/eax", "no such register", |d| {
            record(d, "tasks", "task", 0)["regs"]["eax"] = json!(0);
        }),
        ("/sections/3/records/3", "MEMORY-3", |d| {
            record(d, "memory", "vma", 0)["start"] = json!("0x123")
        }),
        ("/sections/5/records/0", "PIPES-3", |d| {
            record(d, "pipes", "pipe", 0)["queued"] = json!(70_000)
        }),
        ("/pages/0/runs/0/kind", "unknown kind", |d| {
            d["pages"][0]["runs"][0]["kind"] = json!("dat")
        }),
        ("/pages/0/runs", "1 to 168", |d| {
            d["pages"][0]["runs"] = json!([])
        }),
        ("/pages/0/data", "base64", |d| {
            d["pages"][0]["data"] = json!("====")
        }),
        ("/pages/0", "the data has", |d| {
            d["pages"][0]["data"] = json!("AAAA")
        }),
        ("/pages/1", "PAGE-10", |d| {
            d["pages"][1]["runs"][0]["start"] = json!("0x7f8000000000")
        }),
        ("/pages/2", "PAGE-9", |d| d["pages"][2]["owner"] = json!(3)),
    ];
    for (place, word, edit) in cases {
        let mut doc = Folder::new().document();
        edit(&mut doc);
        refused(&doc, place, word);
    }
}

#[test]
fn missing_and_repeated_parts_are_refused() {
    let folder = Folder::new();
    let doc = folder.document();
    for name in ["superblock", "sections", "pages"] {
        let mut doc = doc.clone();
        doc.as_object_mut().unwrap().remove(name);
        assert!(folder.import(doc.to_string().as_bytes()).is_err(), "{name}");
    }
    let text = doc.to_string();
    let twice = format!("{{\"superblock\": {}, {}", doc["superblock"], &text[1..]);
    assert!(folder.import(twice.as_bytes()).is_err());
    let trailing = format!("{text} x");
    assert!(folder.import(trailing.as_bytes()).is_err());
    for cut in [0, 1, 10, text.len() / 2, text.len() - 1] {
        assert!(folder.import(&text.as_bytes()[..cut]).is_err(), "{cut}");
    }
    for other in [
        "null",
        "[]",
        "5",
        "{}",
        "\"x\"",
        "{\"pages\": []}",
        "{\"sections\": null}",
        "\u{feff}{}",
    ] {
        assert!(folder.import(other.as_bytes()).is_err(), "{other}");
    }
}

#[test]
fn a_hostile_document_takes_no_memory_and_ends() {
    use std::{
        io::Write,
        process::{Command, Stdio},
    };
    let folder = Folder::new();
    let documents = [
        ("{\"superblock\": \"", "x"),
        ("{\"superblock\": ", "["),
        ("{\"superblock\": ", "1"),
        ("{\"superblock\": [", "1,"),
        ("{\"superblock\": [", "{},"),
        ("{\"sections\": [{\"name\": \"tasks\", \"chunks\": [", "1,"),
        (
            "{\"sections\": [{\"name\": \"tasks\", \"records\": [{\"x\":[",
            "\"0x1\",",
        ),
        (
            "{\"sections\": [",
            "{\"name\": \"0x9000\", \"records\": []},",
        ),
        ("{\"_x\": ", "{\"a\":"),
        ("{", "\"superblock\": 0,"),
        ("{\"", "a"),
    ];
    for (start, rest) in documents {
        // In 400 MiB of address space: an allocation that follows the document fails.
        let mut child = Command::new("sh")
            .args([
                "-c",
                "ulimit -v 409600; exec \"$0\" import json - -o \"$1\" --force",
            ])
            .args([
                env!("CARGO_BIN_EXE_crimg"),
                folder.path("made").to_str().unwrap(),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = child.stdin.take().unwrap();
        let many = rest.repeat((1 << 16) / rest.len() + 1);
        let start = start.to_owned();
        let name = format!("{start}{}", &rest[..rest.len().min(20)]);
        let feeder = std::thread::spawn(move || {
            let mut ok = pipe.write_all(start.as_bytes());
            while ok.is_ok() {
                ok = pipe.write_all(many.as_bytes());
            }
        });
        let out = child.wait_with_output().unwrap();
        feeder.join().unwrap();
        let stderr = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(3), "{name}: {stderr}");
    }
}

#[test]
fn any_value_at_any_place_is_taken_or_refused_but_nothing_worse() {
    fn places(v: &Value, at: &mut Vec<String>, out: &mut Vec<String>) {
        let children: Vec<(String, &Value)> = match v {
            Value::Object(m) => m.iter().map(|(k, v)| (k.clone(), v)).collect(),
            Value::Array(a) => a
                .iter()
                .enumerate()
                .map(|(n, v)| (n.to_string(), v))
                .collect(),
            _ => Vec::new(),
        };
        for (name, child) in children {
            at.push(name);
            out.push(format!("/{}", at.join("/")));
            places(child, at, out);
            at.pop();
        }
    }
    let folder = Folder::new();
    let doc = folder.document();
    let mut all = Vec::new();
    places(&doc, &mut Vec::new(), &mut all);
    assert!(all.len() > 900, "{}", all.len());
    let values = [
        json!(null),
        json!("0xffffffffffffffff"),
        json!({"bytes": "00"}),
        json!([]),
        json!(1),
    ];
    for (n, place) in all.iter().enumerate().step_by(2) {
        let mut doc = doc.clone();
        *doc.pointer_mut(place).unwrap() = values[n % values.len()].clone();
        match folder.import(doc.to_string().as_bytes()) {
            Ok((Made::Edited, bytes)) => {
                // Every image that is made is sound; one in ten is looked at.
                if n % 10 == 0 {
                    let path = folder.put("check", &bytes);
                    assert_eq!(verify(&path).code, 0, "{place}");
                }
            }
            Ok((Made::Identical, bytes)) => assert!(bytes == synth::process().bytes(), "{place}"),
            Err(Failure::Malformed { .. } | Failure::Defect { .. }) => {}
            Err(e) => panic!("{place}: {e}"),
        }
    }
}

#[test]
fn the_commands_work_from_end_to_end() {
    let folder = Folder::new();
    let (doc, made) = (folder.path("d.json"), folder.path("i.ckpt"));
    let (doc, made) = (doc.to_str().unwrap(), made.to_str().unwrap());
    let r = crimg(&["export", "json", "process.ckpt", "-o", doc]);
    assert_eq!((r.code, r.stdout.as_str(), r.stderr.as_str()), (0, "", ""));
    let r = crimg(&["export", "json", "process.ckpt", "-o", doc]);
    assert_eq!(r.code, 2, "an existing file is kept");
    let r = crimg(&["import", "json", doc, "-o", made]);
    assert_eq!((r.code, r.stderr.as_str()), (0, ""));
    assert_eq!(
        r.stdout,
        format!("{made}: the exported image, byte for byte\n")
    );
    assert!(std::fs::read(made).unwrap() == tool::image("process.ckpt"));
    assert_eq!(crimg(&["import", "json", doc, "-o", made]).code, 2);
    let piped = crimg(&["export", "json", "compressed.ckpt"]);
    let r = stdin(
        &["import", "json", "-", "-o", made, "--force", "--json"],
        piped.stdout.as_bytes(),
    );
    assert_eq!(r.code, 0, "{}", r.stderr);
    assert!(r.stdout.contains("\"made\": \"identical\""));
    assert!(std::fs::read(made).unwrap() == tool::image("compressed.ckpt"));
    let r = crimg(&["import", "json", "process.json", "-o", made, "--force"]);
    assert_eq!(r.code, 3, "{}", r.stderr);
    golden("image/not-an-export.txt", r.stderr.as_bytes());
    let r = crimg(&["import", "json", "missing", "-o", made, "--force"]);
    assert_eq!(r.code, 6);
    let r = crimg(&["export", "json", "process.show"]);
    assert_eq!(r.code, 3);
    let r = crimg(&["export", "json", "process.ckpt", "--pages", "some"]);
    assert_eq!(r.code, 2);
}

#[test]
fn the_help_is_as_reviewed() {
    golden(
        "image/export-help.txt",
        crimg(&["export", "json", "--help"]).stdout.as_bytes(),
    );
    golden(
        "image/import-help.txt",
        crimg(&["import", "json", "--help"]).stdout.as_bytes(),
    );
}
