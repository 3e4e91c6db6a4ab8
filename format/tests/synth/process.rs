// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! A small process with everything release 1 keeps: two threads, files, a pipe, signals, page data.

use super::{a, b, frame, i, rec, t, u, Field, Image, Pages, Rec};

// Display hints.
const NONE: u8 = 0;
const DEC: u8 = 1;
const HEX: u8 = 2;
const OCT: u8 = 3;
const FLAGS: u8 = 4;
const SIGSET: u8 = 5;
const PATH: u8 = 6;
const NS: u8 = 7;
const REGS: u8 = 8;
const XSAVE: u8 = 9;
const UID: u8 = 10;

fn all(values: &[u64], hint: u8) -> Vec<Field> {
    values.iter().map(|&v| u(v, hint)).collect()
}

fn section(id: u32, word: &str, critical: u64, module: &str) -> Rec {
    rec(
        2,
        id,
        vec![t(word, NONE), u(critical, DEC), t(module, NONE), u(1, DEC)],
    )
}

fn image() -> Vec<Rec> {
    vec![
        rec(
            1,
            1,
            vec![
                u(1_700_000_000_123_456_789, NS),
                t("6.12.48+deb13-amd64", NONE),
                t("#1 SMP PREEMPT_DYNAMIC Debian 6.12.48-1 (2025-09-20)", NONE),
                t("x86_64", NONE),
                t("workshop", NONE),
                u(4096, DEC),
                b(&[0x5a; 16], NONE),
                i(86_400_000_000_000, NS),
                i(86_500_000_000_000, NS),
                i(0, NS),
                i(0, NS),
                u(0x207, FLAGS),
                u(2696, DEC),
                t("cr_core 0.1.0", NONE),
                u(0, DEC),
            ],
        ),
        section(2, "schema", 0, ""),
        section(0x10, "tasks", 1, "cr_tasks"),
        section(0x11, "memory", 1, "cr_memory"),
        section(0x12, "files", 1, "cr_files"),
        section(0x13, "pipes", 1, "cr_pipes"),
        section(0x14, "signals", 1, "cr_signals"),
        section(0x15, "creds", 1, "cr_creds"),
        section(0x16, "limits", 1, "cr_limits"),
        section(0x100, "stats", 0, ""),
    ]
}

fn schema() -> Vec<Rec> {
    vec![
        rec(1, 1, vec![u(0x16, HEX), u(1, DEC), t("limit", NONE)]),
        rec(
            2,
            2,
            vec![
                u(0x16, HEX),
                u(1, DEC),
                u(1, DEC),
                t("resource", NONE),
                u(1, DEC),
                u(1, DEC),
            ],
        ),
    ]
}

fn task(tid: u32, comm: &str, rip: u64, restart_kind: u64) -> Rec {
    let mut regs = [0_u64; 27];
    for (n, r) in regs.iter_mut().enumerate() {
        *r = 0x1000 + n as u64;
    }
    regs[15] = 230; // orig_ax: clock_nanosleep
    regs[16] = rip;
    regs[17] = 0x33;
    regs[18] = 0x246;
    regs[19] = 0x7ffd_1234_5000;
    regs[20] = 0x2b;
    regs[21] = 0x7f00_0000_0740;
    regs[22] = 0;
    regs[23..27].fill(0);
    let mut xstate = vec![0_u8; 832];
    xstate[0..2].copy_from_slice(&0x037f_u16.to_le_bytes());
    xstate[24..28].copy_from_slice(&0x1f80_u32.to_le_bytes());
    xstate[512..520].copy_from_slice(&7_u64.to_le_bytes());
    rec(
        2,
        tid,
        vec![
            u(tid.into(), DEC),
            t(comm, NONE),
            a(&regs, REGS),
            b(&xstate, XSAVE),
            u(0x7f00_0000_0a10, HEX),
            u(0x7f00_0000_0a20, HEX),
            u(24, DEC),
            u(0x7f00_0000_0a60, HEX),
            u(32, DEC),
            u(0x5305_3053, HEX),
            u(1, DEC),
            u(restart_kind, DEC),
            i(86_401_000_000_000, NS),
            u(1, DEC),
            u(0, DEC),
            i(0, DEC),
            u(0, DEC),
            u(0, FLAGS),
            u(0, NS),
            u(0, NS),
            u(0, NS),
            b(&[3], NONE),
            u(50_000, NS),
            u(0, DEC),
            u(0, DEC),
            u(1, DEC),
            u(0, DEC),
            u(0, HEX),
            u(0, FLAGS),
        ],
    )
}

