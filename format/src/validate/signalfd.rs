// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Rules of section `signalfd`.

use super::{each, handled::Handled, known_records, MetaSet};
use crate::{
    error::{ensure, Result},
    sections::{SignalfdRecord, SIGNALFD},
};

/// SIGKILL and SIGSTOP, which nobody can read.
const NEVER: u64 = 1 << 8 | 1 << 18;

pub(super) fn check(set: &dyn MetaSet) -> Result {
    known_records(set, SIGNALFD)?;
    let mut files = Handled::new(set, SIGNALFD, "SIGNALFD-1");
    each(set, |s: SignalfdRecord| {
        files.next(s.id, s.file)?;
        ensure(s.mask & NEVER == 0, "SIGNALFD-2")
    })?;
    files.end()
}
