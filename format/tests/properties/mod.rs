// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! What must hold for any input: the bodies of the fuzz targets (`fuzz/`) and of the tests that replay them.
#![allow(dead_code)] // Each user takes a part of it.

use crate::{common, synth};
use cr_format::{
    chunk::{ChunkHeader, ChunkType, CODEC_RAW, CODEC_ZSTD},
    crc::crc32,
    stream::{Next, Validator},
    validate::{self, CHECKS},
    *,
};
use std::collections::BTreeMap;

/// A whole image: no panic; reading in pieces of any size gives the same answer; what is accepted is
/// written back identically. Tried as it is and with all checksums repaired.
pub fn image(data: &[u8]) {
    one_image(data);
    let mut repaired = data.to_vec();
    repair(&mut repaired);
    one_image(&repaired);
}

fn one_image(data: &[u8]) {
    let whole = common::read(data);
    let step = usize::from(data.last().copied().unwrap_or(0)) + 1;
    let pieces = read_in_pieces(data, step);
    match (&whole, &pieces) {
        (Ok(_), Ok(())) => {}
        (Err(a), Err(b)) => assert_eq!(a, b),
        (a, b) => panic!("whole: {:?}, in pieces of {step}: {b:?}", a.as_ref().err()),
    }
    if let Ok(set) = whole {
        for (id, bytes) in &set.0 {
            section_round_trip(*id, bytes);
        }
    }
}

/// The same reader over an input that gives `step` bytes at a time, with the page data only as a checksum.
fn read_in_pieces(data: &[u8], step: usize) -> Result<(), Error> {
    struct Source<'a> {
        rest: &'a [u8],
        step: usize,
    }
    impl Source<'_> {
        fn fill(&mut self, v: &Validator, buf: &mut [u8]) -> Result<(), Error> {
            let mut have = 0;
            while have < buf.len() {
                let n = self.step.min(buf.len() - have).min(self.rest.len());
                if n == 0 {
                    return Err(v.truncated(have as u64));
                }
                buf[have..have + n].copy_from_slice(&self.rest[..n]);
                self.rest = &self.rest[n..];
                have += n;
            }
            Ok(())
        }
    }
    let mut source = Source { rest: data, step };
    let mut v = Validator::new();
    let mut set = common::Sections::default();
    let mut checked = false;
    let mut block = [0; 4096];
    source.fill(&v, &mut block)?;
    v.superblock(&block)?;
    while !v.is_complete() {
        let mut head = [0; 64];
        source.fill(&v, &mut head)?;
        let next = v.chunk_header(&head)?;
        if v.is_meta_complete() && !checked {
            validate::meta(&set)?;
            checked = true;
        }
        let h = *v.header().unwrap();
        match next {
            Next::Payload(n) => {
                let mut payload = vec![0; n as usize];
                source.fill(&v, &mut payload)?;
                v.payload(&payload)?;
                if h.chunk_type == ChunkType::Meta {
                    set.0.entry(h.section).or_default().extend(payload);
                }
            }
            Next::RunTable => {
                let mut table = [0; 4032];
                source.fill(&v, &mut table)?;
                let runs = v.run_table(&table)?;
                common::pages(&set, &h, &runs)?;
                if h.codec == CODEC_ZSTD {
                    let mut stored = vec![0; h.stored_len as usize];
                    source.fill(&v, &mut stored)?;
                    v.page_data(&stored)?;
                    v.decoded(common::decode(&stored, &h).as_deref())?;
                    continue;
                }
                let mut left = runs.stored_bytes();
                let mut sum = 0;
                while left > 0 {
                    let n = (step as u64).min(left).min(source.rest.len() as u64) as usize;
                    if n == 0 {
                        return Err(v.truncated(u64::from(h.stored_len) - left));
                    }
                    sum = crc32(sum, &source.rest[..n]);
                    source.rest = &source.rest[n..];
                    left -= n as u64;
                }
                v.page_data_crc(sum)?;
            }
        }
    }
    v.finish(!source.rest.is_empty())?;
    let (pages, zero) = v.page_counts();
    validate::stats(&set, pages, zero)
}

