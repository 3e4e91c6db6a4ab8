// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Records as objects, both ways: known fields by name with the value as `show --json` has it, unknown ones
//! with their number, encoding and hint. Members that begin with `_` are for people.

use super::Issue;
use crate::{diff::value, json, names, number, view::generic::Schema};
use cr_format::{
    limits,
    record::{FIELD_HEADER, RECORD_HEADER, RECORD_MAX},
    sections, FieldSchema, RawField, RawRecord, Wire, REG_NAMES,
};
use serde_json::{json, Map, Value};

const WIRES: [(Wire, &str); 5] = [
    (Wire::U64, "u64"),
    (Wire::I64, "i64"),
    (Wire::Bytes, "bytes"),
    (Wire::Text, "text"),
    (Wire::Array, "array"),
];

/// Members of every record that are no fields.
const RESERVED: [&str; 3] = ["record", "id", "type"];

/// Remedy for a value of the wrong kind.
const LOOK: &str = "Compare with the same member of an exported image.";

/// A record as an object.
///
/// # Errors
/// Those of its fields' structure.
pub fn encode(schema: &Schema, raw: &RawRecord<'_>) -> cr_format::Result<Value> {
    let mut m = Map::new();
    let known = sections::record_of(raw.section, raw.record_type);
    m.insert(
        "record".into(),
        schema.record(raw.section, raw.record_type).into(),
    );
    if known.is_none() {
        m.insert("type".into(), raw.record_type.into());
    }
    m.insert("id".into(), raw.id.into());
    for field in raw.fields() {
        let f = field?;
        let of = known.and_then(|k| k.fields.iter().find(|s| s.id == f.id));
        let name = schema.field(raw.section, raw.record_type, f.id);
        let taken = RESERVED.contains(&&*name) || name.starts_with('_') || m.contains_key(&name);
        let mut name = if taken {
            format!("field_{}", f.id)
        } else {
            name
        };
        while m.contains_key(&name) {
            // An image may call another field so.
            name.push('x');
        }
        // CAST: the discriminant of a `repr(u8)` enum.
        let usual = of.is_some_and(|s| s.wire == f.wire && s.hint as u8 == f.hint);
        let value = value_of(&f);
        if usual && !taken {
            m.insert(name.clone(), value);
        } else {
            let wire = WIRES.iter().find(|w| w.0 == f.wire).map_or("", |w| w.1);
            let explicit = json!({"field": f.id, "wire": wire, "hint": f.hint, "value": value});
            m.insert(name.clone(), explicit);
        }
        if let Some(help) = help(schema, raw.section, &f, &name) {
            m.entry(format!("_{name}")).or_insert(help.into());
        }
    }
    Ok(m.into())
}

/// The value as `show --json` has it; registers by name only if all are there.
fn value_of(f: &RawField<'_>) -> Value {
    match f.array() {
        Some(list) if f.hint == 8 && list.len() != REG_NAMES.len() => {
            list.iter().map(|n| format!("{n:#x}")).collect()
        }
        _ => json::value(f),
    }
}

/// What a number means, for people.
fn help(schema: &Schema, section: u16, f: &RawField<'_>, name: &str) -> Option<String> {
    if let Some(n) = f.u64() {
        return match f.hint {
            3 => Some(format!("{n:#o}")),
            5 => Some(names::signals(n)),
            _ => value::named(schema, section, name, n),
        };
    }
    if f.wire == Wire::Bytes && name == "args" {
        let text = std::str::from_utf8(f.payload).ok()?;
        return Some(text.to_owned());
    }
    (name == "affinity").then(|| names::cpus(f.payload))
}

