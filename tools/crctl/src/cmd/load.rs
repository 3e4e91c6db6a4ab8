// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crctl load`: puts the kernel modules into the kernel.

use super::print;
use crate::cli::LoadArgs;
use crate::error::Result;
use crate::{modules, say};
use serde_json::json;

/// Runs the command.
pub fn run(args: &LoadArgs, json: bool) -> Result<u8> {
    let was_loaded = modules::is_loaded();
    drop(modules::open()?);
    let extensions = if args.all {
        modules::installed_extensions()
    } else {
        Vec::new()
    };
    for module in &extensions {
        modules::load(module)?;
    }
    if json {
        let object = json!({
            "command": "load",
            "ok": true,
            "exit_code": 0,
            "was_loaded": was_loaded,
            "extensions": extensions,
        });
        print(&format!("{object}\n"))?;
    } else if args.all {
        // CAST: usize is 64 bits wide.
        print(&format!(
            "{} and {} loaded\n",
            modules::CORE,
            say::count(extensions.len() as u64, "extension")
        ))?;
    } else {
        print(&format!(
            "{} {}\n",
            modules::CORE,
            if was_loaded {
                "was loaded already"
            } else {
                "loaded"
            }
        ))?;
    }
    Ok(0)
}
