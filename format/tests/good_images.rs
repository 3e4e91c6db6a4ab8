// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Images of the independent writer are read as they were meant, and `cr_format` writes the same bytes.

mod common;
mod synth;

use common::{read, Buf};
use cr_format::{
    runs::{Run, RunKind},
    superblock::Superblock,
    writer::{cut_index, cut_records, ImageWriter},
    *,
};

#[test]
fn the_synthetic_process_is_sound() {
    read(&synth::process().bytes()).unwrap();
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
    let tasks: Vec<TaskRecord<'_>> = records_of(&set.0[&TASKS]).map(|r| r.unwrap()).collect();
    assert_eq!(tasks[1].comm, b"ticker");
    assert_eq!(tasks[0].regs.get(16), Some(0x5555_5555_5100));
    assert_eq!(tasks[0].restart_expiry_ns, 86_401_000_000_000);
    assert_eq!(tasks[0].tsc_mode, 1);
    let process = records_of::<ProcessRecord<'_>>(&set.0[&TASKS])
        .next()
        .unwrap()
        .unwrap();
    assert_eq!(
        (process.tgid, process.threads, process.exe),
        (1234, 2, &b"/usr/bin/counter"[..])
    );
    let files: Vec<FileRecord<'_>> = records_of(&set.0[&FILES]).map(|r| r.unwrap()).collect();
    assert_eq!(files[1].description, b"terminal /dev/pts/3");
    assert_eq!(files[5].kind, FILE_DELETED);
    let stats: StatsRecord = records_of(&set.0[&STATS]).next().unwrap().unwrap();
    assert_eq!(stats.page_bytes, 6 * 4096);
}

/// Everything through `cr_format`: parse each record, write it, put it into an image again.
#[test]
fn both_writers_make_the_same_bytes() {
    let model = synth::process();
    let want = model.bytes();
    let set = read(&want).unwrap();
    let (mut out, mut index) = (Buf::default(), Buf::default());
    let mut w = ImageWriter::new();
    let mut block = [0; 4096];
    let original = Superblock::parse(want[..4096].try_into().unwrap(), crc::crc32).unwrap();
    w.superblock(
        &Superblock::new(original.uuid, original.created_ns, b"synth"),
        &mut block,
    );
    out.put(&block).unwrap();
    let meta = |id: u16, w: &mut ImageWriter, out: &mut Buf, index: &mut Buf| {
        let mut rest = &set.0[&id][..];
        while let Some(piece) = cut_records(&mut rest) {
            let piece = piece.unwrap();
            out.put(&w.meta(id, true, piece, index).unwrap()).unwrap();
            out.put(piece).unwrap();
        }
    };
    for id in set.0.keys().filter(|&&id| id != STATS) {
        meta(*id, &mut w, &mut out, &mut index);
    }
    if let Some((head, zeros)) = w.pad(&mut index).unwrap() {
        out.put(&head).unwrap();
        out.put(&vec![0; zeros]).unwrap();
    }
    for p in &model.pages {
        let runs: Vec<Run> = p
            .runs
            .iter()
            .map(|&(start, npages, kind)| {
                Run::of(
                    start,
                    npages,
                    if kind == 0 {
                        RunKind::Data
                    } else {
                        RunKind::Zero
                    },
                )
            })
            .collect();
        w.page(
            p.section,
            p.owner,
            true,
            &runs,
            crc::crc32(0, &p.data),
            &mut block,
            &mut index,
        )
        .unwrap();
        out.put(&block).unwrap();
        out.put(&p.data).unwrap();
    }
    meta(STATS, &mut w, &mut out, &mut index);
    let mut rest = &index.0[..];
    while let Some(piece) = cut_index(&mut rest) {
        out.put(&w.index(piece).unwrap()).unwrap();
        out.put(piece).unwrap();
    }
    out.put(&w.end().unwrap()).unwrap();
    assert_eq!(w.offset(), want.len() as u64);
    assert!(
        out.0 == want,
        "first difference at {:?}",
        out.0.iter().zip(&want).position(|(a, b)| a != b)
    );
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
