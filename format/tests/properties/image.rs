// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Properties of whole images: the answer does not depend on the pieces, what is accepted is written back.

use super::{canonical::canonical, record::section_round_trip};
use crate::{common, synth};
use cr_format::{
    chunk::{ChunkHeader, ChunkType, CODEC_RAW, CODEC_ZSTD},
    crc::crc32,
    stream::{Next, Validator},
    validate, *,
};

/// A whole image: no panic; reading in pieces of any size gives the same answer; what is accepted is
/// written back identically. Tried as it is and with all checksums repaired.
pub fn image(data: &[u8]) {
    one_image(data);
    let mut repaired = data.to_vec();
    repair(&mut repaired);
    one_image(&repaired);
}

pub fn one_image(data: &[u8]) {
    let whole = common::read(data);
    let step = usize::from(data.last().copied().unwrap_or(0)) + 1;
    let pieces = read_in_pieces(data, step, true);
    match (&whole, &pieces) {
        (Ok(_), Ok(())) => {}
        (Err(a), Err(b)) => assert_eq!(a, b),
        (a, b) => panic!("whole: {:?}, in pieces of {step}: {b:?}", a.as_ref().err()),
    }
    if let Ok(set) = whole {
        for (id, bytes) in &set.0 {
            section_round_trip(id.0, bytes);
        }
        canonical(data, true);
    }
}

/// Any bytes as the chunks of an image whose sections nobody looks into: the first byte is the superblock's
/// features, the rest stands behind it. Tried as it is and with all checksums repaired.
pub fn chunks(data: &[u8]) {
    let Some((features, chunks)) = data.split_first() else {
        return;
    };
    let mut image = synth::superblock();
    image[24] = features & 5;
    image.extend([0; 4]);
    image.extend(chunks);
    for _ in 0..2 {
        let whole = common::read_container(&image);
        let step = chunks.len() % 250 + 1;
        assert_eq!(whole, read_in_pieces(&image, step, false));
        if whole.is_ok() {
            canonical(&image, false);
        }
        repair(&mut image);
    }
}

/// The same reader over an input that gives `step` bytes at a time, with the page data only as a checksum.
fn read_in_pieces(data: &[u8], step: usize, semantics: bool) -> Result<(), Error> {
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
        if semantics && v.is_meta_complete() && !checked {
            validate::meta(&set)?;
            common::tree(&set)?;
            checked = true;
        }
        let h = *v.header().unwrap();
        match next {
            Next::Payload(n) => {
                let mut payload = vec![0; n as usize];
                source.fill(&v, &mut payload)?;
                v.payload(&payload)?;
                if h.chunk_type == ChunkType::Meta {
                    set.0
                        .entry((h.section, h.owner))
                        .or_default()
                        .extend(payload);
                }
            }
            Next::RunTable => {
                let mut table = [0; 4032];
                source.fill(&v, &mut table)?;
                let runs = v.run_table(&table)?;
                if semantics {
                    common::pages(&set, &h, &runs)?;
                }
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
    if !semantics {
        return Ok(());
    }
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
