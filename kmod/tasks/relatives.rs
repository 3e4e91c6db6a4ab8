// SPDX-License-Identifier: GPL-2.0
//! How the processes of a checkpoint are related: parents, process groups and sessions, also those whose leader has ended.
//!
//! The number of such a group or session is taken as long as somebody is in it. So a restart can make it again only if all
//! who are in it are in the checkpoint; else it is one outside, like any other that goes on without us.

use crate::sys;
use cr_format::validate::{Ended, Kin};
use crkit::Checkpoint;
use kernel::prelude::*;

/// The relations of all processes of the checkpoint.
pub(crate) fn all(cx: &Checkpoint<'_>) -> Result<KVVec<Kin>> {
    let mut kin: KVVec<Kin> = KVVec::with_capacity(cx.process_count() as usize, GFP_KERNEL)?;
    for p in cx.all_processes() {
        let leader = p.leader();
        let (ppid, pgid, sid) = sys::relatives(&leader);
        // CAST: ids are below 2^22.
        let (ppid, pgid, sid) = (ppid as u32, pgid as u32, sid as u32);
        let root = !kin.is_empty() && !kin.iter().any(|k| k.tgid == ppid);
        kin.push(Kin { tgid: leader.tgid_vnr(), ppid, pgid, sid, zombie: p.is_zombie(), root, ..Kin::default() }, GFP_KERNEL)?;
    }
    Ok(kin)
}

/// Is the parent of the process not in the checkpoint? Processes stand behind their parents.
pub(crate) fn is_root(cx: &Checkpoint<'_>) -> bool {
    let (ppid, _, _) = sys::relatives(&cx.leader());
    !cx.all_processes().take(cx.process() as usize).any(|p| u64::from(p.leader().tgid_vnr()) == ppid)
}

/// The leaders that have ended, and whose groups and sessions are all in the checkpoint.
pub(crate) fn ended(kin: &[Kin], cx: &Checkpoint<'_>) -> Result<KVVec<Ended>> {
    let mut found: KVVec<Ended> = KVVec::new();
    let mut judged: KVVec<(bool, u32)> = KVVec::new();
    for (number, k) in kin.iter().enumerate() {
        for (session, id) in [(true, k.sid), (false, k.pgid)] {
            // The group that a session leader has made goes with its session.
            if id == 0 || (!session && id == k.sid) || judged.contains(&(session, id)) {
                continue;
            }
            judged.push((session, id), GFP_KERNEL)?;
            if kin.iter().any(|l| l.tgid == id) {
                continue;
            }
            // CAST: at most 4096 processes.
            let Some(p) = cx.of_process(number as u32) else { continue };
            let everywhere = sys::leaderless(&p.leader(), session);
            let inside = kin.iter().filter(|l| id == if session { l.sid } else { l.pgid }).count();
            if everywhere > 0 && everywhere == inside {
                found.push(Ended { id, sid: k.sid, maker: 0 }, GFP_KERNEL)?;
            }
        }
    }
    Ok(found)
}
