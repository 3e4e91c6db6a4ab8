// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! A second, independent writer of images, made from the specification alone.
//!
//! It uses nothing of `cr_format`, so that a wrong layout there cannot agree with itself. Three levels,
//! so that a test can break exactly one thing and leave every checksum right:
//!
//! * [`Image`]: sections of [`Rec`]s of [`Field`]s, and page data, as a plain model;
//! * [`Chunk`]: header fields and body, from [`Image::chunks`]; [`assemble`] makes index and end;
//! * the bytes from [`assemble`].
//!
//! Used by the tests of `cr-format` and `crimg` and by the seeds of the fuzzer.
#![allow(dead_code, unused_imports)] // Each user takes a part of it.
#![allow(clippy::type_complexity, clippy::too_many_arguments)] // Plain tables of literals.
#![allow(clippy::manual_is_multiple_of)] // Newer than the rustc of the format crate.

mod bad;
mod process;
mod resources;
mod tree;
mod zstd;
pub use bad::{bad, Bad, Expect};
pub use process::{compressed, headless, process};
pub use resources::resources;
pub use tree::{leaderless, roots, tree};
pub use zstd::{frame, Frame};

/// CRC-32 of each byte, bit by bit from the polynomial.
const BYTE: [u32; 256] = {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        let (mut c, mut bit) = (n as u32, 0);
        while bit < 8 {
            c = if c & 1 != 0 {
                0xedb8_8320 ^ (c >> 1)
            } else {
                c >> 1
            };
            bit += 1;
        }
        table[n] = c;
        n += 1;
    }
    table
};

/// CRC-32, a byte at a time.
pub fn crc(bytes: &[u8]) -> u32 {
    let step = |c: u32, b: &u8| BYTE[usize::from(c as u8 ^ b)] ^ (c >> 8);
    !bytes.iter().fold(u32::MAX, step)
}

/// A field without its id, which is its position from 1 unless `id` says otherwise.
#[derive(Clone, Debug)]
pub struct Field {
    pub id: Option<u16>,
    pub wire: u8,
    pub hint: u8,
    pub payload: Vec<u8>,
    /// Zero bytes behind the payload come from the rule; this overrides the last of them.
    pub padding: u8,
}

fn field(wire: u8, hint: u8, payload: Vec<u8>) -> Field {
    Field {
        id: None,
        wire,
        hint,
        payload,
        padding: 0,
    }
}
pub fn u(v: u64, hint: u8) -> Field {
    field(1, hint, v.to_le_bytes().to_vec())
}
pub fn i(v: i64, hint: u8) -> Field {
    field(2, hint, v.to_le_bytes().to_vec())
}
pub fn b(v: &[u8], hint: u8) -> Field {
    field(3, hint, v.to_vec())
}
pub fn t(v: &str, hint: u8) -> Field {
    field(4, hint, v.as_bytes().to_vec())
}
pub fn a(v: &[u64], hint: u8) -> Field {
    field(5, hint, v.iter().flat_map(|n| n.to_le_bytes()).collect())
}

/// A record.
#[derive(Clone, Debug)]
pub struct Rec {
    pub kind: u16,
    pub flags: u16,
    pub id: u32,
    pub spare: u16,
    pub fields: Vec<Field>,
    /// Added to the true number of fields in the header.
    pub extra_fields: i32,
}

pub fn rec(kind: u16, id: u32, fields: Vec<Field>) -> Rec {
    Rec {
        kind,
        flags: 0,
        id,
        spare: 0,
        fields,
        extra_fields: 0,
    }
}

impl Rec {
    pub fn bytes(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for (n, f) in self.fields.iter().enumerate() {
            body.extend(f.id.unwrap_or(n as u16 + 1).to_le_bytes());
            body.extend([f.wire, f.hint]);
            body.extend((f.payload.len() as u32).to_le_bytes());
            body.extend(&f.payload);
            while body.len() % 8 != 0 {
                body.push(f.padding);
            }
        }
        let mut out = Vec::new();
        out.extend(self.kind.to_le_bytes());
        out.extend(self.flags.to_le_bytes());
        out.extend((body.len() as u32).to_le_bytes());
        out.extend(self.id.to_le_bytes());
        out.extend(((self.fields.len() as i32 + self.extra_fields) as u16).to_le_bytes());
        out.extend(self.spare.to_le_bytes());
        out.extend(body);
        out
    }
    /// Replaces the number in field `id`.
    pub fn set(&mut self, id: usize, value: u64) {
        self.fields[id - 1].payload = value.to_le_bytes().to_vec();
    }
    /// The number in field `id`.
    pub fn number(&self, id: usize) -> u64 {
        let payload = &self.fields[id - 1].payload;
        u64::from_le_bytes(payload[..].try_into().expect("a number"))
    }
    /// Replaces the bytes of field `id`.
    pub fn put(&mut self, id: usize, value: &[u8]) {
        self.fields[id - 1].payload = value.to_vec();
    }
}

