// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg schema`: the records and fields of the format, the documents that describe `--json`, and whether a newer
//! schema still has everything of an older one.

use crate::{
    error::{Failure, Outcome},
    escape, json,
    output::{print, table, Output},
    style,
};
use cr_format::{
    sections::SECTIONS,
    superblock::{MAJOR, MINOR},
    FieldSchema, Hint, Wire,
};
use serde_json::{json, Map, Value};

/// Show the records and fields of the image format, as this crimg knows them.
///
/// Every image carries the same in its section `schema`, so that an older crimg can print records it never
/// heard of, by name.
#[derive(clap::Args)]
#[command(after_help = "\
Exit status: 0 shown; compatible · 1 with --check: something of OLD is missing or has changed
2 used wrongly · 3 OLD is no schema · 6 OLD cannot be read")]
pub struct Args {
    /// Compare with an older schema, as `crimg schema --json` printed it: everything of it must still be there, with
    /// the same numbers and encodings; new sections, records and fields are compatible.
    #[arg(long, value_name = "OLD")]
    check: Option<String>,
    /// Print the JSON Schema of what a command prints with --json (`show`, `verify`, …); without NAME, list them.
    #[arg(long, value_name = "NAME", num_args = 0..=1, require_equals = true, default_missing_value = "", conflicts_with = "check")]
    documents: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

macro_rules! documents {
    ($($name:literal),+ $(,)?) => {
        /// The JSON Schema documents, by command.
        pub const DOCUMENTS: &[(&str, &str)] = &[
            $(($name, include_str!(concat!("../../schema/", $name, ".schema.json")))),+
        ];
    };
}

documents!(
    "bt",
    "diff",
    "export-core",
    "image",
    "import-core",
    "import-json",
    "join",
    "mem",
    "patch",
    "redact",
    "repack",
    "report",
    "schema",
    "schema-check",
    "show",
    "split",
    "verify"
);

/// # Errors
/// [`Failure`].
pub fn run(args: &Args, out: &mut Output) -> Result<Outcome, Failure> {
    match (&args.check, &args.documents) {
        (Some(old), _) => check(old, args.json, out),
        (None, Some(name)) => document(name, args.json, out).map(|()| Outcome::Sound),
        (None, None) => {
            if args.json {
                out.json(&schema())?;
            } else {
                sections(out)?;
            }
            Ok(Outcome::Sound)
        }
    }
}

/// Name of an encoding, as in the specification.
pub fn wire(wire: Wire) -> &'static str {
    match wire {
        Wire::U64 => "u64",
        Wire::I64 => "i64",
        Wire::Bytes => "bytes",
        Wire::Text => "text",
        Wire::Array => "array",
    }
}

/// Name of a hint, as in the specification.
pub fn hint(hint: Hint) -> &'static str {
    match hint {
        Hint::None => "none",
        Hint::Dec => "dec",
        Hint::Hex => "hex",
        Hint::Octal => "octal",
        Hint::Flags => "flags",
        Hint::Sigset => "sigset",
        Hint::Path => "path",
        Hint::Ns => "ns",
        Hint::Registers => "registers",
        Hint::Xsave => "xsave",
        Hint::Uid => "uid",
    }
}

fn sections(out: &mut Output) -> Result<(), Failure> {
    out.line(format_args!("format {MAJOR}.{MINOR}"))?;
    for s in SECTIONS {
        let critical = if s.critical {
            "critical"
        } else {
            "not critical"
        };
        let module = if s.module.is_empty() {
            String::new()
        } else {
            format!(", module {}", s.module)
        };
        out.line("")?;
        let word = style::bold(s.word);
        out.line(format_args!(
            "section {word}, {:#06x}, {critical}{module}",
            s.id
        ))?;
        for r in s.records {
            let mut rows = table(["FIELD", "NAME", "WIRE", "HINT"]);
            for f in r.fields {
                rows.add_row([
                    f.id.to_string(),
                    f.name.to_owned(),
                    wire(f.wire).to_owned(),
                    hint(f.hint).to_owned(),
                ]);
            }
            out.line(format_args!("record {}, type {}", r.name, r.number))?;
            print(&rows, out)?;
        }
    }
    Ok(())
}

fn field(f: &FieldSchema) -> Value {
    json!({"id": f.id, "name": f.name, "wire": wire(f.wire), "hint": hint(f.hint)})
}

