// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! One edit: what the user writes, on the command line and in scripts, and what it means.

use super::EditError;
use crate::escape;
use cr_format::REG_NAMES;

/// A kind of edit: the word, what follows it, and the help.
pub struct Word {
    /// `fd` of `--fd`.
    pub name: &'static str,
    /// `N=PATH`.
    pub value: &'static str,
    /// For `--help`.
    pub help: &'static str,
    /// In scripts only: it exists to explain why it cannot be done.
    pub hidden: bool,
    parse: fn(&[u8]) -> Result<Kind, String>,
}

const fn word(
    name: &'static str,
    value: &'static str,
    parse: fn(&[u8]) -> Result<Kind, String>,
    help: &'static str,
) -> Word {
    Word {
        name,
        value,
        help,
        hidden: false,
        parse,
    }
}

/// All kinds of edits.
pub const WORDS: &[Word] = &[
    word("fd", "N=PATH", fd, "The open file of descriptor N is opened at PATH; position and flags stay. Descriptors that share the open file go along. Size and times that a restart expects become those of the new file"),
    word("pos", "N=OFFSET", pos, "The position in the open file of descriptor N"),
    word("map-path", "A=B", map_path, "Path A and all below it are at B: mapped files, the program, open files, FIFOs, working directory"),
    word("cwd", "PATH", cwd, "The working directory"),
    word("root", "PATH", root, "The root directory; this release restarts in / only"),
    word("exe", "PATH", exe, "The program, as mapped file and as /proc/PID/exe"),
    word("env", "K=V", env, "Environment variable K becomes V, in the space that the environment has on the stack"),
    word("unset", "K", unset, "Environment variable K goes; its space becomes free for others"),
    word("arg", "N=TEXT", arg, "Argument N becomes TEXT; 0 is the name of the program"),
    word("args", "WORDS", args, "All arguments, as many as there are: words as in a shell, quoted with ' or \", or with \\"),
    word("reg", "TID:NAME=VALUE", reg, "A general register of a thread; TID is a number or `main`"),
    word("xmm", "TID:xmmN=VALUE", xmm, "An SSE register of a thread, a number of up to 128 bits"),
    word("poke", "ADDR=HEX", poke, "Bytes in memory"),
    word("poke-text", "ADDR=TEXT", poke_text, "Bytes in memory, as text without a NUL behind it"),
    word("uid", "R[:E:S:F]", uid, "Real, effective, saved and file system user id; one number is for all. Capabilities change as setresuid(2) changes them"),
    word("gid", "R[:E:S:F]", gid, "The same for the group id"),
    word("groups", "A,B,...", groups, "The supplementary groups; empty for none"),
    word("rlimit", "NAME=SOFT[:HARD]", rlimit, "A resource limit: a number, with K, M, G or T, or `unlimited`"),
    word("hostname", "NAME", hostname, "The host name, which is recorded to be shown only"),
    word("comm", "TID=NAME", comm, "The name of a thread, at most 15 bytes; TID is a number or `main`"),
    word("nice", "[TID=]N", nice, "The nice value of a thread, or of all"),
    word("umask", "OCTAL", umask, "The file mode creation mask"),
    Word { name: "pid", value: "N", help: "", hidden: true, parse: pid },
];

/// Which thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thread {
    /// The leader.
    Main,
    /// By its id.
    Tid(u64),
}

/// Real, effective, saved, file system.
pub type Ids = [u64; 4];

/// What an edit does. Texts are bytes without NUL.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The table above says it.
pub enum Kind {
    Fd {
        fd: u64,
        path: Vec<u8>,
    },
    Pos {
        fd: u64,
        pos: i64,
    },
    MapPath {
        from: Vec<u8>,
        to: Vec<u8>,
    },
    Cwd(Vec<u8>),
    Root(Vec<u8>),
    Exe(Vec<u8>),
    Env {
        name: Vec<u8>,
        value: Vec<u8>,
    },
    Unset(Vec<u8>),
    Arg {
        n: usize,
        text: Vec<u8>,
    },
    Args(Vec<Vec<u8>>),
    Reg {
        thread: Thread,
        register: usize,
        value: u64,
    },
    Xmm {
        thread: Thread,
        register: usize,
        value: u128,
    },
    Poke {
        address: u64,
        bytes: Vec<u8>,
    },
    Uid(Ids),
    Gid(Ids),
    Groups(Vec<u64>),
    Rlimit {
        resource: u64,
        soft: u64,
        hard: Option<u64>,
    },
    Hostname(Vec<u8>),
    Comm {
        thread: Thread,
        name: Vec<u8>,
    },
    Nice {
        thread: Option<Thread>,
        nice: i64,
    },
    Umask(u64),
}

