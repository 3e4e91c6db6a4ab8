// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg mem`: every command against golden files, and searches that do not depend on how an image cuts the
//! memory into chunks and runs.

#[path = "../../../format/tests/synth/mod.rs"]
mod synth;
mod tool;

use crimg::{
    file::ImageFile,
    mem::{
        engine::{Encoding, Engine, Expression, Literal, Pointers, Strings},
        pieces::Pieces,
        scan::search,
        select::{Part, Select},
    },
    memory::Memory,
};
use indicatif::ProgressBar;
use tool::{crimg, golden};

const HEAP: u64 = 0x5555_5556_0000;
const PAGE: usize = 4096;

/// A page with `parts` at their offsets.
fn page(parts: &[(usize, &[u8])]) -> Vec<u8> {
    let mut page = vec![0xcc; PAGE];
    for (at, bytes) in parts {
        page[*at..at + bytes.len()].copy_from_slice(bytes);
    }
    page
}

/// The model process with a heap of data, zeros, a duplicate and a compressed chunk.
fn model() -> synth::Image {
    let mut image = synth::process();
    image.features = 1;
    let word = |n: u64| n.to_le_bytes();
    let first = page(&[
        (0, b"the heap begins\0"),
        (0x100, &word(0x7ffd_1234_5010)),
        (0x203, &word(0x7ffd_1234_5010)),
        (0x300, b"evil \x1b[2J\x1b]0;title\x07 \xe2\x80\xae text"),
        (4088, b"across t"),
    ]);
    let second = page(&[
        (0, b"he pages"),
        (0x400, b"w\0i\0d\0e\0"),
        (4090, b"zeros:"),
    ]);
    let fifth = page(&[(0, b"he pages"), (4090, b"chunk ")]);
    let packed = [
        page(&[
            (0, b"border"),
            (0x80, b"HTTP/1.1 200 OK"),
            (4092, &word(0x5555_5556_0000)[..4]),
        ]),
        page(&[(0, &word(0x5555_5556_0000)[4..]), (0x10, b"the END")]),
        // What the model's encoder can compress.
        vec![0x01; PAGE],
        vec![0x02; PAGE],
    ]
    .concat();
    let pages = |runs: Vec<(u64, u32, u16)>, data| synth::Pages {
        section: 0x11,
        owner: 1,
        runs,
        data,
        ..synth::Pages::default()
    };
    let mut raw = pages(
        vec![
            (0x5555_5555_7000, 1, 0),
            (HEAP, 2, 0),
            (HEAP + 0x2000, 1, 1),
            (HEAP + 0x3000, 1, 2),
            (HEAP + 0x4000, 1, 0),
        ],
        [page(&[(8, b"data of the program")]), first, second, fifth].concat(),
    );
    raw.sources = vec![0, 0, 0, HEAP, 0];
    let mut zstd = pages(vec![(HEAP + 0x5000, 4, 0)], packed);
    zstd.frame = Some(synth::frame(&zstd.data));
    let stack = pages(
        vec![(0x7ffd_1234_5000, 1, 0)],
        page(&[
            (0, &[0x55, 0x48, 0x89, 0xe5, 0xe8, 0, 0, 0, 0, 0x90, 0xc3]),
            (0x20, b"PATH=/usr/bin\0"),
        ]),
    );
    let file = image.pages.pop().unwrap();
    image.pages = vec![raw, zstd, stack, file];
    image.stats[0].set(2, 12);
    image.stats[0].set(3, 1);
    image.stats[0].set(4, 12 * 4096);
    image.stats.truncate(1);
    // The thread stands in the stack, where there are bytes to disassemble.
    image.record(0x10, 2, 0).fields[2].payload[16 * 8..17 * 8]
        .copy_from_slice(&word(0x7ffd_1234_5000));
    image
}