/// One PAGE chunk.
#[derive(Clone, Debug, Default)]
pub struct Pages {
    pub section: u16,
    pub owner: u32,
    /// Start, pages, kind (0 data, 1 zero, 2 duplicate).
    pub runs: Vec<(u64, u32, u16)>,
    /// Contents of the data runs.
    pub data: Vec<u8>,
    /// Source of the run with the same position; 0 where there is none.
    pub sources: Vec<u64>,
    /// `data` compressed; the chunk stores it instead.
    pub frame: Option<Vec<u8>>,
}

/// An image as a model.
#[derive(Clone, Debug)]
pub struct Image {
    /// Bits of `feature_incompat`.
    pub features: u32,
    /// First byte of the uuid, the others follow.
    pub uuid: u8,
    pub sections: Vec<(u16, bool, Vec<Rec>)>,
    /// Records of other processes: number of the process, section.
    pub others: Vec<(u32, u16, Vec<Rec>)>,
    pub pages: Vec<Pages>,
    pub stats: Vec<Rec>,
    /// Largest payload of a META chunk, to get several.
    pub chunk_max: usize,
}

impl Image {
    /// The records of a section of another process.
    pub fn other(&mut self, process: u32, id: u16) -> &mut Vec<Rec> {
        let found = self.others.iter_mut().find(|o| (o.0, o.1) == (process, id));
        &mut found.expect("section of a process").2
    }
    /// The records of a section.
    pub fn section(&mut self, id: u16) -> &mut Vec<Rec> {
        &mut self
            .sections
            .iter_mut()
            .find(|s| s.0 == id)
            .expect("section")
            .2
    }
    /// The n-th record of a type.
    pub fn record(&mut self, section: u16, kind: u16, n: usize) -> &mut Rec {
        self.section(section)
            .iter_mut()
            .filter(|r| r.kind == kind)
            .nth(n)
            .expect("record")
    }

    /// The chunks in front of the index.
    pub fn chunks(&self) -> Vec<Chunk> {
        let mut out = Vec::new();
        for (id, critical, records) in &self.sections {
            meta(0, *id, *critical, records, self.chunk_max, &mut out);
            for (process, _, records) in self.others.iter().filter(|o| o.1 == *id) {
                meta(*process, *id, *critical, records, self.chunk_max, &mut out);
            }
        }
        let end: usize = 4096 + out.iter().map(|c| c.len()).sum::<usize>();
        if !self.pages.is_empty() && end % 4096 != 0 {
            let gap = 4096 - end % 4096;
            out.push(Chunk::new(
                b"PAD_",
                vec![0; if gap < 64 { gap + 4096 - 64 } else { gap - 64 }],
            ));
        }
        for p in &self.pages {
            let mut c = Chunk::new(b"PAGE", p.data.clone());
            (c.section, c.owner, c.flags, c.key) = (p.section, p.owner, 1, p.runs[0].0);
            c.items = p.runs.len() as u32;
            if let Some(frame) = &p.frame {
                (c.codec, c.frame_len) = (1, frame.len() as u32);
                (c.raw_len, c.raw_crc) = (Some(p.data.len() as u32), Some(crc(&p.data)));
                c.body = frame.clone();
                c.body.resize(frame.len().div_ceil(4096) * 4096, 0);
            }
            let mut table = Vec::new();
            for (n, (start, npages, kind)) in p.runs.iter().enumerate() {
                table.extend(start.to_le_bytes());
                table.extend(npages.to_le_bytes());
                table.extend(kind.to_le_bytes());
                table.extend([0; 2]);
                table.extend(p.sources.get(n).copied().unwrap_or(0).to_le_bytes());
            }
            table.resize(4032, 0);
            c.table = Some(table);
            let same =
                |o: &&Chunk| &o.code == b"PAGE" && o.section == c.section && o.owner == c.owner;
            c.seq = out.iter().filter(same).count() as u32;
            out.push(c);
        }
        if !self.stats.is_empty() {
            meta(0, 0x0100, false, &self.stats, self.chunk_max, &mut out);
        }
        out
    }

    /// The superblock without its checksum.
    pub fn superblock(&self) -> Vec<u8> {
        let mut s = superblock();
        s[24..28].copy_from_slice(&self.features.to_le_bytes());
        for (n, byte) in s[40..56].iter_mut().enumerate() {
            *byte = self.uuid.wrapping_add(n as u8);
        }
        s
    }

    /// The whole image.
    pub fn bytes(&self) -> Vec<u8> {
        assemble(&self.superblock(), &self.chunks())
    }
}

