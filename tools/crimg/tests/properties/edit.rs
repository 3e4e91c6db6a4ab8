// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Edits of images, and the way back.

use super::{
    input::{self, assert_follows, cut},
    printed,
    tool::{crimg, failure, free, open, path, take, write},
};
use cr_format::{records_in, sections::is_of_process, validate::MetaSet, FILES};
use crimg::{
    error::Outcome,
    file::ImageFile,
    load::{crc, is_own_file_record, Sections},
    patch::{
        self,
        edit::Edit,
        undo::{self, Undo},
        Options, Trouble,
    },
    rewrite::Target,
};
use std::fs;

/// The first part makes the image, the second is a script of edits.
pub fn patch(data: &[u8]) {
    let (script, edits) = cut(data);
    let bytes = input::image(script);
    let Ok(file) = open("patch.ckpt", &bytes) else {
        return;
    };
    let file = match input::choose(file, script.len() as u8) {
        Ok(file) => file,
        Err(e) => return failure(&e),
    };
    let edits = match Edit::script(edits) {
        Ok(edits) => edits,
        Err(errors) => {
            for e in errors {
                printed::text(e.to_string().as_bytes());
            }
            return;
        }
    };
    let plan = match patch::apply(&file, &edits, &Options::default()) {
        Ok(plan) => plan,
        Err(Trouble::Failure(e)) => return failure(&e),
        Err(Trouble::Edits(errors)) => {
            assert!(!errors.is_empty());
            for e in errors {
                printed::text(e.to_string().as_bytes());
            }
            return;
        }
    };
    for line in plan.describe().iter().chain(&plan.notes) {
        printed::text(line.as_bytes());
    }
    let nothing = plan.is_empty();
    let (new, back) = (free("patched.ckpt"), free("patched.undo"));
    let undo = patch::write::Undo::At {
        path: back.clone().into(),
        force: true,
    };
    if let Err(e) = patch::write::to_file(plan, new.clone().into(), true, &undo, false) {
        // What is damaged where nobody looked before.
        assert!(!input::is_sound(&bytes), "{e}");
        return failure(&e);
    }
    assert_follows(&bytes, &fs::read(&new).unwrap());
    if input::is_sound(&bytes) {
        assert_others_stay(
            &file,
            &open("patched.ckpt", &fs::read(&new).unwrap()).unwrap_or_else(|e| panic!("{e}")),
        );
    }
    let diff = crimg(&["diff", "--mem", "bytes", &path("patch.ckpt"), &new]);
    if input::is_sound(&bytes) && nothing {
        assert_eq!(diff.result.ok(), Some(Outcome::Sound));
    }
    if let Err(e) = undo::restore(&new, &back, Target::InPlace, false) {
        assert!(!input::is_sound(&bytes), "{e}");
        return failure(&e);
    }
    assert!(take(&new) == bytes, "not the old image");
}

/// What the other processes have alone, records and pages, is what it was.
fn assert_others_stay(before: &ImageFile, after: &ImageFile) {
    let (old, new) = (before.image.all_sections(), after.image.all_sections());
    assert_eq!(old.processes(), new.processes());
    for process in (0..old.processes()).filter(|n| *n != before.image.process) {
        for section in cr_format::sections::SECTIONS
            .iter()
            .filter(|s| is_of_process(s.id))
        {
            let own = |all: &Sections| -> Vec<Vec<u8>> {
                records_in(section.id, all.of(process, section.id))
                    .map(|raw| raw.unwrap_or_else(|e| panic!("{e:?}")))
                    .filter(|raw| section.id != FILES || is_own_file_record(raw.record_type))
                    .map(|raw| raw.bytes().to_vec())
                    .collect()
            };
            assert!(
                own(old) == own(new),
                "{} of process {process}",
                section.word
            );
        }
        let pages = |file: &ImageFile| -> Vec<(u64, u32, u32)> {
            let own = file.page_chunks().filter(|c| c.owner == process + 1);
            own.map(|c| (c.key, c.items, c.raw_crc)).collect()
        };
        assert!(pages(before) == pages(after), "pages of process {process}");
    }
}

/// An undo file of any bytes: as it is, and with the right magic and checksum in front.
pub fn undo(data: &[u8]) {
    let image = write("undo.ckpt", &crate::synth::process().bytes());
    let mut repaired = b"CRKUNDO\x01".to_vec();
    repaired.extend(crc(0, data).to_le_bytes());
    repaired.extend(data);
    for bytes in [data, &repaired] {
        let _ = Undo::parse(bytes);
        let file = write("any.undo", bytes);
        let out = free("undone.ckpt");
        let said = crimg(&["patch", "--undo", &file, &image, "-o", &out]);
        assert!(said.result.is_err() || fs::metadata(&out).is_ok());
    }
}
