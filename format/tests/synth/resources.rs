// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The process with what few programs have: event counters, timers, polls, locks.

use super::{process, rec, t, u, Image, Rec};

const NONE: u8 = 0;
const DEC: u8 = 1;
const HEX: u8 = 2;
const FLAGS: u8 = 4;
const SIGSET: u8 = 5;
const NS: u8 = 7;

/// Number, word, first open file of the kind.
const WORDS: [(u16, &str); 6] = [
    (0x17, "eventfd"),
    (0x18, "timerfd"),
    (0x19, "signalfd"),
    (0x1a, "epoll"),
    (0x1b, "timers"),
    (0x1c, "locks"),
];

/// Open files 7 to 12 and descriptors 20 to 25 with what belongs to them, and two timers of the process.
pub fn resources() -> Image {
    let mut image = process();
    image.uuid = 0x22;
    let list = image.section(1);
    let stats = list.pop().expect("the record of section stats");
    list.extend(WORDS.map(|(id, word)| {
        let module = format!("cr_{word}");
        rec(
            2,
            id.into(),
            vec![t(word, NONE), u(1, DEC), t(&module, NONE), u(1, DEC)],
        )
    }));
    list.push(stats);
    let handlers = [0x17, 0x17, 0x18, 0x19, 0x1a, 0x1a];
    let files = image.section(0x12);
    let at = files.iter().position(|r| r.kind == 3).expect("descriptors");
    let model = files[at - 1].clone();
    for (n, handler) in handlers.into_iter().enumerate() {
        let mut file = model.clone();
        file.id = 7 + n as u32;
        for (field, value) in [
            (1, 6),
            (3, 0o4002),
            (5, 0o600),
            (6, 0),
            (12, handler),
            (13, 1),
        ] {
            file.set(field, value);
        }
        file.put(2, b"");
        file.put(14, b"anon_inode");
        files.insert(at + n, file);
        let fd = 20 + n as u64;
        files.push(rec(
            3,
            fd as u32 + 1,
            vec![u(fd, DEC), u(7 + n as u64, DEC), u(0, DEC)],
        ));
    }
    for (id, records) in [
        (0x17, eventfd()),
        (0x18, timerfd()),
        (0x19, signalfd()),
        (0x1a, epoll()),
        (0x1b, timers()),
        (0x1c, locks()),
    ] {
        image.sections.push((id, true, records));
    }
    image.sections.sort_by_key(|s| s.0);
    image
}

fn eventfd() -> Vec<Rec> {
    vec![
        rec(1, 7, vec![u(7, DEC), u(42, DEC), u(0, DEC)]),
        rec(1, 8, vec![u(8, DEC), u(3, DEC), u(1, DEC)]),
    ]
}

fn timerfd() -> Vec<Rec> {
    vec![rec(
        1,
        9,
        vec![
            u(9, DEC),
            u(1, DEC),
            u(0, FLAGS),
            u(250_000_000, NS),
            u(1_000_000_000, NS),
            u(2, DEC),
        ],
    )]
}

fn signalfd() -> Vec<Rec> {
    vec![rec(1, 10, vec![u(10, DEC), u(0xa00, SIGSET)])]
}

fn epoll() -> Vec<Rec> {
    let watch = |id, poll, fd, events, data| {
        rec(
            2,
            id,
            vec![u(poll, DEC), u(fd, DEC), u(events, FLAGS), u(data, HEX)],
        )
    };
    vec![
        rec(1, 11, vec![u(11, DEC), u(2, DEC)]),
        watch(1, 11, 20, 0x19, 0x14),
        watch(2, 11, 22, 0x8000_0019, 0x7f00_0000_1000),
        rec(1, 12, vec![u(12, DEC), u(1, DEC)]),
        watch(3, 12, 24, 0x19, 0x18),
    ]
}

fn locks() -> Vec<Rec> {
    let lock = |id, file, kind, exclusive, start, len| {
        rec(
            1,
            id,
            vec![
                u(file, DEC),
                u(kind, DEC),
                u(exclusive, DEC),
                u(start, DEC),
                u(len, DEC),
            ],
        )
    };
    vec![
        lock(1, 3, 0, 1, 16, 0),
        lock(2, 3, 1, 0, 0, 8),
        lock(3, 6, 2, 1, 0, 0),
    ]
}

fn timers() -> Vec<Rec> {
    let timer = |id: u32, notify, signo, tid, absolute, value, interval| {
        rec(
            2,
            id,
            vec![
                u(u64::from(id) + 2, DEC),
                u(if absolute == 1 { 0 } else { 1 }, DEC),
                u(notify, DEC),
                u(signo, DEC),
                u(0x55, HEX),
                u(tid, DEC),
                u(absolute, DEC),
                u(value, NS),
                u(interval, NS),
            ],
        )
    };
    vec![
        rec(1, 1, vec![u(0, DEC), u(3_000_000_000, NS), u(0, NS)]),
        timer(1, 0, 10, 0, 0, 5_000_000, 5_000_000),
        timer(2, 4, 36, 1240, 0, 0, 0),
        timer(3, 1, 0, 0, 1, 1_700_000_100_000_000_000, 0),
    ]
}