fn meta(process: u32, id: u16, critical: bool, records: &[Rec], max: usize, out: &mut Vec<Chunk>) {
    let mut pieces: Vec<(Vec<u8>, u32)> = Vec::new();
    for r in records {
        let bytes = r.bytes();
        match pieces.last_mut() {
            Some((piece, n)) if piece.len() + bytes.len() <= max => {
                piece.extend(bytes);
                *n += 1;
            }
            _ => pieces.push((bytes, 1)),
        }
    }
    for (seq, (piece, n)) in pieces.into_iter().enumerate() {
        let mut c = Chunk::new(b"META", piece);
        (c.section, c.items, c.flags, c.seq) = (id, n, u16::from(critical), seq as u32);
        c.owner = process;
        out.push(c);
    }
}

/// A chunk, with every header field open to be broken. Checksums are computed by [`Chunk::bytes`] unless given.
#[derive(Clone, Debug)]
pub struct Chunk {
    pub magic: [u8; 4],
    pub code: [u8; 4],
    pub version: u16,
    pub flags: u16,
    pub codec: u16,
    pub section: u16,
    pub seq: u32,
    pub owner: u32,
    pub key: u64,
    pub items: u32,
    pub frame_len: u32,
    pub table: Option<Vec<u8>>,
    pub body: Vec<u8>,
    pub stored_len: Option<u32>,
    pub raw_len: Option<u32>,
    pub table_crc: Option<u32>,
    pub payload_crc: Option<u32>,
    pub raw_crc: Option<u32>,
    pub header_crc: Option<u32>,
}

impl Chunk {
    pub fn new(code: &[u8; 4], body: Vec<u8>) -> Self {
        Self {
            magic: *b"CHNK",
            code: *code,
            version: 1,
            flags: 0,
            codec: 0,
            section: 0,
            seq: 0,
            owner: 0,
            key: 0,
            items: 0,
            frame_len: 0,
            table: None,
            body,
            stored_len: None,
            raw_len: None,
            table_crc: None,
            payload_crc: None,
            raw_crc: None,
            header_crc: None,
        }
    }
    pub fn len(&self) -> usize {
        64 + self.table.as_ref().map_or(0, Vec::len) + self.body.len()
    }
    fn header(&self) -> Vec<u8> {
        let stored = self.stored_len.unwrap_or(self.body.len() as u32);
        let payload_crc = self.payload_crc.unwrap_or_else(|| crc(&self.body));
        let table_crc = self
            .table_crc
            .or(self.table.as_ref().map(|t| crc(t)))
            .unwrap_or(0);
        let mut h = Vec::new();
        h.extend(self.magic);
        h.extend(self.code);
        h.extend(self.version.to_le_bytes());
        h.extend(self.flags.to_le_bytes());
        h.extend(self.codec.to_le_bytes());
        h.extend(self.section.to_le_bytes());
        h.extend(self.seq.to_le_bytes());
        h.extend(self.owner.to_le_bytes());
        h.extend(self.key.to_le_bytes());
        h.extend(stored.to_le_bytes());
        h.extend(self.raw_len.unwrap_or(stored).to_le_bytes());
        h.extend(self.items.to_le_bytes());
        h.extend(table_crc.to_le_bytes());
        h.extend(payload_crc.to_le_bytes());
        h.extend(self.raw_crc.unwrap_or(payload_crc).to_le_bytes());
        h.extend(self.frame_len.to_le_bytes());
        let sum = self.header_crc.unwrap_or_else(|| crc(&h));
        h.extend(sum.to_le_bytes());
        h
    }
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = self.header();
        out.extend(self.table.iter().flatten());
        out.extend(&self.body);
        out
    }
    fn index_entry(&self, offset: u64) -> Vec<u8> {
        let h = self.header();
        let mut e = Vec::new();
        e.extend(&h[4..8]); // type
        e.extend(&h[14..16]); // section
        e.extend(&h[12..14]); // codec
        e.extend(&h[20..24]); // owner
        e.extend(&h[40..44]); // items
        e.extend(&h[24..32]); // key
        e.extend(offset.to_le_bytes());
        e.extend(&h[32..36]); // stored_len
        e.extend(&h[36..40]); // raw_len
        e.extend(&h[60..64]); // header_crc
        e.extend(&h[52..56]); // raw_crc
        e
    }
}

