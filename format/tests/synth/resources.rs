// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The process with what few programs have: event counters, timers, polls, locks, rings, watched folders.

use super::{b, i, process, rec, t, u, Image, Pages, Rec};

const NONE: u8 = 0;
const DEC: u8 = 1;
const HEX: u8 = 2;
const FLAGS: u8 = 4;
const SIGSET: u8 = 5;
const PATH: u8 = 6;
const NS: u8 = 7;
const UID: u8 = 10;

/// Number, word, first open file of the kind.
const WORDS: [(u16, &str); 14] = [
    (0x17, "eventfd"),
    (0x18, "timerfd"),
    (0x19, "signalfd"),
    (0x1a, "epoll"),
    (0x1b, "timers"),
    (0x1c, "locks"),
    (0x1e, "inotify"),
    (0x20, "pidfd"),
    (0x21, "owners"),
    (0x22, "seccomp"),
    (0x23, "landlock"),
    (0x24, "uring"),
    (0x25, "proc"),
    (0x27, "cgroups"),
];

/// Open files 7 to 20 and descriptors 20 to 33 with what belongs to them, and two timers of the process.
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
        handled(files, &model, 7 + n as u32, handler);
    }
    memfd(&mut image, &model);
    for (id, handler) in [
        (15, 0x24),
        (16, 0x24),
        (17, 0x1e),
        (18, 0x1e),
        (19, 0x20),
        (20, 0x25),
    ] {
        handled(image.section(0x12), &model, id, handler);
    }
    for (id, records) in [
        (0x17, eventfd()),
        (0x18, timerfd()),
        (0x19, signalfd()),
        (0x1a, epoll()),
        (0x1b, timers()),
        (0x1c, locks()),
        (0x1e, inotify()),
        (
            0x20,
            vec![rec(1, 19, vec![u(19, DEC), u(1234, DEC), u(0, DEC)])],
        ),
        (0x21, owners()),
        (0x22, seccomp()),
        (0x23, landlock()),
        (0x24, uring()),
        (
            0x25,
            vec![rec(
                1,
                20,
                vec![u(20, DEC), t("/proc/1234/stat", PATH), u(1234, DEC)],
            )],
        ),
        (0x27, vec![rec(1, 1, vec![t("/user.slice/job.scope", 6)])]),
    ] {
        image.sections.push((id, true, records));
    }
    let memory = image.section(0x11);
    let last = memory.iter().rposition(|r| r.kind == 2).expect("areas");
    let last_id = memory[last].id;
    for (n, (offset, object)) in [(0, 1), (0x1000_0000, 1), (0x800_0000, 2), (0x1000_0000, 2)]
        .into_iter()
        .enumerate()
    {
        let start = 0x7ffd_2000_0000 + 0x1000 * n as u64;
        memory.insert(
            last + 1 + n,
            ring_area(1 + last_id + n as u32, start, offset, object),
        );
    }
    image.sections.sort_by_key(|s| s.0);
    image.section(0x10).push(attributes());
    image
        .section(0x11)
        .push(rec(5, 3, vec![u(3, HEX), b(&[3], NONE), i(-1, DEC)]));
    // Keys 1 and 3; the third area has the latter.
    image
        .section(0x11)
        .push(rec(8, 1, vec![u(0xa, HEX), u(1, DEC)]));
    image.record(0x11, 2, 2).set(9, 3);
    image
}

/// Two filters of the leader, of which the other thread has the first: no x32 calls, and no ptrace(2), which is logged.
fn seccomp() -> Vec<Rec> {
    let load = |at: u8| [0x20, 0, 0, 0, at, 0, 0, 0];
    let ret = |action: u32| {
        let [a, b, c, d] = action.to_le_bytes();
        [6, 0, 0, 0, a, b, c, d]
    };
    let x32 = [
        load(0),
        [0x35, 0, 0, 1, 0, 0, 0, 0x40],
        ret(0x8000_0000),
        ret(0x7fff_0000),
    ];
    let ptrace = [
        load(4),
        [0x15, 0, 0, 3, 0x3e, 0, 0, 0xc0],
        load(0),
        [0x15, 0, 0, 1, 101, 0, 0, 0],
        ret(0x0005_0001),
        ret(0x7fff_0000),
    ];
    let filter = |id, under, log, program: &[[u8; 8]]| {
        rec(
            1,
            id,
            vec![u(under, DEC), u(log, DEC), b(&program.concat(), NONE)],
        )
    };
    let confined = |tid, filter| rec(2, tid, vec![u(2, DEC), u(filter, DEC)]);
    vec![
        filter(1, 0, 0, &x32),
        filter(2, 1, 1, &ptrace),
        confined(1234, 2),
        confined(1240, 1),
    ]
}

