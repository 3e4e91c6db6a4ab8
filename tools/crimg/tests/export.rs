// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg export core`: the core has what the image has, in the form that debuggers expect.

use crimg::{
    core_file::{NT_AUXV, NT_FILE, NT_FPREGSET, NT_PRPSINFO, NT_PRSTATUS, NT_X86_XSTATE},
    elf::{notes, u32_at, u64_at, Object, Slice, Source, PT_LOAD},
    file::ImageFile,
    memory::{Content, Memory},
};
use std::{io::Read, process::Command};

mod tool;

fn export(image: &str, more: &[&str]) -> (Vec<u8>, String) {
    let dir = tempfile::tempdir().unwrap();
    let core = dir.path().join("core");
    let core = core.to_str().unwrap();
    let mut args = vec!["export", "core", image, "-o", core];
    args.extend(more);
    let run = tool::crimg(&args);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let text = run.stdout.replace(core, "CORE");
    (std::fs::read(core).unwrap(), text)
}

#[test]
fn every_page_of_the_image_is_in_the_core_and_nothing_else() {
    for image in [
        "process.ckpt",
        "compressed.ckpt",
        "real/bt.ckpt",
        "real/memory.ckpt",
        "real/same.ckpt",
    ] {
        let (bytes, _) = export(image, &[]);
        let path = tool::folder().join(image);
        let file = ImageFile::open(path.to_str().unwrap()).unwrap();
        let memory = Memory::new(&file, None);
        let core = Slice(bytes);
        let object = Object::read(&core).unwrap();
        let loads: Vec<_> = object
            .segments
            .iter()
            .filter(|s| s.kind == PT_LOAD)
            .collect();
        let mapped: u64 = loads.iter().map(|s| s.memsz).sum();
        assert_eq!(mapped, memory.areas().iter().map(|a| a.len()).sum::<u64>());
        for load in loads {
            assert!(load.filesz == 0 || load.filesz == load.memsz);
            for span in memory.spans(load.vaddr, load.vaddr + load.memsz).unwrap() {
                let len = (span.end - span.start) as usize;
                let mut want = vec![0; len];
                match span.content {
                    Content::Stored => {
                        // What the process wants in no core is not there.
                        let area = memory.area_at(span.start).unwrap();
                        if area.flags & cr_format::VMA_DONTDUMP != 0 {
                            assert_eq!(load.filesz, 0);
                            continue;
                        }
                        assert!(load.filesz > 0, "{image}: {:#x}", span.start);
                        assert_eq!(memory.read(span.start, &mut want).unwrap(), len);
                    }
                    Content::File => assert_eq!(load.filesz, 0, "{image}"),
                    _ => {}
                }
                if load.filesz > 0 {
                    let at = load.offset + (span.start - load.vaddr);
                    let got = core.bytes(at, len as u64, u64::MAX).unwrap();
                    assert!(got == want, "{image}: {:#x}", span.start);
                }
            }
        }
    }
}

#[test]
fn the_notes_have_threads_registers_and_files() {
    let (bytes, _) = export("real/bt.ckpt", &[]);
    let core = Slice(bytes);
    let object = Object::read(&core).unwrap();
    let segment = object.segments[0];
    let bytes = core.bytes(segment.offset, segment.filesz, 1 << 20).unwrap();
    let all: Vec<_> = notes(&bytes).collect();
    let kinds: Vec<u32> = all.iter().map(|n| n.kind).collect();
    assert_eq!(kinds[..2], [NT_PRSTATUS, NT_PRPSINFO]);
    let of = |kind| all.iter().filter(move |n| n.kind == kind);
    let tids: Vec<u32> = of(NT_PRSTATUS)
        .map(|n| u32_at(n.desc, 32).unwrap())
        .collect();
    assert_eq!(tids, [363, 366, 367, 368]);
    let rip: Vec<u64> = of(NT_PRSTATUS)
        .map(|n| u64_at(n.desc, 112 + 16 * 8).unwrap())
        .collect();
    // As gdb says in tests/images/real/bt.gdb.
    assert_eq!(rip[0], 0x7f43_3625_072e);
    assert!(of(NT_PRSTATUS).all(|n| n.desc.len() == 336));
    assert!(of(NT_FPREGSET).all(|n| n.desc.len() == 512));
    assert_eq!(of(NT_FPREGSET).count(), 4);
    for xstate in of(NT_X86_XSTATE) {
        assert_eq!(xstate.name, b"LINUX");
        assert_eq!(xstate.desc.len(), 2696);
        assert_eq!(u64_at(xstate.desc, 464), Some(0x21f), "XCR0");
    }
    let auxv = of(NT_AUXV).next().unwrap();
    assert_eq!(auxv.desc.len() % 16, 0);
    let info = of(NT_PRPSINFO).next().unwrap();
    assert_eq!(&info.desc[40..43], b"bt\0");
    let files = of(NT_FILE).next().unwrap().desc;
    assert_eq!((u64_at(files, 0), u64_at(files, 8)), (Some(15), Some(4096)));
    // The second mapping of the program: start, end, offset in pages.
    assert_eq!(u64_at(files, 16 + 24), Some(0x5619_190d_4000));
    assert_eq!(u64_at(files, 16 + 24 + 16), Some(1));
    assert!(files.ends_with(b"/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2\0"));
}