/// The schema of this release.
pub fn schema() -> Value {
    let sections: Vec<Value> = SECTIONS
        .iter()
        .map(|s| {
            let records: Vec<Value> = s
                .records
                .iter()
                .map(|r| {
                    let fields: Vec<Value> = r.fields.iter().map(field).collect();
                    json!({"type": r.number, "name": r.name, "fields": fields})
                })
                .collect();
            json!({
                "id": s.id,
                "word": s.word,
                "critical": s.critical,
                "module": s.module,
                "records": records,
            })
        })
        .collect();
    json!({
        "crimg_schema": json::SCHEMA,
        "format": {"major": MAJOR, "minor": MINOR},
        "sections": sections,
    })
}

fn document(name: &str, json: bool, out: &mut Output) -> Result<(), Failure> {
    if name.is_empty() {
        if json {
            let names: Vec<&str> = DOCUMENTS.iter().map(|d| d.0).collect();
            return out.json(&json!({"crimg_schema": json::SCHEMA, "documents": names}));
        }
        return DOCUMENTS.iter().try_for_each(|d| out.line(d.0));
    }
    match DOCUMENTS.iter().find(|d| d.0 == name) {
        Some((_, text)) => out.bytes(text.as_bytes()),
        None => Err(Failure::Usage {
            message: format!(
                "--documents={}: there is no such document",
                escape::text(name.as_bytes())
            ),
            remedy: format!(
                "There are: {}.",
                DOCUMENTS.iter().map(|d| d.0).collect::<Vec<_>>().join(" ")
            ),
        }),
    }
}

/// What changed from an old schema to a new one.
#[derive(Default)]
pub struct Changes {
    /// What makes the new one incompatible.
    pub breaking: Vec<String>,
    /// What it has more.
    pub added: Vec<String>,
}

/// Compares two schemas as [`schema`] makes them.
///
/// # Errors
/// The place where one is no schema.
pub fn compare(old: &Value, new: &Value) -> Result<Changes, String> {
    let mut changes = Changes::default();
    let major = |v: &Value| v.pointer("/format/major").and_then(Value::as_u64);
    let (was, is) = (major(old).ok_or("/format/major")?, major(new));
    if is != Some(was) {
        changes.breaking.push(format!(
            "the major version was {was}, now it is {}",
            is.unwrap_or(0)
        ));
    }
    level(old, new, 0, "", "", &mut changes)?;
    Ok(changes)
}

/// One level of the schema: the list, the member that is the number, what a number means, what must not change.
struct Level {
    list: &'static str,
    number: &'static str,
    one: &'static str,
    name: &'static str,
    fixed: &'static [&'static str],
}

const LEVELS: [Level; 3] = [
    Level {
        list: "sections",
        number: "id",
        one: "section",
        name: "word",
        fixed: &["word", "critical"],
    },
    Level {
        list: "records",
        number: "type",
        one: "record",
        name: "name",
        fixed: &["name"],
    },
    Level {
        list: "fields",
        number: "id",
        one: "field",
        name: "name",
        fixed: &["name", "wire", "hint"],
    },
];

/// An entry of a list, by its number.
type Numbered = (u64, Map<String, Value>);

fn level(
    old: &Value,
    new: &Value,
    depth: usize,
    place: &str,
    pointer: &str,
    changes: &mut Changes,
) -> Result<(), String> {
    let Some(l) = LEVELS.get(depth) else {
        return Ok(());
    };
    let list = |v: &Value| -> Result<Vec<Numbered>, String> {
        let bad = || format!("{pointer}/{}", l.list);
        let items = v.get(l.list).and_then(Value::as_array).ok_or_else(bad)?;
        items
            .iter()
            .map(|item| {
                let m = item.as_object().ok_or_else(bad)?;
                let n = m.get(l.number).and_then(Value::as_u64).ok_or_else(bad)?;
                Ok((n, m.clone()))
            })
            .collect()
    };
    let (was, is) = (list(old)?, list(new)?);
    let named = |n: u64, m: &Map<String, Value>| {
        let name = m.get(l.name).and_then(Value::as_str).unwrap_or("?");
        let name = escape::text(name.as_bytes());
        format!("{place}{} {name} ({n})", l.one)
    };
    for (n, m) in &was {
        let what = named(*n, m);
        let Some((_, now)) = is.iter().find(|(k, _)| k == n) else {
            changes.breaking.push(format!("{what} is missing"));
            continue;
        };
        for member in l.fixed {
            let (a, b) = (m.get(*member), now.get(*member));
            if a != b {
                let show = |v: Option<&Value>| {
                    escape::text(v.map_or("nothing".to_owned(), Value::to_string).as_bytes())
                };
                changes.breaking.push(format!(
                    "{what}: {member} was {}, now it is {}",
                    show(a),
                    show(b)
                ));
            }
        }
        let pointer = format!("{pointer}/{}/{n}", l.list);
        level(
            &Value::Object(m.clone()),
            &Value::Object(now.clone()),
            depth.saturating_add(1),
            &format!("{what}: "),
            &pointer,
            changes,
        )?;
    }
    for (n, m) in is.iter().filter(|(n, _)| !was.iter().any(|(k, _)| k == n)) {
        changes.added.push(named(*n, m));
    }
    Ok(())
}

