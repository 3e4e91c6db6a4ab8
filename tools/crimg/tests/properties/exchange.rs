// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Images in the form of other programs, there and back.

use super::{
    input::{self, is_sound},
    printed,
    tool::{crimg, failure, free, open, take, write},
};
use crimg::{
    core_file::{export, Options, Sink},
    error::Failure,
    json_image::{
        export::{export as to_json, Pages},
        import::{import, Job, Pass},
        make::Made,
        target,
    },
    memory::Memory,
};
use std::fs::{self, File};

/// The document of an image in a file.
fn document(name: &str, bytes: &[u8]) -> Result<Vec<u8>, Failure> {
    let file = open(name, bytes)?;
    let mut document = Vec::new();
    let mut sink = target::Sink::Bytes(&mut document);
    to_json(&file, &Pages::Embed, false, &mut sink, false)?;
    Ok(document)
}

/// Makes an image of a document.
fn make(document: &[u8], name: &str) -> Result<(Made, Vec<u8>), Failure> {
    let target = free(name);
    let job = Job {
        name: "document".to_owned(),
        target: target.clone().into(),
        force: false,
        folder: None,
        pages_file: None,
    };
    let made = import(&job, document, Pass::Both);
    match made {
        Ok(made) => Ok((made, take(&target))),
        Err(e) => {
            assert!(fs::metadata(&target).is_err(), "half an image");
            Err(e)
        }
    }
}

/// What is exported is imported as the same image.
pub fn export_json(data: &[u8]) {
    let bytes = input::any(data);
    let document = match document("json.ckpt", &bytes) {
        Ok(document) => document,
        Err(e) => {
            assert!(!is_sound(&bytes), "{e}");
            return failure(&e);
        }
    };
    printed::json(&document);
    match make(&document, "again.ckpt") {
        Ok((made, again)) => assert!(
            made == Made::Identical && again == bytes || !is_sound(&bytes),
            "not the image that was exported"
        ),
        Err(e) => assert!(!is_sound(&bytes), "{e}"),
    }
}

/// A document of any bytes: what comes of it is sound, and the document of that makes the same image.
pub fn import_json(data: &[u8]) {
    let image = match make(data, "made.ckpt") {
        Ok((_, image)) => image,
        Err(e) => return failure(&e),
    };
    // The digest of a document that was not edited stands for the rules.
    if !is_sound(&image) {
        return;
    }
    let document = document("made-again.ckpt", &image).unwrap_or_else(|e| panic!("{e}"));
    let (made, again) = make(&document, "again.ckpt").unwrap_or_else(|e| panic!("{e}"));
    assert!(made == Made::Identical && again == image);
}

/// A core has the same bytes as a file and as a stream; it can be imported, or it is said why not.
pub fn export_core(data: &[u8]) {
    let bytes = input::image(data);
    let Ok(file) = open("core.ckpt", &bytes) else {
        return;
    };
    let file = match input::choose(file, data.len() as u8) {
        Ok(file) => file,
        Err(e) => return failure(&e),
    };
    if !file.image.damage.is_empty() {
        return;
    }
    let memory = Memory::new(&file, None);
    let core = free("core");
    let out = File::create_new(&core).unwrap();
    let failed = Failure::Write;
    let mut sink = Sink::File(&out);
    let done = match export(&file, &memory, Options::default(), &mut sink, &failed) {
        Ok(done) => done,
        Err(Failure::Write(e)) if e.raw_os_error() == Some(27) => {
            // A process with so much memory that no file is large enough.
            return;
        }
        Err(e) => {
            assert!(!is_sound(&bytes), "{e}");
            return failure(&e);
        }
    };
    assert_eq!(out.metadata().unwrap().len(), done.bytes);
    if done.bytes < 1 << 20 {
        let mut stream = Vec::new();
        let mut sink = Sink::Stream(&mut stream, 0);
        export(&file, &memory, Options::default(), &mut sink, &failed).unwrap();
        assert!(stream == fs::read(&core).unwrap());
    }
    import_file(&core);
}

/// A core of any bytes.
pub fn import_core(data: &[u8]) {
    import_file(&write("any.core", data));
}

fn import_file(core: &str) {
    let image = free("imported.ckpt");
    let said = crimg(&["import", "core", core, "-o", &image, "--json"]);
    match said.done() {
        Some(said) => {
            printed::json(said);
            let image = take(&image);
            if let Err(e) = crate::common::read(&image) {
                panic!("an image that is not sound: {e}");
            }
        }
        None => assert!(fs::metadata(&image).is_err(), "half an image"),
    }
}