/// Two layers of the leader, of which the other thread has the first.
fn landlock() -> Vec<Rec> {
    let layer = |id: u32, domain, level, fs, scope, quiet, log| {
        let rights = [fs, 0, scope, quiet, 0, 0, log];
        let mut fields = vec![u(domain, DEC), u(level, DEC)];
        fields.extend(rights.map(|r| u(r, HEX)));
        rec(1, id, fields)
    };
    let subject = |tid, domain| rec(2, tid, vec![u(domain, DEC), u(0, DEC)]);
    vec![
        layer(1, 1, 1, 0x1ffff, 0, 0x2, 0),
        layer(2, 2, 1, 0x1ffff, 0, 0x2, 0),
        layer(3, 2, 2, 0x6, 2, 0, 5),
        subject(1234, 2),
        subject(1240, 1),
    ]
}

/// An open file behind all others that a section handles, and its descriptor, 13 above.
fn handled(files: &mut Vec<Rec>, model: &Rec, id: u32, handler: u64) {
    let at = files.iter().position(|r| r.kind == 3).expect("descriptors");
    let mut file = model.clone();
    file.id = id;
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
    files.insert(at, file);
    let fd = u64::from(id) + 13;
    files.push(rec(
        3,
        fd as u32 + 1,
        vec![u(fd, DEC), u(id.into(), DEC), u(0, DEC)],
    ));
}

/// Of the leader.
fn attributes() -> Rec {
    rec(
        4,
        1234,
        vec![
            u(1, DEC),
            u(1, DEC),
            u(3, FLAGS),
            u(100, DEC),
            u(500, DEC),
            u(0x8002, HEX),
            b(&[1], NONE),
            u(1, DEC),
        ],
    )
}

