// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crctl status`: what is loaded. Never loads anything.

use super::{print, unexpected};
use crate::device::Device;
use crate::error::{Class, Result};
use crate::{escape, modules};
use cr_uapi::{ExtensionInfo, Query};
use serde_json::{json, Value};

/// More extensions than this cannot be: there is an end even if the core never says so.
const MAX_EXTENSIONS: u32 = 4096;

/// Runs the command.
pub fn run(json: bool) -> Result<u8> {
    let loaded = modules::is_loaded();
    let device = match modules::open_if_loaded() {
        // Who may not open the device can still learn whether the modules are there.
        Err(failure) if failure.class == Class::NotPermitted && loaded => None,
        other => other?,
    };
    let details = device.as_ref().map(ask).transpose()?;
    let loaded = loaded || details.is_some();
    let code = u8::from(!loaded);
    let text = match json {
        true => format!("{}\n", to_json(loaded, code, details.as_ref())),
        false => render(loaded, details.as_ref()),
    };
    print(&text).map(|()| code)
}

type Details = (Query, Vec<ExtensionInfo>);

fn ask(device: &Device) -> Result<Details> {
    let query = device
        .query()
        .map_err(|e| unexpected("asking the core", &e))?;
    let mut extensions = Vec::new();
    for index in 0..MAX_EXTENSIONS {
        match device
            .extension(index)
            .map_err(|e| unexpected("listing the extensions", &e))?
        {
            Some(info) => extensions.push(info),
            None => break,
        }
    }
    Ok((query, extensions))
}

fn render(loaded: bool, details: Option<&Details>) -> String {
    let mut text = format!(
        "loaded: {}\nkernel: {}\n",
        if loaded { "yes" } else { "no" },
        modules::kernel_release()
    );
    if let Some(version) = modules::version() {
        text += &format!("version: {version}\n");
    }
    match details {
        Some((query, extensions)) => {
            text += &format!("interface: {} ({})\n", query.abi, agreement(query));
            text += &format!("image format: {}\n", format_version(query));
            text += &format!("sessions: {}\n", sessions(query));
            text += &format!("landlock: {}\n", landlock(query));
            text += &format!("extensions: {}\n", extensions.len());
            for info in extensions {
                text += &format!(
                    "  {:<12} section {:#06x}  module {}  users {}\n",
                    word(&info.word),
                    info.section,
                    word(&info.module),
                    info.users
                );
            }
        }
        None if loaded => text += "details: not permitted (only root may open the device)\n",
        None => {}
    }
    text
}

fn to_json(loaded: bool, code: u8, details: Option<&Details>) -> Value {
    let mut object = json!({
        "command": "status",
        "ok": loaded,
        "exit_code": code,
        "loaded": loaded,
        "kernel": modules::kernel_release(),
    });
    if let Some(version) = modules::version() {
        object["version"] = json!(version);
    }
    if let Some((query, extensions)) = details {
        object["abi"] = json!(query.abi);
        object["format"] = json!(format_version(query));
        object["sessions"] = json!(sessions(query));
        object["landlock"] = json!(landlock(query));
        let list = extensions.iter().map(|info| {
            json!({
                "word": word(&info.word),
                "section": format!("{:#06x}", info.section),
                "module": word(&info.module),
                "users": info.users,
            })
        });
        object["extensions"] = list.collect();
    }
    object
}

fn agreement(query: &Query) -> &'static str {
    if query.abi == cr_uapi::ABI {
        "this crctl's"
    } else {
        "NOT this crctl's: install modules and crctl of one release"
    }
}

fn format_version(query: &Query) -> String {
    format!("{}.{}", query.format >> 16, query.format & 0xffff)
}

/// Open sessions without our own.
fn sessions(query: &Query) -> u32 {
    query.sessions.saturating_sub(1)
}

fn landlock(query: &Query) -> &'static str {
    match query.landlock {
        0 => "not looked for yet",
        1 => "known",
        2 => "absent",
        _ => "unknown state",
    }
}

/// A NUL-terminated name.
fn word(bytes: &[u8]) -> String {
    escape::text(bytes.split(|&b| b == 0).next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn details() -> Details {
        let mut info = ExtensionInfo {
            size: 0,
            index: 0,
            section: 0x13,
            users: 1,
            word: [0; 32],
            module: [0; 64],
        };
        info.word[..5].copy_from_slice(b"pipes");
        info.module[..8].copy_from_slice(b"cr_pipes");
        (
            Query {
                size: 0,
                abi: 1,
                format: 0x0001_0002,
                extensions: 1,
                sessions: 3,
                landlock: 1,
            },
            vec![info],
        )
    }

    #[test]
    fn what_is_loaded_is_listed() {
        let text = render(true, Some(&details()));
        assert!(text.starts_with("loaded: yes\n"));
        assert!(text.contains("image format: 1.2\n"));
        assert!(
            text.contains("sessions: 2\n"),
            "our own session does not count"
        );
        assert!(text.contains("  pipes        section 0x0013  module cr_pipes  users 1\n"));
        assert!(render(true, None).contains("not permitted"));
        assert!(!render(false, None).contains("details"));
    }

    #[test]
    fn json_has_the_same_facts() {
        let object = to_json(true, 0, Some(&details()));
        assert_eq!(object["extensions"][0]["section"], "0x0013");
        assert_eq!(object["landlock"], "known");
        assert_eq!(to_json(false, 1, None)["loaded"], false);
    }
}
