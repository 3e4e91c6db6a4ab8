// SPDX-License-Identifier: GPL-2.0
//! Reading locks. The only file of this module that names bindings' functions.

use crkit::{
    bindings as b,
    sys::{file::FileRef, task::TaskRef},
};
use kernel::{ffi::c_int, prelude::*};

/// The locks held through `file`, with the descriptor table of `t` as the owner of record locks.
pub(crate) fn locks(file: &FileRef, t: &TaskRef<'_>) -> Result<KVVec<b::crs_lock>> {
    let mut out: KVVec<b::crs_lock> = KVVec::new();
    loop {
        let room = c_int::try_from(out.len()).map_err(|_| E2BIG)?;
        // SAFETY: live file; the table pointer is only compared; `out` has room for that many.
        let n = unsafe { b::crs_locks(file.as_ptr(), t.fields().files, out.as_mut_ptr(), room) } as usize;
        if n <= out.len() {
            out.truncate(n);
            return Ok(out);
        }
        out.resize(n, b::crs_lock::default(), GFP_KERNEL)?;
    }
}
