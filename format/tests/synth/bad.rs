// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Bad images: each has one defect and is named after the rule that it breaks.
//!
//! Checksums, index and end are right unless they are the defect, so the rule itself must find it.

use super::{
    a, assemble, b, compressed, end, index, join, process, rec, superblock, t, u, Chunk, Frame,
    Image, Pages,
};

/// What a reader must answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    Rule(&'static str),
    Checksum,
    Truncated,
    Unsupported,
    OverLimit,
}

/// One bad image.
pub struct Bad {
    /// Rule, or kind, and what is wrong.
    pub name: &'static str,
    pub expect: Expect,
    pub bytes: Vec<u8>,
}

struct Corpus(Vec<Bad>);

impl Corpus {
    /// `name` begins with the rule id and a blank.
    fn rule(&mut self, name: &'static str, bytes: Vec<u8>) {
        let rule = name.split(' ').next().expect("a rule id");
        self.0.push(Bad {
            name,
            expect: Expect::Rule(rule),
            bytes,
        });
    }
    fn other(&mut self, name: &'static str, expect: Expect, bytes: Vec<u8>) {
        self.0.push(Bad {
            name,
            expect,
            bytes,
        });
    }
    /// `change` breaks the image with compressed page data.
    fn packed(&mut self, name: &'static str, change: impl FnOnce(&mut Image)) {
        let mut image = compressed();
        change(&mut image);
        self.rule(name, image.bytes());
    }
    /// `change` breaks the compressed chunk.
    fn stored(&mut self, name: &'static str, change: impl FnOnce(&mut Chunk)) {
        let image = compressed();
        let mut chunks = image.chunks();
        change(find(&mut chunks, b"PAGE"));
        self.rule(name, assemble(&image.superblock(), &chunks));
    }
    /// `change` breaks the frame of the compressed chunk.
    fn frame(&mut self, name: &'static str, change: impl FnOnce(&mut Frame)) {
        self.packed(name, |x| {
            let mut frame = Frame::of(&x.pages[0].data);
            change(&mut frame);
            x.pages[0].frame = Some(frame.bytes());
        });
    }
    /// `change` breaks the image with event counters, timers and polls.
    fn resource(&mut self, name: &'static str, change: impl FnOnce(&mut Image)) {
        let mut image = super::resources();
        change(&mut image);
        without_pages(name, &mut image);
        self.rule(name, image.bytes());
    }
    fn model(&mut self, name: &'static str, change: impl FnOnce(&mut Image)) {
        let mut image = process();
        change(&mut image);
        without_pages(name, &mut image);
        self.rule(name, image.bytes());
    }
    /// `change` breaks the tree of processes.
    fn tree(&mut self, name: &'static str, change: impl FnOnce(&mut Image)) {
        let mut image = super::tree();
        change(&mut image);
        without_pages(name, &mut image);
        self.rule(name, image.bytes());
    }
    fn headless(&mut self, name: &'static str, change: impl FnOnce(&mut Image)) {
        let mut image = super::headless();
        change(&mut image);
        without_pages(name, &mut image);
        self.rule(name, image.bytes());
    }
    fn leaderless(&mut self, name: &'static str, change: impl FnOnce(&mut Image)) {
        let mut image = super::leaderless();
        change(&mut image);
        without_pages(name, &mut image);
        self.rule(name, image.bytes());
    }
    fn chunks(&mut self, name: &'static str, change: impl FnOnce(&mut Vec<Chunk>)) {
        let mut chunks = process().chunks();
        change(&mut chunks);
        self.rule(name, assemble(&superblock(), &chunks));
    }
    fn block(&mut self, name: &'static str, at: usize, bytes: &[u8]) {
        self.rule(name, with_block(at, bytes));
    }
    /// Index and end are open to change as well.
    fn tail(&mut self, name: &'static str, change: impl FnOnce(&mut Vec<Chunk>)) {
        let mut all = whole();
        change(&mut all);
        self.rule(name, join(&superblock(), &all));
    }
}

/// The shared anonymous memory of the process becomes a private area of 1 GiB with these flags.
fn huge_area(image: &mut Image, flags: u64) {
    let areas = image.section(0x11).iter_mut();
    let area = areas
        .filter(|r| r.kind == 2)
        .find(|r| r.number(5) == 2)
        .expect("shared memory");
    for (field, value) in [
        (1, 0x7f40_0000_0000),
        (2, 0x7f40_4000_0000),
        (4, flags),
        (5, 0),
        (7, 0),
    ] {
        area.set(field, value);
    }
}

/// A defect of the metadata is found before the page data, so the image need not have any.
fn without_pages(name: &str, image: &mut Image) {
    // Of the rules of order, these two are about metadata.
    let of_processes = name.starts_with("ORDER-6") || name.starts_with("ORDER-7");
    let needs = |w: &&str| name.starts_with(*w);
    if of_processes || !["PAGE", "ORDER", "STATS", "ZSTD"].iter().any(needs) {
        image.pages.clear();
        image.stats.clear();
    }
}

fn with_block(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut block = superblock();
    block[at..at + bytes.len()].copy_from_slice(bytes);
    assemble(&block, &lean().chunks())
}

/// The process without its page data.
fn lean() -> Image {
    let mut image = process();
    without_pages("", &mut image);
    image
}

fn whole() -> Vec<Chunk> {
    let mut all = lean().chunks();
    let indexes = index(&all);
    all.extend(indexes.iter().cloned());
    let end = end(&superblock(), &all, indexes.len());
    all.push(end);
    all
}

fn find<'c>(chunks: &'c mut [Chunk], code: &[u8; 4]) -> &'c mut Chunk {
    chunks.iter_mut().find(|c| &c.code == code).expect("chunk")
}

/// All of them.
pub fn bad() -> Vec<Bad> {
    let mut c = Corpus(Vec::new());
    superblocks(&mut c);
    containers(&mut c);
    trees(&mut c);
    page_data(&mut c);
    compressed_data(&mut c);
    tails(&mut c);
    encodings(&mut c);
    image(&mut c);
    tasks(&mut c);
    headless(&mut c);
    memory(&mut c);
    resources(&mut c);
    files(&mut c);
    pipes(&mut c);
    signals(&mut c);
    creds_limits_stats(&mut c);
    unsupported(&mut c);
    over_limit(&mut c);
    damaged(&mut c);
    c.0
}

fn superblocks(c: &mut Corpus) {
    c.block("SUPER-1 not an image", 1, b"ckpt");
    c.block(
        "SUPER-2 another length of the superblock",
        8,
        &[0, 32, 0, 0],
    );
    c.block("SUPER-3 spare bytes behind the flags", 116, &[1]);
    c.block("SUPER-3 spare bytes before the uuid", 34, &[1]);
    c.block("SUPER-3 spare bytes at the end", 4091, &[1]);
    c.block("SUPER-5 parent without the feature", 56, &[1]);
    c.block("SUPER-5 feature without a parent", 24, &[2]);
    c.block("SUPER-4 writer with bytes behind the NUL", 80 + 31, b"x");
}

fn containers(c: &mut Corpus) {
    c.chunks("CHUNK-1 magic", |x| x[1].magic = *b"CHNC");
    c.chunks("CHUNK-2 frame length of a raw chunk", |x| {
        x[1].frame_len = 1
    });
    c.chunks("CHUNK-3 decoded length differs from the stored one", |x| {
        x[1].raw_len = Some(8)
    });
    c.chunks("CHUNK-4 owner in padding", |x| find(x, b"PAD_").owner = 1);
    c.chunks("CHUNK-4 key in a META chunk", |x| x[1].key = 1);
    c.chunks("CHUNK-4 run table checksum in a META chunk", |x| {
        x[1].table_crc = Some(1)
    });
    c.chunks("CHUNK-4 section of padding", |x| {
        find(x, b"PAD_").section = 0x10
    });
    c.chunks("CHUNK-4 META without section", |x| x[0].section = 0);
    c.chunks("CHUNK-5 critical section without the flag", |x| {
        x[2].flags = 0
    });
    c.chunks("CHUNK-5 ancillary section with the flag", |x| {
        x[1].flags = 1
    });
    c.chunks("CHUNK-5 critical padding", |x| find(x, b"PAD_").flags = 1);
    c.chunks("CHUNK-6 compressed metadata", |x| {
        (x[8].codec, x[8].frame_len) = (1, 9)
    });
    c.chunks("ORDER-1 another section first", |x| drop(x.remove(0)));
    c.chunks("ORDER-1 page data first", |x| {
        let page = find(x, b"PAGE").clone();
        x.insert(0, page);
    });
    c.chunks("ORDER-2 metadata behind the page data", |x| {
        let mut limits = x[8].clone();
        limits.seq = 1;
        x.push(limits);
    });
    c.chunks("ORDER-2 metadata behind the padding", |x| {
        let mut limits = x[8].clone();
        limits.seq = 1;
        x.insert(10, limits);
    });
    c.tail("ORDER-2 no index", |x| x.retain(|c| &c.code != b"INDX"));
    c.chunks("ORDER-3 sections descend", |x| x.swap(4, 5));
    c.chunks("ORDER-3 a section twice", |x| {
        let again = x[2].clone();
        x.insert(4, again);
    });
    c.chunks("ORDER-3 section report", |x| {
        let mut report = x[8].clone();
        (report.section, report.flags) = (0x200, 0);
        x.insert(9, report);
    });
    c.model("ORDER-4 pages of a section in two rows", |x| {
        x.pages.swap(1, 2)
    });
    c.model("ORDER-4 owners descend", |x| {
        let mut page = x.pages[2].clone();
        page.owner = 5;
        x.pages.push(page);
    });
    c.chunks("ORDER-5 sequence of the first chunk", |x| x[0].seq = 1);
    c.chunks("ORDER-5 sequence of page data", |x| {
        x.iter_mut()
            .filter(|c| &c.code == b"PAGE")
            .nth(1)
            .expect("page")
            .seq = 0;
    });
    c.chunks("META-1 no record", |x| {
        x[8].body.clear();
        x[8].items = 0;
    });
    c.chunks("META-2 fewer records than announced", |x| x[8].items += 1);
    c.chunks("PAD-1 padding that does not align", |x| {
        find(x, b"PAD_").body.extend([0; 8])
    });
    c.chunks("PAD-2 padding with contents", |x| {
        find(x, b"PAD_").body[0] = 1
    });
}

