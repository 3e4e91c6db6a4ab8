// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Commands of `crimg` in this process, and a folder for their files.

use super::printed;
use clap::Parser;
use crimg::{
    cli::Args,
    error::{Failure, Outcome},
    file::ImageFile,
    output::Output,
};
use std::{
    cell::RefCell,
    collections::HashMap,
    fs,
    io::{self, Write},
    path::Path,
    rc::Rc,
};

/// A folder of this thread, in memory if possible: a fuzz target writes thousands of files each second.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let parent = match std::env::var_os("TMPDIR") {
            None if memory.is_dir() => memory.to_owned(),
            _ => std::env::temp_dir(),
        };
        Self(tempfile::tempdir_in(parent).unwrap())
    }
}

thread_local! {
    static FOLDER: Folder = Folder::new();
    /// Command lines that have been parsed.
    static PARSED: RefCell<HashMap<String, Rc<Args>>> = RefCell::default();
}

/// Path of a file in the folder.
pub fn path(name: &str) -> String {
    let path = FOLDER.with(|f| f.0.path().join(name));
    path.into_os_string().into_string().unwrap()
}

/// Writes a file there.
pub fn write(name: &str, bytes: &[u8]) -> String {
    let path = path(name);
    fs::write(&path, bytes).unwrap();
    path
}

/// A folder without files there.
pub fn empty() -> String {
    let path = path("empty");
    fs::create_dir_all(&path).unwrap();
    path
}

/// Writes and opens an image; none for what cannot be opened.
pub fn open(name: &str, bytes: &[u8]) -> Result<ImageFile, Failure> {
    ImageFile::open(&write(name, bytes))
}

/// Takes a file away and gives its bytes.
pub fn take(path: &str) -> Vec<u8> {
    let bytes = fs::read(path).unwrap();
    fs::remove_file(path).unwrap();
    bytes
}

/// A name that is free.
pub fn free(name: &str) -> String {
    let path = path(name);
    let _ = fs::remove_file(&path);
    path
}

#[derive(Clone, Default)]
struct Kept(Rc<RefCell<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a command said.
pub struct Said {
    pub result: Result<Outcome, Failure>,
    pub data: Vec<u8>,
}

impl Said {
    /// What was printed, if the command did its work.
    pub fn done(&self) -> Option<&[u8]> {
        self.result.is_ok().then_some(self.data.as_slice())
    }
}

/// Runs a command. Whatever it tells on standard error must be fit for a terminal.
pub fn crimg(args: &[&str]) -> Said {
    let line = args.join("\0");
    let known = PARSED.with_borrow(|p| p.get(&line).cloned());
    let parsed = known.unwrap_or_else(|| {
        let all = ["crimg"].iter().chain(args);
        let parsed = Rc::new(Args::try_parse_from(all).unwrap_or_else(|e| panic!("{e}")));
        PARSED.with_borrow_mut(|p| {
            // Command lines that depend on the input are not worth keeping.
            if p.len() < 64 {
                p.insert(line, parsed.clone());
            }
        });
        parsed
    });
    let (data, messages) = (Kept::default(), Kept::default());
    let mut out = Output::to(Box::new(data.clone()), Box::new(messages.clone()));
    let result = parsed.run(&mut out);
    drop(out);
    printed::text(&messages.0.borrow());
    if let Err(e) = &result {
        failure(e);
    }
    Said {
        result,
        data: data.0.take(),
    }
}

/// A failure must be fit for a terminal, and is none of reading or writing: the files are there.
pub fn failure(e: &Failure) {
    printed::text(e.to_string().as_bytes());
    assert!(
        !matches!(e, Failure::Read { .. } | Failure::Output { .. }),
        "{e}"
    );
}
