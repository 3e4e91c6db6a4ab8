// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Reading JSON that may be hostile: tokens and values have a largest size, and a member is there once.

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::{
    cell::Cell,
    fmt,
    io::{self, Read},
};

/// Longest string or number: the longest text of a record with every byte escaped.
pub const TOKEN: usize = 8 << 20;
/// Most memory that one value may take, roughly.
pub const VALUE: usize = 32 << 20;
/// What an element costs apart from its text.
const NODE: usize = 64;
/// Deepest nesting; a document of ours has eight levels.
const DEPTH: u32 = 64;

/// Passes a document on and ends with an error when a string or number is too long or values are nested
/// too deep, for the parser would keep them in memory.
pub struct Guard<R> {
    inner: R,
    in_string: bool,
    escaped: bool,
    token: usize,
    depth: u32,
}

impl<R: Read> Guard<R> {
    /// A guard in front of a document.
    pub fn new(inner: R) -> Self {
        Self {
            inner,
            in_string: false,
            escaped: false,
            token: 0,
            depth: 0,
        }
    }

    fn check(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while let Some((&first, tail)) = rest.split_first() {
            if self.in_string {
                if self.escaped {
                    self.escaped = false;
                    self.grow(1)?;
                    rest = tail;
                    continue;
                }
                // Most of a large document is strings.
                let stop = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
                self.grow(stop)?;
                rest = rest.get(stop..).unwrap_or(&[]);
                if let Some((&c, tail)) = rest.split_first() {
                    self.escaped = c == b'\\';
                    self.in_string = self.escaped;
                    rest = tail;
                }
                continue;
            }
            match first {
                b'"' => (self.in_string, self.token) = (true, 0),
                b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'+' | b'-' | b'.' => self.grow(1)?,
                b'{' | b'[' => {
                    (self.token, self.depth) = (0, self.depth.saturating_add(1));
                    if self.depth > DEPTH {
                        return Err(bad(format!("values are nested deeper than {DEPTH}")));
                    }
                }
                b'}' | b']' => (self.token, self.depth) = (0, self.depth.saturating_sub(1)),
                _ => self.token = 0,
            }
            rest = tail;
        }
        Ok(())
    }

    fn grow(&mut self, n: usize) -> io::Result<()> {
        self.token = self.token.saturating_add(n);
        let limit = if self.in_string { TOKEN } else { 64 };
        if self.token > limit {
            let what = if self.in_string { "string" } else { "number" };
            return Err(bad(format!("a {what} is longer than {limit} bytes")));
        }
        Ok(())
    }
}

fn bad(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

impl<R: Read> Read for Guard<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        let part = buf.get(..n).unwrap_or(&[]);
        self.check(part)?;
        Ok(n)
    }
}

/// Reads one value of at most [`VALUE`] bytes.
pub struct Bounded<'b>(pub &'b Cell<usize>);

impl Bounded<'_> {
    fn take<E: de::Error>(&self, n: usize) -> Result<(), E> {
        match self.0.get().checked_sub(n.saturating_add(NODE)) {
            Some(left) => {
                self.0.set(left);
                Ok(())
            }
            None => Err(E::custom("the value is too large")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_bool<E: de::Error>(self, v: bool) -> Result<Value, E> {
        self.take(0).map(|()| v.into())
    }
    fn visit_i64<E: de::Error>(self, v: i64) -> Result<Value, E> {
        self.take(0).map(|()| v.into())
    }
    fn visit_u64<E: de::Error>(self, v: u64) -> Result<Value, E> {
        self.take(0).map(|()| v.into())
    }
    fn visit_f64<E: de::Error>(self, v: f64) -> Result<Value, E> {
        self.take(0).map(|()| v.into())
    }
    fn visit_str<E: de::Error>(self, v: &str) -> Result<Value, E> {
        self.take(v.len()).map(|()| v.into())
    }
    fn visit_string<E: de::Error>(self, v: String) -> Result<Value, E> {
        self.take(v.len()).map(|()| v.into())
    }
    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        self.take(0).map(|()| Value::Null)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        self.take(0)?;
        let mut out = Vec::new();
        while let Some(v) = seq.next_element_seed(Bounded(self.0))? {
            out.push(v);
        }
        Ok(out.into())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        self.take(0)?;
        let mut out = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            self.take(name.len())?;
            let value = map.next_value_seed(Bounded(self.0))?;
            if out.contains_key(&name) {
                return Err(de::Error::custom(format!(
                    "the member \"{name}\" is there twice"
                )));
            }
            out.insert(name, value);
        }
        Ok(out.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, budget: usize) -> Result<Value, serde_json::Error> {
        let mut d = serde_json::Deserializer::from_reader(Guard::new(text.as_bytes()));
        Bounded(&Cell::new(budget)).deserialize(&mut d)
    }

    #[test]
    fn values_come_as_they_are() {
        let text =
            r#"{"a": [1, -2, 1.5, true, null, "x\"\\\u0041"], "b": {"c": 18446744073709551615}}"#;
        let want: Value = serde_json::from_str(text).unwrap();
        assert_eq!(parse(text, VALUE).unwrap(), want);
    }

    #[test]
    fn what_is_too_large_or_there_twice_is_refused() {
        assert!(parse("[1, 2, 3]", 100).is_err());
        assert!(parse(r#"{"a": 1, "a": 2}"#, VALUE).is_err());
        assert!(parse(&"1".repeat(65), VALUE).is_err());
        assert!(parse(&"1".repeat(18), VALUE).is_ok());
        assert!(parse(&"[".repeat(100_000), VALUE).is_err());
        assert!(parse(&format!("\"{}\"", "x".repeat(TOKEN + 1)), usize::MAX).is_err());
        assert!(parse(&format!("\"{}\"", "\\\"".repeat(TOKEN + 1)), usize::MAX).is_err());
    }
}