#[test]
fn every_command_is_as_reviewed() {
    golden("mem/mem.ckpt", &model().bytes());
    let r = crimg(&["verify", "mem/mem.ckpt"]);
    assert_eq!((r.code, r.stderr.as_str()), (0, ""));
    for (name, code, args) in [
        ("hex", 0, &["hex", "--at", "0x555555560000+0x40"][..]),
        ("hex-fold", 0, &["hex", "--vma", "heap"]),
        (
            "hex-missing",
            0,
            &["hex", "--at", "555555555ff0-555555557020"],
        ),
        ("grep", 0, &["grep", "across the pages"]),
        ("grep-context", 0, &["grep", "-C", "16", "he pages"]),
        (
            "grep-regex",
            0,
            &[
                "grep",
                "-e",
                r"(?i)http/\d\.\d (\d+)|chunk border|evil[^\xcc]*",
            ],
        ),
        ("grep-zeros", 0, &["grep", "-x", "00 00 00 00 00 00"]),
        ("grep-none", 1, &["grep", "not there"]),
        ("strings", 0, &["strings", "-n", "6"]),
        ("strings-wide", 0, &["strings", "-e", "utf16le"]),
        ("find-ptr", 0, &["find-ptr", "[stack]"]),
        (
            "find-ptr-unaligned",
            0,
            &[
                "find-ptr",
                "--unaligned",
                "0x7ffd12345000,32",
                "--vma",
                "[heap]",
            ],
        ),
        ("disasm", 0, &["disasm", "-n", "5"]),
        ("disasm-missing", 1, &["disasm", "--tid", "1240"]),
    ] {
        let mut all = vec!["mem", args[0], "mem/mem.ckpt"];
        all.extend(&args[1..]);
        let r = crimg(&all);
        assert_eq!(r.code, code, "{name}: {}", r.stderr);
        assert!(
            !(r.stdout + &r.stderr).contains('\x1b'),
            "{name}: escape sequence"
        );
        let r = crimg(&all);
        golden(
            &format!("mem/{name}.txt"),
            format!("{}{}", r.stdout, r.stderr).as_bytes(),
        );
        all.push("--json");
        let r = crimg(&all);
        assert_eq!(r.code, code, "{name}: {}", r.stderr);
        let json: serde_json::Value = serde_json::from_str(&r.stdout).unwrap();
        assert_eq!(json["crimg_schema"], 1, "{name}");
        assert!(
            r.stdout.is_ascii() || !r.stdout.contains('\u{202e}'),
            "{name}"
        );
        golden(&format!("mem/{name}.json"), r.stdout.as_bytes());
    }
}

#[test]
fn help_says_how_it_is_used() {
    for command in ["grep", "hex", "strings", "find-ptr", "extract", "disasm"] {
        let r = crimg(&["mem", command, "--help"]);
        assert_eq!(r.code, 0);
        golden(&format!("mem/help-{command}.txt"), r.stdout.as_bytes());
    }
}

#[test]
fn filters_choose_areas() {
    let count = |args: &[&str]| {
        let mut all = vec!["mem", "grep", "mem/mem.ckpt", "-c", "-x", "cc cc"];
        all.extend(args);
        let r = crimg(&all);
        (r.code, r.stdout.trim().parse::<u64>().unwrap())
    };
    let all = count(&[]).1;
    let heap = count(&["--vma", "[heap]"]).1;
    let stack = count(&["--vma", "[st*"]).1;
    let data = count(&["--vma", "/usr/bin/counter"]).1;
    assert!(heap > 10_000 && stack > 3000 && data > 3000);
    assert_eq!(all, heap + stack + data);
    assert_eq!(
        count(&["--vma", "counter", "--vma", "stack"]).1,
        data + stack
    );
    assert_eq!(count(&["--prot", "rw-"]).1, all);
    assert_eq!(count(&["--prot", "r?x"]), (1, 0));
    assert_eq!(count(&["--at", "555555560040,3"]).1, 2);
    assert_eq!(count(&["--at", "555555560040"]).1, heap);
    assert_eq!(count(&["--pid", "1234"]).1, all);
    assert_eq!(count(&["-m", "7"]), (0, 7));
    assert_eq!(count(&["--no-check", "-j3"]).1, all);
    let r = crimg(&["mem", "grep", "-c", "--", "mem/mem.ckpt", "-cc"]);
    assert_eq!((r.code, r.stdout.as_str()), (1, "0\n"));
    assert_eq!(
        crimg(&["mem", "strings", "mem/mem.ckpt", "--pid", "1"]).code,
        2
    );
    let zeros = |only: &[&str]| {
        let mut all = vec![
            "mem",
            "grep",
            "mem/mem.ckpt",
            "-c",
            "-x",
            "00",
            "--at",
            "555555562000+1000",
        ];
        all.extend(only);
        crimg(&all).stdout
    };
    assert_eq!(
        (zeros(&[]).as_str(), zeros(&["--stored-only"]).as_str()),
        ("1000\n", "0\n")
    );
}

