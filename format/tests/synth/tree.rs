// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! A tree of four: the process, a child that shares its open files and its memory, a grandchild in a session of its own,
//! and a child that has ended.

use super::{process, rec, u, Image, Pages, Rec};

const DEC: u8 = 1;
const HEX: u8 = 2;

/// `kin` record: signal for the parent, zombie, status, root.
fn kin(tgid: u32, signal: u64, zombie: u64, status: u64) -> Rec {
    rec(
        3,
        tgid,
        vec![u(signal, DEC), u(zombie, DEC), u(status, HEX), u(0, DEC)],
    )
}

/// `leader` record: a leader that has ended, and the session that its group is in.
pub fn leader(id: u32, sid: u64) -> Rec {
    rec(5, id, vec![u(sid, DEC)])
}

/// The records of a living process with one thread, made of those of the first.
fn process_like(
    first: &mut Image,
    tgid: u32,
    relations: (u64, u64, u64),
    signal: u64,
) -> Vec<(u16, Vec<Rec>)> {
    let number = u64::from(tgid);
    let mut head = first.record(0x10, 1, 0).clone();
    head.id = tgid;
    for (field, value) in [
        (1, number),
        (2, relations.0),
        (3, relations.1),
        (4, relations.2),
        (12, 1),
    ] {
        head.set(field, value);
    }
    let mut thread = first.record(0x10, 2, 0).clone();
    thread.id = tgid;
    thread.set(1, number);
    let files = first.section(0x12).iter();
    let files = files
        .filter(|r| r.kind == 1 || (r.kind == 3 && r.id < 6))
        .cloned()
        .collect();
    let mut masks = first.record(0x14, 2, 0).clone();
    masks.id = tgid;
    masks.set(1, number);
    let mut cred = first.record(0x15, 1, 0).clone();
    cred.id = tgid;
    vec![
        (0x10, vec![head, thread, kin(tgid, signal, 0, 0)]),
        (0x11, first.section(0x11).clone()),
        (0x12, files),
        (0x14, vec![masks]),
        (0x15, vec![cred]),
        (0x16, first.section(0x16).clone()),
    ]
}

/// The same tree where 1234 takes orphans: 1301 is in the session of 1299, which has ended, and 1300 with 1302 in the group
/// of 1298, which has ended too.
pub fn leaderless() -> Image {
    let mut image = tree();
    image.uuid = 0x25;
    image.record(0x10, 1, 0).set(10, 1);
    image.other(1, 0x10)[0].set(3, 1298);
    for (field, value) in [(2, 1234), (3, 1299), (4, 1299)] {
        image.other(2, 0x10)[0].set(field, value);
    }
    image.other(3, 0x10)[0].set(3, 1298);
    let first = image.section(0x10);
    first.push(leader(1299, 1299));
    first.push(leader(1298, 1200));
    image
}

/// The same processes as members of a group: 1234, 1300 and 1302 have one parent, which is not there.
pub fn roots() -> Image {
    let mut image = tree();
    image.uuid = 0x27;
    for number in [1, 3] {
        let records = image.other(number, 0x10);
        records[0].set(2, 1200);
        let kin = records.last_mut().expect("kin");
        kin.set(4, 1);
    }
    image
}

/// The tree: 1234 with the children 1300 and 1302 (ended), and the grandchild 1301.
pub fn tree() -> Image {
    let mut image = process();
    (image.features, image.uuid) = (4, 0x23);
    let mut others = Vec::new();
    let child = process_like(&mut image, 1300, (1234, 1234, 1200), 17);
    let grandchild = process_like(&mut image, 1301, (1300, 1301, 1301), 0);
    for (process, sections) in [(1, child), (2, grandchild)] {
        others.extend(
            sections
                .into_iter()
                .map(|(id, records)| (process, id, records)),
        );
    }
    let mut ended = image.record(0x10, 1, 0).clone();
    ended.id = 1302;
    for (field, value) in [(1, 1302), (2, 1234), (12, 0)] {
        ended.set(field, value);
    }
    ended.put(5, b"true");
    ended.put(6, b"");
    ended.put(7, b"");
    others.push((3, 0x10, vec![ended, kin(1302, 17, 1, 0x2a00)]));
    image.others = others;
    let mut pages = Pages {
        owner: 2,
        ..image.pages[1].clone()
    };
    pages.data.fill(0x77);
    image.pages.insert(2, pages);
    image.stats[0].set(2, 7);
    image.stats[0].set(4, 7 * 4096);
    image.stats.truncate(1);
    image
}