/// The bytes of a record of `section`.
///
/// # Errors
/// [`Issue`] with the path within the object.
pub fn decode(section: u16, value: &Value) -> Result<Vec<u8>, Issue> {
    let Value::Object(m) = value else {
        return Err(Issue::new("a record is an object", LOOK));
    };
    let record_type = record_type(section, m)?;
    let id = match m.get("id") {
        Some(id) => number_u64(id)
            .and_then(|n| {
                u32::try_from(n)
                    .map_err(|_| Issue::new("an id is below 2^32", "Take a smaller one."))
            })
            .map_err(|e| e.within("id"))?,
        None => return Err(Issue::new("the record has no \"id\"", LOOK)),
    };
    let known = sections::record_of(section, record_type).map_or(&[][..], |r| r.fields);
    let mut fields: Vec<(u16, Vec<u8>)> = Vec::new();
    let mut total = RECORD_HEADER;
    for (name, value) in m {
        if name.starts_with('_') || RESERVED.contains(&name.as_str()) {
            continue;
        }
        let (id, bytes) = field(known, name, value).map_err(|e| e.within(name.clone()))?;
        total = total.saturating_add(bytes.len());
        if total as u64 > RECORD_MAX {
            let limit = number::size(RECORD_MAX);
            return Err(Issue::new(
                format!("the record is longer than {limit}"),
                "Split the data over several records, as the checkpoint does.",
            ));
        }
        fields.push((id, bytes));
    }
    fields.sort_by_key(|f| f.0);
    if let Some(pair) = fields
        .windows(2)
        .find(|p| p.first().map(|f| f.0) == p.last().map(|f| f.0))
    {
        let id = pair.first().map_or(0, |f| f.0);
        return Err(Issue::new(
            format!("field {id} is there under two names"),
            "Remove one of them.",
        ));
    }
    let count = u16::try_from(fields.len()).unwrap_or(u16::MAX);
    if count > limits::FIELDS {
        return Err(Issue::new(
            format!("the record has more than {} fields", limits::FIELDS),
            "Remove some.",
        ));
    }
    let mut out = Vec::with_capacity(total);
    let len = u32::try_from(total.saturating_sub(RECORD_HEADER)).unwrap_or(u32::MAX);
    out.extend(record_type.to_le_bytes());
    out.extend([0; 2]);
    out.extend(len.to_le_bytes());
    out.extend(id.to_le_bytes());
    out.extend(count.to_le_bytes());
    out.extend([0; 2]);
    for (_, bytes) in fields {
        out.extend(bytes);
    }
    Ok(out)
}

fn record_type(section: u16, m: &Map<String, Value>) -> Result<u16, Issue> {
    if let Some(number) = m.get("type") {
        return small(number).map_err(|e| e.within("type"));
    }
    let name = m.get("record").and_then(Value::as_str).unwrap_or("");
    let known = sections::by_id(section).map_or(&[][..], |s| s.records);
    if let Some(kind) = known.iter().find(|r| r.name == name) {
        return Ok(kind.number);
    }
    let names: Vec<&str> = known.iter().map(|r| r.name).collect();
    Err(Issue::new(
        format!("the section has no record type \"{name}\" and there is no \"type\" with a number"),
        format!("Record types of this section: {}.", names.join(", ")),
    )
    .within("record"))
}

