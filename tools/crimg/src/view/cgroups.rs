// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `show --section cgroups`: the control group of the process.

use crate::{error::Failure, escape, load::Image, output::Output, view::first};
use cr_format::CgroupRecord;

/// The path of the group, escaped; `None` in the root group.
pub fn group(image: &Image) -> Option<String> {
    first::<CgroupRecord<'_>>(image).map(|c| escape::text(c.path))
}

/// # Errors
/// [`Failure::Write`].
pub fn section(image: &Image, out: &mut Output) -> Result<(), Failure> {
    out.field("group", group(image).unwrap_or_else(|| "/".to_owned()))
}
