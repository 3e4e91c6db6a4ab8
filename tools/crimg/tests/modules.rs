// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The modules of a real image.

use crimg::{
    elf::{modules, Origin},
    file::ImageFile,
    memory::Memory,
};

mod tool;

#[test]
fn modules_of_a_real_process_are_its_program_libraries_and_the_vdso() {
    let path = tool::folder().join("real/bt.ckpt");
    let file = ImageFile::open(path.to_str().unwrap()).unwrap();
    // Below an empty sysroot: nothing but what the image has.
    let empty = tempfile::tempdir().unwrap();
    let found = modules(&Memory::new(&file, Some(empty.path().to_owned())));
    let names: Vec<&str> = found
        .iter()
        .map(|m| std::str::from_utf8(&m.path).unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "/opt/crkit/programs/bt",
            "/usr/lib/x86_64-linux-gnu/libc.so.6",
            "[vdso]",
            "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
        ]
    );
    assert!(found.iter().all(|m| m.base < m.end && m.build_id.is_none()));

    // With the program.
    let folder = empty.path().join("opt/crkit/programs");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::copy(tool::folder().join("real/bt.elf"), folder.join("bt")).unwrap();
    let found = modules(&Memory::new(&file, Some(empty.path().to_owned())));
    assert_eq!(found[0].build_id.as_ref().map(Vec::len), Some(20));
    assert_eq!(found[0].from, Origin::File);
}
