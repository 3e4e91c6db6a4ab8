// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! What users of the crate rely on besides reading sound images: messages, accessors, refusals of the writer.

mod common;
mod synth;

use common::Buf;
use cr_format::{
    runs::{self, Run, RunKind, Runs, TABLE_LEN},
    stream::{Next, Validator},
    superblock,
    writer::{cut_records, padded, ImageWriter, Stored},
    *,
};

#[test]
fn messages_say_what_is_wrong_and_where() {
    let cases = [
        (
            Error::rule("PIPES-3").placed(PIPES, 0x1a40),
            "pipes at 0x1a40: the unread bytes of a pipe do not exceed its capacity (PIPES-3)",
        ),
        (
            Error::unsupported("codec of a chunk").placed(0x9000, 16),
            "section 0x9000 at 0x10: not supported: codec of a chunk",
        ),
        (
            Error::over_limit(7, 3),
            "image at 0x0: 7 is more than the limit 3",
        ),
        (
            Error::truncated(64, 2),
            "image at 0x0: 64 bytes needed, 2 left",
        ),
        (Error::no_space(), "image at 0x0: no space for the output"),
        (
            Error::at(
                ErrorKind::BadChecksum {
                    stored: 1,
                    computed: 0xffff_ffff,
                },
                4096,
            ),
            "image at 0x1000: checksum 0x00000001 stored, 0xffffffff computed",
        ),
    ];
    for (error, text) in cases {
        assert_eq!(error.to_string(), text);
    }
    assert_eq!(Error::rule("END-6").rule_id(), Some("END-6"));
    assert_eq!(Error::no_space().rule_id(), None);
    assert!(Error::truncated(1, 0).is_malformed() && !Error::over_limit(2, 1).is_malformed());
    assert_eq!(rule_text("NONE-1"), "");
}

#[test]
fn fields_of_records_that_are_not_known_can_be_read_by_their_wire_type() {
    let fields = vec![
        synth::u(7, 0),
        synth::i(-7, 0),
        synth::a(&[1, 2], 0),
        synth::t("x", 0),
    ];
    let bytes = synth::rec(99, 3, fields).bytes();
    let raw = records(&bytes).next().unwrap().unwrap();
    let field = |id| raw.field(id).unwrap();
    assert_eq!((field(1).u64(), field(1).i64()), (Some(7), None));
    assert_eq!((field(2).i64(), field(2).array()), (Some(-7), None));
    let array = field(3).array().unwrap();
    assert_eq!(
        (array.len(), array.get(1), array.get(2)),
        (2, Some(2), None)
    );
    assert_eq!(field(4).u64(), None);
    assert!(raw.field(5).is_none());
    let native = U64s::Native(&[1, 2]);
    assert_eq!((native, native.len(), native.get(1)), (array, 2, Some(2)));
    assert!(U64s::default().is_empty() && U64s::from_le_bytes(&[0; 8]) != native);
    assert_eq!(format!("{native:?}"), "[1, 2]");
    assert_eq!(sections::word(PIPES), Some("pipes"));
    assert_eq!(sections::word(0x7fff), None);
}

#[test]
fn the_writer_refuses_what_no_reader_takes() {
    let mut w = ImageWriter::default();
    let mut index = Buf::default();
    let mut block = [0; superblock::LEN];
    w.superblock(
        &superblock::Superblock::new([1; 16], 1, b"test"),
        &mut block,
    );
    // Aligned already: no padding.
    assert_eq!(w.pad(&mut index), Ok(None));
    let mut out = [0; 4096];
    let runs = [Run::data(0, 2), Run::duplicate(8192, 1, 4096)];
    let (crc, raw_crc) = (1, 2);
    for frame_len in [0, 4097, 8192, u32::MAX] {
        let stored = Stored::Zstd {
            frame_len,
            crc,
            raw_crc,
        };
        let e = w.page_stored(MEMORY, 1, true, &runs, stored, &mut out, &mut index);
        assert_eq!(e, Err(Error::rule("ZSTD-1")), "{frame_len}");
    }
    assert_eq!(
        (padded(1), padded(4096), padded(u32::MAX)),
        (4096, 4096, u32::MAX)
    );
    w.page(MEMORY, 1, true, &runs, 7, &mut out, &mut index)
        .unwrap();
    assert_eq!(w.offset(), 8192 + 2 * 4096);
    let many = vec![Run::zero(0, 1); 169];
    assert!(matches!(
        w.page(MEMORY, 1, true, &many, 0, &mut out, &mut index),
        Err(Error {
            kind: ErrorKind::OverLimit { asked: 169, .. },
            ..
        })
    ));
    assert!(w.meta(MEMORY, true, &[1; 17], &mut index).is_err());
    assert!(w.index(&vec![0; 48 * 21846]).is_err());
    let mut rest = &[1_u8; 17][..];
    assert!(cut_records(&mut rest).unwrap().is_err());
    assert!(rest.is_empty() && cut_records(&mut rest).is_none());
    let big = synth::rec(1, 1, vec![synth::b(&vec![1; 700_000], 0)]).bytes();
    let two = [big.clone(), big.clone()].concat();
    let mut rest = &two[..];
    assert_eq!(cut_records(&mut rest).unwrap().unwrap().len(), big.len());
    assert_eq!(rest.len(), big.len());
}

