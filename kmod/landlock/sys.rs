// SPDX-License-Identifier: GPL-2.0
//! Reading a thread's Landlock domain. The only file of this module that names bindings' functions.

use cr_logic::landlock::Log;
use crkit::{bindings as b, sys::task::TaskRef};
use kernel::{error::to_result, prelude::*};

/// A domain: the layers from the first to the last.
pub(crate) struct Domain(b::crs_landlock);

/// The domain of a task whose pointer is in this word of the security blob.
///
/// # Errors
/// `EUCLEAN` for something that is no domain as this kernel makes them.
pub(crate) fn read(t: &TaskRef<'_>, word: usize) -> Result<Option<Domain>> {
    let mut raw = b::crs_landlock::default();
    // SAFETY: live task; the word was found by experiment on this kernel, and the structures are those of its source.
    let r = unsafe { b::crs_landlock_read(t.as_ptr(), word, &mut raw) };
    if r < 0 {
        to_result(r)?;
    }
    Ok((r == 1).then_some(Domain(raw)))
}

impl Domain {
    /// The layers, the first one first.
    pub(crate) fn layers(&self) -> &[b::crs_landlock_layer] {
        self.0.layer.get(..self.0.layers as usize).unwrap_or(&[])
    }

    /// Does it allow something by name or number?
    pub(crate) fn has_rules(&self) -> bool {
        self.0.rules != 0
    }

    /// Are layers to come silent?
    pub(crate) fn log_off(&self) -> bool {
        self.0.log_subdomains_off != 0
    }

    /// The key of its last layer, which no other domain has.
    pub(crate) fn key(&self) -> u64 {
        self.layers().last().map_or(0, |l| l.key)
    }
}

/// What a layer has about the audit log.
pub(crate) fn log(l: &b::crs_landlock_layer) -> Log {
    Log { same_exec: l.log_same_exec != 0, new_exec: l.log_new_exec != 0, disabled: l.log_disabled != 0 }
}
