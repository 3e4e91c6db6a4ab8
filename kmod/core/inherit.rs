// SPDX-License-Identifier: GPL-2.0
//! Which memory a process keeps of what the fork of its parent gave it.
//!
//! A parent whose children have memory at the same places, mapped in the same way, is filled before it makes them. They then keep
//! that memory, and only pages that differ are written: what was shared copy-on-write is shared again, without a word
//! about it in the image. For all others children are made before there is anything to copy.

use crate::input::Sections;
use cr_format::{
    records_of, sections as words, validate::Kin, CgroupRecord, MappedFileRecord, MappedObjectRecord, PolicyRecord, VmaRecord,
};
use cr_logic::memory::{
    holder,
    inherit::{may_keep, same_file},
    Spec,
};
use crkit::{errno_of, sys::wait};
use kernel::prelude::*;

/// What all processes keep, by their numbers; empty if no process keeps anything.
pub(crate) fn all(sections: &Sections, kin: &[Kin]) -> Result<KVVec<KVVec<(u64, u64)>>> {
    let mut all = KVVec::with_capacity(kin.len(), GFP_KERNEL)?;
    let mut group: Option<&[u8]> = None;
    let mut any = false;
    for (number, k) in kin.iter().enumerate() {
        let number = number as u32;
        all.push(KVVec::new(), GFP_KERNEL)?;
        if k.zombie {
            continue;
        }
        // A process without a record stays in the group that it is born into: that must be the one of `crctl`.
        let record = records_of::<CgroupRecord<'_>>(sections.get(number, words::CGROUPS)).next();
        let own = record.transpose().map_err(errno_of)?.map_or(b"".as_slice(), |r| r.path);
        if *group.get_or_insert(own) != own {
            return Ok(KVVec::new());
        }
        if let (true, Some(kept)) = (number > 0, all.as_mut_slice().last_mut()) {
            *kept = ranges(sections, k.parent, number)?;
            any |= !kept.is_empty();
        }
    }
    Ok(if any { all } else { KVVec::new() })
}

/// Ranges of addresses that process `child` keeps of `parent`, ascending.
fn ranges(sections: &Sections, parent: u32, child: u32) -> Result<KVVec<(u64, u64)>> {
    let (theirs, own) = (sections.get(parent, words::MEMORY), sections.get(child, words::MEMORY));
    let mut kept = KVVec::new();
    // A policy decides where pages are.
    let has_policy = |s| records_of::<PolicyRecord<'_>>(s).next().is_some();
    if has_policy(theirs) || has_policy(own) {
        return Ok(kept);
    }
    let (theirs_areas, own_areas) = (areas(theirs)?, areas(own)?);
    for a in own_areas.iter() {
        let Some(p) = holder(&theirs_areas, a.start, a.end).filter(|p| may_keep(p, a)) else { continue };
        if a.kind != cr_format::VMA_FILE || is_same_object(theirs, p.object, own, a.object)? {
            kept.push((a.start, a.end), GFP_KERNEL)?;
        }
        wait::resched()?;
    }
    Ok(kept)
}

/// The areas of a process, ascending.
fn areas(section: &[u8]) -> Result<KVVec<Spec>> {
    let mut areas = KVVec::new();
    for r in records_of::<VmaRecord<'_>>(section) {
        areas.push(Spec::of(&r.map_err(errno_of)?), GFP_KERNEL)?;
    }
    Ok(areas)
}

/// Is object `a` of one process the same file as object `b` of another?
fn is_same_object(theirs: &[u8], a: u64, own: &[u8], b: u64) -> Result<bool> {
    let file = |section, id: u64| {
        let mut all = records_of::<MappedFileRecord<'_>>(section).map_while(core::result::Result::ok);
        all.find(|r| u64::from(r.id) == id)
    };
    if let (Some(a), Some(b)) = (file(theirs, a), file(own, b)) {
        return Ok(same_file(&a, &b));
    }
    let nameless = |section, id: u64| {
        let mut all = records_of::<MappedObjectRecord>(section).map_while(core::result::Result::ok);
        all.find(|r| u64::from(r.id) == id).map(|r| r.file)
    };
    Ok(match (nameless(theirs, a), nameless(own, b)) {
        (Some(a), Some(b)) => a == b,
        _ => false,
    })
}

