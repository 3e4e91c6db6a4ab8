// SPDX-License-Identifier: GPL-2.0
//! Instances of inotify: their `fdinfo`, their queue, and in which order a restart puts both back.

use crate::anon::number;
use cr_format::{IN_IGNORED, IN_Q_OVERFLOW};

/// One watch, as `fdinfo` describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Watch descriptor.
    pub wd: u32,
    /// Inode number.
    pub ino: u64,
    /// Device number as the kernel keeps it.
    pub dev: u32,
    /// `IN_*` bits.
    pub mask: u32,
}

/// The watches of an `fdinfo`; `None` for a line that is not understood.
pub fn watches(text: &[u8]) -> impl Iterator<Item = Option<Watch>> + '_ {
    text.split(|b| *b == b'\n')
        .filter(|l| !l.is_empty())
        .map(watch)
}

fn watch(line: &[u8]) -> Option<Watch> {
    let mut words = line.split(|b| *b == b' ');
    let first = words.next() == Some(b"inotify");
    let mut hex = |name: &str| {
        let digits = words
            .next()?
            .strip_prefix(name.as_bytes())?
            .strip_prefix(b":")?;
        number(digits, 16)
    };
    let (wd, ino, dev, mask) = (hex("wd")?, hex("ino")?, hex("sdev")?, hex("mask")?);
    let small = |n: u64| u32::try_from(n).ok();
    let wd = small(wd).filter(|wd| (1..=i32::MAX as u32).contains(wd))?;
    first.then_some(Watch {
        wd,
        ino,
        dev: small(dev)?,
        mask: small(mask)?,
    })
}

/// The number of the next watch, from the cursor of the allocator (`idr_alloc_cyclic` from 1).
pub fn next_wd(cursor: u32) -> u32 {
    match cursor {
        0 => 1,
        n if n > i32::MAX as u32 => 1,
        n => n,
    }
}

/// One event of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'t> {
    /// Watch descriptor, -1 for an overflow.
    pub wd: i32,
    /// `IN_*` bits.
    pub mask: u32,
    /// Connects the two events of a rename.
    pub cookie: u32,
    /// Name in the watched folder.
    pub name: &'t [u8],
}

/// Bytes of an event in front of its name, in what [`events`] reads.
pub const HEAD: usize = 16;
/// What a program is told: `IN_ALL_EVENTS`, `IN_UNMOUNT`, `IN_IGNORED`, `IN_ISDIR`.
const TOLD: u32 = 0xfff | 0x2000 | 0x8000 | 0x4000_0000;
/// What only the kernel sees, but tells two events apart by: `FS_OPEN_EXEC`, `FS_EVENT_ON_CHILD`.
const UNTOLD: u32 = 0x1000 | 0x0800_0000;
/// All of them, and the overflow.
const KEPT: u32 = TOLD | UNTOLD | IN_Q_OVERFLOW as u32;

/// The events of a queue as the shim `crs_inotify_events` copies them: mask, watch descriptor, cookie, length of the
/// name, then the name. `None` for one that cannot be: the kernel keeps events in another way than this expects.
pub fn events(bytes: &[u8]) -> impl Iterator<Item = Option<Event<'_>>> {
    let mut rest = Some(bytes);
    core::iter::from_fn(move || {
        let now = rest.filter(|r| !r.is_empty())?;
        let found = event(now);
        rest = found.map(|f| f.1);
        Some(found.map(|f| f.0))
    })
}

fn event(bytes: &[u8]) -> Option<(Event<'_>, &[u8])> {
    let word = |at: usize| {
        bytes
            .get(at..)?
            .first_chunk::<4>()
            .map(|w| u32::from_ne_bytes(*w))
    };
    let (mask, wd, cookie, len) = (word(0)?, word(4)?, word(8)?, word(12)?);
    let end = usize::try_from(len).ok()?.checked_add(HEAD)?;
    let name = bytes.get(HEAD..end)?;
    // CAST: the same bits; the kernel keeps it as an int.
    let e = Event {
        wd: wd as i32,
        mask: mask & KEPT,
        cookie,
        name,
    };
    is_possible(&e).then_some((e, bytes.get(end..)?))
}

/// Could inotify have queued that?
fn is_possible(e: &Event<'_>) -> bool {
    if e.wd == -1 {
        return u64::from(e.mask) == IN_Q_OVERFLOW && e.cookie == 0 && e.name.is_empty();
    }
    let mask = e.mask & TOLD != 0 && e.mask & !(TOLD | UNTOLD) == 0;
    e.wd > 0 && mask && e.name.len() <= 255 && !e.name.iter().any(|b| matches!(b, 0 | b'/'))
}

/// Would the kernel take the event `next` for the one before and leave it out? Source: `event_compare()`.
pub fn is_repeated(last: &Event<'_>, next: &Event<'_>) -> bool {
    let same = (last.mask, last.wd, last.name) == (next.mask, next.wd, next.name);
    same && u64::from(last.mask) & IN_IGNORED == 0
}

/// What becomes of the events of a watch that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// `IN_IGNORED` is the last of them, as the removal of a watch leaves it.
    Ignored,
    /// `IN_IGNORED` was lost in an overflow behind them.
    Overflow,
    /// Neither: this kernel works in another way.
    Unknown,
}