#[test]
fn extracted_bytes_are_those_of_the_memory() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let out = out.to_str().unwrap();
    let run = |args: &[&str]| {
        let mut all = vec!["mem", "extract", "mem/mem.ckpt", "-o", out];
        all.extend(args);
        crimg(&all)
    };
    let r = run(&["--at", "0x555555560ff8,0x2010"]);
    assert_eq!(r.code, 0, "{}", r.stderr);
    let dense = std::fs::read(out).unwrap();
    assert_eq!(dense.len(), 0x2010);
    assert_eq!(&dense[..16], b"across the pages");
    assert_eq!(&dense[0x1002..0x100a], b"zeros:\0\0");
    assert!(dense[0x1008..0x2008].iter().all(|b| *b == 0));
    assert_eq!(&dense[0x2008..], b"the heap"); // The duplicate.
    assert_eq!(
        run(&["--at", "0x555555560ff8,0x2010"]).code,
        2,
        "an existing file is kept"
    );
    assert_eq!(
        run(&["--at", "0x555555560ff8,0x2010", "--force", "--sparse"]).code,
        0
    );
    assert_eq!(std::fs::read(out).unwrap(), dense);
    // The last page of the heap is a guard.
    let r = run(&["--vma", "[heap]", "--force"]);
    assert_eq!(r.code, 2);
    assert!(
        r.stderr.contains("0x55555556f000-0x555555570000"),
        "{}",
        r.stderr
    );
    assert_eq!(std::fs::read(out).unwrap(), dense, "nothing was written");
    assert_eq!(
        run(&["--vma", "[heap]", "--force", "--fill", "ee", "--sparse"]).code,
        0
    );
    let heap = std::fs::read(out).unwrap();
    assert_eq!(heap.len(), 0x10000);
    assert!(
        heap[0x9000..0xf000].iter().all(|b| *b == 0) && heap[0xf000..].iter().all(|b| *b == 0xee)
    );
    let r = run(&["--at", "555555558000-555555560010", "--force"]);
    assert!(
        r.code == 2 && r.stderr.contains("not mapped"),
        "{}",
        r.stderr
    );
    let r = crimg(&["mem", "extract", "mem/mem.ckpt", "--at", "555555565080,15"]);
    assert_eq!(r.stdout, "HTTP/1.1 200 OK");
}

#[test]
fn wrong_use_says_what_works() {
    for (args, says) in [
        (&["grep", "mem/mem.ckpt", ""][..], "1 to 4000 bytes"),
        (
            &["grep", "mem/mem.ckpt", "-e", "(a{999}){999}"],
            "more than 4 MiB",
        ),
        (&["grep", "mem/mem.ckpt", "-e", "("], "unclosed group"),
        (&["grep", "mem/mem.ckpt", "-x", "7"], "Two digits"),
        (
            &["grep", "needle", "process.ckpt"],
            "the image comes before the pattern",
        ),
        (&["hex", "mem/mem.ckpt"], "--at ADDR,LEN"),
        (&["hex", "mem/mem.ckpt", "--at", "xyz"], "hexadecimal"),
        (
            &["find-ptr", "mem/mem.ckpt", "[nothing]"],
            "no area has this name",
        ),
        (&["disasm", "mem/mem.ckpt", "--tid", "7"], "1234 1240"),
        (&["extract", "mem/mem.ckpt"], "--at RANGE"),
    ] {
        let mut all = vec!["mem"];
        all.extend(args);
        let r = crimg(&all);
        assert_eq!(r.code, 2, "{args:?}");
        assert!(r.stderr.contains(says), "{args:?}: {}", r.stderr);
    }
    let r = crimg(&["mem", "hex", "mem/mem.ckpt", "--at", "1000"]);
    assert_eq!(r.code, 1);
    assert!(r.stderr.contains("no memory area"), "{}", r.stderr);
}

