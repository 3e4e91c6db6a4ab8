// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Typed edits of an image: `apply` edits to get a plan, look at it, write it.
//!
//! ```text
//! Edit::parse / Edit::script → apply(image, edits, options) → Plan::changes → Plan::write(target)
//! ```
//!
//! All edits are done or none. What comes out has passed the rules of the format, so a restart does not refuse
//! it for an edit. Records and chunks that no edit is about stay byte for byte as they are.
//!
//! [`edit`] what the user writes · [`draft`] the image as it will be · [`files`] [`process`] [`strings`] the
//! edits · [`pages`] new chunks · [`change`] the difference · [`undo`] the way back · [`write`] in place.

pub mod change;
pub mod draft;
pub mod edit;
pub mod files;
pub mod pages;
pub mod process;
pub mod strings;
pub mod undo;
pub mod write;

use crate::{
    error::Failure,
    file::ImageFile,
    memory::Memory,
    rewrite::{PageAction, Rewrite, Target, Written},
};
use change::Change;
use cr_format::{index::IndexEntry, validate, ErrorKind};
use draft::Draft;
use edit::{Edit, Kind};
use std::{cell::RefCell, fmt, path::PathBuf, rc::Rc};

/// Most edits that are tried one by one to find which of them breaks a rule.
const ALONE_MAX: usize = 256;

/// How to work.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where files of the process are on this host; `None`: nowhere, no file is looked at.
    pub sysroot: Option<PathBuf>,
    /// Take size, times and so on of files at new paths from this host.
    pub stat: bool,
    /// Let mapped files be replaced by those of another build.
    pub other_build: bool,
    /// Move strings on the stack even if there seem to be pointers to them elsewhere.
    pub move_strings: bool,
}

impl Default for Options {
    /// No file of the host is looked at.
    fn default() -> Self {
        Self {
            sysroot: None,
            stat: true,
            other_build: false,
            move_strings: false,
        }
    }
}

/// Why an edit cannot be done, and what to do; escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Cause and place.
    pub message: String,
    /// Remedy.
    pub remedy: String,
}

impl Refusal {
    /// Both texts must be escaped.
    pub fn new(message: String, remedy: String) -> Self {
        Self { message, remedy }
    }
}

/// An edit that cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct EditError {
    /// The edit as the user wrote it, escaped; several are separated by commas.
    pub edit: String,
    /// The rule of the format that it would break.
    pub rule: Option<String>,
    /// Cause and place.
    pub message: String,
    /// What the user can do.
    pub remedy: String,
}

impl EditError {
    fn new(edit: &str, message: String, remedy: &str) -> Self {
        Self {
            edit: edit.to_owned(),
            rule: None,
            message,
            remedy: remedy.to_owned(),
        }
    }
    fn refused(edit: &str, refusal: Refusal) -> Self {
        Self::new(edit, refusal.message, &refusal.remedy)
    }
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.edit, self.message)?;
        if let Some(rule) = &self.rule {
            write!(f, " ({rule})")?;
        }
        write!(f, "\n  {}", self.remedy)
    }
}

