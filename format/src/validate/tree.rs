// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Rules between the processes of an image: parents, sessions, process groups.
//!
//! A restart makes every process by a `fork` of its parent, and lets it make or enter sessions and groups by the system
//! calls for that; what these rules allow is what can be made in this way. The group or session of a leader that has ended is
//! made by a stand-in with its id, which ends when all others are in. [`tree`] wants the few numbers of
//! all processes in one array, which the caller has: nothing here allocates.

use super::{ids as sets, is_bool, only, MetaSet};
use crate::{
    error::{ensure, Error, Result},
    record::{records_in, records_of, Record, Records},
    sections::{
        KinRecord, LeaderRecord, ProcessRecord, TaskRecord, CREDS, FILES, LIMITS, MEMORY, SIGNALS,
        SIGNALS_MAX, TASKS,
    },
};

/// What every living process has.
const NEEDED: [u16; 5] = [MEMORY, FILES, SIGNALS, CREDS, LIMITS];

/// The relations of one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kin {
    /// Process id.
    pub tgid: u32,
    /// That of its parent.
    pub ppid: u32,
    /// Process group; 0 if outside.
    pub pgid: u32,
    /// Session; 0 if outside.
    pub sid: u32,
    /// Has it ended?
    pub zombie: bool,
    /// Is it a sibling of the first process? Then `parent` is that one, which makes it.
    pub root: bool,
    /// Out: session that it must be born into, 0 if any will do.
    pub birth: u32,
    /// Out: number of its parent.
    pub parent: u32,
}

/// [`Ended::maker`] of a session that the first process is born into.
pub const OUTSIDE: u32 = u32::MAX;

/// A leader that has ended, and whose group or session goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Its id: that of the group.
    pub id: u32,
    /// The session that the group is in; `id` if it has made a session.
    pub sid: u32,
    /// Out: number of the process that makes its stand-in, or [`OUTSIDE`].
    pub maker: u32,
}

impl Ended {
    /// Had it made a session?
    #[must_use]
    pub fn made_session(&self) -> bool {
        self.id == self.sid
    }
}

/// Is this process alive? If so, it has all sections that a process needs; if not, its records in `tasks` only.
pub(super) fn lives(process: &dyn MetaSet) -> Result<bool> {
    let kin: KinRecord = only(process, "TREE-1")?;
    ensure(
        is_bool(kin.zombie) && is_bool(kin.root) && kin.exit_signal <= SIGNALS_MAX,
        "TREE-2",
    )
    .map_err(|e| e.placed(TASKS, 0))?;
    let has = |id: &u16| !process.section(*id).is_empty();
    let alive = kin.zombie == 0;
    let status = if alive {
        kin.wait_status == 0
    } else {
        is_end(kin.wait_status)
    };
    ensure(status, "TREE-2").map_err(|e| e.placed(TASKS, 0))?;
    let complete = if alive {
        NEEDED.iter().all(has)
    } else {
        !NEEDED.iter().any(has)
    };
    ensure(complete, "TREE-1").map_err(|e| e.placed(TASKS, 0))?;
    let tasks = records_of::<TaskRecord<'_>>(process.section(TASKS)).next();
    ensure(alive || tasks.is_none(), "TREE-1").map_err(|e| e.placed(TASKS, 0))?;
    let leader = records_of::<LeaderRecord>(process.section(TASKS)).next();
    ensure(leader.is_none(), "TREE-7").map_err(|e| e.placed(TASKS, 0))?;
    Ok(alive)
}

/// Can `wait` give this status for a process that has ended?
fn is_end(status: u64) -> bool {
    let signal = status & 0x7f;
    match signal {
        0 => status & !0xff00 == 0,
        0x7f => false,
        _ => status & !0xff == 0 && signal <= SIGNALS_MAX,
    }
}

/// No id is there twice, whether of a process or a thread.
pub(super) fn ids(set: &dyn MetaSet) -> Result {
    match sets::duplicate(Ids::of(set)) {
        Some(at) => Err(Error::rule("TREE-3").placed(TASKS, at)),
        None => Ok(()),
    }
}

/// Ids of the threads of all processes, of a zombie that of itself, and of leaders that have ended; and the offsets of
/// their records.
#[derive(Clone)]
struct Ids<'a> {
    set: &'a dyn MetaSet,
    next: u32,
    records: Records<'a>,
    wanted: u16,
}

impl<'a> Ids<'a> {
    fn of(set: &'a dyn MetaSet) -> Self {
        Self {
            set,
            next: 0,
            records: records_in(TASKS, &[]),
            wanted: 0,
        }
    }
}