/// Puts the right checksums, chain and index into whatever looks like an image, as far as it goes. Fuzzers
/// cannot guess a checksum; the code under test has no switch to ignore one.
pub fn repair(data: &mut [u8]) {
    let put = |data: &mut [u8], at: usize, value: u32| {
        data[at..at + 4].copy_from_slice(&value.to_le_bytes())
    };
    let get = |data: &[u8], at: usize| u32::from_le_bytes(data[at..at + 4].try_into().unwrap());
    if data.len() < 4096 {
        return;
    }
    let sum = crc32(0, &data[..4092]);
    put(data, 4092, sum);
    let mut chain = crc32(0, &sum.to_le_bytes());
    let mut index = Vec::new();
    let mut at = 4096;
    while let Some(code) = data
        .get(at + 4..at + 8)
        .map(|c| <[u8; 4]>::try_from(c).unwrap())
    {
        let (table, stored) = match data.get(at..at + 64) {
            Some(_) => (
                if &code == b"PAGE" { 4032 } else { 0 },
                get(data, at + 32) as usize,
            ),
            None => return,
        };
        let body = at + 64 + table;
        let Some(end) = body.checked_add(stored).filter(|end| *end <= data.len()) else {
            return;
        };
        if &code == b"INDX" && stored == index.len() {
            data[body..end].copy_from_slice(&index);
        }
        if &code == b"END_" && stored == 64 {
            put(data, body + 32, chain);
        }
        if table > 0 {
            let sum = crc32(0, &data[at + 64..body]);
            put(data, at + 44, sum);
        }
        let sum = crc32(0, &data[body..end]);
        put(data, at + 48, sum);
        let codec = u16::from_le_bytes([data[at + 12], data[at + 13]]);
        if codec == CODEC_RAW {
            put(data, at + 52, sum);
        }
        let seal = |data: &mut [u8]| {
            let sum = crc32(0, &data[at..at + 60]);
            put(data, at + 60, sum);
            let head: [u8; 64] = data[at..at + 64].try_into().unwrap();
            (sum, ChunkHeader::parse(&head, crc32))
        };
        let (mut sum, mut header) = seal(data);
        if let (CODEC_ZSTD, Ok(h)) = (codec, &header) {
            if let Some(raw) = common::decode(&data[body..end], h) {
                put(data, at + 52, crc32(0, &raw));
                (sum, header) = seal(data);
            }
        }
        chain = crc32(chain, &sum.to_le_bytes());
        if let (Ok(h), true) = (header, &code != b"INDX") {
            index.extend(index::IndexEntry::new(&h, at as u64).encode());
        }
        at = end;
    }
}

/// Any bytes as records of any section: what can be parsed is written back identically.
pub fn records(data: &[u8]) {
    for section in SECTIONS {
        section_round_trip(section.id, data);
    }
}

/// Any bytes as the records of section `id` of an otherwise sound image: no panic, and the verdict does
/// not depend on the order of the checks.
pub fn section(id: u16, data: &[u8]) {
    static SOUND: std::sync::OnceLock<BTreeMap<u16, Vec<u8>>> = std::sync::OnceLock::new();
    let sound = SOUND.get_or_init(|| {
        let bytes = |records: Vec<synth::Rec>| records.iter().flat_map(synth::Rec::bytes).collect();
        synth::compressed()
            .sections
            .into_iter()
            .map(|(id, _, records)| (id, bytes(records)))
            .collect()
    });
    let mut set = common::Sections(sound.clone());
    set.0.insert(id, data.to_vec());
    let first = validate::meta(&set);
    let each: Vec<_> = CHECKS.iter().map(|(_, check)| check(&set)).collect();
    assert_eq!(first.is_ok(), each.iter().all(Result::is_ok));
    let _ = validate::stats(&set, 9, 4);
    section_round_trip(id, data);
}