/// Why there is no plan.
#[derive(Debug)]
pub enum Trouble {
    /// Edits that cannot be done: all that were found.
    Edits(Vec<EditError>),
    /// The image cannot be read or is not sound.
    Failure(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// Edits that have been checked and can be written.
pub struct Plan<'f> {
    file: &'f ImageFile,
    sections: draft::Encoded,
    pages: pages::Pages,
    descriptions: Vec<String>,
    /// What changes.
    pub changes: Vec<Change>,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// Applies edits, in order; those of arguments and environment come last and together.
///
/// Reads the metadata and the pages that are edited; all pages only if strings on the stack move.
///
/// # Errors
/// [`Trouble::Edits`] with every edit that cannot be done; [`Trouble::Failure`] for an image that is not
/// sound where it matters.
pub fn apply<'f>(
    file: &'f ImageFile,
    edits: &[Edit],
    options: &Options,
) -> Result<Plan<'f>, Trouble> {
    // What is not sound is not edited.
    sound(file)?;
    let mut draft = Draft::new(file, options);
    let (strings, mut errors) = run(&mut draft, edits)?;
    broken_rules(file, &mut draft, edits, options, &mut errors)?;
    if !errors.is_empty() {
        return Err(Trouble::Edits(errors));
    }
    let changes = change::all(&draft, &strings)?;
    let sections = draft.changed_sections().clone();
    let mut pages = draft.take_pages();
    let mut same = Vec::new();
    for (home, page) in &pages {
        if change::original(&draft, *home)?.is_some_and(|old| old == **page) {
            same.push(*home);
        }
    }
    for home in same {
        pages.remove(&home);
    }
    let writer = pages::Writer::new(&draft.memory, pages::Pages::new());
    if !pages.is_empty() && !writer.has_room() {
        let texts: Vec<&str> = edits.iter().map(|e| e.text.as_str()).collect();
        return Err(Trouble::Edits(vec![EditError::new(
            &texts.join(", "),
            "the image has no page data".to_owned(),
            "Take the image that it was made from.",
        )]));
    }
    Ok(Plan {
        file,
        sections,
        pages,
        descriptions: edits.iter().map(|e| e.text.clone()).collect(),
        changes,
        notes: draft.notes.take(),
    })
}

fn sound(file: &ImageFile) -> Result<(), Failure> {
    Rewrite::new(file)?.check()
}

/// Does all edits, as far as they go.
fn run(
    draft: &mut Draft<'_>,
    edits: &[Edit],
) -> Result<(strings::Edited, Vec<EditError>), Failure> {
    let mut errors = Vec::new();
    let mut texts = Vec::new();
    for (n, edit) in edits.iter().enumerate() {
        match &edit.kind {
            Kind::Env { .. } | Kind::Unset(_) | Kind::Arg { .. } | Kind::Args(_) => {
                texts.push((n, &edit.kind))
            }
            kind => {
                if let Err(refusal) = one(draft, kind)? {
                    errors.push(EditError::refused(&edit.text, refusal));
                }
            }
        }
    }
    let strings = match strings::apply(draft, &texts)? {
        Ok(strings) => strings,
        Err(refused) => {
            let text = |n: usize| edits.get(n).map_or("", |e| e.text.as_str());
            for (n, refusal) in refused {
                let edit = match n {
                    Some(n) => text(n).to_owned(),
                    None => texts
                        .iter()
                        .map(|t| text(t.0))
                        .collect::<Vec<_>>()
                        .join(", "),
                };
                errors.push(EditError::refused(&edit, refusal));
            }
            strings::Edited::default()
        }
    };
    Ok((strings, errors))
}

fn one(draft: &mut Draft<'_>, kind: &Kind) -> Result<Result<(), Refusal>, Failure> {
    match kind {
        Kind::Fd { fd, path } => files::fd(draft, *fd, path),
        Kind::Pos { fd, pos } => files::pos(draft, *fd, *pos),
        Kind::MapPath { from, to } => files::map_path(draft, from, to),
        Kind::Cwd(path) => files::cwd(draft, path),
        Kind::Root(path) => files::root(draft, path),
        Kind::Exe(path) => files::exe(draft, path),
        Kind::Reg {
            thread,
            register,
            value,
        } => process::reg(draft, *thread, *register, *value),
        Kind::Xmm {
            thread,
            register,
            value,
        } => process::xmm(draft, *thread, *register, *value),
        Kind::Poke { address, bytes } => {
            let remedy =
                || "crimg show --maps lists the memory, crimg mem hex its bytes.".to_owned();
            Ok(draft
                .write(*address, bytes)?
                .map_err(|why| Refusal::new(why, remedy())))
        }
        Kind::Uid(ids) => process::uid(draft, *ids),
        Kind::Gid(ids) => process::gid(draft, *ids),
        Kind::Groups(groups) => process::groups(draft, groups),
        Kind::Rlimit {
            resource,
            soft,
            hard,
        } => process::rlimit(draft, *resource, *soft, *hard),
        Kind::Hostname(name) => process::hostname(draft, name),
        Kind::Comm { thread, name } => process::comm(draft, *thread, name),
        Kind::Nice { thread, nice } => process::nice(draft, *thread, *nice),
        Kind::Umask(umask) => process::umask(draft, *umask),
        Kind::Env { .. } | Kind::Unset(_) | Kind::Arg { .. } | Kind::Args(_) => Ok(Ok(())),
    }
}