impl Iterator for Ids<'_> {
    type Item = (u64, u64);

    fn next(&mut self) -> Option<(u64, u64)> {
        loop {
            for r in self.records.by_ref().map_while(Result::ok) {
                if [self.wanted, LeaderRecord::TYPE].contains(&r.record_type) {
                    return Some((u64::from(r.id), r.offset));
                }
            }
            if self.next >= self.set.processes() {
                return None;
            }
            let bytes = self.set.of(self.next, TASKS);
            self.next = self.next.saturating_add(1);
            self.records = records_in(TASKS, bytes);
            // A zombie has no thread record; the id of its process record is its own.
            let mut threads = sets::record_ids(TASKS, bytes, TaskRecord::TYPE);
            self.wanted = match threads.next() {
                Some(_) => TaskRecord::TYPE,
                None => ProcessRecord::TYPE,
            };
        }
    }
}

/// The numbers of one process for [`tree`]; `process` is one of a checked set.
///
/// # Errors
/// What decoding says.
pub fn kin_of(process: &dyn MetaSet) -> Result<Kin> {
    let p: ProcessRecord<'_> = only(process, "TASKS-1")?;
    let kin = records_of::<KinRecord>(process.section(TASKS)).next();
    let kin = kin.transpose()?.unwrap_or_default();
    let id = |n| u32::try_from(n).map_err(|_| Error::rule("TASKS-2").placed(TASKS, 0));
    Ok(Kin {
        tgid: id(p.tgid)?,
        ppid: id(p.ppid)?,
        pgid: id(p.pgid)?,
        sid: id(p.sid)?,
        zombie: kin.zombie == 1,
        root: kin.root == 1,
        birth: 0,
        parent: 0,
    })
}

/// The leaders that have ended, of a checked set.
pub fn leaders_of(set: &dyn MetaSet) -> impl Iterator<Item = Result<Ended>> + '_ {
    records_of::<LeaderRecord>(set.of(0, TASKS)).map(|r| {
        let r = r?;
        let sid = u32::try_from(r.sid).map_err(|_| broken("TREE-7"))?;
        Ok(Ended {
            id: r.id,
            sid,
            maker: 0,
        })
    })
}

/// Checks how the processes belong together, in the order of their numbers, and finds their parents and the sessions
/// that they must be born into; and who makes the stand-ins of leaders that have ended.
///
/// # Errors
/// `TREE-4` to `TREE-7`.
pub fn tree(all: &mut [Kin], ended: &mut [Ended]) -> Result {
    parents(all)?;
    births(all, ended)?;
    groups(all, ended)?;
    makers(all, ended)
}

fn broken(rule: &'static str) -> Error {
    Error::rule(rule).placed(TASKS, 0)
}

fn parents(all: &mut [Kin]) -> Result {
    for n in 1..all.len() {
        if let Some(root) = all.get(n).filter(|k| k.root) {
            // It is made by the first one, beside itself: `parent` is 0.
            let outside = !all.iter().any(|k| k.tgid == root.ppid);
            ensure(outside, "TREE-4").map_err(|e| e.placed(TASKS, 0))?;
            continue;
        }
        let (before, rest) = all.split_at_mut(n);
        let Some(kin) = rest.first_mut() else { break };
        let parent = before.iter().position(|k| k.tgid == kin.ppid && !k.zombie);
        // CAST: at most 4096 processes.
        kin.parent = parent.ok_or(broken("TREE-4"))? as u32;
    }
    Ok(())
}

/// A process is in its own session or in the one it was born into: that of its parent, now or when the parent itself
/// was born, or one whose leader has ended. All that are in such a session without their parents have one parent: whoever
/// takes the orphans.
fn births(all: &mut [Kin], ended: &[Ended]) -> Result {
    let has_ended = |sid: u32| ended.iter().any(|e| e.id == sid && e.made_session());
    // Children stand behind their parents, so that all those of a process are done before it.
    for n in (0..all.len()).rev() {
        let Some(&kin) = all.get(n) else { break };
        let birth = if kin.sid != kin.tgid {
            kin.sid
        } else {
            let mut found = 0;
            let children = all.iter().skip(1).filter(|c| c.parent as usize == n);
            let children = children.filter(|c| c.birth != 0 && c.birth != kin.sid);
            // The first one needs no session to give them one whose leader has ended.
            for c in children.filter(|c| n > 0 || !has_ended(c.birth)) {
                ensure(found == 0 || found == c.birth, "TREE-5").map_err(|e| e.placed(TASKS, 0))?;
                found = c.birth;
            }
            found
        };
        if let Some(k) = all.get_mut(n) {
            k.birth = birth;
        }
    }
    // The first one was born outside.
    let first = all.first().map_or(0, |k| k.birth);
    let outside = !all.iter().any(|k| k.tgid == first);
    ensure(outside, "TREE-5").map_err(|e| e.placed(TASKS, 0))?;
    for kin in all.iter().skip(1).filter(|k| k.birth != 0) {
        let parent = all.get(kin.parent as usize).ok_or(broken("TREE-4"))?;
        let possible = inherits(parent, kin) || has_ended(kin.birth);
        ensure(possible, "TREE-5").map_err(|e| e.placed(TASKS, 0))?;
    }
    Ok(())
}

