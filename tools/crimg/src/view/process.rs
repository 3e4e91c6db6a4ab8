// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `show --args`, `--env`, `--auxv`: what the kernel put on the stack at exec, read from the stored stack.
//!
//! The image's own copy of the arguments is cut at 4096 bytes; the stack has them all, and as the program may
//! have changed them since. From a stream, or when the stack is not stored, the copy is shown.

use crate::{
    error::Failure,
    escape,
    file::ImageFile,
    json,
    memory::Memory,
    names,
    output::{print, table, Output},
    view::{all, first, Show},
};
use cr_format::{FsRecord, MmRecord, ProcessRecord};
use serde_json::{json, Value};

/// Most bytes of arguments or environment that are read: as much as the kernel allows at exec with the usual stack.
const MOST: u64 = 6 << 20;
/// Longest string that an entry of the auxiliary vector may point to.
const STRING: usize = 4096;

/// The argument vector as one would type it; `None` if there is none.
pub fn command_line(args: &[u8]) -> Option<String> {
    let args = args.strip_suffix(b"\0").unwrap_or(args);
    if args.is_empty() {
        return None;
    }
    let word = |a: &[u8]| {
        let text = escape::text(a);
        let special = [' ', '\'', '"', '$', '*', ';', '|', '&', '<', '>', '(', ')'];
        if text.is_empty() || text.contains(special) {
            format!("'{text}'")
        } else {
            text
        }
    };
    let words: Vec<String> = args.split(|&b| b == 0).map(word).collect();
    let line = words.join(" ");
    Some(match line.char_indices().nth(200) {
        Some((at, _)) => format!("{}… ({} bytes)", line.get(..at).unwrap_or(""), args.len()),
        None => line,
    })
}

/// Strings from the stack, or why there are none.
enum Strings {
    Stack(Vec<Vec<u8>>),
    Copy(Vec<Vec<u8>>, &'static str),
    None(&'static str),
}

fn split(bytes: &[u8]) -> Vec<Vec<u8>> {
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    if bytes.is_empty() {
        return Vec::new();
    }
    bytes.split(|b| *b == 0).map(<[u8]>::to_vec).collect()
}

fn read(file: &ImageFile, start: u64, end: u64) -> Result<Option<Vec<u8>>, Failure> {
    let len = end.saturating_sub(start).min(MOST);
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    let whole = Memory::new(file, None).read_exact(start, &mut bytes)?;
    Ok(whole.map(|()| bytes))
}

const STREAM: &str = "the image comes from a stream";
const NOT_STORED: &str = "that part of the stack is not stored";
const NO_MM: &str = "the address space is not recorded, or damaged";

fn arguments(show: &Show<'_>) -> Result<Strings, Failure> {
    let copy = |why| match first::<ProcessRecord<'_>>(show.image) {
        Some(p) => Strings::Copy(split(p.args), why),
        None => Strings::None(why),
    };
    let Some(mm) = first::<MmRecord<'_>>(show.image) else {
        return Ok(copy(NO_MM));
    };
    let Some(file) = show.file else {
        return Ok(copy(STREAM));
    };
    Ok(match read(file, mm.arg_start, mm.arg_end)? {
        Some(bytes) => Strings::Stack(split(&bytes)),
        None => copy(NOT_STORED),
    })
}

fn environment(show: &Show<'_>) -> Result<Strings, Failure> {
    let Some(mm) = first::<MmRecord<'_>>(show.image) else {
        return Ok(Strings::None(NO_MM));
    };
    let Some(file) = show.file else {
        return Ok(Strings::None(STREAM));
    };
    Ok(match read(file, mm.env_start, mm.env_end)? {
        Some(bytes) => Strings::Stack(split(&bytes)),
        None => Strings::None(NOT_STORED),
    })
}

/// # Errors
/// [`Failure`].
pub fn args(show: &Show<'_>, out: &mut Output) -> Result<(), Failure> {
    if let Some(p) = first::<ProcessRecord<'_>>(show.image) {
        out.field("program", escape::text(p.exe))?;
    }
    if let Some(fs) = first::<FsRecord<'_>>(show.image) {
        out.field("directory", escape::text(fs.cwd))?;
        out.field("root", escape::text(fs.root))?;
    }
    let (list, why) = match arguments(show)? {
        Strings::Stack(list) => (list, ""),
        Strings::Copy(list, why) => (list, why),
        Strings::None(why) => return out.line(format_args!("(no arguments: {why})")),
    };
    for (n, a) in list.iter().enumerate() {
        out.field(&format!("argument {n}"), escape::text(a))?;
    }
    match why {
        "" => Ok(()),
        why => out.line(format_args!("(from the copy of at most 4096 bytes: {why})")),
    }
}