#[test]
fn a_sysroot_puts_in_what_the_files_have() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("opt/crkit/programs");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::copy(tool::folder().join("real/bt.elf"), folder.join("bt")).unwrap();
    let (bytes, _) = export(
        "real/bt.ckpt",
        &["--sysroot", root.path().to_str().unwrap()],
    );
    let object = Object::read(&Slice(bytes.clone())).unwrap();
    let first = object.segments[1];
    assert_eq!((first.vaddr, first.filesz), (0x5619_190d_3000, 4096));
    let at = first.offset as usize;
    assert_eq!(&bytes[at..at + 4], b"\x7fELF");
}

#[test]
fn the_summary_is_printed_as_text_and_json() {
    let (_, text) = export("real/bt.ckpt", &[]);
    tool::golden("real/bt.export", text.as_bytes());
    let (_, json) = export("real/bt.ckpt", &["--json"]);
    tool::golden("real/bt.export.json", json.as_bytes());
}

#[test]
fn a_pipe_gets_the_same_bytes_as_a_file() {
    for name in ["avx", "deleted", "memory", "same", "threads", "timens"] {
        let name = format!("real/{name}.ckpt");
        let (want, _) = export(&name, &[]);
        let piped = Command::new(env!("CARGO_BIN_EXE_crimg"))
            .args(["export", "core", &name, "-o", "-"])
            .current_dir(tool::folder())
            .output()
            .unwrap();
        assert!(piped.status.success() && piped.stdout == want, "{name}");
    }
    let (want, _) = export("real/pipes.ckpt", &[]);
    let mut child = Command::new(env!("CARGO_BIN_EXE_crimg"))
        .args(["export", "core", "real/pipes.ckpt", "-o", "-"])
        .current_dir(tool::folder())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut got = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut got).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(got == want);

    // A new file behind `>` gets holes.
    let file = tempfile::NamedTempFile::new().unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_crimg"))
        .args(["export", "core", "real/pipes.ckpt", "-o", "-"])
        .current_dir(tool::folder())
        .stdout(file.reopen().unwrap())
        .status()
        .unwrap();
    assert!(status.success());
    assert!(std::fs::read(file.path()).unwrap() == want);
}

#[test]
fn what_cannot_be_exported_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let core = dir.path().join("core");
    std::fs::write(&core, "mine").unwrap();
    let name = core.to_str().unwrap();
    let run = tool::crimg(&["export", "core", "process.ckpt", "-o", name]);
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert_eq!(std::fs::read(&core).unwrap(), b"mine");
    let run = tool::crimg(&["export", "core", "process.ckpt", "-o", "-", "--json"]);
    assert_eq!(run.code, 2, "{}", run.stderr);

    // A page that is damaged.
    let mut bytes = tool::image("real/bt.ckpt");
    let half = bytes.len() / 2;
    bytes[half] ^= 1;
    let bad = dir.path().join("bad.ckpt");
    std::fs::write(&bad, bytes).unwrap();
    let out = dir.path().join("new");
    let args = [bad.to_str().unwrap(), "-o", out.to_str().unwrap()];
    let run = tool::crimg(&["export", "core", args[0], args[1], args[2]]);
    assert_eq!(run.code, 3, "{}", run.stderr);
    assert!(!out.exists());
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        2,
        "no leftovers"
    );
}

#[test]
fn gdb_shows_the_threads_of_the_core() {
    if Command::new("gdb").arg("--version").output().is_err() {
        eprintln!("skipped: gdb is not installed");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("opt/crkit/programs");
    std::fs::create_dir_all(&folder).unwrap();
    let program = folder.join("bt");
    std::fs::copy(tool::folder().join("real/bt.elf"), &program).unwrap();
    let core = root.path().join("core");
    let run = tool::crimg(&[
        "export",
        "core",
        "real/bt.ckpt",
        "-o",
        core.to_str().unwrap(),
    ]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let out = Command::new("gdb")
        .args([
            "-nx",
            "-batch",
            "-iex",
            "set debuginfod enabled off",
            "-iex",
        ])
        .arg(format!("set sysroot {}", root.path().display()))
        .args(["-ex", "info threads", "-ex", "thread 2", "-ex", "bt 4"])
        .args(["-ex", "p $pkru", "-ex", "info auxv"])
        .arg(&program)
        .arg(&core)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    for want in [
        "LWP 363",
        "LWP 368",
        "Core was generated by `/opt/crkit/programs/bt'.",
        "mix (seed=17620190416861206595, k=1) at",
        "spin_inner (",
        "spin_outer (",
        "spinner (arg=<optimized out>) at bt.c:57",
        "1431655764",
        "0x7ffcdfeddfe1 \"/opt/crkit/programs/bt\"",
    ] {
        assert!(text.contains(want), "{want} is missing in\n{text}");
    }
}