/// Can the child be born into its session by a fork of its parent?
fn inherits(parent: &Kin, child: &Kin) -> bool {
    child.birth == parent.sid || child.birth == parent.birth
}

/// Number of the parent of a process that is born into this session by the stand-in of its leader.
#[must_use]
pub fn maker_of(all: &[Kin], number: usize, session: u32) -> Option<u32> {
    let kin = all.get(number).filter(|k| k.birth == session)?;
    match number {
        0 => Some(OUTSIDE),
        _ => {
            let parent = all.get(kin.parent as usize)?;
            (!inherits(parent, kin)).then_some(kin.parent)
        }
    }
}

/// A stand-in for the leader of a session is made by the parent of those who begin in it, one for a group by a process
/// of the group.
fn makers(all: &[Kin], ended: &mut [Ended]) -> Result {
    for e in ended {
        let maker = if e.made_session() {
            let mut found = None;
            for maker in (0..all.len()).filter_map(|n| maker_of(all, n, e.id)) {
                ensure(found.is_none_or(|f| f == maker), "TREE-5")
                    .map_err(|e| e.placed(TASKS, 0))?;
                found = Some(maker);
            }
            found
        } else {
            let member = |k: &Kin| k.pgid == e.id && k.sid == e.sid;
            let alive = all.iter().position(|k| member(k) && !k.zombie);
            // CAST: at most 4096 processes.
            alive.or(all.iter().position(member)).map(|n| n as u32)
        };
        e.maker = maker.ok_or(broken("TREE-7"))?;
    }
    Ok(())
}

/// Must the child exist before its parent makes the session that it is in now?
pub fn born_before(parent: &Kin, child: &Kin) -> bool {
    parent.sid == parent.tgid && child.birth != 0 && child.birth != parent.sid
}

