// SPDX-License-Identifier: GPL-2.0
//! Descriptors for a moment, for system calls on open files that only other processes have.

use cr_format::{DescriptorRecord, FILES};
use crkit::{sys::open_file, Restart};
use kernel::prelude::*;

/// A descriptor of an open file in the first process: its own, or one for a moment.
pub(crate) struct Lent {
    /// Its number.
    pub(crate) fd: u32,
    ours: bool,
}

impl Lent {
    /// A descriptor of open file `file`; one for a moment must be given back by [`Lent::close`], by the same process.
    /// Not behind `files` in [`crkit::Phase::Late`], which gives up what only others have.
    ///
    /// # Errors
    /// `EUCLEAN` if there is no such file, `EMFILE`.
    pub(crate) fn new(cx: &Restart<'_>, file: u64) -> Result<Self> {
        for d in cx.records::<DescriptorRecord>() {
            let d = d?;
            if d.file == file {
                return Ok(Self { fd: u32::try_from(d.fd).map_err(|_| EUCLEAN)?, ours: false });
            }
        }
        let id = u32::try_from(file).map_err(|_| EUCLEAN)?;
        Ok(Self { fd: cx.restart_file(FILES, id)?.install(true)?, ours: true })
    }

    /// Gives it back.
    ///
    /// # Errors
    /// `EBADF`: somebody else has.
    pub(crate) fn close(self) -> Result {
        if self.ours { open_file::close(self.fd) } else { Ok(()) }
    }
}
