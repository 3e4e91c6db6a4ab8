// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Large images: `show` passes over the page data, `verify` streams it, both in little memory.

#[path = "../../../format/tests/synth/mod.rs"]
mod synth;

use std::{
    fs::File,
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    process::{Command, Output},
};
use synth::Chunk;

const MIB: u64 = 1 << 20;

/// Writes an image with `n` chunks of 1 MiB of zeros in one memory area, as a sparse file.
fn sparse(name: &str, n: u64) -> PathBuf {
    let mut model = synth::process();
    model.pages.clear();
    model.stats.clear();
    let start = 0x1000_0000_0000;
    let heap = model.record(0x11, 2, 2);
    heap.set(1, start);
    heap.set(2, start + n * MIB);
    // The guard range lay in the area that has moved.
    model.section(0x11).retain(|r| r.kind != 4);
    let areas = model.section(0x11);
    let first = areas.iter().position(|r| r.kind == 2).unwrap();
    // Areas ascend by address: the new one is below the others.
    areas.swap(first, first + 2);
    areas.swap(first + 1, first + 2);
    for (n, area) in areas.iter_mut().filter(|r| r.kind == 2).enumerate() {
        area.id = n as u32 + 1;
    }
    let mut chunks = model.chunks();
    let meta: usize = chunks.iter().map(Chunk::len).sum();
    chunks.push(Chunk::new(
        b"PAD_",
        vec![0; 8192 - 64 - (4096 + meta) % 4096],
    ));
    let zeros = vec![0; MIB as usize];
    let sum = synth::crc(&zeros);
    let page = |seq: u64| {
        let mut c = Chunk::new(b"PAGE", Vec::new());
        let at = start + seq * MIB;
        (c.section, c.owner, c.flags, c.key, c.items, c.seq) = (0x11, 1, 1, at, 1, seq as u32);
        (c.stored_len, c.payload_crc) = (Some(MIB as u32), Some(sum));
        let mut table = at.to_le_bytes().to_vec();
        table.extend(256_u32.to_le_bytes());
        table.resize(4032, 0);
        c.table = Some(table);
        c
    };
    // The page data is a hole in the file, so index and end cannot be made by `assemble`.
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut file = File::create(&path).unwrap();
    let head = synth::join(&synth::superblock(), &chunks);
    file.write_all(&head).unwrap();
    let mut at = head.len() as u64;
    let mut list = synth::Offsets::new(&synth::superblock(), &chunks);
    for seq in 0..n {
        let chunk = page(seq);
        let bytes = chunk.bytes();
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(&bytes).unwrap();
        list.push(&chunk, at);
        at += bytes.len() as u64 + MIB;
    }
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&list.finish(at)).unwrap();
    path
}

/// Runs `crimg` with at most `kib` of address space; the last lines of the output are the I/O counters of the
/// shell, to which those of `crimg` have been added.
fn limited(kib: u64, command: &str, image: &Path) -> Output {
    let script = format!(
        "ulimit -v {kib}; \"$0\" {command} \"$1\" || exit; cat /proc/$$/io 2>/dev/null; exit 0"
    );
    Command::new("sh")
        .args(["-c", &script, env!("CARGO_BIN_EXE_crimg")])
        .arg(image)
        .output()
        .unwrap()
}

#[test]
fn show_does_not_read_page_data() {
    let image = sparse("show.ckpt", 16 * 1024);
    let out = limited(200_000, "show", &image);
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(
        text.contains("4194304 pages stored (16 GiB)"),
        "{text}{}",
        String::from_utf8_lossy(&out.stderr)
    );
    assert!(text.contains("restart      possible"), "{text}");
    // Not every kernel counts. This image has no section stats, so the run tables are read: one page per MiB.
    if let Some(read) = text.lines().find_map(|l| l.strip_prefix("rchar: ")) {
        let read: u64 = read.parse().unwrap();
        assert!(read < 100 * MIB, "{read} bytes read");
    }
    std::fs::remove_file(image).unwrap();
}

#[test]
fn verify_streams_in_little_memory() {
    let image = sparse("verify.ckpt", 512);
    let out = limited(200_000, "verify", &image);
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(
        out.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&out.stderr)
    );
    assert!(text.contains("512 MiB of page data"), "{text}");
    std::fs::remove_file(image).unwrap();
}