fn tasks() -> Vec<Rec> {
    let process = vec![
        u(1234, DEC),
        u(1200, DEC),
        u(1234, DEC),
        u(1200, DEC),
        t("counter", NONE),
        t("/usr/bin/counter", PATH),
        b(b"counter\0--every\x001s\0", NONE),
        u(0, HEX),
        u(1, DEC),
        u(0, DEC),
        i(0, DEC),
        u(2, DEC),
        u(0, DEC),
        u(0x11, FLAGS),
        u(0, FLAGS),
    ];
    vec![
        rec(1, 1234, process),
        task(1234, "counter", 0x5555_5555_5100, 2),
        task(1240, "ticker", 0x7f00_0010_0040, 0),
    ]
}

/// Areas of the process: start, end, prot, flags, kind, offset, object, name.
pub const AREAS: [(u64, u64, u64, u64, u64, u64, u64, &str); 7] = [
    (0x5555_5555_5000, 0x5555_5555_7000, 5, 0, 1, 0x1000, 1, ""),
    (0x5555_5555_7000, 0x5555_5555_8000, 3, 0, 1, 0x3000, 1, ""),
    (0x5555_5556_0000, 0x5555_5557_0000, 3, 0, 0, 0, 0, "[heap]"),
    (0x7f00_0010_0000, 0x7f00_0020_0000, 5, 0, 1, 0x2_6000, 2, ""),
    (0x7f00_0030_0000, 0x7f00_0031_0000, 3, 1, 2, 0, 1, ""),
    (
        0x7ffd_1232_5000,
        0x7ffd_1234_6000,
        3,
        2 | 32768,
        0,
        0,
        0,
        "[stack]",
    ),
    (0x7ffd_123f_e000, 0x7ffd_1240_0000, 5, 0, 3, 0, 0, "[vdso]"),
];

fn memory() -> Vec<Rec> {
    let mut mm = all(
        &[
            0x5555_5555_5000,
            0x5555_5555_6a10,
            0x5555_5555_7db0,
            0x5555_5555_7ff0,
            0x5555_5556_0000,
            0x5555_5557_0000,
            0x7ffd_1234_5f00,
            0x7ffd_1234_5f10,
            0x7ffd_1234_5f30,
            0x7ffd_1234_5f30,
            0x7ffd_1234_5ff0,
        ],
        HEX,
    );
    mm.push(a(&[33, 0x7ffd_123f_e000, 6, 4096, 0, 0], HEX));
    mm.extend([
        u(0x7ffd_123f_e000, HEX),
        u(1, DEC),
        u(0, DEC),
        u(0x33, HEX),
        u(0x1234_5678, HEX),
        u(0, DEC),
        u(0, DEC),
    ]);
    let mut out = vec![rec(1, 1, mm)];
    let file = |id, path, build_id: &[u8]| {
        rec(
            3,
            id,
            vec![
                t(path, PATH),
                u(30_000, DEC),
                i(1_690_000_000, DEC),
                u(5, DEC),
                u(0x801, HEX),
                u(77, DEC),
                u(0o100_755, OCT),
                b(build_id, HEX),
                u(0, DEC),
            ],
        )
    };
    out.push(file(1, "/usr/bin/counter", &[0xab; 20]));
    out.push(file(2, "/usr/lib/x86_64-linux-gnu/libc.so.6", &[0xcd; 20]));
    for (n, v) in AREAS.iter().enumerate() {
        out.push(rec(
            2,
            n as u32 + 1,
            vec![
                u(v.0, HEX),
                u(v.1, HEX),
                u(v.2, FLAGS),
                u(v.3, FLAGS),
                u(v.4, DEC),
                u(v.5, HEX),
                u(v.6, DEC),
                t(v.7, NONE),
                u(0, DEC),
            ],
        ));
    }
    out.push(rec(
        4,
        1,
        vec![u(0x5555_5556_f000, HEX), u(0x5555_5557_0000, HEX)],
    ));
    out
}

