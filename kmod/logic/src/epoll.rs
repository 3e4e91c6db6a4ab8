// SPDX-License-Identifier: GPL-2.0
//! Event polls, as `fdinfo` describes them (`ep_show_fdinfo` in `fs/eventpoll.c`).

use crate::anon::number;

/// One entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// Descriptor number that it was added with.
    pub fd: u32,
    /// `EPOLL*` bits.
    pub events: u32,
    /// What `epoll_wait` gives back.
    pub data: u64,
}

/// The entries, in the order of the text; an item is `None` where a line is not understood.
pub fn watches(fdinfo: &[u8]) -> impl Iterator<Item = Option<Watch>> + '_ {
    fdinfo
        .split(|b| *b == b'\n')
        .filter(|line| !line.trim_ascii().is_empty())
        .map(watch)
}

/// `tfd:        5 events:       19 data:                5  pos:0 ino:1 sdev:10`.
fn watch(line: &[u8]) -> Option<Watch> {
    let mut words = line
        .split(|b| b.is_ascii_whitespace())
        .filter(|w| !w.is_empty());
    let mut next = |name: &[u8], radix| {
        if words.next()? != name {
            return None;
        }
        number(words.next()?, radix)
    };
    Some(Watch {
        fd: u32::try_from(next(b"tfd:", 10)?).ok()?,
        events: u32::try_from(next(b"events:", 16)?).ok()?,
        data: next(b"data:", 16)?,
    })
}

/// `struct epoll_event`, which is packed on x86-64.
pub fn event(w: &Watch) -> [u8; 12] {
    let mut out = [0; 12];
    let parts = w
        .events
        .to_le_bytes()
        .into_iter()
        .chain(w.data.to_le_bytes());
    for (to, from) in out.iter_mut().zip(parts) {
        *to = from;
    }
    out
}

/// Is this memory of the kernel the entry `watch` of the poll `poll` for the open file `file`?
///
/// `before` lies in front of the hook by which the file knows the entry, `behind` begins with it; both are parts
/// of `struct epitem`, whose layout is private. Nothing is decided by a layout: the values that the entry must
/// have are looked for, and only when all of them are there it is the one.
pub fn confirms(before: &[u8], behind: &[u8], file: u64, poll: u64, watch: &Watch) -> bool {
    let holds = |memory: &[u8], value: &[u8]| memory.windows(value.len()).any(|w| w == value);
    // struct epoll_filefd is packed: pointer and number.
    let mut key = [0; 12];
    let parts = file.to_le_bytes().into_iter().chain(watch.fd.to_le_bytes());
    for (to, from) in key.iter_mut().zip(parts) {
        *to = from;
    }
    holds(before, &key) && holds(before, &poll.to_le_bytes()) && holds(behind, &event(watch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_the_kernel_are_understood() {
        let text = b"tfd:        5 events:       19 data:         deadbeef  pos:0 ino:1 sdev:10\n\
                     tfd:       12 events: 4000001d data: ffffffffffffffff  pos:-1 ino:2 sdev:10\n";
        let got: std::vec::Vec<_> = watches(text).collect();
        assert_eq!(
            got[0],
            Some(Watch {
                fd: 5,
                events: 0x19,
                data: 0xdead_beef
            })
        );
        assert_eq!(
            got[1],
            Some(Watch {
                fd: 12,
                events: 0x4000_001d,
                data: u64::MAX
            })
        );
        assert_eq!(got.len(), 2);
        assert_eq!(watches(b"").count(), 0);
        assert_eq!(watches(b"tfd: 5 events: xy data: 0\n").next(), Some(None));
        assert_eq!(watches(b"who knows\n").next(), Some(None));
    }

    #[test]
    fn an_entry_is_confirmed_only_with_all_its_values() {
        let w = Watch {
            fd: 7,
            events: 0x19,
            data: 0x55,
        };
        let (file, poll) = (0xffff_8880_1234_5678_u64, 0xffff_8880_aaaa_0000_u64);
        let mut before = std::vec![0xcc; 40];
        before[3..11].copy_from_slice(&file.to_le_bytes());
        before[11..15].copy_from_slice(&7_u32.to_le_bytes());
        before[24..32].copy_from_slice(&poll.to_le_bytes());
        let mut behind = std::vec![0xcc; 48];
        behind[24..36].copy_from_slice(&event(&w));
        assert!(confirms(&before, &behind, file, poll, &w));
        assert!(!confirms(&before, &behind, file + 1, poll, &w));
        assert!(!confirms(&before, &behind, file, poll + 8, &w));
        for other in [
            Watch { fd: 8, ..w },
            Watch { events: 1, ..w },
            Watch { data: 0x56, ..w },
        ] {
            assert!(!confirms(&before, &behind, file, poll, &other));
        }
    }
}