/// A literal that is nowhere else is found wherever it lies: chunks in which it is not are not kept.
#[test]
fn a_rare_literal_is_found_over_every_border() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rare.ckpt");
    let needle = b"once-only";
    // Within a page, over a border of pages, over the one between two reads, and at both ends.
    let places = [
        0,
        100,
        PAGE - 5,
        31 * PAGE + 7,
        32 * PAGE - 5,
        33 * PAGE - 9,
    ];
    for cut in [33_usize, 32, 20, 1] {
        for place in places
            .into_iter()
            .chain([cut * PAGE - 9, cut * PAGE - 5, cut * PAGE - 1])
        {
            let mut memory = b"once-onlx".repeat(33 * PAGE / 9 + 1);
            memory.truncate(33 * PAGE);
            let end = (place + needle.len()).min(memory.len());
            memory[place..end].copy_from_slice(&needle[..end - place]);
            let mut image = synth::process();
            let section = image.section(0x11);
            section.retain(|r| r.kind != 4);
            let mut areas = section.iter_mut().filter(|r| r.kind == 2);
            let heap = areas.find(|r| r.id == 3).expect("the heap");
            heap.set(2, HEAP + 33 * PAGE as u64);
            image.stats.clear();
            image.pages = [(0, cut), (cut, 33)]
                .into_iter()
                .filter(|(from, to)| from < to)
                .map(|(from, to)| synth::Pages {
                    section: 0x11,
                    owner: 1,
                    runs: vec![(HEAP + (from * PAGE) as u64, (to - from) as u32, 0)],
                    sources: vec![0],
                    data: memory[from * PAGE..to * PAGE].to_vec(),
                    ..synth::Pages::default()
                })
                .collect();
            std::fs::write(&path, image.bytes()).unwrap();
            let name = path.to_str().unwrap();
            for threads in ["-j1", "-j3"] {
                let r = crimg(&["mem", "grep", threads, name, "once-only"]);
                let found = place + needle.len() <= memory.len();
                assert_eq!(r.code, i32::from(!found), "{cut} {place}: {}", r.stderr);
                let address = format!("{:012x}", HEAP + place as u64);
                assert_eq!(
                    r.stdout.contains(&address),
                    found,
                    "{cut} {place}: {}",
                    r.stdout
                );
                assert!(r.stdout.lines().count() <= 1, "{}", r.stdout);
            }
        }
    }
}

#[test]
fn damaged_page_data_is_an_error_unless_it_is_not_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("damaged.ckpt");
    let mut bytes = model().bytes();
    let at = bytes.windows(8).position(|w| w == b"CHNKPAGE").unwrap() + 4096 + 100;
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let path = path.to_str().unwrap();
    assert_eq!(crimg(&["mem", "grep", path, "across"]).code, 3);
    assert_eq!(
        crimg(&["mem", "grep", path, "across", "--no-check"]).code,
        0
    );
    assert_eq!(
        crimg(&["mem", "grep", path, "PATH=", "--vma", "[stack]"]).code,
        0
    );
}

#[test]
fn mapped_files_are_read_from_below_a_sysroot() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("usr/bin")).unwrap();
    // Text is mapped from 0x1000 on for two pages; the file ends in the second.
    let mut program = vec![b'-'; 0x2100];
    program[0x1ffc..0x2004].copy_from_slice(b"inthefil");
    std::fs::write(dir.path().join("usr/bin/counter"), program).unwrap();
    let root = dir.path().to_str().unwrap();
    let args = ["mem", "grep", "mem/mem.ckpt", "inthefil"];
    let r = crimg(&args);
    assert_eq!(r.code, 1);
    assert!(r.stderr.contains("--sysroot"), "{}", r.stderr);
    let mut with = args.to_vec();
    with.extend(["--sysroot", root]);
    let r = crimg(&with);
    assert_eq!(r.stdout, "0x555555555ffc  counter+0xffc  inthefil\n");
    // Shared memory that nobody has touched is zero.
    let r = crimg(&[
        "mem",
        "grep",
        "-c",
        "mem/mem.ckpt",
        "-x",
        "00",
        "--at",
        "7f0000300000",
    ]);
    assert_eq!(r.stdout, "65536\n");
}

