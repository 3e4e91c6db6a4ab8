// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Rules of section `image`.

use super::{each, is_bool, known_records, only, MetaSet};
use crate::{
    error::{ensure, Error, Result},
    limits::PAGE,
    record::{records_in, Record},
    sections::{self, ImageRecord, SectionRecord, IMAGE, THIRD_PARTY},
};

/// Longest resource word: 31 bytes and a NUL in the kernel's interface.
const WORD_MAX: usize = 31;
/// Longest module name, as the kernel's `MODULE_NAME_LEN` less the NUL.
const MODULE_MAX: usize = 55;
/// Sections that every image has.
const NEEDED: [u16; 6] = [
    sections::TASKS,
    sections::MEMORY,
    sections::FILES,
    sections::SIGNALS,
    sections::CREDS,
    sections::LIMITS,
];

pub(super) fn check(set: &dyn MetaSet) -> Result {
    known_records(set, IMAGE)?;
    let image: ImageRecord<'_> = only(set, "IMAGE-1")?;
    let first = records_in(IMAGE, set.section(IMAGE))
        .next()
        .ok_or(Error::rule("IMAGE-1"))??;
    ensure(first.record_type == ImageRecord::TYPE, "IMAGE-1").map_err(|e| e.placed(IMAGE, 0))?;
    image_record(&image).map_err(|e| e.placed(IMAGE, 0))?;
    let mut last = 0;
    each(set, |s: SectionRecord<'_>| {
        ensure(s.id > last, "IMAGE-6")?;
        last = s.id;
        section_record(&s)
    })?;
    set.ids(&mut |id| match sections::by_id(id) {
        Some(known) if !known.critical || id == IMAGE => Ok(()),
        None if id < THIRD_PARTY => Ok(()),
        _ => declared(set, id),
    })?;
    for id in NEEDED {
        ensure(!set.section(id).is_empty(), "IMAGE-9").map_err(|e| e.placed(id, 0))?;
    }
    Ok(())
}

/// A section with records has a `section` record.
fn declared(set: &dyn MetaSet, id: u16) -> Result {
    let mut found = false;
    each(set, |s: SectionRecord<'_>| {
        found |= s.id == u32::from(id);
        Ok(())
    })?;
    ensure(found, "IMAGE-5").map_err(|e| e.placed(id, 0))
}

fn image_record(image: &ImageRecord<'_>) -> Result {
    ensure(image.id == 1, "IMAGE-1")?;
    ensure(image.page_size == PAGE, "IMAGE-2")?;
    ensure(image.boot_id.len() == 16, "IMAGE-3")?;
    let own_clocks = image.timens_monotonic_ns != 0 || image.timens_boottime_ns != 0;
    ensure(
        is_bool(image.in_timens) && (image.in_timens == 1 || !own_clocks),
        "IMAGE-4",
    )?;
    ensure(
        image.xfeatures & 3 == 3 && (576..=65536).contains(&image.xsave_size),
        "IMAGE-8",
    )
}

fn section_record(s: &SectionRecord<'_>) -> Result {
    let id = u16::try_from(s.id).map_err(|_| Error::rule("IMAGE-6"))?;
    ensure(is_bool(s.critical), "IMAGE-7")?;
    let word = s
        .word
        .iter()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'_');
    ensure(
        word && !s.word.is_empty() && s.word.len() <= WORD_MAX,
        "IMAGE-7",
    )?;
    let module = s
        .module
        .iter()
        .all(|b| b.is_ascii_alphanumeric() || *b == b'_' || *b == b'-');
    ensure(module && s.module.len() <= MODULE_MAX, "IMAGE-7")?;
    if let Some(known) = sections::by_id(id) {
        ensure(
            known.word.as_bytes() == s.word && known.critical == (s.critical == 1),
            "IMAGE-7",
        )?;
        ensure(id != sections::REPORT, "IMAGE-6")?;
        if s.version != 1 {
            return Err(Error::unsupported("version of a section"));
        }
    } else if id >= THIRD_PARTY {
        ensure(id == sections::third_party_id(s.word), "IMAGE-7")?;
    } else if s.critical == 1 {
        return Err(Error::unsupported("critical section"));
    }
    Ok(())
}
