// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Which part of the address space: ranges, names of areas, permissions.

use crate::{
    escape,
    memory::{Area, Memory},
    output::Output,
};
use std::path::PathBuf;

/// A range as the user writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// First address.
    pub start: u64,
    /// Address behind the last; `None`: what fits the command.
    pub end: Option<u64>,
}

/// An address: hexadecimal, as in `/proc/PID/maps`; `0x` may be left out.
///
/// # Errors
/// A message for people.
pub fn address(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("0x").or(text.strip_prefix("0X"));
    let digits = digits.unwrap_or(text);
    // `from_str_radix` takes a sign.
    if digits.starts_with(['+', '-']) {
        return Err("an address is hexadecimal: 0x7ffd12345000".to_owned());
    }
    u64::from_str_radix(digits, 16)
        .map_err(|_| "an address is hexadecimal: 0x7ffd12345000".to_owned())
}

/// A length: decimal, or hexadecimal with `0x`; K, M or G behind it are powers of 1024.
///
/// # Errors
/// A message for people.
pub fn length(text: &str) -> Result<u64, String> {
    let bad = || "a length is a number of bytes: 256, 0x100, 64K, 1M".to_owned();
    let (digits, radix) = match text.strip_prefix("0x") {
        Some(hex) => (hex, 16),
        None => (text, 10),
    };
    let (digits, shift) = match digits.char_indices().last() {
        Some((at, 'K' | 'k')) => (&digits[..at], 10),
        Some((at, 'M')) => (&digits[..at], 20),
        Some((at, 'G')) => (&digits[..at], 30),
        _ => (digits, 0),
    };
    if digits.starts_with(['+', '-']) {
        return Err(bad());
    }
    let n = u64::from_str_radix(digits, radix).map_err(|_| bad())?;
    n.checked_mul(1 << shift).ok_or_else(bad)
}

/// `ADDR`, `ADDR,LEN`, `ADDR+LEN` or `ADDR-END`.
///
/// # Errors
/// A message for people.
pub fn at(text: &str) -> Result<At, String> {
    let (start, end) = if let Some((start, len)) = text.split_once([',', '+']) {
        let (start, len) = (address(start)?, length(len)?);
        let end = start.checked_add(len);
        (
            start,
            Some(end.ok_or("the range goes beyond the address space")?),
        )
    } else if let Some((start, end)) = text.split_once('-') {
        (address(start)?, Some(address(end)?))
    } else {
        (address(text)?, None)
    };
    if end.is_some_and(|end| end <= start) {
        return Err("the range is empty".to_owned());
    }
    Ok(At { start, end })
}

/// `rw-`, `r?x`, `rw-s`: `?` stands for any.
fn permissions(text: &str) -> Result<String, String> {
    let sound = |(n, c): (usize, char)| match n {
        0 => matches!(c, 'r' | '-' | '?'),
        1 => matches!(c, 'w' | '-' | '?'),
        2 => matches!(c, 'x' | '-' | '?'),
        3 => matches!(c, 'p' | 's' | '?'),
        _ => false,
    };
    if text.len() >= 3 && text.chars().enumerate().all(sound) {
        Ok(text.to_owned())
    } else {
        Err(
            "permissions are written rwx, with - for one that is off and ? for any: rw-, r?x, rw-s"
                .to_owned(),
        )
    }
}

/// The options that all commands of `crimg mem` have.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Select {
    /// Only this range: ADDR (the whole area there), ADDR,LEN, ADDR+LEN or ADDR-END. Addresses are
    /// hexadecimal; may be repeated.
    #[arg(long, value_name = "RANGE", value_parser = at)]
    pub at: Vec<At>,
    /// Only areas of this name: `[heap]`, `[stack]`, a path or its last part; `*` and `?` stand for any
    /// characters, `[anon]` for areas without a name; may be repeated.
    #[arg(long, value_name = "NAME")]
    pub vma: Vec<String>,
    /// Only areas with these permissions: `rw-`, `r?x`; `?` stands for any.
    #[arg(long, value_name = "PERMS", value_parser = permissions, allow_hyphen_values = true)]
    pub prot: Option<String>,
    /// The process, by its id. Only an image of several processes needs it.
    #[arg(long, value_name = "N")]
    pub pid: Option<u64>,
    /// Only bytes that the image stores: no zero pages, no mapped files.
    #[arg(long, conflicts_with = "sysroot")]
    pub stored_only: bool,
    /// Do not compute the checksums of page data that is not compressed.
    #[arg(long)]
    pub no_check: bool,
    /// Read pages of mapped files, which are not in the image, from below this folder (`/`: this host).
    #[arg(long, value_name = "DIR")]
    pub sysroot: Option<PathBuf>,
}

/// A selected part of one area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// First address.
    pub start: u64,
    /// Address behind the last.
    pub end: u64,
}

impl Select {
    /// Does it choose anything, or is all memory meant?
    pub fn is_all(&self) -> bool {
        self.at.is_empty() && self.vma.is_empty() && self.prot.is_none()
    }