/// An edit and how the user wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// What to do.
    pub kind: Kind,
    /// `--fd 3=/new/path`, escaped.
    pub text: String,
}

impl Edit {
    /// The edit `--word value`.
    ///
    /// # Errors
    /// An unknown word, or a value that is none of its kind.
    pub fn parse(word: &str, value: &[u8]) -> Result<Self, EditError> {
        let text = format!(
            "--{} {}",
            escape::text(word.as_bytes()),
            escape::text(value)
        );
        let Some(known) = WORDS.iter().find(|w| w.name == word) else {
            let words: Vec<&str> = WORDS.iter().filter(|w| !w.hidden).map(|w| w.name).collect();
            return Err(EditError::new(
                &text,
                "there is no such edit".to_owned(),
                &format!("The edits are {}.", words.join(", ")),
            ));
        };
        let wrong = |message| {
            EditError::new(
                &text,
                message,
                &format!("Write --{} {}.", known.name, known.value),
            )
        };
        if value.contains(&0) {
            return Err(wrong("it has a NUL byte".to_owned()));
        }
        match (known.parse)(value) {
            Ok(kind) => Ok(Self { kind, text }),
            Err(message) => Err(wrong(message)),
        }
    }

    /// The edits of a script: one per line, `word value` or `--word value`; the value is the rest of the
    /// line as it is. Empty lines and lines that begin with `#` say nothing.
    ///
    /// # Errors
    /// Those of all lines.
    pub fn script(script: &[u8]) -> Result<Vec<Self>, Vec<EditError>> {
        let (mut edits, mut errors) = (Vec::new(), Vec::new());
        for (n, line) in script.split(|b| *b == b'\n').enumerate() {
            let line = line.strip_suffix(b"\r").unwrap_or(line).trim_ascii_start();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let line = line.strip_prefix(b"--").unwrap_or(line);
            let end = line.iter().position(u8::is_ascii_whitespace);
            let (word, value) = line
                .split_at_checked(end.unwrap_or(line.len()))
                .unwrap_or((line, b""));
            match Self::parse(&String::from_utf8_lossy(word), value.trim_ascii_start()) {
                Ok(edit) => edits.push(edit),
                Err(mut e) => {
                    e.edit = format!("line {}: {}", n.saturating_add(1), e.edit);
                    errors.push(e);
                }
            }
        }
        if errors.is_empty() {
            Ok(edits)
        } else {
            Err(errors)
        }
    }
}

fn quoted(value: &[u8]) -> String {
    format!("\"{}\"", escape::text(value))
}

fn cut(value: &[u8], at: u8) -> Result<(&[u8], &[u8]), String> {
    let place = value.iter().position(|b| *b == at);
    let parts = place.and_then(|n| Some((value.get(..n)?, value.get(n.checked_add(1)?..)?)));
    parts.ok_or_else(|| format!("there is no \"{}\" in it", char::from(at)))
}

fn text(value: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(value).map_err(|_| format!("{} is no text", quoted(value)))
}

/// A number: decimal, or hexadecimal with `0x`, octal with `0o`.
fn number(value: &[u8]) -> Result<u64, String> {
    let wrong = || format!("{} is no number", quoted(value));
    let s = text(value)?;
    let (digits, radix) = match (s.strip_prefix("0x"), s.strip_prefix("0o")) {
        (Some(hex), _) => (hex, 16),
        (_, Some(octal)) => (octal, 8),
        _ => (s, 10),
    };
    if digits.starts_with('+') {
        return Err(wrong());
    }
    u64::from_str_radix(digits, radix).map_err(|_| wrong())
}

fn address(value: &[u8]) -> Result<u64, String> {
    let s = text(value)?;
    if s.starts_with("0x") {
        return number(value);
    }
    Err(format!("{} is no address: write it with 0x", quoted(value)))
}

