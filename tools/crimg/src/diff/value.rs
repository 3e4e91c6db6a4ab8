// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Values of fields for both views: as `show` prints them for people, as `show --json` writes them.

use crate::{escape, json, names, number, view::generic, view::generic::Schema};
use cr_format::{
    sections, RawField, CREDS, FILES, LIMITS, MEMORY, PIPES, REG_NAMES, RESOURCE_NAMES, SIGNALS,
    TASKS,
};
use serde_json::Value;

/// A value for both views. Two values are equal if both views are.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// For people; escaped.
    pub text: String,
    /// For machines; complete.
    pub json: Value,
}

impl Shown {
    /// A text that is the same in both views. It must be escaped already, or of our own making.
    pub fn text(text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            json: text.clone().into(),
            text,
        }
    }
    /// Text of an image, in quotes.
    pub fn of_text(bytes: &[u8]) -> Self {
        Self {
            text: format!("\"{}\"", escape::text(bytes)),
            json: json::text(bytes),
        }
    }
    /// A number.
    pub fn number(n: u64) -> Self {
        Self {
            text: n.to_string(),
            json: json::integer(n),
        }
    }
    /// `yes` or `no`.
    pub fn yes(fact: bool) -> Self {
        Self {
            text: if fact { "yes" } else { "no" }.to_owned(),
            json: fact.into(),
        }
    }
    /// Says the text nothing that the JSON does not say?
    pub fn is_plain(&self) -> bool {
        match self.json.as_str() {
            Some(json) => self.text == json || self.text == format!("\"{json}\""),
            None => {
                let json = self.json.to_string();
                self.text == json
            }
        }
    }
    /// An address.
    pub fn hex(n: u64) -> Self {
        Self::text(format!("{n:#x}"))
    }
}

/// The field as a whole.
pub fn field(schema: &Schema, section: u16, f: &RawField<'_>, name: &str) -> Shown {
    let json = json::value(f);
    let text = match (f.u64(), f.i64()) {
        (Some(n), _) => named(schema, section, name, n),
        (_, Some(n)) if name == "mtime_s" => u64::try_from(n)
            .ok()
            .map(|s| number::time(s.saturating_mul(1_000_000_000))),
        _ if section == TASKS && name == "affinity" => {
            Some(format!("CPU {}", names::cpus(f.payload)))
        }
        _ => None,
    };
    Shown {
        text: text.unwrap_or_else(|| generic::value(f)),
        json,
    }
}

/// The name of a number, if it has one.
pub fn named(schema: &Schema, section: u16, name: &str, n: u64) -> Option<String> {
    let text = match (section, name) {
        (cr_format::IMAGE, "created_ns") | (cr_format::PROVENANCE, "time_ns") => number::time(n),
        (TASKS, "policy") => names::policy(n),
        (TASKS, "restart_kind") => match names::restart_kind(n) {
            "" => return None,
            kind => format!("{n} ({kind})"),
        },
        (TASKS, "pdeath_signal") if n > 0 => names::signal(n),
        (FILES, "flags") => names::open_flags(n),
        (FILES, "kind") => names::file_kind(n),
        (FILES, "handler") if n > 0 => schema.word(u16::try_from(n).ok()?),
        (MEMORY, "prot") => names::protection(n, 0).chars().take(3).collect(),
        (MEMORY, "flags") => match (names::vma_flags(n), n & cr_format::VMA_SHARED) {
            (flags, 0) if flags.is_empty() => "none".to_owned(),
            (flags, 0) => flags,
            (flags, _) => format!("shared {flags}").trim_end().to_owned(),
        },
        (MEMORY, "kind") => match n {
            cr_format::VMA_ANON => "anonymous".to_owned(),
            cr_format::VMA_FILE => "file".to_owned(),
            cr_format::VMA_SHARED_ANON => "shared anonymous".to_owned(),
            cr_format::VMA_SPECIAL => "special".to_owned(),
            cr_format::VMA_RING => "ring".to_owned(),
            _ => return None,
        },
        (PIPES, "capacity") => number::size(n),
        (SIGNALS, "signo") => names::signal(n),
        (SIGNALS, "handler") => match n {
            1 => "ignored".to_owned(),
            n => format!("{n:#x}"),
        },
        (CREDS, name) if name.starts_with("cap_") => names::capabilities(n),
        (LIMITS, "soft" | "hard") if n == u64::MAX => "unlimited".to_owned(),
        (LIMITS, "resource") => resource(n),
        _ => return None,
    };
    Some(text)
}

/// The name of a resource limit.
pub fn resource(n: u64) -> String {
    let known = usize::try_from(n).ok().and_then(|n| RESOURCE_NAMES.get(n));
    known.map_or_else(|| format!("resource {n}"), |name| (*name).to_owned())
}

/// What a set has gained and lost, by name.
pub fn gained(section: u16, f: &RawField<'_>, name: &str, old: u64, new: u64) -> Option<String> {
    type Names = fn(u64) -> String;
    let names: Names = match (section, f.hint) {
        (CREDS, _) if name.starts_with("cap_") => names::capabilities,
        (_, 5) => names::signals,
        _ => return None,
    };
    let (more, less) = (new & !old, old & !new);
    let part = |word: &str, set: u64| (set != 0).then(|| format!("{word} {}", names(set)));
    let parts: Vec<String> = [part("gained", more), part("lost", less)]
        .into_iter()
        .flatten()
        .collect();
    Some(parts.join(", "))
}

