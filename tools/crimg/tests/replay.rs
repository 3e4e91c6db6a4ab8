// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! What the fuzzer has found in `crimg` (`fuzz/regressions/TARGET/NAME`) and what it keeps (`fuzz/corpus/TARGET/`), replayed.

#[path = "../../../format/tests/common/mod.rs"]
mod common;
#[path = "properties/mod.rs"]
mod crimg_properties;
#[path = "../../../format/tests/properties/mod.rs"]
mod properties;
#[path = "../../../format/tests/synth/mod.rs"]
mod synth;

use crimg_properties::{tool, TARGETS};
use std::{
    fs,
    path::{Path, PathBuf},
};

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

/// Files of a folder; none if it does not exist.
fn files(folder: PathBuf) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    files.sort();
    files
}

fn replay(folder: &str) -> usize {
    let mut count = 0;
    for (target, property) in TARGETS {
        for path in files(fuzz().join(folder).join(target)) {
            // A panic does not say which input it was.
            println!("{}", path.display());
            property(&fs::read(path).unwrap());
            count += 1;
        }
    }
    count
}

#[test]
fn findings_stay_fixed() {
    replay("regressions");
}

#[test]
fn every_kept_input_holds() {
    assert!(replay("corpus") > TARGETS.len());
}

#[test]
fn every_target_has_its_file() {
    for (target, _) in TARGETS {
        let path = fuzz().join(format!("fuzz_targets/{target}.rs"));
        assert!(path.exists(), "no {}", path.display());
    }
}

/// The first inputs of each target: `CRKIT_UPDATE=1` writes them anew.
#[test]
fn seeds_are_the_synthetic_ones() {
    for (target, name, data) in seeds() {
        assert!(TARGETS.iter().any(|t| t.0 == target), "{target}");
        let path = fuzz().join("corpus").join(target).join(name);
        if std::env::var_os("CRKIT_UPDATE").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &data).unwrap();
        }
        let kept = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert!(kept == data, "{}", path.display());
    }
}

/// Two parts, as `input::cut` takes them apart.
fn two(first: &[u8], second: &[u8]) -> Vec<u8> {
    let mut data = vec![first.len() as u8];
    data.extend(first);
    data.extend(second);
    data
}

fn seeds() -> Vec<(&'static str, String, Vec<u8>)> {
    let mut seeds = Vec::new();
    let models: [(&str, &[u8]); 5] = [
        ("process", &[0]),
        ("compressed", &[1]),
        ("resources", &[3]),
        ("tree", &[2]),
        ("real", &[0xf0]),
    ];
    for (name, script) in models {
        let name = format!("seed-{name}");
        for target in [
            "show",
            "walk",
            "verify",
            "page",
            "export_json",
            "export_core",
        ] {
            seeds.push((target, name.clone(), script.to_vec()));
        }
        let first = [1, script[0]];
        let with = |rest: &[u8]| [&first[..], rest].concat();
        seeds.push(("diff", name.clone(), with(&[4, 0])));
        seeds.push(("patch", name.clone(), with(PATCH)));
        seeds.push(("repack", name.clone(), with(&[7])));
        seeds.push((
            "redact",
            name.clone(),
            with(b"\x2b\0\0\0\0\0\0\0\0\x01PURPOSE"),
        ));
        seeds.push(("split", name.clone(), with(&[0, 0, 0, 0, 0, 0, 0x10, 0])));
        for what in 0..10 {
            let name = format!("{name}-{what}");
            seeds.push((
                "mem",
                name,
                with(&[what, 0, 0, 0, 0, 0, 0x10, 0, 0, 2, b'l']),
            ));
        }
    }
    // Images that are read as they are, in the middle of which the fuzzer can cut and write.
    let mut small = synth::process();
    small.pages.truncate(1);
    small.stats.clear();
    let small = small.bytes();
    for target in ["show", "walk", "verify", "page"] {
        for (name, how) in [("seed-bytes", 0xe0), ("seed-repaired", 0xe1)] {
            seeds.push((target, name.to_owned(), [&[how], &small[..]].concat()));
        }
    }
    let image = tool::write("seed.ckpt", &small);
    let said = tool::crimg(&["export", "json", &image]);
    seeds.push(("import_json", "seed".into(), said.data));
    let core = tool::free("seed.core");
    assert!(tool::crimg(&["export", "core", &image, "-o", &core])
        .result
        .is_ok());
    seeds.push(("import_core", "seed".into(), tool::take(&core)));
    seeds.push(("undo", "seed".into(), undo()));
    let prefix = tool::path("seed-piece");
    assert!(
        tool::crimg(&["split", &image, "--size", "8K", "-o", &prefix])
            .result
            .is_ok()
    );
    seeds.push(("join", "seed".into(), tool::take(&format!("{prefix}.json"))));
    seeds.push(("bt", "seed".into(), two(&[], &[])));
    seeds.push(("bt", "seed-stack".into(), vec![9, 0, 0, 0, 0, 0, 0, 1, 0]));
    seeds.push(("elf", "seed".into(), vec![3, 1, 0x10, 0, 1, 2, 3, 4]));
    seeds
}

/// An undo file that gives back the synthetic process from itself: one half from the image, one from here.
fn undo() -> Vec<u8> {
    let image = synth::process().bytes();
    let half = image.len() as u64 / 2;
    let end = &image[image.len() - 128..];
    let mut body = 2_u32.to_le_bytes().to_vec();
    for n in [2 * half, 2 * half, half] {
        body.extend(n.to_le_bytes());
    }
    body.extend([end, end].concat());
    for n in [0, half, u64::MAX, half] {
        body.extend(n.to_le_bytes());
    }
    body.extend(zstd::bulk::compress(&image[half as usize..], 3).unwrap());
    body
}

const PATCH: &[u8] = b"umask 7\nfd 1=/dev/zero\npos 3=1\nreg main:rax=1\nxmm main:xmm0=1\nenv PURPOSE=a\narg 1=b\npoke 0x555555560000=00\ncomm main=x\nnice 1\nuid 5\ngid 5:6:7:8\ngroups 1,2\nrlimit nofile=10\nhostname h\nmap-path /usr=/opt\ncwd /\n";