/// Largest schema that is read, bytes.
const MOST: u64 = 16 << 20;

fn read(name: &str) -> Result<Value, Failure> {
    use std::io::Read;
    let fail = |error| Failure::Read {
        image: name.to_owned(),
        error,
    };
    let mut text = Vec::new();
    if name == "-" {
        std::io::stdin().take(MOST).read_to_end(&mut text)
    } else {
        std::fs::File::open(name)
            .map_err(fail)?
            .take(MOST)
            .read_to_end(&mut text)
    }
    .map_err(fail)?;
    serde_json::from_slice(&text).map_err(|e| Failure::Malformed {
        file: name.to_owned(),
        place: format!("line {}, column {}", e.line(), e.column()),
        message: "this is no JSON document".to_owned(),
        remedy: "Give what `crimg schema --json` has printed.".to_owned(),
    })
}

fn check(name: &str, json: bool, out: &mut Output) -> Result<Outcome, Failure> {
    let changes = compare(&read(name)?, &schema()).map_err(|place| Failure::Malformed {
        file: name.to_owned(),
        place,
        message: "this part of a schema is missing".to_owned(),
        remedy: "Give what `crimg schema --json` has printed.".to_owned(),
    })?;
    let compatible = changes.breaking.is_empty();
    if json {
        out.json(&json!({
            "crimg_schema": json::SCHEMA,
            "compatible": compatible,
            "breaking": changes.breaking,
            "added": changes.added,
        }))?;
    } else {
        for line in &changes.breaking {
            out.line(format_args!("{}: {line}", style::bad("breaks")))?;
        }
        for line in &changes.added {
            out.line(format_args!("added: {line}"))?;
        }
        let verdict = if compatible {
            style::good("compatible")
        } else {
            style::bad("not compatible")
        };
        out.line(format_args!(
            "{verdict}: {} breaking, {} added",
            changes.breaking.len(),
            changes.added.len()
        ))?;
    }
    Ok(if compatible {
        Outcome::Sound
    } else {
        Outcome::Differs
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_compatible_with_itself_and_with_what_it_grew_from() {
        let new = schema();
        let same = compare(&new, &new).unwrap();
        assert!(same.breaking.is_empty() && same.added.is_empty());
        let mut old = new.clone();
        let fields = old.pointer_mut("/sections/3/records/0/fields").unwrap();
        fields.as_array_mut().unwrap().pop();
        let grown = compare(&old, &new).unwrap();
        assert!(grown.breaking.is_empty());
        assert_eq!(grown.added.len(), 1);
    }

    #[test]
    fn what_is_missing_or_changed_breaks() {
        let new = schema();
        let mut old = new.clone();
        *old.pointer_mut("/sections/3/records/0/fields/0/wire")
            .unwrap() = "i64".into();
        old.pointer_mut("/sections/3/records/1/fields")
            .unwrap()
            .as_array_mut()
            .unwrap()
            .push(json!({"id": 99, "name": "\u{1b}lamp", "wire": "u64", "hint": "dec"}));
        let changes = compare(&old, &new).unwrap();
        assert_eq!(changes.breaking.len(), 2, "{:?}", changes.breaking);
        assert!(changes.breaking[0].contains("wire was"));
        assert!(changes.breaking[1].contains("field \\x1blamp (99) is missing"));
        assert!(compare(&json!({}), &new).is_err());
    }
}
