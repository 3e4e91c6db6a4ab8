// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! One JSON document with a list that is too long to keep: written element by element, one per line.

use crate::{error::Failure, escape, json, output::Output};
use serde_json::{Map, Value};

/// A document being written: head, list, and what is known at the end.
pub struct Stream {
    any: bool,
}

impl Stream {
    /// Begins: `crimg_schema`, `image`, `command`, and the list named `list`.
    ///
    /// # Errors
    /// [`Failure::Write`].
    pub fn begin(
        out: &mut Output,
        image: &str,
        command: &str,
        list: &str,
    ) -> Result<Self, Failure> {
        let image = escape::json(&json::text(image.as_bytes()).to_string());
        out.bytes(
            format!(
                "{{\n  \"crimg_schema\": {},\n  \"image\": {image},\n  \"command\": \"{command}\",\n  \"{list}\": [",
                json::SCHEMA
            )
            .as_bytes(),
        )?;
        Ok(Self { any: false })
    }

    /// Writes an element.
    ///
    /// # Errors
    /// [`Failure::Write`].
    pub fn element(
        &mut self,
        out: &mut Output,
        element: Map<String, Value>,
    ) -> Result<(), Failure> {
        let separator = if std::mem::replace(&mut self.any, true) {
            ","
        } else {
            ""
        };
        let element = escape::json(&Value::Object(element).to_string());
        out.bytes(format!("{separator}\n    {element}").as_bytes())
    }

    /// Ends the list and the document.
    ///
    /// # Errors
    /// [`Failure::Write`].
    pub fn end(self, out: &mut Output, members: Map<String, Value>) -> Result<(), Failure> {
        out.bytes(if self.any { b"\n  ]" } else { b"]" })?;
        for (name, value) in members {
            let value = escape::json(&value.to_string());
            out.bytes(format!(",\n  \"{name}\": {value}").as_bytes())?;
        }
        out.line("\n}")
    }
}