fn trees(c: &mut Corpus) {
    c.tree("ORDER-6 processes of a section descend", |x| {
        x.others.swap(0, 6)
    });
    c.tree("ORDER-7 another process without the feature", |x| {
        x.features = 0
    });
    c.tree("ORDER-7 pipes of another process", |x| {
        let pipes = x.section(0x13).clone();
        x.others.push((1, 0x13, pipes));
    });
    c.tree("TREE-1 no kin record", |x| drop(x.other(1, 0x10).pop()));
    c.tree("TREE-1 a living process without memory", |x| {
        x.others.retain(|o| (o.0, o.1) != (1, 0x11))
    });
    c.tree("TREE-1 a zombie with memory", |x| {
        let memory = x.section(0x11).clone();
        x.others.push((3, 0x11, memory));
    });
    c.tree("TREE-2 a signal that does not exist", |x| {
        x.other(1, 0x10)[2].set(1, 65)
    });
    c.tree("TREE-2 a status that wait never gives", |x| {
        x.other(3, 0x10)[1].set(3, 0x137f)
    });
    c.tree("TREE-2 a living process with a status", |x| {
        x.other(1, 0x10)[2].set(3, 1)
    });
    c.tree("TREE-3 two processes of one id", |x| {
        let ended = x.other(3, 0x10);
        ended[0].id = 1300;
        ended[0].set(1, 1300);
        ended[1].id = 1300;
    });
    c.tree("TREE-4 a parent that does not exist", |x| {
        x.other(1, 0x10)[0].set(2, 1)
    });
    c.tree("TREE-4 a parent that has ended", |x| {
        let mut ended = x.others.pop().expect("zombie");
        for o in x.others.iter_mut().filter(|o| o.0 == 2) {
            o.0 = 3;
        }
        x.other(3, 0x10)[0].set(2, 1302);
        ended.0 = 2;
        let at = x.others.iter().position(|o| o.0 == 3).expect("grandchild");
        x.others.insert(at, ended);
    });
    c.tree("TREE-2 a root that is neither one nor none", |x| {
        x.other(1, 0x10)[2].set(4, 2)
    });
    c.tree("TREE-4 a root whose parent is there", |x| {
        x.other(1, 0x10)[2].set(4, 1)
    });
    c.tree("TREE-5 the session of a sister", |x| {
        let ended = x.other(3, 0x10);
        ended[0].set(4, 1301);
        ended[0].set(3, 1301);
    });
    c.tree("TREE-6 a group that nobody leads", |x| {
        x.other(1, 0x10)[0].set(3, 77)
    });
    c.leaderless(
        "TREE-3 a leader that has ended with the id of a process",
        |x| x.section(0x10).push(super::tree::leader(1300, 1200)),
    );
    c.leaderless("TREE-5 orphans of one session with two parents", |x| {
        x.other(3, 0x10)[0].set(2, 1300);
        x.other(3, 0x10)[0].set(3, 1299);
        x.other(3, 0x10)[0].set(4, 1299);
    });
    c.leaderless("TREE-6 the group of a leader in another session", |x| {
        x.record(0x10, 5, 1).set(1, 1299)
    });
    c.leaderless("TREE-7 a leader whose group is empty", |x| {
        x.section(0x10).push(super::tree::leader(1297, 1200))
    });
    c.leaderless("TREE-7 a leader with another process", |x| {
        x.other(1, 0x10).push(super::tree::leader(1296, 1296))
    });
    c.tree("FILES-9 an open file of another process", |x| {
        let file = x.record(0x12, 2, 0).clone();
        x.other(1, 0x12).insert(1, file);
    });
    c.tree("PAGE-9 memory of a process that has ended", |x| {
        x.pages[2].owner = 4
    });
}

fn page_data(c: &mut Corpus) {
    c.chunks("PAGE-1 page data without padding before it", |x| {
        x.retain(|c| &c.code != b"PAD_")
    });
    c.chunks("PAGE-2 bytes behind the last run", |x| {
        find(x, b"PAGE").table.as_mut().expect("table")[4031] = 1
    });
    c.chunks("PAGE-2 no run", |x| {
        let page = find(x, b"PAGE");
        page.items = 0;
        page.table = Some(vec![0; 4032]);
        page.body.clear();
    });
    c.chunks("PAGE-3 spare bytes of a run", |x| {
        find(x, b"PAGE").table.as_mut().expect("table")[14] = 1
    });
    c.model("PAGE-4 start within a page", |x| x.pages[0].runs[0].0 += 8);
    c.model("PAGE-4 run of no page", |x| x.pages[0].runs[2].1 = 0);
    c.model("PAGE-5 run that wraps around", |x| {
        x.pages[1].runs = vec![(u64::MAX - 0xfff, 1, 0)]
    });
    c.model("PAGE-6 runs overlap in a chunk", |x| {
        x.pages[0].runs[2].0 -= 4096
    });
    c.model("PAGE-6 runs overlap across chunks", |x| {
        x.pages[1].runs[0].0 = 0x5555_5556_5000
    });
    c.model("PAGE-7 page data of a section that has none", |x| {
        x.pages[2].section = 0x13
    });
    c.chunks("PAGE-8 key is not the first run", |x| {
        find(x, b"PAGE").key += 4096
    });
    c.chunks("PAGE-8 fewer pages than the runs say", |x| {
        drop(find(x, b"PAGE").body.drain(..4096))
    });
    c.model("PAGE-9 another owner in memory", |x| x.pages[1].owner = 2);
    c.model("PAGE-9 owner is no deleted file", |x| x.pages[2].owner = 3);
    c.model("PAGE-10 run outside of the areas", |x| {
        x.pages[1].runs[0].0 = 0x7f80_0000_0000
    });
    c.model("PAGE-10 run longer than its area", |x| {
        x.pages[0].runs[2].1 = 15
    });
    c.model("PAGE-10 run in an area that cannot have contents", |x| {
        x.record(0x11, 2, 2).set(4, 65536);
    });
    c.model("PAGE-11 run behind the end of the file", |x| {
        x.pages[2].runs[0].0 = 4096
    });
}