/// A field with its header and padding.
fn field(known: &[FieldSchema], name: &str, value: &Value) -> Result<(u16, Vec<u8>), Issue> {
    let explicit = value.as_object().filter(|m| m.contains_key("wire"));
    let (id, wire, hint, value) = if let Some(m) = explicit {
        let part = |name: &str| {
            m.get(name)
                .ok_or_else(|| Issue::new(format!("\"{name}\" is missing"), LOOK))
        };
        let id = small(part("field")?).map_err(|e| e.within("field"))?;
        let hint = small(part("hint")?).ok().and_then(|n| u8::try_from(n).ok());
        let hint = hint
            .ok_or_else(|| Issue::new("a hint is a number from 0 to 255", LOOK).within("hint"))?;
        let wire = part("wire")?.as_str().unwrap_or("");
        let wire = WIRES.iter().find(|w| w.1 == wire).ok_or_else(|| {
            Issue::new("unknown wire type", "Take u64, i64, bytes, text or array.").within("wire")
        })?;
        if let Some(stray) = m.keys().find(|k| {
            !matches!(k.as_str(), "field" | "wire" | "hint" | "value") && !k.starts_with('_')
        }) {
            return Err(Issue::new("unknown member", LOOK).within(stray.clone()));
        }
        (id, wire.0, hint, part("value")?)
    } else {
        let Some(f) = known.iter().find(|f| f.name == name) else {
            let names: Vec<&str> = known.iter().map(|f| f.name).collect();
            return Err(Issue::new(
                "the record type has no such field",
                format!(
                    "Its fields: {}. Begin the name with _ for a remark.",
                    names.join(", ")
                ),
            ));
        };
        // CAST: the discriminant of a `repr(u8)` enum.
        (f.id, f.wire, f.hint as u8, value)
    };
    if id == 0 {
        return Err(Issue::new("field numbers count from 1", LOOK).within("field"));
    }
    let inner = |e: Issue| {
        if explicit.is_some() {
            e.within("value")
        } else {
            e
        }
    };
    let payload = payload(wire, hint, value).map_err(inner)?;
    let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut out = Vec::with_capacity(payload.len().saturating_add(FIELD_HEADER).saturating_add(8));
    out.extend(id.to_le_bytes());
    // CAST: the discriminant of a `repr(u8)` enum.
    out.extend([wire as u8, hint]);
    out.extend(len.to_le_bytes());
    out.extend(payload);
    out.resize(out.len().next_multiple_of(8), 0);
    Ok((id, out))
}

fn payload(wire: Wire, hint: u8, value: &Value) -> Result<Vec<u8>, Issue> {
    match wire {
        Wire::U64 => Ok(number_u64(value)?.to_le_bytes().to_vec()),
        Wire::I64 => Ok(number_i64(value)?.to_le_bytes().to_vec()),
        Wire::Bytes => bytes(value),
        Wire::Text => {
            let text = text(value)?;
            if text.contains(&0) {
                return Err(Issue::new("a text has no NUL character", "Remove \\u0000."));
            }
            Ok(text)
        }
        Wire::Array => array(hint, value),
    }
}

/// A string, or `{"bytes": hex}` for what is not UTF-8.
pub fn text(value: &Value) -> Result<Vec<u8>, Issue> {
    match value {
        Value::String(s) => Ok(s.clone().into_bytes()),
        Value::Object(m) if m.len() == 1 && m.contains_key("bytes") => {
            let hex = m.get("bytes").and_then(Value::as_str);
            hex.and_then(unhex)
                .ok_or_else(|| not("hexadecimal digits").within("bytes"))
        }
        _ => Err(not("a string, or an object with bytes in hexadecimal")),
    }
}

/// Hexadecimal digits, or `{"text": string}`.
fn bytes(value: &Value) -> Result<Vec<u8>, Issue> {
    match value {
        Value::String(s) => unhex(s).ok_or_else(|| not("pairs of hexadecimal digits")),
        Value::Object(m) if m.len() == 1 && m.contains_key("text") => m
            .get("text")
            .and_then(Value::as_str)
            .map(|s| s.as_bytes().to_vec())
            .ok_or_else(|| not("a string").within("text")),
        _ => Err(not("a string of hexadecimal digits")),
    }
}

fn array(hint: u8, value: &Value) -> Result<Vec<u8>, Issue> {
    match value {
        Value::Array(list) => {
            let mut out = Vec::with_capacity(list.len().saturating_mul(8));
            for (n, value) in list.iter().enumerate() {
                let number = number_u64(value).map_err(|e| e.within(n.to_string()))?;
                out.extend(number.to_le_bytes());
            }
            Ok(out)
        }
        Value::Object(m) if hint == 8 => {
            if let Some(stray) = m
                .keys()
                .find(|k| !REG_NAMES.contains(&k.as_str()) && !k.starts_with('_'))
            {
                return Err(Issue::new("there is no such register", LOOK).within(stray.clone()));
            }
            let mut out = Vec::new();
            for name in REG_NAMES {
                let value = m
                    .get(name)
                    .ok_or_else(|| Issue::new(format!("register {name} is missing"), LOOK))?;
                let number = number_u64(value).map_err(|e| e.within(name))?;
                out.extend(number.to_le_bytes());
            }
            Ok(out)
        }
        _ => Err(not("an array of numbers")),
    }
}

