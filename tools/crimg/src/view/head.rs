// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The superblock of an image that this release cannot read: what it still says, for every version begins alike.

use crate::{error::Failure, escape, json, load::crc, number, output::Output};
use cr_format::superblock::{KNOWN_INCOMPAT, LEN, MAJOR, SIGNATURE};
use serde_json::{json, Value};

/// The part of a superblock that does not depend on the version, and the rest if the version is known.
pub struct Head {
    major: u16,
    minor: u16,
    compat: u32,
    ro_compat: u32,
    incompat: u32,
    rest: Option<Rest>,
}

/// Fields of major version 1.
struct Rest {
    machine: u16,
    uuid: [u8; 16],
    created_ns: u64,
    writer: Vec<u8>,
}

impl Head {
    /// Takes the first 4096 bytes; `None` if they are no superblock or damaged.
    pub fn new(block: &[u8]) -> Option<Self> {
        let block: &[u8; LEN] = block.first_chunk()?;
        let (body, sum) = (block.get(..4092)?, u32_at(block, 4092)?);
        if !block.starts_with(&SIGNATURE) || crc(0, body) != sum {
            return None;
        }
        let major = u16_at(block, 12)?;
        let rest = || {
            Some(Rest {
                machine: u16_at(block, 28)?,
                uuid: *block.get(40..)?.first_chunk()?,
                created_ns: u64::from_le_bytes(*block.get(72..)?.first_chunk()?),
                writer: block
                    .get(80..112)?
                    .split(|b| *b == 0)
                    .next()
                    .unwrap_or(&[])
                    .to_vec(),
            })
        };
        Some(Self {
            major,
            minor: u16_at(block, 14)?,
            compat: u32_at(block, 16)?,
            ro_compat: u32_at(block, 20)?,
            incompat: u32_at(block, 24)?,
            rest: if major == MAJOR { rest() } else { None },
        })
    }

    /// # Errors
    /// [`Failure::Write`].
    pub fn print(&self, name: &str, out: &mut Output) -> Result<(), Failure> {
        let name = escape::text(name.as_bytes());
        out.field(
            "image",
            format_args!(
                "{name}, format {}.{}, which this crimg can read only in part",
                self.major, self.minor
            ),
        )?;
        let unknown = self.incompat & !KNOWN_INCOMPAT;
        if unknown != 0 {
            out.field(
                "needs",
                format_args!("features that this crimg does not know: {unknown:#x}"),
            )?;
        }
        out.field(
            "features",
            format_args!(
                "{:#x} needed, {:#x} for editing, {:#x} others",
                self.incompat, self.ro_compat, self.compat
            ),
        )?;
        if let Some(r) = &self.rest {
            out.field("id", number::uuid(&r.uuid))?;
            out.field("machine", machine(r.machine))?;
            out.field(
                "checkpoint",
                format_args!(
                    "{} by {}",
                    number::time(r.created_ns),
                    escape::text(&r.writer)
                ),
            )?;
        }
        out.field(
            "restart",
            "no: take the crimg and the kernel modules of the release that wrote it",
        )
    }

    /// The member `superblock`, as far as it is known.
    pub fn json(&self) -> Value {
        let hex = |n: u32| format!("{n:#x}");
        let mut value = json!({
            "major": self.major,
            "minor": self.minor,
            "feature_compat": hex(self.compat),
            "feature_ro_compat": hex(self.ro_compat),
            "feature_incompat": hex(self.incompat),
            "understood": false,
        });
        if let (Some(m), Some(r)) = (value.as_object_mut(), &self.rest) {
            m.insert("uuid".into(), number::uuid(&r.uuid).into());
            m.insert("machine".into(), machine(r.machine).into());
            m.insert("created".into(), number::time(r.created_ns).into());
            m.insert("created_ns".into(), json::integer(r.created_ns));
            m.insert("writer".into(), json::text(&r.writer));
        }
        value
    }
}

/// ELF machine numbers.
fn machine(n: u16) -> String {
    match n {
        62 => "x86_64".to_owned(),
        183 => "aarch64".to_owned(),
        243 => "riscv".to_owned(),
        n => format!("ELF machine {n}"),
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