/// The section of the sound image, as a seed.
pub fn section_seed(id: u16) -> Vec<u8> {
    let image = synth::compressed();
    let stats = (STATS, false, image.stats);
    let mut all = image.sections.into_iter().chain([stats]);
    all.find(|s| s.0 == id).map_or(Vec::new(), |s| {
        s.2.iter().flat_map(synth::Rec::bytes).collect()
    })
}

fn section_round_trip(id: u16, bytes: &[u8]) {
    let mut end = 0;
    for raw in records_in(id, bytes).map_while(Result::ok) {
        assert_eq!(raw.offset, end);
        end += raw.bytes().len() as u64;
        // Structure must be walkable whatever the fields are.
        let _ = raw.fields().count();
        round_trip(id, raw);
    }
    assert!(end <= bytes.len() as u64);
}

/// Parses `raw` as what it says it is; if that works, writing gives the same bytes.
pub fn round_trip(section: u16, raw: RawRecord<'_>) -> bool {
    fn trip<'a, R: Record<'a> + PartialEq + std::fmt::Debug>(raw: RawRecord<'a>) -> bool {
        if raw.record_type != R::TYPE {
            return false;
        }
        let Ok(record) = R::parse(raw) else {
            return false;
        };
        let mut out = common::Buf::default();
        record.write(&mut out).unwrap();
        assert_eq!(out.0, raw.bytes());
        assert_eq!(record.encoded_len(), out.0.len());
        assert_eq!(record.id(), raw.id);
        true
    }
    match section {
        IMAGE => trip::<ImageRecord<'_>>(raw) || trip::<SectionRecord<'_>>(raw),
        SCHEMA => trip::<SchemaRecord<'_>>(raw) || trip::<SchemaField<'_>>(raw),
        PROVENANCE => trip::<EditRecord<'_>>(raw),
        EVENTFD => trip::<EventfdRecord>(raw),
        TIMERFD => trip::<TimerfdRecord>(raw),
        SIGNALFD => trip::<SignalfdRecord>(raw),
        EPOLL => trip::<EpollRecord>(raw) || trip::<WatchRecord>(raw),
        LOCKS => trip::<LockRecord>(raw),
        TIMERS => trip::<ItimerRecord>(raw) || trip::<TimerRecord>(raw),
        TASKS => trip::<ProcessRecord<'_>>(raw) || trip::<TaskRecord<'_>>(raw),
        MEMORY => {
            trip::<MmRecord<'_>>(raw)
                || trip::<VmaRecord<'_>>(raw)
                || trip::<MappedFileRecord<'_>>(raw)
                || trip::<GuardRecord>(raw)
        }
        FILES => {
            trip::<FsRecord<'_>>(raw)
                || trip::<FileRecord<'_>>(raw)
                || trip::<DescriptorRecord>(raw)
        }
        PIPES => {
            trip::<PipeRecord<'_>>(raw) || trip::<BufferRecord<'_>>(raw) || trip::<EndRecord>(raw)
        }
        SIGNALS => {
            trip::<ActionRecord>(raw)
                || trip::<TaskSignalsRecord>(raw)
                || trip::<PendingRecord<'_>>(raw)
        }
        CREDS => trip::<CredRecord<'_>>(raw),
        LIMITS => trip::<LimitRecord>(raw),
        STATS => trip::<StatsRecord>(raw) || trip::<VmaStatsRecord>(raw),
        REPORT => {
            trip::<ObstacleRecord<'_>>(raw)
                || trip::<FailureRecord<'_>>(raw)
                || trip::<ExternalRecord<'_>>(raw)
                || trip::<NoteRecord<'_>>(raw)
        }
        _ => false,
    }
}