#[test]
fn padding_always_has_room_for_its_header() {
    for len in (8..4096).step_by(8) {
        let mut w = ImageWriter::new();
        let mut index = Buf::default();
        let mut block = [0; superblock::LEN];
        w.superblock(&superblock::Superblock::new([1; 16], 1, b""), &mut block);
        let record = synth::rec(1, 1, vec![synth::b(&vec![1; len], 0)]).bytes();
        w.meta(IMAGE, true, &record, &mut index).unwrap();
        if let Some((_, zeros)) = w.pad(&mut index).unwrap() {
            assert!(zeros < 4096 + 64);
        }
        assert_eq!(w.offset() % 4096, 0, "{len}");
    }
}

#[test]
fn calls_out_of_order_are_refused_and_change_nothing() {
    let image = synth::compressed().bytes();
    let mut v = Validator::default();
    let unsupported = |e: Error| matches!(e.kind, ErrorKind::Unsupported(_));
    assert!(unsupported(v.payload(&[]).unwrap_err()));
    assert!(unsupported(v.chunk_header(&[0; 64]).unwrap_err()));
    assert!(v.finish(false).is_err());
    let mut at = 4096;
    v.superblock(image[..at].try_into().unwrap()).unwrap();
    let mut compressed = 0;
    while !v.is_complete() {
        assert_eq!(v.offset(), at as u64);
        let next = v
            .chunk_header(image[at..at + 64].try_into().unwrap())
            .unwrap();
        let h = *v.header().unwrap();
        assert!(unsupported(v.decoded(None).unwrap_err()));
        match next {
            Next::Payload(n) => {
                assert!(v.page_data(&vec![0; n as usize]).is_err());
                assert!(v.payload(&vec![0; n as usize + 1]).is_err());
                v.payload(&image[at + 64..][..n as usize]).unwrap();
            }
            Next::RunTable => {
                assert!(v.payload(&[]).is_err());
                let table = image[at + 64..at + 4096].try_into().unwrap();
                let runs = v.run_table(table).unwrap();
                assert_eq!(runs.len(), h.items as usize);
                let data = &image[at + 4096..][..h.stored_len as usize];
                assert!(v.page_data(&data[1..]).is_err());
                if h.frame_len > 0 {
                    // A reader that has only a checksum cannot take a frame.
                    assert!(unsupported(v.page_data_crc(h.payload_crc).unwrap_err()));
                    v.page_data(data).unwrap();
                    assert!(v.clone().decoded(None).is_err());
                    v.skip_decoded().unwrap();
                    compressed += 1;
                } else {
                    v.page_data_crc(h.payload_crc).unwrap();
                }
            }
        }
        at += h.chunk_len() as usize;
    }
    assert!(v.meta_bytes() > 1000);
    assert_eq!((at, compressed), (image.len(), 1));
    assert_eq!(v.finish(false), Ok(()));
}

#[test]
fn a_run_table_of_all_kinds_is_read_as_it_was_written() {
    let all = [
        Run::data(0, 1),
        Run::zero(4096, 1),
        Run::duplicate(8192, 4, 0),
        Run::of(1 << 20, 9, RunKind::Parent),
    ];
    let mut table = [0; TABLE_LEN];
    runs::encode(&all, &mut table).unwrap();
    let parsed = Runs::parse(&table, 4).unwrap();
    assert_eq!(parsed.iter().collect::<Vec<_>>(), all);
    assert_eq!((parsed.position(0), parsed.position(8192)), (Some(0), None));
    assert!(runs::encode(&[Run::zero(0, 1); 169], &mut table).is_err());
}
