// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The vDSO of a process. The kernel makes it, so an image has only its checksum; when this host runs the same
//! kernel, its own vDSO is the same.

use crate::{load::crc, process::Process};
use std::{fs, os::unix::fs::FileExt};

/// Most bytes that are taken for a vDSO.
const MOST: u64 = 1 << 20;

/// The bytes of the vDSO of the process, if this host has the same.
pub fn bytes(process: &Process<'_>) -> Option<Vec<u8>> {
    let wanted = process.mm.as_ref()?.vdso_crc;
    let own = of_this_host()?;
    (wanted != 0 && wanted == u64::from(crc(0, &own))).then_some(own)
}

/// The vDSO that the kernel gives this very program.
pub fn of_this_host() -> Option<Vec<u8>> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let line = maps.lines().find(|l| l.ends_with("[vdso]"))?;
    let (start, end) = line.split_whitespace().next()?.split_once('-')?;
    let start = u64::from_str_radix(start, 16).ok()?;
    let len = u64::from_str_radix(end, 16).ok()?.checked_sub(start)?;
    if len > MOST {
        return None;
    }
    let mut bytes = vec![0; usize::try_from(len).ok()?];
    let memory = fs::File::open("/proc/self/mem").ok()?;
    memory.read_exact_at(&mut bytes, start).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::{Object, Slice};

    #[test]
    fn the_own_vdso_is_an_elf_file() {
        let Some(bytes) = of_this_host() else {
            eprintln!("skipped: this host has no vDSO");
            return;
        };
        let object = Object::read(&Slice(bytes)).unwrap();
        assert!(!object.segments.is_empty());
    }
}