fn compressed_data(c: &mut Corpus) {
    let duplicate = |x: &mut Image, source| x.pages[0].sources[3] = source;
    c.packed("PAGE-12 source in a zero run", |x| {
        duplicate(x, 0x5555_5556_2000)
    });
    c.packed("PAGE-12 source behind the run", |x| {
        x.pages[0].runs = vec![
            (0x5555_5555_7000, 1, 0),
            (0x5555_5556_0000, 3, 2),
            (0x5555_5556_3000, 2, 0),
        ];
        x.pages[0].sources = vec![0, 0x5555_5556_3000];
    });
    c.packed("PAGE-12 source in another chunk", |x| {
        duplicate(x, 0x7ffd_1234_5000)
    });
    c.packed("PAGE-12 source within a page", |x| {
        duplicate(x, 0x5555_5556_1008)
    });
    c.packed("PAGE-12 source is a duplicate", |x| {
        x.pages[0].runs[3].1 = 1;
        x.pages[0].runs.push((0x5555_5556_7000, 2, 2));
        x.pages[0].sources.push(0x5555_5556_6000);
    });
    c.packed("PAGE-12 source of a data run", |x| {
        x.pages[0].sources[1] = 0x5555_5555_7000
    });
    c.packed("PAGE-12 source of a zero run", |x| {
        x.pages[0].sources[2] = 0x5555_5555_7000
    });
    c.model("PAGE-13 parent run without the feature", |x| {
        x.pages[0].runs[2].2 = 3
    });
    c.stored("ZSTD-1 compressed chunk of no page", |x| {
        x.body.truncate(8191)
    });
    c.stored("ZSTD-1 no frame", |x| x.frame_len = 0);
    c.stored("ZSTD-1 a page of zeros behind the frame", |x| {
        x.frame_len = 4096
    });
    c.stored("ZSTD-1 frame longer than the chunk", |x| x.frame_len = 8193);
    c.stored("ZSTD-1 as long as the pages", |x| {
        x.body.resize(12288, 0);
        x.frame_len = 12288;
    });
    c.packed("ZSTD-2 compressed without the feature", |x| x.features = 0);
    c.frame("ZSTD-3 magic of a skippable frame", |f| {
        f.magic = 0x184d_2a50
    });
    c.frame("ZSTD-3 checksum behind the frame", |f| f.descriptor |= 4);
    c.frame("ZSTD-3 dictionary", |f| f.descriptor |= 1);
    c.frame("ZSTD-3 reserved bit", |f| f.descriptor |= 8);
    c.frame("ZSTD-3 window instead of a single segment", |f| {
        f.descriptor = 0x80
    });
    c.frame("ZSTD-3 content size of one byte more", |f| {
        f.content_size += 1
    });
    c.frame("ZSTD-3 content size of 8 bytes", |f| f.descriptor = 0xe0);
    c.frame("ZSTD-4 block of the reserved type", |f| f.blocks[1].0 = 3);
    c.frame("ZSTD-4 block longer than the frame", |f| {
        f.blocks[2] = (0, 4096, vec![1])
    });
    c.frame("ZSTD-4 block above the largest size", |f| {
        f.blocks[2].1 = (128 << 10) + 1
    });
    c.frame("ZSTD-4 bytes behind the last block", |f| {
        f.blocks[2].2 = vec![1, 2]
    });
    c.frame("ZSTD-4 no last block", |f| f.blocks[2] = (0, 1, vec![1, 0]));
    c.stored("ZSTD-5 bytes behind the frame", |x| x.body[8191] = 1);
    c.frame("ZSTD-6 fewer bytes than the pages", |f| f.blocks[2].1 -= 1);
    c.frame("ZSTD-6 more bytes than the pages", |f| f.blocks[2].1 += 1);
    c.frame("ZSTD-6 compressed block of rubbish", |f| {
        f.blocks[1] = (2, 5, vec![0xff; 5])
    });
}

fn tails(c: &mut Corpus) {
    c.tail("INDEX-1 entries cut in two chunks too early", |x| {
        let at = x.iter().position(|c| &c.code == b"INDX").expect("index");
        let mut second = x[at].clone();
        second.body.drain(..48);
        x[at].body.truncate(48);
        (second.items, second.seq, x[at].items) = (second.items - 1, 1, 1);
        x.insert(at + 1, second);
    });
    c.tail("INDEX-1 length is not that of the entries", |x| {
        find(x, b"INDX").items -= 1
    });
    c.tail("INDEX-2 an entry says something else", |x| {
        find(x, b"INDX").body[16] ^= 1
    });
    c.tail("INDEX-2 an entry is missing", |x| {
        let index = find(x, b"INDX");
        index.body.truncate(index.body.len() - 48);
        index.items -= 1;
    });
    c.tail("END-1 spare bytes", |x| find(x, b"END_").body[63] = 1);
    c.tail("END-1 another length", |x| {
        find(x, b"END_").body.extend([0; 8])
    });
    c.tail("END-2 offset of the index", |x| {
        find(x, b"END_").body[0] ^= 8
    });
    c.tail("END-2 length of the index", |x| {
        find(x, b"END_").body[8] ^= 8
    });
    c.tail("END-3 number of chunks", |x| find(x, b"END_").body[16] ^= 1);
    c.tail("END-4 length of the image", |x| {
        find(x, b"END_").body[24] ^= 1
    });
    c.tail("END-5 chain checksum", |x| find(x, b"END_").body[32] ^= 1);
    let mut bytes = process().bytes();
    bytes.push(0);
    c.rule("END-6 a byte behind the end", bytes);
}

fn encodings(c: &mut Corpus) {
    c.model("REC-1 flags of a record", |x| {
        x.record(0x16, 1, 3).flags = 1
    });
    c.model("REC-1 spare bytes of a record", |x| {
        x.record(0x16, 1, 3).spare = 1
    });
    c.chunks("REC-2 length of a record", |x| x[8].body[4] += 4);
    c.model("REC-3 more bytes than fields", |x| {
        x.record(0x16, 1, 3).extra_fields = -1
    });
    c.model("REC-4 the same field twice", |x| {
        x.record(0x16, 1, 3).fields[1].id = Some(1)
    });
    c.model("REC-4 field id 0", |x| {
        x.record(0x16, 1, 3).fields[0].id = Some(0)
    });
    c.model("REC-5 padding of a field", |x| {
        x.record(0x10, 1, 0).fields[4].padding = 1
    });
    c.model("REC-6 a number of 16 bytes", |x| {
        x.record(0x16, 1, 3).fields[1].payload.extend([0; 8])
    });
    c.model("REC-6 an array of 9 bytes", |x| {
        x.record(0x15, 1, 0).fields[8].payload = vec![0; 9]
    });
    c.model("REC-7 NUL in a text", |x| {
        x.record(0x10, 1, 0).put(5, b"a\0b")
    });
    c.model("REC-8 a field is missing", |x| {
        let r = x.record(0x16, 1, 3);
        r.fields.remove(1);
        r.fields[1].id = Some(3);
    });
    c.model("REC-8 the last field is missing", |x| {
        drop(x.record(0x16, 1, 3).fields.pop())
    });
    c.model("REC-9 another wire type", |x| {
        x.record(0x16, 1, 3).fields[1].wire = 2
    });
    c.model("REC-9 another hint", |x| {
        x.record(0x16, 1, 3).fields[1].hint = 2
    });
}

fn image(c: &mut Corpus) {
    c.model("IMAGE-1 two image records", |x| {
        let again = x.record(1, 1, 0).clone();
        x.section(1).push(again);
    });
    c.model("IMAGE-1 image record is not the first", |x| {
        x.section(1).swap(0, 1)
    });
    c.model("IMAGE-2 page size", |x| x.record(1, 1, 0).set(6, 16384));
    c.model("IMAGE-3 boot id", |x| x.record(1, 1, 0).put(7, &[1; 8]));
    c.model("IMAGE-4 offset without time namespace", |x| {
        x.record(1, 1, 0).set(10, 1)
    });
    c.model("IMAGE-4 switch of the time namespace", |x| {
        x.record(1, 1, 0).set(15, 2)
    });
    c.model("IMAGE-5 a section is not declared", |x| {
        drop(x.section(1).remove(6))
    });
    c.model("IMAGE-5 a third party's section is not declared", |x| {
        x.sections
            .push((0x9000, true, vec![rec(1, 1, vec![u(0, 1)])]));
    });
    c.model("IMAGE-6 section records descend", |x| {
        x.section(1).swap(3, 4)
    });
    c.model("IMAGE-6 section report is declared", |x| {
        x.section(1).push(rec(
            2,
            0x200,
            vec![t("report", 0), u(0, 1), t("", 0), u(1, 1)],
        ));
    });
    c.model("IMAGE-6 section id of 17 bits", |x| {
        x.section(1).push(rec(
            2,
            0x1_0000,
            vec![t("x", 0), u(0, 1), t("", 0), u(1, 1)],
        ));
    });
    c.model("IMAGE-7 word of another section", |x| {
        x.record(1, 2, 3).put(1, b"pipes")
    });
    c.model("IMAGE-7 word with a path in it", |x| {
        x.section(1).push(rec(
            2,
            0x9000,
            vec![t("../evil", 0), u(1, 1), t("", 0), u(1, 1)],
        ));
    });
    c.model("IMAGE-7 id is not that of the third party's word", |x| {
        x.section(1).push(rec(
            2,
            0x9000,
            vec![t("counter", 0), u(0, 1), t("", 0), u(1, 1)],
        ));
    });
    c.model("IMAGE-7 module with a blank", |x| {
        x.record(1, 2, 3).put(3, b"cr_files evil")
    });
    c.model("IMAGE-7 critical section declared ancillary", |x| {
        x.record(1, 2, 3).set(2, 0)
    });
    c.model("IMAGE-8 no SSE", |x| x.record(1, 1, 0).set(12, 1));
    c.model("IMAGE-8 extended state too small", |x| {
        x.record(1, 1, 0).set(13, 575)
    });
    c.model("IMAGE-9 no credentials", |x| {
        x.sections.retain(|s| s.0 != 0x15)
    });
}

