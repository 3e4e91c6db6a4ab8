// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! One content has one encoding: an accepted image is written back from what was parsed, and is the same.

use super::record::encoded_again;
use crate::common::Buf;
use cr_format::{
    chunk::{ChunkHeader, ChunkType, CODEC_ZSTD, HEADER_LEN},
    crc::crc32,
    records_in,
    runs::{Run, Runs, TABLE_LEN},
    superblock::{self, Superblock},
    writer::{cut_index, ImageWriter, Stored},
    Sink,
};

/// Writes an accepted image again, chunk by chunk, and compares. Without `semantics` nobody has parsed the records.
pub fn canonical(image: &[u8], semantics: bool) {
    let mut w = ImageWriter::new();
    let mut index = Buf::default();
    let mut block = [0; superblock::LEN];
    let (head, mut rest) = image.split_at(superblock::LEN);
    let superblock = Superblock::parse(head.try_into().unwrap(), crc32).unwrap();
    w.superblock(&superblock, &mut block);
    assert!(block == head, "superblock");
    let mut entries: Option<Vec<u8>> = None;
    let mut entries_at = 0;
    while !rest.is_empty() {
        let h = ChunkHeader::parse(rest[..HEADER_LEN].try_into().unwrap(), crc32).unwrap();
        let (chunk, tail) = rest.split_at(h.chunk_len() as usize);
        rest = tail;
        let (header, body) = chunk.split_at(HEADER_LEN);
        let again = match h.chunk_type {
            ChunkType::Meta => {
                let mut payload = Buf::default();
                for record in records_in(h.section, body) {
                    payload
                        .put(&encoded_again(h.section, record.unwrap(), semantics))
                        .unwrap();
                }
                assert!(payload.0 == body, "records of section {:#x}", h.section);
                w.meta_of(h.owner, h.section, h.is_critical(), body, &mut index)
                    .unwrap()
                    .to_vec()
            }
            // How much padding there is is the writer's choice.
            ChunkType::Pad => w.keep(&h, &mut index).unwrap().to_vec(),
            ChunkType::Page => {
                let table: &[u8; TABLE_LEN] = body[..TABLE_LEN].try_into().unwrap();
                let runs: Vec<Run> = Runs::parse(table, h.items).unwrap().iter().collect();
                let stored = if h.codec == CODEC_ZSTD {
                    Stored::Zstd {
                        frame_len: h.frame_len,
                        crc: h.payload_crc,
                        raw_crc: h.raw_crc,
                    }
                } else {
                    Stored::Raw { crc: h.payload_crc }
                };
                let critical = h.is_critical();
                w.page_stored(
                    h.section, h.owner, critical, &runs, stored, &mut block, &mut index,
                )
                .unwrap();
                assert!(block[HEADER_LEN..] == body[..TABLE_LEN], "run table");
                block[..HEADER_LEN].to_vec()
            }
            ChunkType::Index => {
                let all = entries.get_or_insert_with(|| index.0.clone());
                let mut left = &all[entries_at..];
                let piece = cut_index(&mut left).unwrap();
                entries_at += piece.len();
                assert!(piece == body, "index");
                w.index(piece).unwrap().to_vec()
            }
            ChunkType::End => {
                let end = w.end().unwrap();
                assert!(end[HEADER_LEN..] == *body, "end");
                end[..HEADER_LEN].to_vec()
            }
        };
        assert!(
            again == header,
            "header of {:?}, seq {}",
            h.chunk_type,
            h.seq
        );
    }
    assert_eq!(w.offset(), image.len() as u64);
}