fn file(
    id: u32,
    kind: u64,
    path: &str,
    flags: u64,
    mode: u64,
    size: u64,
    handler: u64,
    what: &str,
) -> Rec {
    rec(
        2,
        id,
        vec![
            u(kind, DEC),
            t(path, PATH),
            u(flags, OCT),
            i(if kind == 1 { 17 } else { 0 }, DEC),
            u(mode, OCT),
            u(size, DEC),
            i(1_695_000_000, DEC),
            u(9, DEC),
            u(4711 + u64::from(id), DEC),
            u(0x801, HEX),
            u(if kind == 3 { 0x103 } else { 0 }, HEX),
            u(handler, HEX),
            u(u64::from(kind != 5), DEC),
            t(what, NONE),
        ],
    )
}

fn files() -> Vec<Rec> {
    let descriptor = |fd: u32, file, cloexec| {
        rec(
            3,
            fd + 1,
            vec![u(fd.into(), DEC), u(file, DEC), u(cloexec, DEC)],
        )
    };
    vec![
        rec(
            1,
            1,
            vec![t("/home/user", PATH), t("/", PATH), u(0o22, OCT)],
        ),
        file(1, 3, "/dev/null", 0o100_002, 0o020_666, 0, 0, ""),
        file(2, 7, "", 0o2, 0o020_620, 0, 0, "terminal /dev/pts/3"),
        file(
            3,
            1,
            "/var/log/counter.log",
            0o102_001,
            0o100_644,
            17,
            0,
            "",
        ),
        file(4, 6, "pipe:[81234]", 0o0, 0o010_600, 0, 0x13, ""),
        file(5, 6, "pipe:[81234]", 0o1, 0o010_600, 0, 0x13, ""),
        file(6, 5, "/tmp/scratch (deleted)", 0o2, 0o100_600, 5000, 0, ""),
        descriptor(0, 1, 0),
        descriptor(1, 2, 0),
        descriptor(2, 2, 0),
        descriptor(3, 3, 1),
        descriptor(4, 4, 0),
        descriptor(5, 5, 0),
        descriptor(9, 6, 1),
    ]
}

fn pipes() -> Vec<Rec> {
    vec![
        rec(1, 1, vec![u(65536, DEC), t("", PATH), u(11, DEC)]),
        rec(2, 1, vec![u(1, DEC), u(0, FLAGS), b(b"hello", NONE)]),
        rec(2, 2, vec![u(1, DEC), u(1, FLAGS), b(b"packet", NONE)]),
        rec(3, 4, vec![u(4, DEC), u(1, DEC)]),
        rec(3, 5, vec![u(5, DEC), u(1, DEC)]),
    ]
}

fn signals() -> Vec<Rec> {
    let task = |tid: u32, blocked| {
        rec(
            2,
            tid,
            vec![
                u(tid.into(), DEC),
                u(blocked, SIGSET),
                u(0, SIGSET),
                u(0, DEC),
                u(0, HEX),
                u(0, DEC),
                u(2, HEX),
            ],
        )
    };
    let pending = |id, tid: u64, signo: u32| {
        let mut info = signo.to_le_bytes().to_vec();
        info.resize(128, 0);
        rec(
            3,
            id,
            vec![u(tid, DEC), u(signo.into(), DEC), b(&info, NONE)],
        )
    };
    let action = |signo: u32, handler, flags| {
        rec(
            1,
            signo,
            vec![
                u(signo.into(), DEC),
                u(handler, HEX),
                u(flags, HEX),
                u(0x7f00_0011_0000, HEX),
                u(0, SIGSET),
            ],
        )
    };
    vec![
        action(2, 0x5555_5555_5a00, 0x1400_0000),
        action(13, 1, 0),
        task(1234, 0x200),
        task(1240, 0),
        pending(1, 0, 10),
        pending(2, 1240, 34),
    ]
}

fn creds() -> Vec<Rec> {
    let mut fields = all(&[1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000], UID);
    fields.push(a(&[27, 100, 1000], UID));
    fields.extend(all(&[0, 0, 0, (1 << 41) - 1, 0, 0], FLAGS));
    vec![rec(1, 1234, fields)]
}