/// Main threads that have ended.
fn headless(c: &mut Corpus) {
    c.headless(
        "TASKS-16 a thread that is not the main one has ended",
        |x| x.record(0x10, 6, 0).id = 1240,
    );
    c.headless("TASKS-16 ended by a signal", |x| {
        x.record(0x10, 6, 0).set(1, 9)
    });
    c.headless("TASKS-16 ended twice", |x| {
        let again = x.record(0x10, 6, 0).clone();
        x.section(0x10).push(again)
    });
    c.headless("TASKS-16 ended with a robust list", |x| {
        x.record(0x10, 2, 0).set(6, 0x7f00_0000_0000);
        x.record(0x10, 2, 0).set(7, 24)
    });
}

fn tasks(c: &mut Corpus) {
    let process = |x: &mut Image, id, v| x.record(0x10, 1, 0).set(id, v);
    let task = |x: &mut Image, n, id, v| x.record(0x10, 2, n).set(id, v);
    let reg = |x: &mut Image, n: usize, v: u64| {
        x.record(0x10, 2, 1).fields[2].payload[n * 8..][..8].copy_from_slice(&v.to_le_bytes());
    };
    let xstate = |x: &mut Image, at: usize, v: u8| x.record(0x10, 2, 1).fields[3].payload[at] = v;
    c.model("TASKS-1 two processes", |x| {
        let again = x.record(0x10, 1, 0).clone();
        x.section(0x10).push(again);
    });
    c.model("TASKS-1 id is not the tgid", |x| {
        x.record(0x10, 1, 0).id = 1
    });
    c.model("TASKS-1 tgid 0", |x| {
        process(x, 1, 0);
        x.record(0x10, 1, 0).id = 0;
    });
    c.model("TASKS-2 session", |x| process(x, 4, 4_194_305));
    c.model("TASKS-3 more threads than tasks", |x| process(x, 12, 3));
    c.model("TASKS-4 leader is not the first", |x| {
        x.section(0x10).swap(1, 2)
    });
    c.model("TASKS-4 a tid twice", |x| {
        let again = x.record(0x10, 2, 1).clone();
        x.section(0x10).push(again);
        process(x, 12, 3);
    });
    c.model("TASKS-4 tid beyond the largest", |x| {
        task(x, 1, 1, 4_194_305);
        x.record(0x10, 2, 1).id = 4_194_305;
    });
    c.model("TASKS-5 name of 16 bytes", |x| {
        x.record(0x10, 2, 1).put(2, b"0123456789abcdef")
    });
    c.model("TASKS-6 26 registers", |x| {
        x.record(0x10, 2, 1).fields[2].payload.truncate(26 * 8)
    });
    c.model("TASKS-7 kernel code segment", |x| reg(x, 17, 0x10));
    c.model("TASKS-7 kernel stack segment", |x| reg(x, 20, 0x18));
    c.model("TASKS-7 I/O privilege in the flags", |x| reg(x, 18, 0x3246));
    c.model("TASKS-7 interrupts off", |x| reg(x, 18, 0x46));
    c.model("TASKS-7 data selector of 17 bits", |x| reg(x, 23, 0x1_0000));
    c.model("TASKS-7 data selector of ring 0", |x| reg(x, 24, 0x18));
    c.model("TASKS-8 kernel address in rip", |x| {
        reg(x, 16, 0xffff_8000_0000_0000)
    });
    c.model("TASKS-8 first address behind user space in fs_base", |x| {
        reg(x, 21, 0x7fff_ffff_f000)
    });
    c.model("TASKS-8 non-canonical gs_base", |x| reg(x, 22, 1 << 47));
    c.model("TASKS-9 state without header", |x| {
        x.record(0x10, 2, 1).fields[3].payload.truncate(575)
    });
    c.model("TASKS-9 feature that the image does not have", |x| {
        xstate(x, 512, 8)
    });
    c.model("TASKS-9 compacted layout", |x| xstate(x, 527, 0x80));
    c.model("TASKS-9 reserved bits of MXCSR", |x| xstate(x, 26, 1));
    c.model("TASKS-10 length of the robust list", |x| task(x, 1, 7, 25));
    c.model("TASKS-10 rseq area in the kernel", |x| {
        task(x, 1, 8, 0x7fff_ffff_f000)
    });
    c.model("TASKS-11 real-time priority without its policy", |x| {
        task(x, 1, 17, 1)
    });
    c.model("TASKS-11 nice value", |x| task(x, 1, 16, 20));
    c.model("TASKS-12 no CPU", |x| x.record(0x10, 2, 1).put(22, &[0; 8]));
    c.model("TASKS-13 a switch is 2", |x| task(x, 1, 25, 2));
    c.model("TASKS-13 death signal", |x| task(x, 1, 24, 65));
    c.model("TASKS-13 oom_score_adj", |x| process(x, 11, 1001));
    c.model("TASKS-14 relative program path", |x| {
        x.record(0x10, 1, 0).put(6, b"bin/counter")
    });
    c.model("TASKS-14 4097 bytes of arguments", |x| {
        x.record(0x10, 1, 0).put(7, &[b'a'; 4097])
    });
}

fn memory(c: &mut Corpus) {
    let mm = |x: &mut Image, id, v| x.record(0x11, 1, 0).set(id, v);
    let vma = |x: &mut Image, n, id, v| x.record(0x11, 2, n).set(id, v);
    c.model("MEMORY-1 two address spaces", |x| {
        let again = x.record(0x11, 1, 0).clone();
        x.section(0x11).push(again);
    });
    c.model("MEMORY-11 no code", |x| mm(x, 2, 0x5555_5555_5000));
    c.model("MEMORY-11 no heap", |x| {
        mm(x, 5, 0);
        mm(x, 6, 0);
    });
    c.model("MEMORY-17 huge pages wanted and unwanted", |x| {
        vma(x, 2, 4, 256 | 512)
    });
    c.model("MEMORY-17 locked on fault but not locked", |x| {
        vma(x, 2, 4, 4096)
    });
    c.model("MEMORY-17 file mapping wiped on fork", |x| vma(x, 0, 4, 64));
    c.model("MEMORY-17 shared and growing down", |x| vma(x, 4, 4, 1 | 2));
    c.model("MEMORY-17 written although the file is not", |x| {
        vma(x, 1, 4, 1)
    });
    c.model("MEMORY-18 vDSO elsewhere", |x| mm(x, 13, 0x7ffd_123f_f000));
    c.model("MEMORY-18 vDSO not executable", |x| vma(x, 6, 3, 1));
    c.model("MEMORY-2 ids of areas", |x| x.record(0x11, 2, 3).id = 9);
    c.model("MEMORY-3 end within a page", |x| {
        vma(x, 3, 2, 0x7f00_0020_0008)
    });
    c.model("MEMORY-3 empty area", |x| vma(x, 3, 2, 0x7f00_0010_0000));
    c.model("MEMORY-3 area in the kernel", |x| {
        vma(x, 6, 2, 0x8000_0000_0000)
    });
    c.model("MEMORY-4 areas overlap", |x| vma(x, 0, 2, 0x5555_5555_8000));
    c.model("MEMORY-5 protection", |x| vma(x, 0, 3, 8));
    c.model("MEMORY-5 protection key", |x| vma(x, 0, 9, 16));
    c.model("MEMORY-6 shared private memory", |x| vma(x, 2, 4, 1));
    c.model("MEMORY-6 file mapping without file", |x| vma(x, 0, 7, 0));
    c.model("MEMORY-7 mapped file does not exist", |x| vma(x, 0, 7, 3));
    c.model("MEMORY-7 program file does not exist", |x| mm(x, 14, 7));
    c.model("MEMORY-8 mapped file twice", |x| {
        x.record(0x11, 3, 1).id = 1
    });
    c.model("MEMORY-9 offset within a page", |x| vma(x, 0, 6, 8));
    c.model("MEMORY-9 offset that wraps around", |x| {
        vma(x, 0, 6, u64::MAX - 0xfff)
    });
    c.model("MEMORY-10 relative path", |x| {
        x.record(0x11, 3, 1).put(1, b"libc.so")
    });
    c.model("MEMORY-10 nanoseconds", |x| {
        x.record(0x11, 3, 1).set(4, 1_000_000_000)
    });
    c.model("MEMORY-11 heap ends before it starts", |x| {
        mm(x, 6, 0x5555_5555_f000)
    });
    c.model("MEMORY-11 stack in the kernel", |x| {
        mm(x, 7, 0xffff_ffff_8000_0000)
    });
    c.model("MEMORY-12 auxiliary vector of an odd number", |x| {
        x.record(0x11, 1, 0).fields[11] = a(&[6, 4096, 0], 2)
    });
    c.model("MEMORY-13 core dump filter", |x| mm(x, 16, 1 << 32));
    c.model("MEMORY-14 name of 256 bytes", |x| {
        x.record(0x11, 2, 2).put(8, &[b'n'; 256])
    });
    c.model("MEMORY-15 guard range within a page", |x| {
        x.record(0x11, 4, 0).set(2, 0x5555_5556_f800)
    });
    c.model("MEMORY-16 guard range outside of the areas", |x| {
        x.record(0x11, 4, 0).set(1, 0x5555_5555_f000)
    });
}