fn hex(value: &[u8]) -> Result<Vec<u8>, String> {
    let wrong = || format!("{} is no row of pairs of hexadecimal digits", quoted(value));
    let s = text(value)?;
    let digits: Vec<u8> = s
        .strip_prefix("0x")
        .unwrap_or(s)
        .bytes()
        .filter(|b| *b != b' ')
        .collect();
    let digit = |b: u8| {
        char::from(b)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    let pairs = digits.chunks_exact(2);
    if !pairs.remainder().is_empty() || digits.is_empty() {
        return Err(wrong());
    }
    pairs
        .map(|p| match *p {
            [h, l] => Some(digit(h)? << 4 | digit(l)?),
            _ => None,
        })
        .collect::<Option<_>>()
        .ok_or_else(wrong)
}

fn path(value: &[u8]) -> Result<Vec<u8>, String> {
    if value.first() == Some(&b'/') {
        Ok(value.to_vec())
    } else {
        Err(format!("{} is no absolute path", quoted(value)))
    }
}

fn thread(value: &[u8]) -> Result<Thread, String> {
    if value == b"main" {
        return Ok(Thread::Main);
    }
    number(value).map(Thread::Tid)
}

fn fd(v: &[u8]) -> Result<Kind, String> {
    let (n, to) = cut(v, b'=')?;
    Ok(Kind::Fd {
        fd: number(n)?,
        path: path(to)?,
    })
}

fn pos(v: &[u8]) -> Result<Kind, String> {
    let (n, to) = cut(v, b'=')?;
    let pos = i64::try_from(number(to)?).map_err(|_| "the position is too large".to_owned())?;
    Ok(Kind::Pos {
        fd: number(n)?,
        pos,
    })
}

fn map_path(v: &[u8]) -> Result<Kind, String> {
    let (from, to) = cut(v, b'=')?;
    let trim = |p: &[u8]| -> Result<Vec<u8>, String> {
        let mut p = path(p)?;
        while p.len() > 1 && p.last() == Some(&b'/') {
            p.pop();
        }
        Ok(p)
    };
    Ok(Kind::MapPath {
        from: trim(from)?,
        to: trim(to)?,
    })
}

fn cwd(v: &[u8]) -> Result<Kind, String> {
    path(v).map(Kind::Cwd)
}

fn root(v: &[u8]) -> Result<Kind, String> {
    path(v).map(Kind::Root)
}

fn exe(v: &[u8]) -> Result<Kind, String> {
    path(v).map(Kind::Exe)
}

fn env(v: &[u8]) -> Result<Kind, String> {
    let (name, value) = cut(v, b'=')?;
    if name.is_empty() {
        return Err("the variable has no name".to_owned());
    }
    Ok(Kind::Env {
        name: name.to_vec(),
        value: value.to_vec(),
    })
}

fn unset(v: &[u8]) -> Result<Kind, String> {
    if v.is_empty() || v.contains(&b'=') {
        return Err(format!("{} is no name of a variable", quoted(v)));
    }
    Ok(Kind::Unset(v.to_vec()))
}

fn arg(v: &[u8]) -> Result<Kind, String> {
    let (n, text) = cut(v, b'=')?;
    let n = usize::try_from(number(n)?).map_err(|e| e.to_string())?;
    Ok(Kind::Arg {
        n,
        text: text.to_vec(),
    })
}

fn args(v: &[u8]) -> Result<Kind, String> {
    split(v).map(Kind::Args)
}

/// Words as a shell cuts them, without its expansions.
fn split(v: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let (mut words, mut word) = (Vec::new(), None::<Vec<u8>>);
    let mut quote = None;
    let mut bytes = v.iter().copied();
    while let Some(b) = bytes.next() {
        match (quote, b) {
            (None, b'\'' | b'"') => {
                quote = Some(b);
                word.get_or_insert_default();
            }
            (Some(q), b) if q == b => quote = None,
            (None | Some(b'"'), b'\\') => {
                let next = bytes.next().ok_or("it ends with a \\")?;
                word.get_or_insert_default().push(next);
            }
            (None, b' ' | b'\t' | b'\n') => words.extend(word.take()),
            (_, b) => word.get_or_insert_default().push(b),
        }
    }
    if quote.is_some() {
        return Err("a quotation does not end".to_owned());
    }
    words.extend(word);
    Ok(words)
}

fn reg(v: &[u8]) -> Result<Kind, String> {
    let (who, rest) = cut(v, b':')?;
    let (name, value) = cut(rest, b'=')?;
    let name = match text(name)? {
        "eflags" => "rflags",
        "pc" => "rip",
        "sp" => "rsp",
        other => other,
    };
    let register = REG_NAMES.iter().position(|r| *r == name).ok_or_else(|| {
        format!(
            "there is no register {}; there are {}",
            quoted(name.as_bytes()),
            REG_NAMES.join(" ")
        )
    })?;
    Ok(Kind::Reg {
        thread: thread(who)?,
        register,
        value: number(value)?,
    })
}

fn xmm(v: &[u8]) -> Result<Kind, String> {
    let (who, rest) = cut(v, b':')?;
    let (name, value) = cut(rest, b'=')?;
    let register = text(name)?
        .strip_prefix("xmm")
        .and_then(|n| n.parse().ok())
        .filter(|n: &usize| *n < 16)
        .ok_or_else(|| {
            format!(
                "there is no register {}; there are xmm0 to xmm15",
                quoted(name)
            )
        })?;
    let s = text(value)?;
    let value = match s.strip_prefix("0x") {
        Some(digits) => u128::from_str_radix(digits, 16),
        None => s.parse(),
    };
    let value = value.map_err(|_| format!("{} is no number of 128 bits", quoted(s.as_bytes())))?;
    Ok(Kind::Xmm {
        thread: thread(who)?,
        register,
        value,
    })
}

fn poke(v: &[u8]) -> Result<Kind, String> {
    let (at, bytes) = cut(v, b'=')?;
    Ok(Kind::Poke {
        address: address(at)?,
        bytes: hex(bytes)?,
    })
}

fn poke_text(v: &[u8]) -> Result<Kind, String> {
    let (at, bytes) = cut(v, b'=')?;
    if bytes.is_empty() {
        return Err("there is no text".to_owned());
    }
    Ok(Kind::Poke {
        address: address(at)?,
        bytes: bytes.to_vec(),
    })
}

fn ids(v: &[u8]) -> Result<Ids, String> {
    let ids: Result<Vec<u64>, String> = v.split(|b| *b == b':').map(number).collect();
    match ids?[..] {
        [all] => Ok([all; 4]),
        [r, e, s, f] => Ok([r, e, s, f]),
        _ => Err("it takes one id, or four".to_owned()),
    }
}

fn uid(v: &[u8]) -> Result<Kind, String> {
    ids(v).map(Kind::Uid)
}

fn gid(v: &[u8]) -> Result<Kind, String> {
    ids(v).map(Kind::Gid)
}

fn groups(v: &[u8]) -> Result<Kind, String> {
    if v.is_empty() {
        return Ok(Kind::Groups(Vec::new()));
    }
    let mut groups: Vec<u64> = v
        .split(|b| *b == b',')
        .map(number)
        .collect::<Result<_, _>>()?;
    groups.sort_unstable();
    groups.dedup();
    Ok(Kind::Groups(groups))
}

fn limit(v: &[u8]) -> Result<u64, String> {
    if v == b"unlimited" {
        return Ok(u64::MAX);
    }
    let (digits, shift) = match v.split_last() {
        Some((b'K', rest)) => (rest, 10),
        Some((b'M', rest)) => (rest, 20),
        Some((b'G', rest)) => (rest, 30),
        Some((b'T', rest)) => (rest, 40),
        _ => (v, 0),
    };
    let n = number(digits)?.checked_mul(1 << shift);
    n.ok_or_else(|| format!("{} is too large", quoted(v)))
}

fn rlimit(v: &[u8]) -> Result<Kind, String> {
    let (name, value) = cut(v, b'=')?;
    let known = cr_format::RESOURCE_NAMES;
    let resource = known
        .iter()
        .position(|n| n.as_bytes() == name.to_ascii_lowercase())
        .and_then(|n| u64::try_from(n).ok())
        .ok_or_else(|| {
            format!(
                "there is no limit {}; there are {}",
                quoted(name),
                known.join(" ")
            )
        })?;
    let (soft, hard) = match cut(value, b':') {
        Ok((soft, hard)) => (limit(soft)?, Some(limit(hard)?)),
        Err(_) => (limit(value)?, None),
    };
    Ok(Kind::Rlimit {
        resource,
        soft,
        hard,
    })
}

fn hostname(v: &[u8]) -> Result<Kind, String> {
    if v.is_empty() || v.len() > 64 {
        return Err("a host name has 1 to 64 bytes".to_owned());
    }
    Ok(Kind::Hostname(v.to_vec()))
}

fn comm(v: &[u8]) -> Result<Kind, String> {
    let (who, name) = cut(v, b'=')?;
    Ok(Kind::Comm {
        thread: thread(who)?,
        name: name.to_vec(),
    })
}

fn nice(v: &[u8]) -> Result<Kind, String> {
    let (who, n) = match cut(v, b'=') {
        Ok((who, n)) => (Some(thread(who)?), n),
        Err(_) => (None, v),
    };
    let nice = text(n)?
        .parse()
        .map_err(|_| format!("{} is no number", quoted(n)))?;
    Ok(Kind::Nice { thread: who, nice })
}

fn umask(v: &[u8]) -> Result<Kind, String> {
    let s = text(v)?;
    let digits = s.strip_prefix("0o").unwrap_or(s);
    let octal = u64::from_str_radix(digits, 8)
        .ok()
        .filter(|_| !digits.starts_with('+'));
    octal
        .map(Kind::Umask)
        .ok_or_else(|| format!("{} is no octal number", quoted(v)))
}

fn pid(_: &[u8]) -> Result<Kind, String> {
    Err("the process id cannot be edited: it is also in memory that belongs to the program (the C library keeps the ids of threads, locks \
         name their owners), where nobody can tell it from other numbers; restart in a new pid namespace if the id is taken"
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(word: &str, value: &str) -> Kind {
        Edit::parse(word, value.as_bytes())
            .unwrap_or_else(|e| panic!("{e}"))
            .kind
    }

    #[test]
    fn values_mean_what_they_say() {
        assert_eq!(
            kind("fd", "3=/a=b"),
            Kind::Fd {
                fd: 3,
                path: b"/a=b".to_vec()
            }
        );
        assert_eq!(
            kind("map-path", "/a//=/"),
            Kind::MapPath {
                from: b"/a".to_vec(),
                to: b"/".to_vec()
            }
        );
        assert_eq!(
            kind("env", "A=b=c"),
            Kind::Env {
                name: b"A".to_vec(),
                value: b"b=c".to_vec()
            }
        );
        assert_eq!(
            kind("reg", "main:eflags=0x246"),
            Kind::Reg {
                thread: Thread::Main,
                register: 18,
                value: 0x246
            }
        );
        assert_eq!(
            kind("poke", "0x10=de ad"),
            Kind::Poke {
                address: 16,
                bytes: vec![0xde, 0xad]
            }
        );
        assert_eq!(kind("uid", "5"), Kind::Uid([5; 4]));
        assert_eq!(kind("groups", "7,3,7"), Kind::Groups(vec![3, 7]));
        assert_eq!(
            kind("rlimit", "NOFILE=1K:unlimited"),
            Kind::Rlimit {
                resource: 7,
                soft: 1024,
                hard: Some(u64::MAX)
            }
        );
        assert_eq!(
            kind("nice", "7=-5"),
            Kind::Nice {
                thread: Some(Thread::Tid(7)),
                nice: -5
            }
        );
        assert_eq!(kind("umask", "077"), Kind::Umask(0o77));
        let words = |s: &str| match kind("args", s) {
            Kind::Args(words) => words
                .into_iter()
                .map(|w| String::from_utf8(w).unwrap())
                .collect(),
            _ => Vec::new(),
        };
        assert_eq!(
            words(r#"a 'b  c' "d\" e"\ f '' "#),
            ["a", "b  c", "d\" e f", ""]
        );
    }

    #[test]
    fn what_has_no_meaning_is_refused() {
        for (word, value) in [
            ("fd", "3"),
            ("fd", "x=/a"),
            ("fd", "3=a"),
            ("cwd", "here"),
            ("env", "=x"),
            ("unset", "a=b"),
            ("reg", "1:rax"),
            ("reg", "1:rxx=1"),
            ("reg", "rax=1"),
            ("xmm", "1:xmm16=1"),
            ("poke", "10=00"),
            ("poke", "0x10=0"),
            ("poke", "0x10=zz"),
            ("poke", "0x10="),
            ("poke-text", "0x1="),
            ("uid", "1:2"),
            ("groups", "1,,2"),
            ("rlimit", "nofile"),
            ("rlimit", "open=3"),
            ("rlimit", "nofile=99999999999999T"),
            ("hostname", ""),
            ("nice", "low"),
            ("umask", "9"),
            ("pid", "5"),
            ("nonsense", ""),
            ("args", "'a"),
            ("args", "a\\"),
            ("cwd", "/a\0b"),
            ("reg", "+1:rax=+1"),
        ] {
            let e = Edit::parse(word, value.as_bytes()).expect_err(word);
            assert!(!e.message.is_empty() && !e.remedy.is_empty());
        }
    }

    #[test]
    fn a_script_has_one_edit_per_line() {
        let script = b"# where the log goes\n\n  --fd 3=/new/path with blanks\r\nenv A= b\nnice 5";
        let edits = Edit::script(script).unwrap();
        let texts: Vec<&str> = edits.iter().map(|e| e.text.as_str()).collect();
        assert_eq!(
            texts,
            ["--fd 3=/new/path with blanks", "--env A= b", "--nice 5"]
        );
        let errors = Edit::script(b"nice\nfd 1=/x\nbad\x1b 3").unwrap_err();
        let edits: Vec<&str> = errors.iter().map(|e| e.edit.as_str()).collect();
        assert_eq!(edits, ["line 1: --nice ", "line 3: --bad\\x1b 3"]);
    }
}
