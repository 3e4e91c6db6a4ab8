// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! What is printed about an image.

use super::{
    input::{self, any, byte, cut, number},
    page, printed,
    tool::{crimg, empty, path, write},
};

/// Every view, as text and as JSON, of a sound, broken or damaged image.
pub fn show(data: &[u8]) {
    let image = write("show.ckpt", &any(data));
    for options in [
        &["--all"][..],
        &[],
        &["--maps", "--modules", "--chunks=list"],
    ] {
        let mut args = vec!["show", &image];
        args.extend(options);
        if let Some(said) = crimg(&args).done() {
            printed::text(said);
        }
        args.push("--json");
        let said = crimg(&args);
        // Of what is no image at all, nothing is printed.
        if let Some(said) = said.done().filter(|said| !said.is_empty()) {
            printed::json(said);
        }
    }
}

/// Backtraces of all processes of a model, or of one of them.
pub fn walk(data: &[u8]) {
    let image = write("walk.ckpt", &any(data));
    let root = empty();
    let pids = ["1234", "1300", "1301", "1302", "7"];
    let pid = data.last().and_then(|b| pids.get(usize::from(b % 8)));
    let mut args = vec!["bt", &image, "--sysroot", &root];
    if let Some(pid) = pid {
        args.extend(["--pid", pid]);
    }
    if let Some(said) = crimg(&args).done() {
        printed::text(said);
    }
    args.push("--json");
    let said = crimg(&args);
    if let Some(said) = said.done().filter(|said| !said.is_empty()) {
        printed::json(said);
    }
}

/// The verdict, at every level.
pub fn verify(data: &[u8]) {
    let bytes = any(data);
    let image = write("verify.ckpt", &bytes);
    let root = empty();
    for options in [
        &[][..],
        &["--level", "crc"],
        &["--level", "host", "--sysroot", &root],
    ] {
        let mut args = vec!["verify", &image];
        args.extend(options);
        let said = crimg(&args);
        printed::text(said.done().expect("a verdict"));
        args.push("--json");
        let json = crimg(&args);
        printed::json(json.done().expect("a verdict"));
        assert_eq!(said.result.ok(), json.result.ok());
    }
    // The same answer as the crate of the kernel modules, which reads on its own here.
    let said = crimg(&["verify", "--quiet", &image]);
    let sound = said.result.ok() == Some(crimg::error::Outcome::Sound);
    assert_eq!(sound, input::is_sound(&bytes));
}

/// The page.
pub fn report(data: &[u8]) {
    let image = write("report.ckpt", &any(data));
    let said = crimg(&["report", &image, "-o", "-"]);
    if let Some(said) = said.done() {
        page::check(printed::text(said));
    }
    let said = crimg(&[
        "report",
        &image,
        "-o",
        &path("page.html"),
        "--force",
        "--json",
    ]);
    if let Some(said) = said.done() {
        printed::json(said);
    }
}

/// Looks into memory: the first part makes the image, the second says where and for what to look.
pub fn mem(data: &[u8]) {
    let (script, mut rest) = cut(data);
    let image = write("mem.ckpt", &input::image(script));
    let (what, at) = (byte(&mut rest), number(&mut rest) >> 8);
    // Mostly where there is something.
    let at = match what >> 5 {
        0 => 0x5555_5556_0000 + at % 0x10000,
        1 => 0x7ff0_0000_0000 | (at % 0x10_0000_0000),
        2 => at % 0x1000_0000,
        _ => at,
    };
    let place = format!("{at:#x},{}", 1 + u64::from(byte(&mut rest)) * 97);
    let address = format!("{at:#x}");
    let text: String = String::from_utf8_lossy(rest).chars().take(40).collect();
    // One letter is everywhere in the memory of a real process: pages of output, which take their time.
    let is_real = script.first().is_some_and(|b| *b >= 0xf0);
    let text = if is_real && text.len() < 3 {
        "GLIBC".to_owned()
    } else {
        text
    };
    let hex: String = rest.iter().take(12).map(|b| format!("{b:02x}")).collect();
    let hex = if is_real && hex.len() < 6 {
        "7f454c46".to_owned()
    } else {
        hex
    };
    // A model of several processes wants to know which.
    let is_tree = !is_real && script.first().is_some_and(|b| b % 4 == 2);
    let pid = ["1234", "1300"][usize::from(what >> 4 & 1)];
    let args: Vec<&str> = match what % 10 {
        0 => vec!["hex", &image, "--at", &place],
        1 => vec!["disasm", &image, "--at", &place],
        2 => vec!["disasm", &image],
        3 => vec!["strings", &image, "-j1"],
        4 => vec!["strings", &image, "-j1", "--encoding", "utf16le"],
        5 => vec!["find-ptr", &image, &address, "-j1"],
        6 => vec!["find-ptr", &image, &address, "-j1", "--unaligned"],
        7 => vec!["grep", &image, "-j1", "-C", "8", "--", &text],
        8 => vec!["grep", &image, "-j1", "-e", "--", &text],
        _ => vec!["grep", &image, "-j1", "-x", "--", &hex],
    };
    for json in [false, true] {
        let mut line = vec!["mem"];
        line.extend(&args);
        if is_tree {
            line.insert(3, pid);
            line.insert(3, "--pid");
        }
        if json {
            line.insert(3, "--json");
        }
        let said = crimg(&line);
        match said.done() {
            Some(said) if json => drop(printed::json(said)),
            Some(said) => drop(printed::text(said)),
            None => {}
        }
    }
}
