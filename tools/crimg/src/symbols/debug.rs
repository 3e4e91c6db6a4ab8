// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Debug information in separate files: by build id or `.gnu_debuglink`, below the sysroot.

use super::regular;
use crate::{
    elf::{u32_at, Object, Source},
    load::crc,
    memory::below,
};
use std::{
    fs::File,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// Largest file whose checksum is computed.
const MOST: u64 = 2 << 30;
const NAME_MAX: u64 = 4096;

/// The separate file with debug information of a program, and a complaint about one that does not fit.
pub fn find(
    sysroot: &Path,
    path: &[u8],
    object: &Object,
    source: &File,
    id: Option<&[u8]>,
) -> (Option<(Object, File)>, Option<String>) {
    if object.section(".debug_info").is_some() {
        return (None, None);
    }
    if let Some(found) = id.and_then(|id| open(&by_id(sysroot, id)?)) {
        if found.0.build_id(&found.1).as_deref() == id {
            return (Some(found), None);
        }
    }
    let Some((name, wanted)) = link(object, source) else {
        return (None, None);
    };
    let folder = Path::new(std::ffi::OsStr::from_bytes(path)).parent();
    let folder = folder.unwrap_or(Path::new("/")).as_os_str().as_bytes();
    let places = [
        [folder, b"/", &name].concat(),
        [folder, b"/.debug/", &name].concat(),
        [b"/usr/lib/debug/", folder, b"/", &name].concat(),
    ];
    let mut complaint = None;
    for place in places.iter().filter(|p| p.as_slice() != path) {
        if let Some(found) = open(&below(sysroot, place)) {
            if checksum(&found.1) == Some(wanted) {
                return (Some(found), None);
            }
            complaint = Some("its file of debug information is of another build".to_owned());
        }
    }
    (None, complaint)
}

fn open(path: &Path) -> Option<(Object, File)> {
    let file = regular(path)?;
    let object = Object::read(&file).filter(Object::is_x86_64)?;
    Some((object, file))
}

/// `/usr/lib/debug/.build-id/ab/cdef….debug`.
fn by_id(sysroot: &Path, id: &[u8]) -> Option<PathBuf> {
    let hex = crate::number::hex(id);
    let (first, rest) = hex.split_at_checked(2).filter(|h| !h.1.is_empty())?;
    let path = format!("/usr/lib/debug/.build-id/{first}/{rest}.debug");
    Some(below(sysroot, path.as_bytes()))
}

/// Name of the file and its checksum, behind the padding.
fn link(object: &Object, source: &dyn Source) -> Option<(Vec<u8>, u32)> {
    let section = object.section(".gnu_debuglink")?;
    let bytes = source.bytes(section.offset, section.size, NAME_MAX)?;
    let name = bytes.split(|b| *b == 0).next()?.to_vec();
    let at = name.len().checked_add(1)?.checked_next_multiple_of(4)?;
    let sum = u32_at(&bytes, at)?;
    (!name.is_empty() && !name.contains(&b'/')).then_some((name, sum))
}

fn checksum(file: &File) -> Option<u32> {
    let len = Source::len(file);
    if len > MOST {
        return None;
    }
    let mut buf = vec![0; 1 << 20];
    let (mut at, mut sum) = (0_u64, 0);
    while at < len {
        let n = usize::try_from(len.saturating_sub(at)).ok()?.min(buf.len());
        let piece = buf.get_mut(..n)?;
        Source::read(file, at, piece)?;
        sum = crc(sum, piece);
        at = at.saturating_add(n as u64);
    }
    Some(sum)
}