struct Random(u64);
impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// Memory of the heap, with many matches near the borders of pages.
fn memory(random: &mut Random, pages: usize) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    for n in 0..pages {
        let page = match random.below(6) {
            0 => vec![0; PAGE],
            1 if n > 0 => all[n - 1].clone(),
            2 => vec![b'a'; PAGE],
            3 => b"ab".repeat(PAGE / 2),
            _ => {
                let mut page = vec![0; PAGE];
                let long = random.below(2) == 0;
                for b in &mut page {
                    *b = *b"a\0b\nab\0a"
                        .get(random.below(if long { 2 } else { 8 }) as usize)
                        .unwrap();
                }
                for word in page.chunks_exact_mut(8).step_by(37) {
                    word.copy_from_slice(&(HEAP + random.below(0x20000)).to_le_bytes());
                }
                page
            }
        };
        all.push(page);
    }
    all
}

/// One of many images with this memory.
fn image(random: &mut Random, pages: &[Vec<u8>]) -> Vec<u8> {
    let mut image = synth::process();
    image.features = 1;
    image.section(0x11).retain(|r| r.kind != 4);
    image.stats.clear();
    image.pages.clear();
    let mut n = 0;
    while n < pages.len() {
        let mut chunk = synth::Pages {
            section: 0x11,
            owner: 1,
            ..synth::Pages::default()
        };
        for _ in 0..=random.below(6) {
            let Some(page) = pages.get(n) else { break };
            let at = HEAP + (n * PAGE) as u64;
            let zero = page.iter().all(|b| *b == 0);
            n += 1;
            match random.below(3) {
                0 if zero => continue,
                1 if zero => {
                    chunk.runs.push((at, 1, 1));
                    chunk.sources.push(0);
                    continue;
                }
                _ => {}
            }
            let same = chunk
                .runs
                .iter()
                .find(|r| r.2 == 0 && pages[(r.0 - HEAP) as usize / PAGE] == *page);
            if let (Some(same), true) = (same.copied(), random.below(2) == 0) {
                chunk.runs.push((at, 1, 2));
                chunk.sources.push(same.0);
                continue;
            }
            chunk.data.extend(page);
            match chunk.runs.last_mut() {
                Some(last)
                    if last.2 == 0
                        && last.0 + u64::from(last.1) * PAGE as u64 == at
                        && random.below(3) > 0 =>
                {
                    last.1 += 1;
                }
                _ => {
                    chunk.runs.push((at, 1, 0));
                    chunk.sources.push(0);
                }
            }
        }
        if !chunk.runs.is_empty() {
            let frame = synth::frame(&chunk.data);
            let smaller = frame.len().next_multiple_of(PAGE) < chunk.data.len();
            chunk.frame = smaller.then_some(frame);
            image.pages.push(chunk);
        }
    }
    image.bytes()
}