fn files(c: &mut Corpus) {
    let file = |x: &mut Image, n, id, v| x.record(0x12, 2, n).set(id, v);
    let descriptor = |x: &mut Image, n, id, v| x.record(0x12, 3, n).set(id, v);
    c.model("FILES-1 no fs record", |x| drop(x.section(0x12).remove(0)));
    c.model("FILES-1 relative working directory", |x| {
        x.record(0x12, 1, 0).put(1, b"home")
    });
    c.model("FILES-1 umask", |x| x.record(0x12, 1, 0).set(3, 0o1000));
    c.model("FILES-2 ids of open files", |x| x.record(0x12, 2, 2).id = 7);
    c.model("FILES-3 handled file without handler", |x| {
        file(x, 3, 12, 0)
    });
    c.model("FILES-3 regular file with handler", |x| {
        file(x, 2, 12, 0x13)
    });
    c.model("FILES-4 regular file without path", |x| {
        x.record(0x12, 2, 2).put(2, b"")
    });
    c.model("FILES-4 path of 4096 bytes", |x| {
        x.record(0x12, 2, 2).put(2, &[b'/'; 4096])
    });
    c.model("FILES-5 negative position", |x| file(x, 2, 4, u64::MAX));
    c.model("FILES-6 regular file with the mode of a directory", |x| {
        file(x, 2, 5, 0o040_755)
    });
    c.model("FILES-6 flags of 33 bits", |x| file(x, 2, 3, 1 << 32));
    c.model("FILES-7 id of a descriptor", |x| {
        x.record(0x12, 3, 1).id = 9
    });
    c.model("FILES-7 descriptors descend", |x| {
        x.section(0x12).swap(7, 8)
    });
    c.model("FILES-8 file of a descriptor does not exist", |x| {
        descriptor(x, 2, 2, 7)
    });
    c.model("FILES-8 close-on-exec is 2", |x| descriptor(x, 2, 3, 2));
}

fn pipes(c: &mut Corpus) {
    c.model("PIPES-1 id of a pipe", |x| x.record(0x13, 1, 0).id = 2);
    c.model("PIPES-2 capacity is no power of two", |x| {
        x.record(0x13, 1, 0).set(1, 65537)
    });
    c.model("PIPES-3 unread bytes exceed the capacity", |x| {
        x.record(0x13, 1, 0).set(3, 70000)
    });
    c.model("PIPES-4 buffers are shorter than the unread bytes", |x| {
        x.record(0x13, 1, 0).set(3, 12)
    });
    c.model("PIPES-4 buffers are longer than the unread bytes", |x| {
        x.record(0x13, 1, 0).set(3, 10)
    });
    c.model("PIPES-4 buffer of a pipe that does not exist", |x| {
        x.record(0x13, 2, 1).set(1, 2)
    });
    c.model("PIPES-4 unread bytes without buffers", |x| {
        x.section(0x13).retain(|r| r.kind != 2)
    });
    c.model("PIPES-5 empty buffer", |x| {
        x.section(0x13)
            .insert(1, rec(2, 1, vec![u(1, 1), u(0, 4), b(b"", 0)]));
        x.record(0x13, 2, 1).id = 2;
        x.record(0x13, 2, 2).id = 3;
    });
    c.model("PIPES-5 number of a buffer", |x| {
        x.record(0x13, 2, 1).id = 5
    });
    c.model("PIPES-6 end of a file that is no pipe", |x| {
        let end = x.record(0x13, 3, 0);
        end.id = 3;
        end.set(1, 3);
    });
    c.model("PIPES-6 end of a pipe that does not exist", |x| {
        x.record(0x13, 3, 0).set(2, 2)
    });
    c.model("PIPES-7 a pipe file without end", |x| {
        drop(x.section(0x13).pop())
    });
    c.model("PIPES-8 relative FIFO path", |x| {
        x.record(0x13, 1, 0).put(2, b"fifo")
    });
}