/// # Errors
/// [`Failure`].
pub fn env(show: &Show<'_>, out: &mut Output) -> Result<(), Failure> {
    match environment(show)? {
        Strings::Stack(list) | Strings::Copy(list, _) => {
            if list.is_empty() {
                return out.line("no environment");
            }
            list.iter().try_for_each(|v| out.line(escape::text(v)))
        }
        Strings::None(why) => out.line(format_args!("(no environment: {why})")),
    }
}

/// One entry of the auxiliary vector.
struct Entry {
    kind: u64,
    value: u64,
    text: Option<Vec<u8>>,
}

fn entries(show: &Show<'_>) -> Result<Vec<Entry>, Failure> {
    let Some(mm) = all::<MmRecord<'_>>(show.image).next() else {
        return Ok(Vec::new());
    };
    let words: Vec<u64> = mm.auxv.iter().collect();
    let mut entries = Vec::new();
    for pair in words.chunks_exact(2) {
        let (Some(&kind), Some(&value)) = (pair.first(), pair.last()) else {
            continue;
        };
        if kind == 0 {
            break;
        }
        let text = match (show.file, kind) {
            // PLATFORM, BASE_PLATFORM, EXECFN.
            (Some(file), 15 | 24 | 31) => string(file, value)?,
            _ => None,
        };
        entries.push(Entry { kind, value, text });
    }
    Ok(entries)
}

fn string(file: &ImageFile, address: u64) -> Result<Option<Vec<u8>>, Failure> {
    let mut bytes = vec![0; STRING];
    let n = Memory::new(file, None).read(address, &mut bytes)?;
    bytes.truncate(n);
    let end = bytes.iter().position(|b| *b == 0);
    Ok(end.map(|end| {
        bytes.truncate(end);
        bytes
    }))
}

/// # Errors
/// [`Failure`].
pub fn auxv(show: &Show<'_>, out: &mut Output) -> Result<(), Failure> {
    let mut rows = table(["ENTRY", "VALUE", "TEXT"]);
    for e in entries(show)? {
        // Sizes, counts and ids are decimal.
        let value = match e.kind {
            2 | 4..=6 | 11..=14 | 17 | 23 | 27 | 28 | 51 => e.value.to_string(),
            _ => format!("{:#x}", e.value),
        };
        let text = e.text.as_deref().map_or(String::new(), escape::text);
        rows.add_row([names::auxv(e.kind), value, text]);
    }
    if rows.is_empty() {
        return out.line("no auxiliary vector");
    }
    print(&rows, out)
}

fn texts(strings: Strings) -> Value {
    let list = |of: Vec<Vec<u8>>| of.iter().map(|t| json::text(t)).collect::<Vec<Value>>();
    match strings {
        Strings::Stack(of) => json!({"from": "stack", "list": list(of)}),
        Strings::Copy(of, why) => json!({"from": "copy", "list": list(of), "note": why}),
        Strings::None(why) => json!({"from": null, "list": [], "note": why}),
    }
}

/// Member `args`.
///
/// # Errors
/// [`Failure`].
pub fn args_json(show: &Show<'_>) -> Result<Value, Failure> {
    let mut value = texts(arguments(show)?);
    let (p, fs) = (
        first::<ProcessRecord<'_>>(show.image),
        first::<FsRecord<'_>>(show.image),
    );
    if let Some(m) = value.as_object_mut() {
        m.insert(
            "program".into(),
            p.map_or(Value::Null, |p| json::text(p.exe)),
        );
        let (cwd, root) = fs.map_or((Value::Null, Value::Null), |f| {
            (json::text(f.cwd), json::text(f.root))
        });
        m.insert("directory".into(), cwd);
        m.insert("root".into(), root);
    }
    Ok(value)
}

/// Member `env`.
///
/// # Errors
/// [`Failure`].
pub fn env_json(show: &Show<'_>) -> Result<Value, Failure> {
    environment(show).map(texts)
}

/// Member `auxv`.
///
/// # Errors
/// [`Failure`].
pub fn auxv_json(show: &Show<'_>) -> Result<Value, Failure> {
    Ok(entries(show)?
        .iter()
        .map(|e| {
            json!({
                "type": json::integer(e.kind),
                "name": names::auxv(e.kind),
                "value": format!("{:#x}", e.value),
                "text": e.text.as_deref().map(json::text),
            })
        })
        .collect())
}