/// Checks the draft by the rules of the format; if it breaks one, says which edits do so by themselves.
fn broken_rules(
    file: &ImageFile,
    draft: &mut Draft<'_>,
    edits: &[Edit],
    options: &Options,
    errors: &mut Vec<EditError>,
) -> Result<(), Failure> {
    draft.encode();
    let Err(all) = validate::meta(draft) else {
        return Ok(());
    };
    let known = errors.len();
    for edit in edits.iter().take(ALONE_MAX) {
        if errors.iter().take(known).any(|e| e.edit == edit.text) {
            continue;
        }
        let mut alone = Draft::new(file, options);
        // Alone it may be refused for what another edit provides; that is no matter here.
        run(&mut alone, std::slice::from_ref(edit))?;
        alone.encode();
        if let Err(e) = validate::meta(&alone) {
            errors.push(broken(&edit.text, &e));
        }
    }
    if errors.is_empty() {
        let texts: Vec<&str> = edits.iter().map(|e| e.text.as_str()).collect();
        errors.push(broken(&texts.join(", "), &all));
    }
    Ok(())
}

fn broken(edit: &str, e: &cr_format::Error) -> EditError {
    let rule = match e.kind {
        ErrorKind::Rule(rule) => Some(rule),
        _ => None,
    };
    let why = match rule.map(cr_format::rule_text) {
        Some(text) if !text.is_empty() => text.to_owned(),
        _ => e.kind.to_string(),
    };
    EditError {
        edit: edit.to_owned(),
        rule: rule.map(str::to_owned),
        message: format!("a restart would refuse it: {why}"),
        remedy: "Give another value; the spec of the image format says what can be.".to_owned(),
    }
}

impl<'f> Plan<'f> {
    /// Does nothing change?
    pub fn is_empty(&self) -> bool {
        self.sections.is_empty() && self.pages.is_empty()
    }

    /// The difference, one line per field: `files file descriptor 3: path: "/a" → "/b"`.
    pub fn describe(&self) -> Vec<String> {
        self.changes.iter().map(describe).collect()
    }

    /// Writes the new image. What was at the target is untouched if that fails.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn write(self, target: Target, progress: bool) -> Result<Written, Failure> {
        self.write_noting(target, progress)
            .map(|(written, _)| written)
    }

    /// The same, and the offsets of the chunks that were not kept.
    fn write_noting(self, target: Target, progress: bool) -> Result<(Written, Vec<u64>), Failure> {
        let replaced = Rc::new(RefCell::new(Vec::new()));
        let mut rewrite = Rewrite::new(self.file)?;
        for ((process, id), bytes) in self.sections {
            rewrite.section_of(process, id, bytes);
        }
        let image = &self.file.image;
        let process = image.sections.process(0).filter(|_| image.whole.is_some());
        let of = process.map_or_else(String::new, |p| format!("process {}: ", p.tgid));
        for description in &self.descriptions {
            rewrite.edit("patch", &format!("{of}{description}"));
        }
        if !self.pages.is_empty() {
            let memory = Memory::new(self.file, None);
            let writer = pages::Writer::new(&memory, self.pages);
            let note = replaced.clone();
            rewrite.pages(move |entry: &IndexEntry| {
                let action = writer.decide(entry)?;
                if !matches!(action, PageAction::Keep) {
                    note.borrow_mut().push(entry.offset);
                }
                Ok(action)
            });
        }
        let written = rewrite.run(target, progress)?;
        Ok((written, replaced.take()))
    }
}

/// One change in one line.
pub fn describe(c: &Change) -> String {
    let mut line = format!("{} {}", c.section, c.record);
    if !c.object.is_empty() {
        line.push(' ');
        line.push_str(&c.object);
    }
    let value = |v: &Option<String>| v.clone().unwrap_or_else(|| "(not there)".to_owned());
    if c.field != c.record && c.field != "value" {
        line.push_str(": ");
        line.push_str(&c.field);
    }
    format!("{line}: {} → {}", value(&c.before), value(&c.after))
}