    /// The selected parts of areas, ascending and disjoint. `default_len`: bytes for an address without
    /// an end; `None`: up to the ends of its area.
    pub fn parts(&self, memory: &Memory<'_>, default_len: Option<u64>) -> Vec<Part> {
        let mut parts = Vec::new();
        for area in memory.areas().iter().filter(|a| self.takes(a)) {
            if self.at.is_empty() {
                parts.push(Part {
                    start: area.start,
                    end: area.end,
                });
            }
            for at in &self.at {
                let (start, end) = match (at.end, default_len) {
                    (Some(end), _) => (at.start, end),
                    (None, Some(len)) => (at.start, at.start.saturating_add(len)),
                    (None, None) if area.start <= at.start && at.start < area.end => {
                        (area.start, area.end)
                    }
                    (None, None) => continue,
                };
                let (start, end) = (start.max(area.start), end.min(area.end));
                if start < end {
                    parts.push(Part { start, end });
                }
            }
        }
        parts.sort_by_key(|p| p.start);
        let mut joined: Vec<Part> = Vec::with_capacity(parts.len());
        for part in parts {
            match joined.last_mut() {
                // Two ranges overlap; neighbours stay apart, they can be of two areas.
                Some(last) if part.start < last.end => last.end = last.end.max(part.end),
                _ => joined.push(part),
            }
        }
        joined
    }

    fn takes(&self, area: &Area) -> bool {
        let perms = area.perms();
        let prot = self.prot.as_deref().is_none_or(|want| {
            want.chars()
                .zip(perms.chars())
                .all(|(want, is)| want == '?' || want == is)
        });
        prot && (self.vma.is_empty() || self.vma.iter().any(|name| is_named(area, name.as_bytes())))
    }
}

/// Is `name` the name of the area, the last part of its path, a pattern for one of them, or `heap` for
/// `[heap]`?
fn is_named(area: &Area, name: &[u8]) -> bool {
    let full: &[u8] = if area.name.is_empty() {
        b"[anon]"
    } else {
        &area.name
    };
    let base = full.rsplit(|b| *b == b'/').next().unwrap_or(full);
    let bare = full.strip_prefix(b"[").and_then(|n| n.strip_suffix(b"]"));
    [Some(full), Some(base), bare]
        .into_iter()
        .flatten()
        .any(|is| glob(name, is))
}

/// `*` and `?`; everything else stands for itself, brackets too, for they are in the names.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on when what follows the last `*` does not fit.
    let mut back = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                back = Some((p, t));
                p += 1;
            }
            Some(c) if *c == b'?' || Some(c) == text.get(t) => (p, t) = (p + 1, t + 1),
            _ => match back {
                Some((star, from)) => {
                    (p, t) = (star + 1, from + 1);
                    back = Some((star, t));
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).unwrap_or(&[]).iter().all(|c| *c == b'*')
}

/// What to tell the user when nothing is selected.
pub fn nothing(command: &str, memory: &Memory<'_>, out: &mut Output) {
    let name = escape::text(memory.image().image.name.as_bytes());
    let why = if memory.areas().is_empty() {
        "no memory area can be read"
    } else {
        "no memory area fits --at, --vma and --prot\n  See the areas with: crimg show --maps"
    };
    out.message(format_args!("crimg {command}: {name}: {why}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_have_four_forms() {
        let range = |start, end| {
            Ok(At {
                start,
                end: Some(end),
            })
        };
        assert_eq!(
            at("0x1000"),
            Ok(At {
                start: 0x1000,
                end: None
            })
        );
        assert_eq!(
            at("7ffd12345000"),
            Ok(At {
                start: 0x7ffd_1234_5000,
                end: None
            })
        );
        assert_eq!(at("0x1000,16"), range(0x1000, 0x1010));
        assert_eq!(at("0x1000+0x10"), range(0x1000, 0x1010));
        assert_eq!(at("1000+64K"), range(0x1000, 0x11000));
        assert_eq!(at("1000-0x2000"), range(0x1000, 0x2000));
        for bad in [
            "",
            "x",
            "0x",
            "1000,",
            "1000,-1",
            "1000++1",
            "1000-",
            "2000-1000",
            "1,0",
            "-1",
            "+1",
            "ffffffffffffffff+1",
            "1000,99999999999G",
            "1000-2000-3000",
        ] {
            assert!(at(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn patterns_know_stars_and_question_marks_only() {
        assert!(glob(b"lib*.so.?", b"libc.so.6"));
        assert!(glob(b"*", b""));
        assert!(glob(b"[heap]", b"[heap]"));
        assert!(!glob(b"[heap]", b"h"));
        assert!(glob(b"*a*b*", b"xaxxbx"));
        assert!(!glob(b"*a*b", b"xaxxbx"));
        assert!(!glob(b"a", b"ab"));
        // Not exponential.
        assert!(!glob(&b"*a".repeat(200), &[b'a'; 199]));
    }

    #[test]
    fn permissions_are_checked() {
        assert!(permissions("rw-").is_ok() && permissions("r?xs").is_ok());
        assert!(
            permissions("rw").is_err()
                && permissions("xrw").is_err()
                && permissions("rw-pp").is_err()
        );
    }
}
