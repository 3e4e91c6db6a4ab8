// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Images of the independent writer are read as they were meant, and `cr_format` writes the same bytes.

mod common;
mod synth;

use common::{read, Buf};
use cr_format::{
    runs::{Run, RunKind},
    superblock::Superblock,
    writer::{cut_index, cut_records, padded, ImageWriter, Stored},
    *,
};

#[test]
fn the_synthetic_process_is_sound() {
    read(&synth::process().bytes()).unwrap();
}

#[test]
fn a_tree_of_processes_is_sound() {
    read(&synth::tree().bytes()).unwrap();
    read(&synth::leaderless().bytes()).unwrap();
    read(&synth::headless().bytes()).unwrap();
    read(&synth::roots().bytes()).unwrap();
    let mut image = synth::tree();
    image.chunk_max = 1;
    read(&image.bytes()).unwrap();
}

#[test]
fn a_section_may_span_many_chunks() {
    let mut image = synth::process();
    image.chunk_max = 1;
    assert!(image.chunks().len() > 50);
    read(&image.bytes()).unwrap();
}

#[test]
fn an_image_without_page_data_needs_no_padding() {
    let mut image = synth::process();
    image.pages.clear();
    image.stats.clear();
    read(&image.bytes()).unwrap();
}

#[test]
fn a_third_party_may_have_records_and_pages() {
    use synth::{rec, t, u, Pages};
    let id = sections::third_party_id(b"counter");
    let mut image = synth::process();
    image.section(1).push(rec(
        2,
        id.into(),
        vec![t("counter", 0), u(1, 1), t("cr_counter", 0), u(1, 1)],
    ));
    image
        .sections
        .push((id, true, vec![rec(1, 7, vec![u(42, 1)])]));
    image.pages.insert(
        0,
        Pages {
            section: id,
            owner: 7,
            runs: vec![(0, 1, 0)],
            data: vec![1; 4096],
            ..Pages::default()
        },
    );
    image.stats.clear();
    read(&image.bytes()).unwrap();
}

#[test]
fn padding_without_page_data_is_allowed() {
    let mut chunks = synth::process().chunks();
    chunks.retain(|c| &c.code != b"PAGE" && c.section != STATS);
    read(&synth::assemble(&synth::superblock(), &chunks)).unwrap();
}

#[test]
fn values_arrive_where_the_specification_puts_them() {
    let set = read(&synth::process().bytes()).unwrap();
    let tasks: Vec<TaskRecord<'_>> = records_of(&set.0[&(TASKS, 0)])
        .map(|r| r.unwrap())
        .collect();
    assert_eq!(tasks[1].comm, b"ticker");
    assert_eq!(tasks[0].regs.get(16), Some(0x5555_5555_5100));
    assert_eq!(tasks[0].restart_expiry_ns, 86_401_000_000_000);
    assert_eq!(tasks[0].tsc_mode, 1);
    let process = records_of::<ProcessRecord<'_>>(&set.0[&(TASKS, 0)])
        .next()
        .unwrap()
        .unwrap();
    assert_eq!(
        (process.tgid, process.threads, process.exe),
        (1234, 2, &b"/usr/bin/counter"[..])
    );
    let files: Vec<FileRecord<'_>> = records_of(&set.0[&(FILES, 0)])
        .map(|r| r.unwrap())
        .collect();
    assert_eq!(files[1].description, b"terminal /dev/pts/3");
    assert_eq!(files[5].kind, FILE_DELETED);
    let stats: StatsRecord = records_of(&set.0[&(STATS, 0)]).next().unwrap().unwrap();
    assert_eq!(stats.page_bytes, 6 * 4096);
}

#[test]
fn compressed_pages_and_duplicates_are_counted() {
    let set = read(&synth::compressed().bytes()).unwrap();
    let stats: StatsRecord = records_of(&set.0[&(STATS, 0)]).next().unwrap().unwrap();
    assert_eq!((stats.pages, stats.zero_pages), (9, 4));
    let edit: EditRecord<'_> = records_of(&set.0[&(PROVENANCE, 0)])
        .next()
        .unwrap()
        .unwrap();
    assert_eq!((edit.operation, edit.source_uuid[0]), (&b"repack"[..], 1));
}

#[test]
fn both_writers_make_the_same_bytes() {
    for model in [synth::process(), synth::compressed(), synth::resources()] {
        let (want, got) = (model.bytes(), rewritten(&model));
        let first = got.iter().zip(&want).position(|(a, b)| a != b);
        assert!(got == want, "first difference at {first:?}");
    }
}