fn engines() -> Vec<(&'static str, Box<dyn Engine>)> {
    let literal = |b: &[u8]| -> Box<dyn Engine> { Box::new(Literal::new(b).unwrap()) };
    let regex = |r: &str| -> Box<dyn Engine> { Box::new(Expression::new(r, false).unwrap()) };
    vec![
        ("aba", literal(b"aba")),
        ("one byte", literal(b"a")),
        ("zeros", literal(b"\0\0\0")),
        ("long zeros", literal(&[0; 4000])),
        ("long", literal(&[b"b".as_slice(), &[b'a'; 3000]].concat())),
        (
            "any case",
            Box::new(Expression::ignoring_case("AbA").unwrap()),
        ),
        ("a+b", regex("a+b")),
        ("zeros by regex", regex(r"\x00{7}")),
        ("around zeros", regex(r"b\x00*a")),
        ("greedy", regex(r"(?s)ab.*ba")),
        ("lazy", regex(r"(?s)b.*?\x00\x00")),
        ("words", regex(r"\bab+\b")),
        ("lines", regex(r"^a.*$")),
        ("all", regex(r"(?s).{20}")),
        (
            "pointers",
            Box::new(Pointers::new(vec![(HEAP, HEAP + 0x8000)], false)),
        ),
        ("null", Box::new(Pointers::new(vec![(0, 1)], false))),
        (
            "any pointers",
            Box::new(Pointers::new(vec![(HEAP, HEAP + 0x8000), (0, 1)], true)),
        ),
        (
            "strings",
            Box::new(Strings {
                least: 3,
                encoding: Encoding::Ascii,
            }),
        ),
        (
            "wide",
            Box::new(Strings {
                least: 1,
                encoding: Encoding::Utf16le,
            }),
        ),
    ]
}

/// Addresses and lengths.
fn found(file: &ImageFile, engine: &dyn Engine, part: Part, threads: usize) -> Vec<(u64, usize)> {
    let memory = Memory::new(file, None);
    let pieces = Pieces::new(&memory, &[part], false, false, true).unwrap();
    let mut found = Vec::new();
    let mut sink = |hit: &crimg::mem::scan::Hit<'_>| {
        found.extend((0..hit.count).map(|n| (hit.address + n * hit.step, hit.bytes.len())));
        Ok(true)
    };
    search(&pieces, engine, threads, &ProgressBar::hidden(), &mut sink).unwrap();
    found
}

#[test]
fn matches_do_not_depend_on_chunks_and_runs() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("random.ckpt");
    let mut random = Random(0x1234_5678_9abc_def1);
    let engines = engines();
    for round in 0..3 {
        // The heap has 16 pages; what follows the stored ones is zero.
        let pages = memory(&mut random, 13);
        let mut flat = pages.concat();
        flat.resize(16 * PAGE, 0);
        std::fs::write(&path, image(&mut random, &pages)).unwrap();
        let file = ImageFile::open(path.to_str().unwrap()).unwrap();
        assert!(file.image.damage.is_empty(), "{:?}", file.image.damage);
        for cut in 0..3 {
            let (from, to) = match cut {
                0 => (0, flat.len()),
                _ => {
                    let from = random.below(flat.len() as u64 - 1) as usize;
                    let most = (flat.len() - from) as u64;
                    let len = if cut == 1 { most } else { most.min(5000) };
                    (from, from + 1 + random.below(len) as usize)
                }
            };
            let part = Part {
                start: HEAP + from as u64,
                end: HEAP + to as u64,
            };
            for (name, engine) in &engines {
                let mut want = Vec::new();
                engine.find(&flat[from..to], part.start, 0, to - from, &mut |at, len| {
                    want.push((part.start + at as u64, len));
                    true
                });
                for threads in [1, 3] {
                    let got = found(&file, engine.as_ref(), part, threads);
                    let differ = want.iter().zip(&got).position(|(a, b)| a != b);
                    assert!(
                        got == want,
                        "{name}, round {round}, {part:x?}: {} instead of {}, first at {differ:?}: {:x?} {:x?}",
                        got.len(),
                        want.len(),
                        differ.map(|n| got[n]),
                        differ.map(|n| want[n]),
                    );
                }
            }
        }
    }
}

#[test]
fn real_images_can_be_searched() {
    for image in ["real/threads.ckpt", "real/same.ckpt"] {
        let raw = crimg(&["mem", "strings", "-c", image]);
        assert_eq!(raw.code, 0, "{image}: {}", raw.stderr);
        assert!(
            raw.stdout.trim().parse::<u64>().unwrap() > 100,
            "{}",
            raw.stdout
        );
        assert_eq!(
            crimg(&["mem", "grep", image, "PATH=", "--vma", "[stack]"]).code,
            0
        );
        assert_eq!(crimg(&["mem", "find-ptr", "-c", image, "[stack]"]).code, 0);
    }
    // Naming what is there needs no page data.
    assert!(Select::default().is_all());
}