/// Parts of a field that are compared one by one; `None`: the field is compared as a whole.
pub fn parts(
    f: &RawField<'_>,
    section: u16,
    record: &str,
    name: &str,
) -> Option<Vec<(String, Shown)>> {
    match (section, record, name) {
        (_, _, "regs") if f.hint == 8 => {
            let numbers = f.array()?;
            if numbers.len() != REG_NAMES.len() {
                return None;
            }
            let one = |(r, v): (&&str, u64)| (format!("{name}.{r}"), Shown::hex(v));
            Some(REG_NAMES.iter().zip(numbers.iter()).map(one).collect())
        }
        (TASKS, _, "xstate") => Some(xstate(f.payload)),
        (MEMORY, "mm", "auxv") => Some(auxv(&f.array()?.iter().collect::<Vec<u64>>())),
        (SIGNALS, "pending", "info") => Some(siginfo(f.payload)),
        _ => None,
    }
}

/// Names and places of the legacy area of XSAVE (Intel SDM 1, 13.4), and of AVX behind it.
fn xstate(bytes: &[u8]) -> Vec<(String, Shown)> {
    let fixed: [(&str, usize, usize); 9] = [
        ("fcw", 0, 2),
        ("fsw", 2, 2),
        ("ftw", 4, 1),
        ("fop", 6, 2),
        ("fip", 8, 8),
        ("fdp", 16, 8),
        ("mxcsr", 24, 4),
        ("mxcsr_mask", 28, 4),
        ("xstate_bv", 512, 8),
    ];
    let mut table: Vec<(String, usize, usize)> = fixed
        .iter()
        .map(|(name, at, len)| ((*name).to_owned(), *at, *len))
        .collect();
    table.extend((0..8_usize).map(|n| (format!("st{n}"), 32 + n * 16, 16)));
    table.extend((0..16_usize).map(|n| (format!("xmm{n}"), 160 + n * 16, 16)));
    table.extend((0..16_usize).map(|n| (format!("ymm{n}_high"), 576 + n * 16, 16)));
    let mut covered = vec![false; bytes.len()];
    let mut out = Vec::new();
    for (name, at, len) in table {
        let end = at.saturating_add(len);
        let Some(part) = bytes.get(at..end) else {
            continue;
        };
        if let Some(marks) = covered.get_mut(at..end) {
            marks.fill(true);
        }
        // Little-endian numbers, as the registers are read.
        let digits: String = part.iter().rev().map(|b| format!("{b:02x}")).collect();
        out.push((format!("xstate.{name}"), Shown::text(format!("0x{digits}"))));
    }
    // What lies between and behind, in rows of 64 bytes.
    for (row, (bytes, covered)) in bytes.chunks(64).zip(covered.chunks(64)).enumerate() {
        let rest: Vec<u8> = bytes
            .iter()
            .zip(covered)
            .map(|(b, covered)| if *covered { 0 } else { *b })
            .collect();
        if covered.iter().any(|c| !c) {
            out.push((
                format!("xstate.byte_{}", row.saturating_mul(64)),
                Shown::text(number::hex(&rest)),
            ));
        }
    }
    out
}

const AUXV: [(u64, &str); 24] = [
    (3, "phdr"),
    (4, "phent"),
    (5, "phnum"),
    (6, "pagesz"),
    (7, "base"),
    (8, "flags"),
    (9, "entry"),
    (10, "notelf"),
    (11, "uid"),
    (12, "euid"),
    (13, "gid"),
    (14, "egid"),
    (15, "platform"),
    (16, "hwcap"),
    (17, "clktck"),
    (23, "secure"),
    (25, "random"),
    (26, "hwcap2"),
    (27, "rseq_feature_size"),
    (28, "rseq_align"),
    (29, "hwcap3"),
    (31, "execfn"),
    (33, "sysinfo_ehdr"),
    (51, "minsigstksz"),
];

/// Entries of the auxiliary vector by name.
fn auxv(words: &[u64]) -> Vec<(String, Shown)> {
    let mut out = Vec::new();
    for pair in words.chunks(2) {
        let (kind, value) = match pair {
            [kind, value] => (*kind, *value),
            [kind, ..] => (*kind, 0),
            [] => continue,
        };
        let known = AUXV.iter().find(|(n, _)| *n == kind);
        let name = known.map_or_else(|| kind.to_string(), |(_, name)| (*name).to_owned());
        out.push((format!("auxv.{name}"), Shown::hex(value)));
    }
    out
}

/// The head of a `siginfo_t`, who sent it and with which value, and the rest.
fn siginfo(info: &[u8]) -> Vec<(String, Shown)> {
    let int = |at: usize| {
        let bytes = info.get(at..).and_then(|b| b.first_chunk());
        bytes.map_or(0, |b| i32::from_le_bytes(*b))
    };
    let shown = |name: &str, n: i64| {
        let shown = Shown {
            text: n.to_string(),
            json: n.into(),
        };
        (format!("info.{name}"), shown)
    };
    let value = info.get(24..).and_then(|b| b.first_chunk());
    let value = value.map_or(0, |b| u64::from_le_bytes(*b));
    // The four bytes of padding and what only some signals have.
    let rest = [info.get(12..16), info.get(32..)].map(|r| r.unwrap_or(&[]));
    let rest = rest.concat();
    let zero = rest.iter().all(|b| *b == 0);
    let json = number::hex(&rest);
    vec![
        shown("signo", int(0).into()),
        shown("errno", int(4).into()),
        shown("code", int(8).into()),
        shown("pid", int(16).into()),
        shown("uid", i64::from(int(20).cast_unsigned())),
        ("info.value".to_owned(), Shown::hex(value)),
        (
            "info.rest".to_owned(),
            Shown {
                text: if zero { "0".to_owned() } else { json.clone() },
                json: json.into(),
            },
        ),
    ]
}

/// Name of a record type.
pub fn record_name(schema: &Schema, section: u16, number: u16) -> String {
    match sections::record_of(section, number) {
        Some(known) => known.name.to_owned(),
        None => schema.record(section, number),
    }
}