fn limits() -> Vec<Rec> {
    let limit =
        |n: u32, soft, hard| rec(1, n + 1, vec![u(n.into(), DEC), u(soft, DEC), u(hard, DEC)]);
    (0..16)
        .map(|n| match n {
            3 => limit(n, 8 << 20, u64::MAX),
            4 => limit(n, 0, u64::MAX),
            7 => limit(n, 1024, 1_048_576),
            13 | 14 => limit(n, 0, 0),
            _ => limit(n, u64::MAX, u64::MAX),
        })
        .collect()
}

fn page(fill: u8) -> Vec<u8> {
    (0..4096).map(|n| fill ^ (n % 251) as u8).collect()
}

/// The process.
pub fn process() -> Image {
    let stored = |fills: &[u8]| fills.iter().flat_map(|&f| page(f)).collect::<Vec<u8>>();
    Image {
        features: 0,
        uuid: 1,
        sections: vec![
            (1, true, image()),
            (2, false, schema()),
            (0x10, true, tasks()),
            (0x11, true, memory()),
            (0x12, true, files()),
            (0x13, true, pipes()),
            (0x14, true, signals()),
            (0x15, true, creds()),
            (0x16, true, limits()),
        ],
        others: Vec::new(),
        pages: vec![
            Pages {
                section: 0x11,
                owner: 1,
                runs: vec![
                    (0x5555_5555_7000, 1, 0),
                    (0x5555_5556_0000, 2, 0),
                    (0x5555_5556_2000, 4, 1),
                ],
                data: stored(&[1, 2, 3]),
                ..Pages::default()
            },
            Pages {
                section: 0x11,
                owner: 1,
                runs: vec![(0x7ffd_1234_5000, 1, 0)],
                data: stored(&[4]),
                ..Pages::default()
            },
            Pages {
                section: 0x12,
                owner: 6,
                runs: vec![(0, 2, 0)],
                data: stored(&[5, 6]),
                ..Pages::default()
            },
        ],
        stats: vec![
            rec(
                1,
                1,
                vec![u(3_210_000, NS), u(6, DEC), u(4, DEC), u(6 * 4096, DEC)],
            ),
            rec(2, 2, vec![u(1, DEC), u(0, DEC)]),
            rec(2, 3, vec![u(2, DEC), u(4, DEC)]),
            rec(2, 6, vec![u(1, DEC), u(0, DEC)]),
        ],
        chunk_max: 1 << 20,
    }
}

/// The same process after a tool has compressed the first chunk of its memory: three pages that equal
/// another, a frame with zeros behind it, and a record of the edit.
pub fn compressed() -> Image {
    let mut image = process();
    (image.features, image.uuid) = (1, 0x21);
    let edit = vec![
        u(1_700_000_060_000_000_000, NS),
        t("crimg 0.1.0", NONE),
        b(&(1..=16).collect::<Vec<u8>>(), HEX),
        t("repack", NONE),
        t("page data compressed with zstd", NONE),
    ];
    image.sections.insert(2, (3, false, vec![rec(1, 1, edit)]));
    let memory = &mut image.pages[0];
    memory.data = [page(1), vec![0x22; 4096], vec![0x33; 4096]].concat();
    memory.runs.push((0x5555_5556_6000, 3, 2));
    memory.sources = vec![0, 0, 0, 0x5555_5556_1000];
    memory.frame = Some(frame(&memory.data));
    image.stats[0].set(2, 9);
    image.stats[0].set(4, 9 * 4096);
    image.stats[2].set(1, 5);
    image
}

/// The same process without its main thread, which has ended with 7.
pub fn headless() -> Image {
    let mut image = process();
    image.uuid = 0x26;
    let main = image.record(0x10, 2, 0);
    for field in [5, 6, 7, 11, 12, 13, 14] {
        main.set(field, 0);
    }
    let mut regs = [0; 27];
    (regs[15], regs[17], regs[18], regs[20]) = (u64::MAX, 0x33, 0x202, 0x2b);
    main.fields[2].payload = regs.iter().flat_map(|r: &u64| r.to_le_bytes()).collect();
    image.section(0x10).push(rec(6, 1234, vec![u(0x700, HEX)]));
    image
}