fn resources(c: &mut Corpus) {
    c.resource("EVENTFD-1 a file without counter", |x| {
        drop(x.section(0x17).pop())
    });
    c.resource("EVENTFD-1 counter of another file", |x| {
        let r = x.record(0x17, 1, 1);
        r.id = 9;
        r.set(1, 9);
    });
    c.resource("EVENTFD-2 counter", |x| {
        x.record(0x17, 1, 0).set(2, u64::MAX)
    });
    c.resource("EVENTFD-2 semaphore", |x| x.record(0x17, 1, 0).set(3, 2));
    c.resource("TIMERFD-1 timer of no file", |x| {
        x.record(0x18, 1, 0).set(1, 8)
    });
    c.resource("TIMERFD-2 value", |x| x.record(0x18, 1, 0).set(4, 1 << 63));
    c.resource("SIGNALFD-1 file twice", |x| {
        let r = x.record(0x19, 1, 0).clone();
        x.section(0x19).push(r);
    });
    c.resource("SIGNALFD-2 mask with SIGKILL", |x| {
        x.record(0x19, 1, 0).set(2, 1 << 8)
    });
    c.resource("EPOLL-1 poll of no file", |x| {
        let r = x.record(0x1a, 1, 1);
        r.id = 13;
        r.set(1, 13);
        x.record(0x1a, 2, 2).set(1, 13);
    });
    c.resource("EPOLL-2 entry of another poll", |x| {
        x.record(0x1a, 2, 2).set(1, 11)
    });
    c.resource("EPOLL-2 too few entries", |x| {
        x.record(0x1a, 1, 1).set(2, 2)
    });
    c.resource("EPOLL-2 number of an entry", |x| {
        x.record(0x1a, 2, 1).id = 7
    });
    c.resource("EPOLL-3 order of entries", |x| {
        x.record(0x1a, 2, 1).set(2, 20)
    });
    c.resource("EPOLL-3 entry of no descriptor", |x| {
        x.record(0x1a, 2, 1).set(2, 99)
    });
    c.resource("EPOLL-4 events", |x| x.record(0x1a, 2, 0).set(3, 1 << 32));
    c.resource("FILES-10 memory file without its record", |x| {
        x.section(0x12).retain(|r| r.kind != 4 || r.id != 14)
    });
    c.resource("FILES-10 record of a file that is none of memory", |x| {
        x.record(0x12, 4, 1).id = 6
    });
    c.resource("FILES-11 contents of a file that has none", |x| {
        x.record(0x12, 4, 1).set(1, 6)
    });
    c.resource("FILES-11 seals where the contents are not", |x| {
        x.record(0x12, 4, 1).set(3, 1)
    });
    c.resource("FILES-12 name of 250 bytes", |x| {
        x.record(0x12, 4, 0).put(2, &[b'n'; 250])
    });
    c.resource("FILES-12 half a huge page", |x| {
        x.record(0x12, 4, 0).set(4, 2 << 20)
    });
    c.resource("FILES-13 contents of a deleted file", |x| {
        x.record(0x12, 5, 0).id = 6
    });
    c.resource("FILES-13 contents of no file", |x| {
        x.record(0x12, 5, 0).id = 99
    });
    c.resource("FILES-13 contents twice", |x| {
        let again = x.record(0x12, 5, 0).clone();
        x.section(0x12).push(again)
    });
    c.resource("FILES-13 user", |x| {
        x.record(0x12, 5, 0).set(1, u64::from(u32::MAX))
    });
    c.resource("MEMORY-20 mapped object that has a path", |x| {
        x.record(0x11, 6, 0).set(1, 3)
    });
    c.resource("MEMORY-20 mapped object without contents", |x| {
        x.record(0x11, 6, 0).set(1, 14)
    });
    c.resource("MEMORY-21 half a huge page", |x| {
        x.record(0x11, 2, 2).set(4, 131_072)
    });
    c.resource("MEMORY-21 huge pages of two sizes", |x| {
        huge_area(x, 131_072 | 262_144)
    });
    c.resource("MEMORY-21 huge pages that grow", |x| {
        huge_area(x, 131_072 | 2)
    });
    c.resource("MEMORY-22 huge page that is not aligned", |x| {
        x.record(0x11, 7, 0).set(1, 0x7f00_0060_1000)
    });
    c.resource("MEMORY-22 huge page outside of the area", |x| {
        x.record(0x11, 7, 0).set(2, 0x7f00_00a0_0000)
    });
    c.resource("MEMORY-22 huge pages of a file", |x| {
        let area = x.section(0x11).iter_mut().filter(|r| r.kind == 2);
        let Some(area) = area.into_iter().find(|r| r.number(1) == 0x7f00_0040_0000) else {
            unreachable!()
        };
        area.set(5, 1);
        area.set(7, 1);
    });
    c.resource("MEMORY-8 mapped object with the id of a file", |x| {
        x.record(0x11, 6, 0).id = 1
    });
    c.resource("LOCKS-1 number", |x| x.record(0x1c, 1, 1).id = 4);
    c.resource("LOCKS-1 order of files", |x| x.record(0x1c, 1, 2).set(1, 2));
    c.resource("LOCKS-2 file that does not exist", |x| {
        x.record(0x1c, 1, 2).set(1, 99)
    });
    c.resource("LOCKS-3 flock with a range", |x| {
        x.record(0x1c, 1, 2).set(5, 1)
    });
    c.resource("LOCKS-3 end", |x| x.record(0x1c, 1, 0).set(4, 1 << 63));
    c.resource("LOCKS-3 exclusive", |x| x.record(0x1c, 1, 0).set(3, 2));
    c.resource("MEMORY-19 policy of no area", |x| {
        x.record(0x11, 5, 0).id = 99
    });
    c.resource("MEMORY-23 key of an area without the record", |x| {
        x.section(0x11).retain(|r| r.kind != 8)
    });
    c.resource("MEMORY-23 key 0", |x| x.record(0x11, 8, 0).set(1, 0xb));
    c.resource("MEMORY-23 key of execute-only memory", |x| {
        x.record(0x11, 8, 0).set(2, 2)
    });
    c.resource("MEMORY-19 default policy", |x| {
        x.record(0x11, 5, 0).set(1, 0)
    });
    c.resource("TASKS-15 attributes of a thread that does not exist", |x| {
        x.record(0x10, 4, 0).set(8, 0);
        x.record(0x10, 4, 0).id = 1233
    });
    c.resource("TASKS-15 attributes of one thread twice", |x| {
        let again = x.record(0x10, 4, 0).clone();
        x.section(0x10).push(again)
    });
    c.resource("TASKS-15 a switch is 2 among attributes", |x| {
        x.record(0x10, 4, 0).set(2, 2)
    });
    c.resource("TASKS-15 least clamp above the most", |x| {
        x.record(0x10, 4, 0).set(4, 501)
    });
    c.resource("TASKS-15 a clamp that is not asked for", |x| {
        x.record(0x10, 4, 0).set(3, 1)
    });
    c.resource("TASKS-15 timer ids of another thread", |x| {
        x.record(0x10, 4, 0).id = 1236
    });
    c.resource("TASKS-15 nodes without a policy", |x| {
        x.record(0x10, 4, 0).set(6, 0)
    });
    c.resource("SECCOMP-1 number", |x| x.record(0x22, 1, 1).id = 3);
    c.resource("SECCOMP-1 filter under itself", |x| {
        x.record(0x22, 1, 1).set(1, 2)
    });
    c.resource("SECCOMP-1 log is 2", |x| x.record(0x22, 1, 1).set(2, 2));
    for (what, program) in [
        ("SECCOMP-2 half an instruction", &[6, 0, 0, 0][..]),
        ("SECCOMP-2 no instruction", &[]),
        ("SECCOMP-2 no return", &[0x20, 0, 0, 0, 0, 0, 0, 0]),
        (
            "SECCOMP-2 load behind the data",
            &[0x20, 0, 0, 0, 64, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0],
        ),
        (
            "SECCOMP-2 load of a packet",
            &[0x30, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0],
        ),
        (
            "SECCOMP-2 jump out of the program",
            &[5, 0, 0, 0, 1, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0],
        ),
        (
            "SECCOMP-2 scratch memory that was not stored",
            &[0x60, 0, 0, 0, 1, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0],
        ),
    ] {
        c.resource(what, move |x| x.record(0x22, 1, 1).put(3, program));
    }
    c.resource("SECCOMP-3 thread that does not exist", |x| {
        x.record(0x22, 2, 1).id = 1241
    });
    c.resource("SECCOMP-3 thread twice", |x| x.record(0x22, 2, 1).id = 1234);
    c.resource("SECCOMP-3 filter that does not exist", |x| {
        x.record(0x22, 2, 1).set(2, 3)
    });
    c.resource("SECCOMP-3 strict with a filter", |x| {
        x.record(0x22, 2, 1).set(1, 1)
    });
    c.resource("SECCOMP-3 mode", |x| x.record(0x22, 2, 1).set(1, 3));
    c.resource("LANDLOCK-1 number", |x| x.record(0x23, 1, 1).id = 4);
    c.resource("LANDLOCK-1 level that is left out", |x| {
        x.record(0x23, 1, 2).set(2, 3)
    });
    c.resource("LANDLOCK-1 domain that is left out", |x| {
        x.record(0x23, 1, 1).set(1, 3)
    });
    c.resource("LANDLOCK-1 seventeen levels", |x| {
        for level in 3..=17 {
            let mut layer = x.record(0x23, 1, 2).clone();
            layer.id = level as u32 + 1;
            layer.set(2, level);
            let at = x.section(0x23).iter().position(|r| r.kind == 2);
            x.section(0x23).insert(at.expect("subjects"), layer);
        }
    });
    c.resource("LANDLOCK-2 layer that handles nothing", |x| {
        x.record(0x23, 1, 2).set(3, 0);
        x.record(0x23, 1, 2).set(5, 0)
    });
    c.resource("LANDLOCK-2 rights of more than 32 bits", |x| {
        x.record(0x23, 1, 2).set(3, 1 << 32)
    });
    c.resource("LANDLOCK-2 quiet without being handled", |x| {
        x.record(0x23, 1, 2).set(6, 8)
    });
    c.resource("LANDLOCK-2 log", |x| x.record(0x23, 1, 2).set(9, 8));
    c.resource("LANDLOCK-3 thread that does not exist", |x| {
        x.record(0x23, 2, 1).id = 1241
    });
    c.resource("LANDLOCK-3 thread in two domains", |x| {
        x.record(0x23, 2, 1).id = 1234
    });
    c.resource("LANDLOCK-3 domain without layers", |x| {
        x.record(0x23, 2, 1).set(1, 3)
    });
    c.resource("LANDLOCK-3 log_off is 2", |x| {
        x.record(0x23, 2, 1).set(2, 2)
    });
    c.resource("CGROUPS-1 two groups", |x| {
        let mut again = x.record(0x27, 1, 0).clone();
        again.id = 2;
        x.section(0x27).push(again)
    });
    for (what, path) in [
        ("CGROUPS-2 root group", &b"/"[..]),
        ("CGROUPS-2 path that leads up", b"/a/../b"),
        ("CGROUPS-2 relative path", b"a"),
        ("CGROUPS-2 empty part", b"/a//b"),
    ] {
        c.resource(what, move |x| x.record(0x27, 1, 0).put(1, path));
    }
    c.resource("PROC-1 record of another file", |x| {
        x.record(0x25, 1, 0).set(1, 18)
    });
    c.resource("PROC-2 path elsewhere", |x| {
        x.record(0x25, 1, 0).put(2, b"/etc/1234")
    });
    c.resource("PROC-2 path of another process", |x| {
        x.record(0x25, 1, 0).put(2, b"/proc/1/stat")
    });
    c.resource("PROC-2 path that leads out", |x| {
        x.record(0x25, 1, 0).put(2, b"/proc/1234/../1/stat")
    });
    c.resource("PROC-2 process that does not exist", |x| {
        x.record(0x25, 1, 0).put(2, b"/proc/1233/stat");
        x.record(0x25, 1, 0).set(3, 1233)
    });
    c.resource("PIDFD-1 record of another file", |x| {
        x.record(0x20, 1, 0).set(1, 18)
    });
    c.resource("PIDFD-2 process that does not exist", |x| {
        x.record(0x20, 1, 0).set(2, 1233)
    });
    c.resource("PIDFD-2 thread of a process", |x| {
        x.record(0x20, 1, 0).set(2, 1240)
    });
    c.resource("PIDFD-2 a switch is 2", |x| x.record(0x20, 1, 0).set(3, 2));
    c.resource("INOTIFY-1 instance of no file", |x| {
        x.record(0x1e, 1, 0).set(1, 3)
    });
    c.resource("INOTIFY-2 number of a place", |x| {
        x.record(0x1e, 2, 1).id = 7
    });
    c.resource("INOTIFY-2 too many events", |x| {
        x.record(0x1e, 1, 0).set(3, 3)
    });
    c.resource("INOTIFY-2 place of the other instance", |x| {
        x.record(0x1e, 2, 0).set(1, 18)
    });
    c.resource("INOTIFY-3 order of places", |x| {
        x.record(0x1e, 2, 1).set(2, 1)
    });
    c.resource("INOTIFY-3 next watch", |x| {
        x.record(0x1e, 1, 1).set(4, 1 << 31)
    });
    c.resource("INOTIFY-4 relative path", |x| {
        x.record(0x1e, 2, 0).put(4, b"etc")
    });
    c.resource("INOTIFY-4 path and open file", |x| {
        x.record(0x1e, 2, 0).set(5, 6)
    });
    c.resource("INOTIFY-4 open file that does not exist", |x| {
        x.record(0x1e, 2, 1).set(5, 99)
    });
    c.resource("INOTIFY-5 event of no watch descriptor", |x| {
        x.record(0x1e, 3, 0).set(2, 0)
    });
    c.resource("INOTIFY-5 overflow of a watch", |x| {
        x.record(0x1e, 3, 3).set(2, 1)
    });
    c.resource("INOTIFY-5 name with a slash", |x| {
        x.record(0x1e, 3, 0).put(5, b"a/b")
    });
    c.resource("INOTIFY-5 cookie", |x| x.record(0x1e, 3, 0).set(4, 1 << 32));
    c.resource("OWNERS-1 number", |x| x.record(0x21, 1, 1).id = 4);
    c.resource("OWNERS-1 two for a file", |x| {
        x.record(0x21, 1, 1).set(1, 3)
    });
    c.resource("OWNERS-1 file that does not exist", |x| {
        x.record(0x21, 1, 3).set(1, 99)
    });
    c.resource("OWNERS-2 process outside", |x| {
        x.record(0x21, 1, 0).set(3, 1)
    });
    c.resource("OWNERS-2 thread outside", |x| {
        x.record(0x21, 1, 1).set(3, 77)
    });
    c.resource("OWNERS-2 group outside", |x| {
        x.record(0x21, 1, 2).set(3, 1240)
    });
    c.resource("OWNERS-3 signal", |x| x.record(0x21, 1, 1).set(4, 65));
    c.resource("OWNERS-3 enabled", |x| x.record(0x21, 1, 1).set(5, 2));
    c.resource("OWNERS-3 user", |x| {
        x.record(0x21, 1, 1).set(6, u32::MAX.into())
    });
    c.resource("URING-1 ring of another file", |x| {
        let r = x.record(0x24, 1, 1);
        r.id = 12;
        r.set(1, 12);
    });
    c.resource("URING-2 entries that are no power of two", |x| {
        x.record(0x24, 1, 0).set(2, 6)
    });
    c.resource("URING-2 fewer completions than submissions", |x| {
        x.record(0x24, 1, 0).set(3, 4)
    });
    c.resource("URING-2 too many entries", |x| {
        x.record(0x24, 1, 0).set(3, 1 << 17)
    });
    c.resource("URING-3 position", |x| x.record(0x24, 1, 0).set(5, 1 << 32));
    c.resource("URING-4 submitter that does not exist", |x| {
        x.record(0x24, 1, 1).set(7, 77)
    });
    c.resource("URING-4 submitter of a ring for all", |x| {
        x.record(0x24, 1, 0).set(7, 1240)
    });
    c.resource("URING-4 single issuer without submitter", |x| {
        x.record(0x24, 1, 1).set(7, 0)
    });
    c.resource("URING-5 index", |x| x.record(0x24, 2, 2).set(2, 16));
    c.resource("URING-5 index twice", |x| x.record(0x24, 2, 2).set(2, 0));
    c.resource("URING-5 thread that does not exist", |x| {
        x.record(0x24, 2, 0).set(1, 77)
    });
    c.resource("URING-5 number", |x| x.record(0x24, 2, 2).id = 4);
    c.resource("URING-6 open file of another kind", |x| {
        x.record(0x24, 2, 0).set(3, 7)
    });
    c.resource("URING-7 area of no ring", |x| {
        x.record(0x11, 2, 13).set(7, 3)
    });
    c.resource("URING-7 offset", |x| x.record(0x11, 2, 10).set(6, 0x1000));
    c.resource("URING-8 ring twice", |x| {
        let mut again = x.record(0x24, 3, 0).clone();
        again.id = 2;
        x.section(0x24).push(again)
    });
    c.resource("URING-8 number", |x| x.record(0x24, 3, 0).id = 2);
    c.resource("URING-8 file that is no ring", |x| {
        x.record(0x24, 3, 0).set(1, 7)
    });
    c.resource("URING-8 descriptor that does not exist", |x| {
        x.record(0x24, 3, 0).set(2, 99)
    });
    c.resource("URING-8 switch", |x| x.record(0x24, 3, 0).set(3, 2));
    c.resource("URING-8 thread that does not exist", |x| {
        x.record(0x24, 3, 0).set(4, 77)
    });
    c.resource("MEMORY-6 ring that is not shared", |x| {
        x.record(0x11, 2, 10).set(4, 0)
    });
    c.resource("TIMERS-1 which", |x| {
        let r = x.record(0x1b, 1, 0);
        r.id = 4;
        r.set(1, 3);
    });
    c.resource("TIMERS-2 interval timer without time", |x| {
        x.record(0x1b, 1, 0).set(2, 0)
    });
    c.resource("TIMERS-2 absolute", |x| x.record(0x1b, 2, 0).set(7, 2));
    c.resource("TIMERS-3 order", |x| x.record(0x1b, 2, 1).set(1, 3));
    c.resource("TIMERS-4 signal", |x| x.record(0x1b, 2, 0).set(4, 65));
    c.resource("TIMERS-4 thread that does not exist", |x| {
        x.record(0x1b, 2, 1).set(6, 77)
    });
    c.resource("TIMERS-5 CPU time of another process", |x| {
        x.record(0x1b, 2, 0).set(2, u64::from(!77_u32 << 3 | 2))
    });
    c.resource("TIMERS-5 CPU time of a thread that does not exist", |x| {
        x.record(0x1b, 2, 0).set(2, u64::from(!77_u32 << 3 | 6))
    });
    c.resource("TIMERS-4 thread for nothing", |x| {
        x.record(0x1b, 2, 2).set(6, 1240)
    });
}

