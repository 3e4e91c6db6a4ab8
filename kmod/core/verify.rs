// SPDX-License-Identifier: GPL-2.0
//! Reading a whole image only to judge it (`LOAD_DRY_RUN`): all that a restart finds out about its bytes, and
//! nothing is made.
//!
//! The answer is that of `crimg verify`: both run the same code of `cr_format` over the same bytes.

use crate::{
    input::{Input, PageChunk, Sections},
    session::Session,
};
use cr_format::{runs::Run, sections as words, validate, FileRecord, VmaRecord};
use crkit::{bindings as b, sys::wait};
use kernel::prelude::*;

/// By process: start and end of every memory area with contents of its own.
type Areas = KVVec<KVVec<(u64, u64)>>;

/// Reads page data and everything behind it, and checks them against the metadata.
pub(crate) fn rest(s: &Session, input: &mut Input, set: &Sections) -> Result {
    let mut areas = Areas::new();
    for process in 0..validate::MetaSet::processes(set) {
        let mut list = KVVec::new();
        for r in cr_format::records_of::<VmaRecord<'_>>(set.get(process, words::MEMORY)) {
            let r = r.map_err(|e| s.fail_format(e))?;
            if validate::has_contents(&r) {
                list.push((r.start, r.end), GFP_KERNEL)?;
            }
        }
        areas.push(list, GFP_KERNEL)?;
    }
    input.buffer_all();
    loop {
        let at = input.bytes();
        let Some(chunk) = input.next_page_chunk(s)? else { break };
        place(set, &areas, &chunk).map_err(|e| s.fail_format(e.placed(0, at)))?;
        wait::resched()?;
    }
    input.finish(s, set)
}

/// Do the owner and the runs of a chunk exist in the metadata?
fn place(set: &Sections, areas: &Areas, chunk: &PageChunk) -> cr_format::Result {
    validate::page_owner(set, chunk.section, chunk.owner)?;
    // Which kind of run it is makes no difference here.
    let mut runs = chunk.runs.iter().map(|r: &b::cr_run| Run::data(r.start, r.npages));
    match chunk.section {
        words::MEMORY => {
            // The owner is one more than the number of the process, as has been checked.
            let process = (chunk.owner as usize).checked_sub(1);
            let areas: &[(u64, u64)] = process.and_then(|p| areas.get(p)).map_or(&[], |a| a);
            runs.try_for_each(|r| validate::run_in_vmas(areas, &r))
        }
        words::FILES => {
            let files = validate::MetaSet::section(set, words::FILES);
            let owner = cr_format::records_of::<FileRecord<'_>>(files).map_while(cr_format::Result::ok).find(|f| f.id == chunk.owner);
            let size = owner.map_or(0, |f| f.size);
            runs.try_for_each(|r| validate::run_in_file(size, &r))
        }
        _ => Ok(()),
    }
}