/// A superblock without its checksum.
pub fn superblock() -> Vec<u8> {
    let mut s = Vec::new();
    s.extend([0x89, b'C', b'K', b'P', b'T', 0x0d, 0x0a, 0x1a]);
    s.extend(4096_u32.to_le_bytes());
    s.extend(1_u16.to_le_bytes()); // major
    s.extend(0_u16.to_le_bytes()); // minor
    s.extend([0; 12]); // features
    s.extend(62_u16.to_le_bytes()); // x86-64
    s.extend([2, 1, 12, 12]); // 64 bits, little-endian, page and alignment
    s.extend([0; 6]);
    s.extend((1..=16).collect::<Vec<u8>>()); // uuid
    s.extend([0; 16]); // parent
    s.extend(1_700_000_000_123_456_789_u64.to_le_bytes());
    let mut writer = b"synth".to_vec();
    writer.resize(32, 0);
    s.extend(writer);
    s.extend(0_u32.to_le_bytes()); // flags
    s.resize(4092, 0);
    s
}

/// INDX chunks of `chunks`, which begin behind the superblock.
pub fn index(chunks: &[Chunk]) -> Vec<Chunk> {
    let mut at = 4096;
    let mut entries = Vec::new();
    for c in chunks {
        entries.extend(c.index_entry(at));
        at += c.len() as u64;
    }
    let piece = |(seq, p): (usize, &[u8])| {
        let mut c = Chunk::new(b"INDX", p.to_vec());
        (c.seq, c.items) = (seq as u32, (p.len() / 48) as u32);
        c
    };
    entries.chunks(21845 * 48).enumerate().map(piece).collect()
}

/// The END_ chunk behind `chunks`, of which the last `indexes` are the index.
pub fn end(superblock: &[u8], chunks: &[Chunk], indexes: usize) -> Chunk {
    let len = |c: &[Chunk]| c.iter().map(Chunk::len).sum::<usize>() as u64;
    let before = &chunks[..chunks.len() - indexes];
    let mut chain = crc(superblock).to_le_bytes().to_vec();
    for c in chunks {
        chain.extend(&c.header()[60..]);
    }
    let mut body = Vec::new();
    body.extend((4096 + len(before)).to_le_bytes());
    body.extend(len(&chunks[before.len()..]).to_le_bytes());
    body.extend((chunks.len() as u64).to_le_bytes());
    body.extend((4096 + len(chunks) + 128).to_le_bytes());
    body.extend(crc(&chain).to_le_bytes());
    body.resize(64, 0);
    let mut c = Chunk::new(b"END_", body);
    c.flags = 1;
    c
}

/// Superblock, chunks, index, end. `superblock` is without its checksum.
pub fn assemble(superblock: &[u8], chunks: &[Chunk]) -> Vec<u8> {
    let mut all = chunks.to_vec();
    let indexes = index(chunks);
    all.extend(indexes.iter().cloned());
    let end = end(superblock, &all, indexes.len());
    all.push(end);
    join(superblock, &all)
}

/// The bytes of a superblock (without checksum) and of all chunks, nothing added.
pub fn join(superblock: &[u8], chunks: &[Chunk]) -> Vec<u8> {
    let mut out = superblock.to_vec();
    out.extend(crc(superblock).to_le_bytes());
    for c in chunks {
        out.extend(c.bytes());
    }
    out
}

/// Index and end of an image whose chunks are not kept in memory.
pub struct Offsets {
    entries: Vec<u8>,
    chain: Vec<u8>,
}

impl Offsets {
    /// Begins with `chunks` behind the superblock.
    pub fn new(superblock: &[u8], chunks: &[Chunk]) -> Self {
        let mut list = Self {
            entries: Vec::new(),
            chain: crc(superblock).to_le_bytes().to_vec(),
        };
        let mut at = 4096;
        for c in chunks {
            list.push(c, at);
            at += c.len() as u64;
        }
        list
    }
    /// Adds a chunk whose header is at `offset`.
    pub fn push(&mut self, chunk: &Chunk, offset: u64) {
        self.entries.extend(chunk.index_entry(offset));
        self.chain.extend(&chunk.header()[60..]);
    }
    /// The bytes of index and end, which begin at `at`.
    pub fn finish(mut self, at: u64) -> Vec<u8> {
        let mut chunks = self.entries.len() as u64 / 48;
        let mut out = Vec::new();
        for (seq, piece) in self.entries.chunks(21845 * 48).enumerate() {
            let mut c = Chunk::new(b"INDX", piece.to_vec());
            (c.seq, c.items) = (seq as u32, (piece.len() / 48) as u32);
            self.chain.extend(&c.header()[60..]);
            out.extend(c.bytes());
            chunks += 1;
        }
        let len = out.len() as u64;
        let mut body = Vec::new();
        for n in [at, len, chunks, at + len + 128] {
            body.extend(n.to_le_bytes());
        }
        body.extend(crc(&self.chain).to_le_bytes());
        body.resize(64, 0);
        let mut c = Chunk::new(b"END_", body);
        c.flags = 1;
        out.extend(c.bytes());
        out
    }
}