/// Two open files of one memory file, one of them a descriptor, and two mappings: of the memory file and of the deleted
/// one that the process has open.
fn memfd(image: &mut Image, model: &Rec) {
    let files = image.section(0x12);
    let at = files.iter().position(|r| r.kind == 3).expect("descriptors");
    for n in 0..2_u64 {
        let mut file = model.clone();
        file.id = 13 + n as u32;
        for (field, value) in [
            (1, 8),
            (3, 0o100_002),
            (5, 0o100_777),
            (6, 12288),
            (9, 99),
            (13, 0),
        ] {
            file.set(field, value);
        }
        file.put(2, b"/memfd:cache (deleted)");
        file.put(14, b"");
        files.insert(at + n as usize, file);
        let name = if n == 0 { "cache" } else { "" };
        let seals = if n == 0 { 2 | 4 } else { 0 };
        files.push(rec(
            4,
            13 + n as u32,
            vec![u(13, DEC), t(name, NONE), u(seals, FLAGS), u(0, DEC)],
        ));
    }
    files.push(rec(5, 3, vec![u(1000, DEC), u(100, DEC)]));
    files.push(rec(3, 27, vec![u(26, DEC), u(13, DEC), u(1, DEC)]));
    files.push(rec(3, 28, vec![u(27, DEC), u(14, DEC), u(0, DEC)]));
    let memory = image.section(0x11);
    for (id, file) in [(3, 13), (4, 6)] {
        memory.push(rec(6, id, vec![u(file, DEC)]));
    }
    memory.push(rec(
        7,
        1,
        vec![u(0x7f00_0060_0000, HEX), u(0x7f00_0080_0000, HEX)],
    ));
    let areas = [
        (
            0x7f00_0010_0000 - 0x3000,
            0x7f00_0010_0000,
            3,
            1 | 16384,
            0,
            3,
        ),
        (0x7f00_0020_0000, 0x7f00_0020_2000, 3, 0, 0x1000, 4),
        (0x7f00_0040_0000, 0x7f00_0080_0000, 3, 0, 0, 0),
    ];
    for (start, end, prot, flags, offset, object) in areas {
        let at = memory
            .iter()
            .position(|r| r.kind == 2 && r.number(1) > start)
            .expect("an area behind");
        let mut area = memory[at].clone();
        for (field, value) in [
            (1, start),
            (2, end),
            (3, prot),
            (4, flags),
            (5, u64::from(object != 0)),
            (6, offset),
            (7, object),
        ] {
            area.set(field, value);
        }
        area.put(8, b"");
        memory.insert(at, area);
    }
    let areas = memory.iter_mut().filter(|r| r.kind == 2);
    for (n, area) in areas.enumerate() {
        area.id = n as u32 + 1;
    }
    image.pages.push(Pages {
        section: 0x12,
        owner: 13,
        runs: vec![(0, 1, 0), (0x1000, 1, 1)],
        data: vec![0x77; 4096],
        ..Pages::default()
    });
    for (field, more) in [(2, 1), (3, 1), (4, 4096)] {
        let value = image.stats[0].number(field) + more;
        image.stats[0].set(field, value);
    }
    // The stack is the ninth area now.
    image.stats[3].id = 9;
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

fn ring_area(id: u32, start: u64, offset: u64, object: u64) -> Rec {
    rec(
        2,
        id,
        vec![
            u(start, HEX),
            u(start + 0x1000, HEX),
            u(3, FLAGS),
            u(1, FLAGS),
            u(4, DEC),
            u(offset, HEX),
            u(object, DEC),
            t("", NONE),
            u(0, DEC),
        ],
    )
}

fn uring() -> Vec<Rec> {
    let ring = |id: u32, sq, cq, flags, head, tail, submitter| {
        rec(
            1,
            id,
            vec![
                u(id.into(), DEC),
                u(sq, DEC),
                u(cq, DEC),
                u(flags, FLAGS),
                u(head, DEC),
                u(tail, DEC),
                u(submitter, DEC),
            ],
        )
    };
    let registered =
        |id, tid, index, file| rec(2, id, vec![u(tid, DEC), u(index, DEC), u(file, DEC)]);
    vec![
        ring(15, 8, 16, 0, 4_294_967_295, 5, 0),
        ring(16, 4, 64, 0x3008, 7, 7, 1240),
        registered(1, 1234, 0, 15),
        registered(2, 1240, 0, 16),
        registered(3, 1240, 5, 15),
        rec(3, 1, vec![u(15, DEC), u(20, DEC), u(1, DEC), u(1234, DEC)]),
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

fn inotify() -> Vec<Rec> {
    let instance = |id: u32, watches, events, next| {
        let file = u64::from(id);
        rec(
            1,
            id,
            vec![u(file, DEC), u(watches, DEC), u(events, DEC), u(next, DEC)],
        )
    };
    let place = |id, wd, mask, path: &str, target| {
        rec(
            2,
            id,
            vec![
                u(17, DEC),
                u(wd, DEC),
                u(mask, FLAGS),
                t(path, PATH),
                u(target, DEC),
            ],
        )
    };
    let notify = |id, wd, mask, cookie, name: &str| {
        rec(
            3,
            id,
            vec![
                u(17, DEC),
                i(wd, DEC),
                u(mask, FLAGS),
                u(cookie, DEC),
                t(name, NONE),
            ],
        )
    };
    vec![
        instance(17, 2, 4, 5),
        place(1, 1, 0x3c6, "/etc", 0),
        place(2, 4, 0x8000_0002, "", 6),
        notify(1, 1, 0x40, 77, "passwd-"),
        notify(2, 1, 0x4000_0100, 0, "dir"),
        notify(3, 3, 0x8000, 0, ""),
        notify(4, -1, 0x4000, 0, ""),
        instance(18, 0, 0, 1),
    ]
}

fn owners() -> Vec<Rec> {
    let owner = |id, file, kind, pid, signo, enabled| {
        rec(
            1,
            id,
            vec![
                u(file, DEC),
                u(kind, DEC),
                u(pid, DEC),
                u(signo, DEC),
                u(enabled, DEC),
                u(1000, UID),
                u(1000, UID),
            ],
        )
    };
    vec![
        owner(1, 3, 1, 1234, 0, 0),
        owner(2, 4, 0, 1240, 37, 1),
        owner(3, 7, 2, 1234, 29, 0),
        owner(4, 8, 1, 0, 0, 1),
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