/// A group is that of a process of the image or of a leader that has ended, in the same session, or the one outside that
/// the first process is in.
fn groups(all: &[Kin], ended: &[Ended]) -> Result {
    let Some(first) = all.first() else {
        return Ok(());
    };
    let gone = |pgid: u32| ended.iter().find(|e| e.id == pgid);
    let outside = gone(first.pgid).is_none() && !all.iter().any(|k| k.tgid == first.pgid);
    for kin in all {
        let sound = if kin.sid == kin.tgid {
            kin.pgid == kin.tgid
        } else if outside && kin.pgid == first.pgid {
            kin.sid == first.sid
        } else if let Some(leader) = gone(kin.pgid) {
            leader.sid == kin.sid
        } else {
            let leader = all.iter().find(|k| k.tgid == kin.pgid);
            leader.is_some_and(|l| l.sid == kin.sid && l.pgid == l.tgid)
        };
        ensure(sound, "TREE-6").map_err(|e| e.placed(TASKS, 0))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// tgid, ppid, pgid, sid.
    fn kin(list: &[(u32, u32, u32, u32)]) -> Vec<Kin> {
        let one = |&(tgid, ppid, pgid, sid): &(u32, u32, u32, u32)| Kin {
            tgid,
            ppid,
            pgid,
            sid,
            ..Kin::default()
        };
        list.iter().map(one).collect()
    }

    fn rule(list: &[(u32, u32, u32, u32)]) -> Option<&'static str> {
        tree(&mut kin(list), &mut [])
            .err()
            .and_then(|e| e.rule_id())
    }

    #[test]
    fn a_shell_with_a_pipeline() {
        let mut all = kin(&[(100, 1, 100, 50), (101, 100, 101, 50), (102, 100, 101, 50)]);
        tree(&mut all, &mut []).unwrap();
        assert_eq!((all[2].parent, all[2].birth), (0, 50));
        assert!(!born_before(&all[0], &all[1]));
    }

    #[test]
    fn a_session_leader_with_a_child_from_before() {
        // 100 forked 101, then 102, which made a session, after it had forked 103.
        let mut all = kin(&[
            (100, 1, 100, 100),
            (101, 100, 100, 100),
            (102, 100, 102, 102),
            (103, 102, 100, 100),
            (104, 102, 102, 102),
        ]);
        tree(&mut all, &mut []).unwrap();
        assert_eq!(all[2].birth, 100);
        assert!(born_before(&all[2], &all[3]));
        assert!(!born_before(&all[2], &all[4]));
    }

    #[test]
    fn what_fork_cannot_make_is_refused() {
        assert_eq!(rule(&[(1, 0, 1, 1), (2, 3, 1, 1)]), Some("TREE-4"));
        // In the session of a sister.
        assert_eq!(
            rule(&[(1, 0, 1, 1), (2, 1, 2, 2), (3, 1, 2, 2)]),
            Some("TREE-5")
        );
        // A group in another session, one that nobody leads, a session leader in a group of another.
        assert_eq!(
            rule(&[(1, 0, 1, 1), (2, 1, 2, 2), (3, 2, 1, 2)]),
            Some("TREE-6")
        );
        assert_eq!(rule(&[(1, 0, 1, 1), (2, 1, 7, 1)]), Some("TREE-6"));
        assert_eq!(rule(&[(1, 0, 1, 1), (2, 1, 1, 2)]), Some("TREE-6"));
        // A zombie has no children.
        let mut all = kin(&[(1, 0, 1, 1), (2, 1, 1, 1), (3, 2, 1, 1)]);
        all[1].zombie = true;
        let e = tree(&mut all, &mut []).unwrap_err();
        assert_eq!(e.rule_id(), Some("TREE-4"));
    }

    #[test]
    fn a_pipeline_has_several_roots() {
        let list = [
            (101, 100, 101, 50),
            (102, 100, 101, 50),
            (103, 102, 101, 50),
        ];
        assert_eq!(rule(&list), Some("TREE-4"));
        let mut all = kin(&list);
        all[1].root = true;
        tree(&mut all, &mut []).unwrap();
        assert_eq!((all[1].parent, all[2].parent), (0, 1));
        // Its parent is there.
        all[1].ppid = 101;
        let e = tree(&mut all, &mut []).unwrap_err();
        assert_eq!(e.rule_id(), Some("TREE-4"));
        // Orphans of a session with its leader.
        let mut all = kin(&[(100, 1, 100, 100), (102, 1, 100, 100)]);
        all[1].root = true;
        tree(&mut all, &mut []).unwrap();
        assert!(!born_before(&all[0], &all[1]));
    }

    fn ended(id: u32, sid: u32) -> Ended {
        Ended { id, sid, maker: 0 }
    }

    #[test]
    fn a_pipeline_whose_first_program_has_ended() {
        let mut all = kin(&[(100, 1, 100, 50), (102, 100, 101, 50), (103, 100, 101, 50)]);
        let e = tree(&mut all.clone(), &mut []).unwrap_err();
        assert_eq!(e.rule_id(), Some("TREE-6"));
        let mut gone = [ended(101, 50)];
        tree(&mut all, &mut gone).unwrap();
        assert_eq!(gone[0].maker, 1);
        // In another session than its members, of nobody.
        for (id, sid) in [(101, 100), (77, 50)] {
            let e = tree(&mut all.clone(), &mut [ended(id, sid)]).unwrap_err();
            assert!(["TREE-6", "TREE-7"].contains(&e.rule_id().unwrap()));
        }
    }

    #[test]
    fn daemons_whose_session_leader_has_ended() {
        // The first process is one, with a child.
        let mut all = kin(&[(102, 1, 101, 101), (103, 102, 101, 101)]);
        let mut gone = [ended(101, 101)];
        tree(&mut all, &mut gone).unwrap();
        assert_eq!((gone[0].maker, all[1].birth), (OUTSIDE, 101));
        // Two of one session with the process that takes orphans, which leads a session itself.
        let mut all = kin(&[
            (100, 1, 100, 100),
            (102, 100, 101, 101),
            (103, 100, 103, 101),
            (104, 103, 101, 101),
        ]);
        tree(&mut all, &mut gone).unwrap();
        assert_eq!((gone[0].maker, all[0].birth), (0, 0));
        assert_eq!(maker_of(&all, 2, 101), Some(0));
        assert_eq!(maker_of(&all, 3, 101), None);
        // With two parents: no fork makes that.
        let mut all = kin(&[
            (100, 1, 100, 100),
            (102, 100, 101, 101),
            (103, 100, 103, 103),
            (104, 103, 101, 101),
            (105, 104, 105, 105),
        ]);
        let e = tree(&mut all, &mut gone).map(|()| gone[0].maker);
        assert_eq!(e, Ok(0), "103 was born into the session");
    }

    #[test]
    fn the_status_of_a_zombie_is_one_of_wait() {
        for good in [0, 0x100, 0xff00, 9, 0x8b] {
            assert!(is_end(good), "{good:#x}");
        }
        for bad in [0x7f, 0x137f, 0x10009, 0x0109, 0xffff] {
            assert!(!is_end(bad), "{bad:#x}");
        }
    }
}