/// How the events of the gone watch `wd` end, in the queue from its first event on: (watch descriptor, mask) of each.
pub fn end(wd: i64, events: impl Iterator<Item = (i64, u64)>) -> End {
    let mut end = End::Unknown;
    for (of, mask) in events {
        if of == wd {
            end = if mask & IN_IGNORED != 0 {
                End::Ignored
            } else {
                End::Unknown
            };
        } else if mask & IN_Q_OVERFLOW != 0 && end == End::Unknown {
            end = End::Overflow;
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn watches_are_read_from_fdinfo() {
        let text = b"inotify wd:3 ino:9e7e sdev:800013 mask:800afce ignored_mask:0 fhandle-bytes:8 fhandle-type:1 f_handle:7e9e0000640d1b6d\n\
            inotify wd:2 ino:a111 sdev:800013 mask:800afce ignored_mask:0 \n";
        let all: Vec<Watch> = watches(text).map(|w| w.unwrap()).collect();
        assert_eq!(
            all[0],
            Watch {
                wd: 3,
                ino: 0x9e7e,
                dev: 0x80_0013,
                mask: 0x800_afce
            }
        );
        assert_eq!(all[1].wd, 2);
        for bad in [
            "inotify wd:0 ino:1 sdev:1 mask:1 ",
            "fanotify wd:1 ino:1 sdev:1 mask:1 ",
            "inotify wd:1 ino:1 mask:1",
        ] {
            assert_eq!(watches(bad.as_bytes()).next(), Some(None), "{bad}");
        }
    }

    fn raw(mask: u32, wd: i32, cookie: u32, name: &[u8]) -> Vec<u8> {
        let len = name.len() as u32;
        let mut out: Vec<u8> = [mask, wd as u32, cookie, len]
            .iter()
            .flat_map(|w| w.to_ne_bytes())
            .collect();
        out.extend_from_slice(name);
        out
    }

    #[test]
    fn a_queue_is_read_event_by_event() {
        let mut bytes = raw(0x100, 1, 0, b"created");
        bytes.extend(raw(0x40, 1, 77, b"a"));
        bytes.extend(raw(0x4000, -1, 0, b""));
        bytes.extend(raw(0x8000, 1, 0, b""));
        let all: Vec<Event<'_>> = events(&bytes).map(|e| e.unwrap()).collect();
        assert_eq!(all.len(), 4);
        assert_eq!(
            all[0],
            Event {
                wd: 1,
                mask: 0x100,
                cookie: 0,
                name: b"created"
            }
        );
        assert_eq!((all[1].cookie, all[2].wd), (77, -1));
        let child = raw(0x0800_0008, 1, 0, b"x");
        assert_eq!(events(&child).next().unwrap().unwrap().mask, 0x0800_0008);
        assert_eq!(events(&[]).count(), 0);
    }

    #[test]
    fn what_inotify_cannot_have_queued_is_not_taken() {
        for bad in [
            raw(0, 1, 0, b""),
            raw(0x1000, 1, 0, b""),
            raw(0x100, 0, 0, b""),
            raw(0x100, -1, 0, b""),
            raw(0x100, -2, 0, b""),
            raw(0x4000, 3, 0, b""),
            raw(0x4000, -1, 0, b"x"),
            raw(0x100, 1, 0, b"a/b"),
            raw(0x100, 1, 0, b"a\0b"),
            raw(0x100, 1, 0, &[b'x'; 256]),
            raw(0x100, 1, 0, b"abc")[..17].to_vec(),
            raw(0x100, 1, 0, b"")[..15].to_vec(),
        ] {
            let all: Vec<_> = events(&bad).collect();
            assert_eq!(all, [None], "{bad:?}");
        }
    }

    #[test]
    fn the_kernel_leaves_out_what_is_the_same_as_the_last_event() {
        let of = |mask, wd, cookie, name| Event {
            wd,
            mask,
            cookie,
            name,
        };
        let one = of(2, 1, 0, b"x");
        assert!(is_repeated(&one, &of(2, 1, 7, b"x")));
        for other in [
            of(2, 1, 0, b"y"),
            of(2, 2, 0, b"x"),
            of(0x0800_0002, 1, 0, b"x"),
        ] {
            assert!(!is_repeated(&one, &other));
        }
        let ignored = of(0x8000, 1, 0, b"");
        assert!(!is_repeated(&ignored, &ignored));
    }

    #[test]
    fn a_gone_watch_ends_with_ignored_or_in_an_overflow() {
        let of = |list: &[(i64, u64)]| end(5, list.iter().copied());
        assert_eq!(of(&[(5, 2), (6, 2), (5, 0x8000)]), End::Ignored);
        assert_eq!(of(&[(5, 2), (-1, 0x4000)]), End::Overflow);
        assert_eq!(of(&[(5, 2), (-1, 0x4000), (5, 0x8000)]), End::Ignored);
        assert_eq!(of(&[(5, 0x8000), (-1, 0x4000)]), End::Ignored);
        assert_eq!(of(&[(5, 2), (6, 0x8000)]), End::Unknown);
        assert_eq!(of(&[(5, 0x8000), (5, 2)]), End::Unknown);
    }

    #[test]
    fn the_next_watch_counts_from_one() {
        assert_eq!(
            [0, 1, 9, 0x7fff_ffff, 0x8000_0000].map(next_wd),
            [1, 1, 9, 0x7fff_ffff, 1]
        );
    }
}
