// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg report`: a page that shows everything, needs nothing, and cannot be taken over.

mod contents;
#[path = "properties/page.rs"]
mod page;
mod tool;

use contents::{heap, synth, write};
use std::path::Path;

fn page_of(image: &Path, code: i32) -> String {
    let run = tool::crimg(&["report", image.to_str().unwrap(), "-o", "-"]);
    assert_eq!(run.code, code, "{}", run.stderr);
    page::check(&run.stdout);
    run.stdout
}

#[test]
fn the_page_of_the_model_is_the_golden_one() {
    let run = tool::crimg(&["report", "process.ckpt", "-o", "-"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    page::check(&run.stdout);
    tool::golden("report/process.html", run.stdout.as_bytes());
}

#[test]
fn every_real_image_has_a_page() {
    for entry in std::fs::read_dir(tool::folder().join("real")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "ckpt") {
            let page = page_of(&path, 0);
            assert!(page.contains("[stack]") && page.contains("badge good"));
        }
    }
}

#[test]
fn resources_without_a_chapter_of_their_own_are_listed() {
    let page = page_of(&tool::folder().join("resources.ckpt"), 0);
    for word in [
        "<h3>eventfd</h3>",
        "<h3>epoll</h3>",
        "<h3>timers</h3>",
        "<h3>locks</h3>",
    ] {
        assert!(page.contains(word), "{word}");
    }
}

#[test]
fn hostile_names_stay_text() {
    let dir = tempfile::tempdir().unwrap();
    let evil =
        "/\"><script>alert('1')</script>&amp;<img src=x onerror=alert(1)>\u{202e}\u{1b}[2J</style>";
    let mut model = synth::process();
    model.record(0x10, 1, 0).put(5, b"<svg/onload=1>");
    model.record(0x10, 1, 0).put(6, evil.as_bytes());
    model.record(0x10, 1, 0).put(7, evil.as_bytes());
    model.record(0x10, 2, 0).put(2, b"'\"><b>x");
    model.record(0x12, 1, 0).put(1, evil.as_bytes());
    model.record(0x12, 2, 1).put(14, evil.as_bytes());
    model.record(0x12, 2, 2).put(2, evil.as_bytes());
    model.record(0x11, 2, 2).put(8, b"</title><script>");
    model
        .record(0x11, 3, 0)
        .put(1, b"/\xff\xfe<script>\0".strip_suffix(b"\0").unwrap());
    let image = model.record(1, 1, 0);
    for field in [2, 3, 5, 14] {
        image.put(field, evil.as_bytes());
    }
    let name = "a\"><script>x<.ckpt";
    let path = write(dir.path(), name, &model);
    let page = page_of(&path, 0);
    assert!(page.contains("&lt;script&gt;alert(&#39;1&#39;)"));
    for bad in ["<script", "<img", "<b>x", "onload=1>"] {
        assert!(!page.contains(bad), "{bad}");
    }
}

#[test]
fn damaged_images_are_shown_as_far_as_they_go() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cut");
    let bytes = tool::image("real/threads.ckpt");
    // Behind the tasks, within page data, at the very end; every one has a page and says so.
    for len in [30_000, 60_000, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..len]).unwrap();
        let page = page_of(&path, 3);
        assert!(page.contains("badge bad") && !page.contains("can be restarted"));
    }
    let mut flipped = bytes.clone();
    let last = flipped.len() - 1;
    flipped[last] ^= 1;
    std::fs::write(&path, &flipped).unwrap();
    page_of(&path, 3);
    std::fs::write(&path, b"no image").unwrap();
    let run = tool::crimg(&["report", path.to_str().unwrap(), "-o", "-"]);
    assert_eq!((run.code, run.stdout.as_str()), (3, ""));
}

#[test]
fn an_image_of_little_and_one_of_much_have_pages_of_bounded_size() {
    let dir = tempfile::tempdir().unwrap();
    let empty = page_of(&write(dir.path(), "empty", &heap(4, Vec::new())), 0);
    assert!(empty.contains("not mapped"));

    let mut model = synth::process();
    model.pages.clear();
    model.stats.clear();
    model.section(0x11).retain(|r| r.kind != 4);
    let area = model.record(0x11, 2, 2).clone();
    let last = model.section(0x11).iter().filter(|r| r.kind == 2).count() as u32;
    let at = |n: u32| 0x7ffe_0000_0000 + u64::from(n) * 0x2000;
    for n in 0..20_000 {
        let mut more = area.clone();
        more.id = last + n + 1;
        more.set(1, at(n));
        more.set(2, at(n) + 0x1000);
        let areas = model.section(0x11);
        let place = areas.iter().rposition(|r| r.kind == 2).unwrap();
        areas.insert(place + 1, more);
    }
    let path = write(dir.path(), "much", &model);
    let much = page_of(&path, 0);
    assert!(
        much.contains("more areas") && much.len() < 2_000_000,
        "{}",
        much.len()
    );
}

#[test]
fn a_stream_has_a_page_that_says_what_was_not_checked() {
    let run = tool::stdin(&["report", "-", "-o", "-"], &tool::image("process.ckpt"));
    assert_eq!(run.code, 0, "{}", run.stderr);
    page::check(&run.stdout);
    assert!(run.stdout.contains("metadata sound"));
}

#[test]
fn the_file_is_written_whole_and_not_over_another() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("p.html");
    let args = ["report", "process.ckpt", "-o", out.to_str().unwrap()];
    let run = tool::crimg(&args);
    assert_eq!(run.code, 0, "{}", run.stderr);
    page::check(&std::fs::read_to_string(&out).unwrap());
    assert_eq!(tool::crimg(&args).code, 2);
    let run = tool::crimg(&[&args[..], &["--force", "--json"]].concat());
    let value: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(value["verdict"], "sound");
}