fn signals(c: &mut Corpus) {
    c.model("SIGNALS-1 action of SIGKILL", |x| {
        let r = x.record(0x14, 1, 0);
        r.id = 9;
        r.set(1, 9);
    });
    c.model("SIGNALS-1 actions descend", |x| x.section(0x14).swap(0, 1));
    c.model("SIGNALS-7 handler in the kernel", |x| {
        x.record(0x14, 1, 0).set(2, 0xffff_8000_0000_0000)
    });
    c.model("SIGNALS-7 restorer at the end of user space", |x| {
        x.record(0x14, 1, 0).set(4, 0x7fff_ffff_f000)
    });
    c.model("SIGNALS-2 SIGSTOP in the mask of a handler", |x| {
        x.record(0x14, 1, 0).set(5, 1 << 18)
    });
    c.model("SIGNALS-2 SIGKILL is blocked", |x| {
        x.record(0x14, 2, 0).set(2, 1 << 8)
    });
    c.model("SIGNALS-3 a task without record", |x| {
        drop(x.section(0x14).remove(3))
    });
    c.model("SIGNALS-3 other order than the tasks", |x| {
        x.section(0x14).swap(2, 3)
    });
    c.model("SIGNALS-4 flags of the alternate stack", |x| {
        x.record(0x14, 2, 0).set(7, 1)
    });
    c.model("SIGNALS-5 pending for a task that does not exist", |x| {
        x.record(0x14, 3, 1).set(1, 1241)
    });
    c.model("SIGNALS-5 pending signal 65", |x| {
        x.record(0x14, 3, 1).set(2, 65)
    });
    c.model("SIGNALS-6 siginfo of another signal", |x| {
        x.record(0x14, 3, 1).fields[2].payload[0] = 35
    });
    c.model("SIGNALS-6 siginfo of 127 bytes", |x| {
        x.record(0x14, 3, 1).fields[2].payload.truncate(127)
    });
}

fn creds_limits_stats(c: &mut Corpus) {
    let cred = |x: &mut Image, id, v| x.record(0x15, 1, 0).set(id, v);
    c.model("CREDS-1 credentials of another process", |x| {
        x.record(0x15, 1, 0).id = 1
    });
    c.model("CREDS-2 user id of all ones", |x| cred(x, 1, 0xffff_ffff));
    c.model("CREDS-3 groups descend", |x| {
        x.record(0x15, 1, 0).fields[8] = a(&[100, 27], 10)
    });
    c.model("CREDS-4 effective capability that is not permitted", |x| {
        cred(x, 12, 1)
    });
    c.model("CREDS-4 ambient capability that is not inheritable", |x| {
        cred(x, 11, 1);
        cred(x, 14, 1);
    });
    c.model("CREDS-5 securebits", |x| cred(x, 15, 1 << 12));
    c.model("LIMITS-1 resource 16", |x| {
        let r = x.record(0x16, 1, 15);
        r.id = 17;
        r.set(1, 16);
    });
    c.model("LIMITS-1 limits descend", |x| x.section(0x16).swap(0, 1));
    c.model("LIMITS-2 soft limit above the hard one", |x| {
        x.record(0x16, 1, 13).set(2, 1)
    });
    c.model("STATS-1 two stats records", |x| {
        let again = x.stats[0].clone();
        x.stats.push(again);
    });
    c.model("STATS-2 number of pages", |x| x.stats[0].set(2, 7));
    c.model("STATS-2 bytes of pages", |x| x.stats[0].set(4, 7));
    c.model("STATS-3 areas descend", |x| x.stats.swap(1, 2));
}

