// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Properties of the parts of the container, each alone, with their checksums put right.

use crate::{common, synth};
use cr_format::{
    chunk::{ChunkHeader, ChunkType, HEADER_LEN},
    crc::crc32,
    end::{self, End},
    index::{IndexEntry, ENTRY_LEN},
    limits,
    runs::{self, Run, RunKind, Runs, TABLE_LEN},
    stream::{Next, Validator},
    superblock::{self, Superblock},
    zstd,
};
use std::sync::OnceLock;

/// The first bytes of a superblock, and changes behind them: two bytes of offset, one of value.
pub fn superblock(data: &[u8]) {
    let mut block = synth::superblock();
    let head = &data[..data.len().min(116)];
    block[..head.len()].copy_from_slice(head);
    for change in data[head.len()..].chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]]));
        block[at % 4092] = change[2];
    }
    block.extend(crc32(0, &block).to_le_bytes());
    let block: [u8; superblock::LEN] = block.try_into().unwrap();
    let parsed = Superblock::parse(&block, crc32);
    let read = Validator::new().superblock(&block);
    if let Ok(superblock) = parsed {
        let mut again = [0xff; superblock::LEN];
        superblock.write(&mut again, crc32);
        assert!(block == again);
        let parent = superblock.feature_incompat & superblock::PARENT != 0;
        assert_eq!(read.is_err(), parent);
        assert!(superblock.writer_name().len() <= 32);
    } else {
        assert_eq!(parsed, read);
    }
}

/// A chunk header.
pub fn header(data: &[u8]) {
    let mut bytes = [0; HEADER_LEN];
    let n = data.len().min(60);
    bytes[..n].copy_from_slice(&data[..n]);
    let sum = crc32(0, &bytes[..60]);
    bytes[60..].copy_from_slice(&sum.to_le_bytes());
    if let Ok(h) = ChunkHeader::parse(&bytes, crc32) {
        assert_eq!(h.encode(crc32), bytes);
        assert!(h.stored_len <= limits::CHUNK_PAYLOAD && h.raw_len <= limits::CHUNK_PAYLOAD);
        assert!(h.chunk_len() <= 4096 + u64::from(limits::CHUNK_PAYLOAD));
        assert_eq!(
            ChunkType::from_code(h.chunk_type.code()),
            Some(h.chunk_type)
        );
        let entry = IndexEntry::new(&h, 4096);
        assert_eq!(IndexEntry::parse(&entry.encode()), entry);
    }
    // Nothing is asked for that a reader would have to allocate without bound.
    static BEGUN: OnceLock<Validator> = OnceLock::new();
    let begun = BEGUN.get_or_init(|| {
        let mut v = Validator::new();
        let mut block = [0; superblock::LEN];
        Superblock::new([1; 16], 1, b"fuzz").write(&mut block, crc32);
        v.superblock(&block).unwrap();
        v
    });
    let mut v = begun.clone();
    if let Ok(Next::Payload(n)) = v.chunk_header(&bytes) {
        assert!(n <= limits::CHUNK_PAYLOAD);
    }
}

/// A run table: the number of runs, then the table.
pub fn runs(data: &[u8]) {
    let Some((&items, rest)) = data.split_first() else {
        return;
    };
    let mut table = [0; TABLE_LEN];
    let n = rest.len().min(TABLE_LEN);
    table[..n].copy_from_slice(&rest[..n]);
    let Ok(parsed) = Runs::parse(&table, items.into()) else {
        return;
    };
    let all: Vec<Run> = parsed.iter().collect();
    assert_eq!((all.len(), parsed.is_empty()), (usize::from(items), false));
    let mut again = [0xff; TABLE_LEN];
    runs::encode(&all, &mut again).unwrap();
    assert!(table == again);
    let stored = parsed.stored_bytes();
    assert!(stored <= limits::CHUNK_PAYLOAD.into());
    let mut next = 0;
    let mut at = 0;
    for run in &all {
        assert!(run.start >= next);
        next = run.end().unwrap();
        match run.kind {
            RunKind::Data => assert_eq!(parsed.position(run.start), Some(at)),
            RunKind::Duplicate => {
                assert!(parsed.position(run.source).unwrap() < at);
                assert_eq!(parsed.position(run.start), None);
            }
            RunKind::Zero | RunKind::Parent => assert_eq!(parsed.position(run.start), None),
        }
        at += run.stored_bytes();
    }
    assert_eq!(at, stored);
}

/// A zstd frame: what passes the check has a decoder write the stated length or fail.
pub fn frame(data: &[u8]) {
    // The length in the chunk header is the one that the frame states, or the check ends there.
    let stated = match data.get(4).map_or(0, |d| d >> 6) {
        0 => data.get(5).map(|b| u64::from(*b)),
        1 => data
            .get(5..7)
            .map(|b| u64::from(b[0]) + u64::from(b[1]) * 256 + 256),
        2 => data
            .get(5..9)
            .map(|b| u32::from_le_bytes(b.try_into().unwrap()).into()),
        _ => data
            .get(5..13)
            .map(|b| u64::from_le_bytes(b.try_into().unwrap())),
    };
    let len = data.len() as u32;
    let raw_len = stated.and_then(|n| u32::try_from(n).ok()).unwrap_or(len);
    let mut stored = data.to_vec();
    stored.resize(data.len().next_multiple_of(4096), 0);
    let checked = zstd::check_frame(&stored, len, raw_len);
    assert_eq!(checked, zstd::check_frame(data, len, raw_len));
    if checked.is_err() || raw_len > limits::CHUNK_PAYLOAD {
        return;
    }
    if let Some(raw) = common::decode_frame(data, raw_len) {
        assert_eq!(raw.len() as u64, u64::from(raw_len));
    }
    if let Some(last) = stored.last_mut().filter(|_| data.len() & 4095 != 0) {
        *last = 1;
        assert!(zstd::check_frame(&stored, len, raw_len).is_err());
    }
}

/// An index entry and the totals of the end.
pub fn tail(data: &[u8]) {
    let mut entry = [0; ENTRY_LEN];
    let n = data.len().min(ENTRY_LEN);
    entry[..n].copy_from_slice(&data[..n]);
    assert_eq!(IndexEntry::parse(&entry).encode(), entry);
    let mut totals = [0; end::LEN];
    let n = data.len().min(end::LEN);
    totals[..n].copy_from_slice(&data[..n]);
    if let Ok(end) = End::parse(&totals) {
        assert_eq!(end.encode(), totals);
    }
}