/// Everything through `cr_format`: parse each record, write it, put it into an image again.
fn rewritten(model: &synth::Image) -> Vec<u8> {
    let want = model.bytes();
    let set = read(&want).unwrap();
    let (mut out, mut index) = (Buf::default(), Buf::default());
    let mut w = ImageWriter::new();
    let mut block = [0; 4096];
    let original = Superblock::parse(want[..4096].try_into().unwrap(), crc::crc32).unwrap();
    let superblock = Superblock {
        feature_incompat: original.feature_incompat,
        ..Superblock::new(original.uuid, original.created_ns, b"synth")
    };
    w.superblock(&superblock, &mut block);
    out.put(&block).unwrap();
    let meta = |id: u16, w: &mut ImageWriter, out: &mut Buf, index: &mut Buf| {
        let mut rest = &set.0[&(id, 0)][..];
        while let Some(piece) = cut_records(&mut rest) {
            let piece = piece.unwrap();
            out.put(&w.meta(id, true, piece, index).unwrap()).unwrap();
            out.put(piece).unwrap();
        }
    };
    for (id, _) in set.0.keys().filter(|k| k.0 != STATS) {
        meta(*id, &mut w, &mut out, &mut index);
    }
    if let Some((head, zeros)) = w.pad(&mut index).unwrap() {
        out.put(&head).unwrap();
        out.put(&vec![0; zeros]).unwrap();
    }
    for p in &model.pages {
        let kinds = [RunKind::Data, RunKind::Zero, RunKind::Duplicate];
        let runs: Vec<Run> = p
            .runs
            .iter()
            .enumerate()
            .map(|(n, &(start, npages, kind))| Run {
                source: p.sources.get(n).copied().unwrap_or(0),
                ..Run::of(start, npages, kinds[usize::from(kind)])
            })
            .collect();
        let raw_crc = crc::crc32(0, &p.data);
        let (stored, bytes) = match &p.frame {
            None => (Stored::Raw { crc: raw_crc }, p.data.clone()),
            Some(frame) => {
                let frame_len = frame.len() as u32;
                let mut bytes = frame.clone();
                bytes.resize(padded(frame_len) as usize, 0);
                let crc = crc::crc32(0, &bytes);
                let stored = Stored::Zstd {
                    frame_len,
                    crc,
                    raw_crc,
                };
                (stored, bytes)
            }
        };
        w.page_stored(
            p.section, p.owner, true, &runs, stored, &mut block, &mut index,
        )
        .unwrap();
        out.put(&block).unwrap();
        out.put(&bytes).unwrap();
    }
    meta(STATS, &mut w, &mut out, &mut index);
    let mut rest = &index.0[..];
    while let Some(piece) = cut_index(&mut rest) {
        out.put(&w.index(piece).unwrap()).unwrap();
        out.put(piece).unwrap();
    }
    out.put(&w.end().unwrap()).unwrap();
    assert_eq!(w.offset(), want.len() as u64);
    out.0
}

#[test]
fn the_schema_section_describes_every_record() {
    let mut buf = Buf::default();
    sections::write_schema(&mut buf).unwrap();
    let fields = records_of::<SchemaField<'_>>(&buf.0)
        .filter(|r| r.is_ok())
        .count();
    let known: usize = SECTIONS
        .iter()
        .filter(|s| s.id != REPORT)
        .flat_map(|s| s.records)
        .map(|r| r.fields.len())
        .sum();
    assert_eq!(fields, known);
    let mut image = synth::process();
    let parsed: Vec<_> = records(&buf.0).map(|r| r.unwrap()).collect();
    assert!(parsed.iter().zip(1..).all(|(r, n)| r.id == n));
    image.chunk_max = 4096;
    read(&image.bytes()).unwrap();
}

/// READ-2.
#[test]
fn a_reader_is_never_asked_for_more_than_a_limit() {
    use cr_format::{crc::crc32, stream::Validator, ErrorKind};
    let model = synth::process();
    let mut first = model.chunks()[0].clone();
    let image = model.bytes();
    for len in [(1 << 20) + 1, u32::MAX] {
        first.stored_len = Some(len);
        let mut v = Validator::with_crc(crc32);
        v.superblock(image[..4096].try_into().unwrap()).unwrap();
        let e = v
            .chunk_header(first.bytes()[..64].try_into().unwrap())
            .unwrap_err();
        assert!(matches!(e.kind, ErrorKind::OverLimit { .. }), "{e}");
    }
}

/// READ-4, READ-5.
#[test]
fn minor_versions_and_features_that_may_be_ignored_are() {
    let model = synth::process();
    let mut superblock = model.superblock();
    superblock[14..16].fill(0xff);
    superblock[16..24].fill(0xff);
    read(&synth::assemble(&superblock, &model.chunks())).unwrap();
}

/// READ-6.
#[test]
fn an_ancillary_section_that_is_not_known_is_passed_over() {
    let mut image = synth::process();
    let strange = vec![synth::rec(77, 3, vec![synth::u(1, 1)])];
    image.sections.insert(2, (9, false, strange));
    read(&image.bytes()).unwrap();
}
