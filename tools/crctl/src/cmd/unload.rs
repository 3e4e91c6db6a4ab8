// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crctl unload`: takes the kernel modules out of the kernel, extensions first.

use super::print;
use crate::error::{Class, Failure, Result};
use crate::{modules, say, sys};
use serde_json::json;
use std::io;

/// Runs the command.
pub fn run(json: bool) -> Result<u8> {
    let order = modules::unload_order();
    refuse_if_used()?;
    for module in &order {
        modules::remove(module).map_err(|e| explain(module, &e))?;
    }
    if json {
        let object = json!({"command": "unload", "ok": true, "exit_code": 0, "removed": order});
        print(&format!("{object}\n"))?;
    } else if order.is_empty() {
        print(&format!("{} is not loaded\n", modules::CORE))?;
    } else {
        print(&format!("removed: {}\n", order.join(" ")))?;
    }
    Ok(0)
}

/// Looks for other sessions first, so that a core that must stay does not lose its extensions.
fn refuse_if_used() -> Result<()> {
    let Some(device) = modules::open_if_loaded()? else {
        return Ok(());
    };
    let others = device.query().map_or(0, |q| q.sessions.saturating_sub(1));
    if others > 0 {
        let count = say::count(others.into(), "checkpoint or restart session");
        return Err(Failure::new(
            Class::Other,
            format!("{} is in use: {count} open", modules::CORE),
        )
        .remedy(format!(
            "Wait for them, or find them with: fuser -v {}",
            cr_uapi::DEVICE_PATH
        )));
    }
    Ok(())
}

fn explain(module: &str, err: &io::Error) -> Failure {
    match sys::errno(err) {
        libc::EPERM | libc::EACCES => Failure::new(
            Class::NotPermitted,
            format!("cannot remove {module}: {}", sys::error_text(err)),
        )
        .remedy("Only root can remove kernel modules: use sudo."),
        libc::EAGAIN | libc::EBUSY => Failure::new(
            Class::Other,
            format!("{module} is in use by a checkpoint or restart session"),
        )
        .remedy(format!("Find it with: fuser -v {}", cr_uapi::DEVICE_PATH)),
        _ => Failure::new(
            Class::Other,
            format!("cannot remove {module}: {}", sys::error_text(err)),
        ),
    }
}