fn not(what: &str) -> Issue {
    Issue::new(format!("this is not {what}"), LOOK)
}

/// Bytes of hexadecimal digits.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| {
        char::from(b)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        return None;
    };
    pairs
        .iter()
        .map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?))
        .collect()
}

/// A number as JSON has it, or a string: decimal, `0x…`, `0o…`, `0b…`.
///
/// # Errors
/// [`Issue`].
pub fn number_u64(value: &Value) -> Result<u64, Issue> {
    let number = match value {
        Value::Number(n) => n.as_u64(),
        Value::String(s) => unsigned(s),
        _ => None,
    };
    number.ok_or_else(|| {
        Issue::new(
            "this is not a number from 0 to 2^64 - 1",
            "Write it as a number, or as a string in decimal, 0x…, 0o… or 0b….",
        )
    })
}

fn unsigned(s: &str) -> Option<u64> {
    let radix = |prefix: &str| s.strip_prefix(prefix).filter(|d| !d.starts_with('+'));
    if let Some(digits) = radix("0x") {
        u64::from_str_radix(digits, 16).ok()
    } else if let Some(digits) = radix("0o") {
        u64::from_str_radix(digits, 8).ok()
    } else if let Some(digits) = radix("0b") {
        u64::from_str_radix(digits, 2).ok()
    } else {
        radix("")?.parse().ok()
    }
}

fn number_i64(value: &Value) -> Result<i64, Issue> {
    let number = match value {
        Value::Number(n) => n.as_i64(),
        Value::String(s) => s.parse().ok(),
        _ => None,
    };
    number.ok_or_else(|| {
        Issue::new(
            "this is not a number from -2^63 to 2^63 - 1",
            "Write it as a number, or as a string in decimal.",
        )
    })
}

/// A number of 16 bits.
///
/// # Errors
/// [`Issue`].
pub fn small(value: &Value) -> Result<u16, Issue> {
    let n = number_u64(value)?;
    u16::try_from(n).map_err(|_| Issue::new("the number is above 65535", LOOK))
}

/// A number of 32 bits.
///
/// # Errors
/// [`Issue`].
pub fn middle(value: &Value) -> Result<u32, Issue> {
    let n = number_u64(value)?;
    u32::try_from(n).map_err(|_| Issue::new("the number is above 2^32 - 1", LOOK))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_people_write_them() {
        for (value, want) in [
            (json!(0), Some(0)),
            (json!(u64::MAX), Some(u64::MAX)),
            (json!("18446744073709551615"), Some(u64::MAX)),
            (json!("0x7f"), Some(127)),
            (json!("0o644"), Some(420)),
            (json!("0b101"), Some(5)),
            (json!(-1), None),
            (json!(1.5), None),
            (json!("0x"), None),
            (json!("0x+1"), None),
            (json!("+1"), None),
            (json!(""), None),
            (json!("1 "), None),
            (json!(null), None),
            (json!("18446744073709551616"), None),
        ] {
            assert_eq!(number_u64(&value).ok(), want, "{value}");
        }
    }

    #[test]
    fn an_issue_says_where() {
        let e = decode(0x16, &json!({"record": "limit", "id": 1, "soft": "x"})).unwrap_err();
        assert_eq!(e.path, ["soft"]);
        let e = decode(0x16, &json!({"record": "limit", "id": 1, "saft": 1})).unwrap_err();
        assert_eq!(e.path, ["saft"]);
        let e = decode(
            0x10,
            &json!({"record": "task", "id": 1, "regs": {"rip": 1}}),
        )
        .unwrap_err();
        assert_eq!(e.path, ["regs"]);
        let e = decode(
            0x16,
            &json!({"record": "limit", "id": 1, "x": {"field": 3, "wire": "u64", "hint": 1, "value": []}}),
        );
        assert_eq!(e.unwrap_err().path, ["x", "value"]);
        assert!(decode(0x16, &json!({"record": "pipe", "id": 1})).is_err());
        assert!(decode(0x16, &json!([])).is_err());
    }
}