fn unsupported(c: &mut Corpus) {
    let mut block =
        |name, at, bytes: &[u8]| c.other(name, Expect::Unsupported, with_block(at, bytes));
    block("unsupported major version", 12, &[2]);
    block("unsupported incompatible feature", 24, &[8]);
    block("unsupported machine", 28, &[183]);
    block("unsupported page size", 32, &[16]);
    block("unsupported superblock flag", 112, &[2]);
    let mut increment = superblock();
    (increment[24], increment[56]) = (2, 1);
    c.other(
        "unsupported image with a parent",
        Expect::Unsupported,
        assemble(&increment, &process().chunks()),
    );
    let mut chunks = |name, change: &dyn Fn(&mut Vec<Chunk>)| {
        let mut chunks = process().chunks();
        change(&mut chunks);
        c.other(name, Expect::Unsupported, assemble(&superblock(), &chunks));
    };
    chunks("unsupported chunk type", &|x| x[1].code = *b"HASH");
    chunks("unsupported chunk version", &|x| x[1].version = 2);
    chunks("unsupported chunk flag", &|x| x[1].flags = 2);
    chunks("unsupported codec", &|x| find(x, b"PAGE").codec = 2);
    chunks("unsupported critical section", &|x| {
        let mut new = x[8].clone();
        new.section = 0x7f;
        x.insert(9, new);
    });
    chunks("unsupported kind of a run", &|x| {
        find(x, b"PAGE").table.as_mut().expect("table")[12] = 4
    });
    let mut model = |name, change: &dyn Fn(&mut Image)| {
        let mut image = process();
        change(&mut image);
        without_pages(name, &mut image);
        c.other(name, Expect::Unsupported, image.bytes());
    };
    model("unsupported wire type", &|x| {
        x.record(0x16, 1, 3).fields[1].wire = 6
    });
    model("unsupported field", &|x| {
        x.record(0x16, 1, 3).fields.push(u(0, 1))
    });
    model("unsupported record type", &|x| {
        x.section(0x16).push(rec(2, 1, vec![u(0, 1)]))
    });
    model("unsupported section version", &|x| {
        x.record(1, 2, 3).set(4, 2)
    });
    model("unsupported scheduling policy", &|x| {
        x.record(0x10, 2, 1).set(15, 7)
    });
    model("unsupported interrupted call", &|x| {
        x.record(0x10, 2, 1).set(12, 5)
    });
    model("unsupported kind of area", &|x| {
        x.record(0x11, 2, 6).set(5, 99)
    });
    model("unsupported flag of an area", &|x| {
        x.record(0x11, 2, 6).set(4, 524_288)
    });
    model("unsupported kind of open file", &|x| {
        x.record(0x12, 2, 2).set(1, 9)
    });
    model("unsupported flag of an open file", &|x| {
        x.record(0x12, 2, 2).set(3, 0o20_000)
    });
    model("unsupported root directory", &|x| {
        x.record(0x12, 1, 0).put(2, b"/srv")
    });
    model("unsupported flag of an end of a pipe", &|x| {
        x.record(0x12, 2, 3).set(3, 0o200_000)
    });
    model("unsupported flag of a pipe buffer", &|x| {
        x.record(0x13, 2, 0).set(2, 2)
    });
    model("unsupported capability", &|x| {
        x.record(0x15, 1, 0).set(13, 1 << 41)
    });
    let resource = |name, change: &dyn Fn(&mut Image)| {
        let mut image = super::resources();
        change(&mut image);
        without_pages(name, &mut image);
        (name, image.bytes())
    };
    for (name, bytes) in [
        resource("unsupported seal of a memory file", &|x| {
            x.record(0x12, 4, 0).set(3, 64)
        }),
        resource("unsupported flag of a ring", &|x| {
            x.record(0x24, 1, 0).set(4, 2)
        }),
        resource("unsupported huge pages of a memory file", &|x| {
            x.record(0x12, 4, 0).set(4, 4096)
        }),
    ] {
        c.other(name, Expect::Unsupported, bytes);
    }
}

fn over_limit(c: &mut Corpus) {
    let mut model = |name: &'static str, change: &dyn Fn(&mut Image)| {
        let mut image = process();
        change(&mut image);
        if !name.contains("pages") {
            without_pages(name, &mut image);
        }
        c.other(name, Expect::OverLimit, image.bytes());
    };
    model("over limit threads", &|x| {
        x.record(0x10, 1, 0).set(12, 32769)
    });
    model("over limit descriptor", &|x| {
        let r = x.record(0x12, 3, 6);
        r.id = 1_048_577;
        r.set(1, 1_048_576);
    });
    model("over limit fields of a record", &|x| {
        x.record(0x16, 1, 3).fields.extend((0..62).map(|_| u(0, 1)));
    });
    model("over limit pages of a chunk", &|x| {
        x.pages[0].runs = vec![(0x5555_5556_0000, 257, 0)];
        x.pages[0].data = vec![0; 4096];
    });
    model("over limit metadata", &|x| {
        let big = |id| rec(9, id, vec![b(&[1; 1_000_000], 0)]);
        x.sections.insert(2, (3, false, (0..68).map(big).collect()));
    });
    let mut chunks = process().chunks();
    chunks[8].stored_len = Some((1 << 20) + 8);
    c.other(
        "over limit chunk",
        Expect::OverLimit,
        assemble(&superblock(), &chunks),
    );
    let mut chunks = process().chunks();
    find(&mut chunks, b"PAGE").items = 169;
    c.other(
        "over limit runs",
        Expect::OverLimit,
        assemble(&superblock(), &chunks),
    );
    let mut chunks = process().chunks();
    let at = chunks
        .iter()
        .position(|c| &c.code == b"PAD_")
        .expect("padding")
        + 1;
    for seq in (1..=16).rev() {
        let mut pad = Chunk::new(b"PAD_", vec![0; 4096 - 64]);
        pad.seq = seq;
        chunks.insert(at, pad);
    }
    c.other(
        "over limit padding",
        Expect::OverLimit,
        assemble(&superblock(), &chunks),
    );
}

fn damaged(c: &mut Corpus) {
    let good = process().bytes();
    let flip = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        bytes
    };
    c.other("checksum of the superblock", Expect::Checksum, flip(90));
    c.other(
        "checksum of a chunk header",
        Expect::Checksum,
        flip(4096 + 40),
    );
    c.other(
        "checksum of metadata",
        Expect::Checksum,
        flip(4096 + 64 + 100),
    );
    let pages = good
        .windows(8)
        .position(|w| w == b"CHNKPAGE")
        .expect("page data");
    c.other(
        "checksum of a run table",
        Expect::Checksum,
        flip(pages + 64),
    );
    c.other(
        "checksum of page data",
        Expect::Checksum,
        flip(pages + 4096 + 5),
    );
    let image = compressed();
    let mut chunks = image.chunks();
    find(&mut chunks, b"PAGE").raw_crc = Some(1);
    c.other(
        "checksum of decoded page data",
        Expect::Checksum,
        assemble(&image.superblock(), &chunks),
    );
    let packed = image.bytes();
    let frame = packed
        .windows(4)
        .position(|w| w == [0x28, 0xb5, 0x2f, 0xfd])
        .expect("frame");
    c.other(
        "truncated frame",
        Expect::Truncated,
        packed[..frame + 100].to_vec(),
    );
    let mut cut = |name, len: usize| c.other(name, Expect::Truncated, good[..len].to_vec());
    cut("truncated to nothing", 0);
    cut("truncated superblock", 4095);
    cut("truncated behind the superblock", 4096);
    cut("truncated metadata", 4096 + 64 + 100);
    cut("truncated page data", pages + 4096 + 100);
    cut("truncated end", good.len() - 1);
    let mut chunks = process().chunks();
    chunks[8].body[4..8].copy_from_slice(&4096_u32.to_le_bytes());
    c.other(
        "truncated record",
        Expect::Truncated,
        assemble(&superblock(), &chunks),
    );
    let mut image = process();
    image.record(0x16, 1, 3).extra_fields = 1;
    c.other("truncated field", Expect::Truncated, image.bytes());
    let mut image: Image = process();
    image.pages.push(Pages {
        section: 0x12,
        owner: 6,
        runs: vec![(8192, 1, 1)],
        ..Pages::default()
    });
    c.rule("PAGE-11 zero run behind the end of the file", image.bytes());
}
