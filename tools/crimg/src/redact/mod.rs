// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! An image without its secrets: texts and ranges overwritten, every length as it was.
//!
//! Two passes over the page data: the first finds the places (also across pages and chunks, since a text
//! does not know where a page ends), the second makes the chunks that have some anew and copies the
//! others. Memory: a few MiB and 16 bytes for each place.

pub mod pages;
pub mod records;
pub mod search;
pub mod spans;
pub mod stack;

use crate::{
    error::Failure,
    file::ImageFile,
    memory::{Area, Memory},
    process::Process,
    repack::pack::Areas,
    rewrite::{PageAction, Rewrite, Target, Written},
};
use cr_format::{
    records_in, sections, superblock::NOT_RESTARTABLE, Error, PROVENANCE, VMA_SHARED_ANON,
};
use pages::{Eraser, Fixed};
use search::Search;
use spans::Spans;
use std::{
    cell::RefCell,
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// Texts of fewer bytes are overwritten where they stand, but not looked for elsewhere: they are everywhere.
pub const SHORTEST_COPY: usize = 6;

/// Fields of records that go as a whole.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fields {
    /// The arguments in the process record, but for the program's name.
    pub args: bool,
    /// Unread bytes of pipes.
    pub pipes: bool,
    /// Paths and names of files, threads and memory areas.
    pub paths: bool,
    /// The host name.
    pub hostname: bool,
}

/// What is to go.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Values of all environment variables.
    pub env_all: bool,
    /// Values of these environment variables.
    pub env: Vec<String>,
    /// Fields of records; `args` is also about the stack.
    pub fields: Fields,
    /// Address ranges: start, end.
    pub ranges: Vec<(u64, u64)>,
    /// Memory areas by name, path, or last part of the path.
    pub areas: Vec<String>,
    /// Regular expressions over bytes.
    pub patterns: Vec<String>,
    /// Leave copies of values and arguments that stand elsewhere.
    pub no_copies: bool,
    /// The byte that is put over the others.
    pub fill: u8,
    /// Do not mark the image as made for looking at only.
    pub restartable: bool,
}

/// What was done.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Environment variables whose values were overwritten.
    pub variables: u64,
    /// Variables that were asked for and are not in the environment.
    pub missing: Vec<String>,
    /// Values and arguments too short to be looked for elsewhere.
    pub short: u64,
    /// Places in page data.
    pub places: u64,
    /// Bytes of page data.
    pub bytes: u64,
    /// Chunks made anew.
    pub chunks: u64,
    /// Fields of records.
    pub fields: u64,
    /// Bytes of records.
    pub field_bytes: u64,
    /// Sections of other parties that were left out.
    pub dropped: u64,
    /// Was the new image searched again? Not on standard output.
    pub checked: bool,
    /// What was written.
    pub written: Written,
}

/// Writes the image without what is to go.
///
/// # Errors
/// [`Failure::Usage`] for a range or area that is not there; [`Failure::Defect`] for a damaged image;
/// everything that writing has; the target is untouched then.
pub fn redact(file: &ImageFile, options: &Options, target: Target) -> Result<Report, Failure> {
    let mut report = Report::default();
    let mut search = Search::default();
    let mut fixed = Fixed::new();
    for pattern in &options.patterns {
        search.pattern(pattern)?;
    }
    if !options.no_copies {
        for name in &options.env {
            search.variable(name);
        }
    }
    let mut there = There::default();
    file.for_each_process(|process| {
        let memory = Memory::new(process, None);
        ranges(options, &memory, &mut fixed, &mut there);
        vectors(
            options,
            &memory,
            &mut search,
            &mut fixed,
            &mut there,
            &mut report,
        )
    })?;
    there.check(options, &mut report)?;
    fixed.values_mut().for_each(Spans::tidy);
    let found = pages::search(file, &search)?;
    report.places = places(&found, &fixed);

    let areas = Areas::new(&file.image.sections);
    let eraser = RefCell::new(Eraser::new(fixed, found, options.fill, areas));
    let mut plan = Rewrite::new(file)?;
    for (process, id, section) in file.image.sections.iter() {
        if sections::by_id(id).is_none() {
            // EDIT-10: what is in a section that nobody here knows cannot be told apart.
            if section.critical {
                let e = Error::unsupported("critical section that crimg does not know");
                return Err(file.defect(e.placed(id, 0), 0));
            }
            plan.section_of(process, id, Vec::new());
            report.dropped = report.dropped.saturating_add(1);
            continue;
        }
        let mut bytes = section.bytes.clone();
        let (fields, total) =
            records::redact(id, &mut bytes, &search, &options.fields, options.fill);
        report.fields = report.fields.saturating_add(fields);
        report.field_bytes = report.field_bytes.saturating_add(total);
        if fields > 0 {
            plan.section_of(process, id, bytes);
        }
    }
    if !options.restartable {
        plan.superblock().flags |= NOT_RESTARTABLE;
    }
    plan.edit("redact", &options.describe(&report));
    plan.pages(|entry| {
        if sections::by_id(entry.section).is_none() {
            return Ok(PageAction::Drop);
        }
        eraser.borrow_mut().chunk(file, entry)
    });
    search.ignore(options.fill);
    let name = match &target {
        Target::File { path, .. } => path.clone(),
        Target::InPlace => file.place()?.to_owned(),
        Target::Stdout => PathBuf::new(),
    };
    report.checked = !matches!(target, Target::Stdout);
    report.written = plan.run_checked(target, true, |path| recheck(path, &name, &search))?;
    let eraser = eraser.into_inner();
    (report.bytes, report.chunks) = (eraser.bytes, eraser.chunks);
    Ok(report)
}

impl Options {
    /// Is nothing to be done?
    pub fn is_empty(&self) -> bool {
        let f = &self.fields;
        !(self.env_all || f.args || f.pipes || f.paths || f.hostname)
            && self.env.is_empty()
            && self.ranges.is_empty()
            && self.areas.is_empty()
            && self.patterns.is_empty()
    }

    /// For section `provenance`: what kinds of things are gone, and not what they were.
    fn describe(&self, report: &Report) -> String {
        let f = &self.fields;
        let n = |n: usize, one: &str, many: &str| {
            (n > 0).then(|| crate::number::count(n as u64, one, many))
        };
        let word = |on: bool, text: &str| on.then(|| text.to_owned());
        let parts = [
            n(
                usize::try_from(report.variables).unwrap_or(usize::MAX),
                "environment value",
                "environment values",
            ),
            word(f.args, "arguments"),
            n(self.ranges.len(), "range", "ranges"),
            n(self.areas.len(), "memory area", "memory areas"),
            n(self.patterns.len(), "pattern", "patterns"),
            word(f.pipes, "pipe contents"),
            word(f.paths, "paths and names"),
            word(f.hostname, "host name"),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// Number of places, those that were named and found counted once.
fn places(found: &pages::Places, fixed: &Fixed) -> u64 {
    let mut all = found.clone();
    for (owner, fixed) in fixed {
        let memory = all.entry((cr_format::MEMORY, *owner)).or_default();
        fixed.iter().for_each(|(start, end)| memory.add(start, end));
        memory.tidy();
    }
    all.values().map(|s| s.len() as u64).sum()
}

/// What was asked for and is there, in one of the processes at least.
#[derive(Default)]
struct There {
    /// By their place in the options.
    ranges: BTreeSet<usize>,
    areas: BTreeSet<usize>,
    variables: BTreeSet<usize>,
}

impl There {
    /// Is everything there that cannot be left out?
    fn check(&self, options: &Options, report: &mut Report) -> Result<(), Failure> {
        let usage = |message: String, remedy: &str| {
            Err(Failure::Usage {
                message,
                remedy: remedy.to_owned(),
            })
        };
        let missing = |n: &usize| !self.ranges.contains(n);
        if let Some((start, end)) = first(&options.ranges, missing) {
            return usage(
                format!("--range {start:#x}-{end:#x}: no memory area has an address of it"),
                "List the areas with: crimg show --maps IMAGE",
            );
        }
        let missing = |n: &usize| !self.areas.contains(n);
        if let Some(name) = first(&options.areas, missing) {
            let name = crate::escape::text(name.as_bytes());
            return usage(
                format!("--vma: no memory area is {name}"),
                "Give a path, its last part, or a name like [heap]; see crimg show --maps IMAGE",
            );
        }
        let names = options.env.iter().enumerate();
        let missing = names.filter(|(n, _)| !self.variables.contains(n));
        report.missing.extend(missing.map(|(_, name)| name.clone()));
        Ok(())
    }
}

/// The first element whose place is wanted.
fn first<T>(list: &[T], wanted: impl Fn(&usize) -> bool) -> Option<&T> {
    let mut all = list.iter().enumerate();
    all.find(|(n, _)| wanted(n)).map(|(_, element)| element)
}

/// Ranges and areas, and the same memory where it is mapped a second time.
fn ranges(options: &Options, memory: &Memory<'_>, fixed: &mut Fixed, there: &mut There) {
    for (n, &(start, end)) in options.ranges.iter().enumerate() {
        let areas = memory.areas();
        if areas.iter().any(|a| a.start < end && start < a.end) {
            there.ranges.insert(n);
            add_range(memory, start, end, fixed);
        }
    }
    for (n, name) in options.areas.iter().enumerate() {
        let wanted = name.as_bytes();
        let is = |a: &&Area| {
            let last = a.name.rsplit(|b| *b == b'/').next();
            a.name == wanted || (a.path.is_some() && last == Some(wanted))
        };
        for area in memory.areas().iter().filter(is) {
            there.areas.insert(n);
            add_range(memory, area.start, area.end, fixed);
        }
    }
}

/// Shared memory is stored with the first area that maps it, perhaps of another process, so every area with these bytes
/// is meant.
fn add_range(memory: &Memory<'_>, start: u64, end: u64, fixed: &mut Fixed) {
    let areas = memory.areas();
    let own = fixed.entry(memory.owner()).or_default();
    own.add(start, end);
    let mut homes = Vec::new();
    let shared = |a: &&Area| a.kind == VMA_SHARED_ANON;
    for a in areas.iter().filter(shared) {
        let (from, to) = (a.start.max(start), a.end.min(end));
        if from >= to {
            continue;
        }
        let offset = a.offset.saturating_add(from.saturating_sub(a.start));
        let stop = offset.saturating_add(to.saturating_sub(from));
        for b in areas.iter().filter(shared).filter(|b| b.object == a.object) {
            let (low, high) = (
                offset.max(b.offset),
                stop.min(b.offset.saturating_add(b.len())),
            );
            let at = |o: u64| b.start.saturating_add(o.saturating_sub(b.offset));
            if low < high {
                own.add(at(low), at(high));
            }
        }
        let mut at = from;
        while at < to {
            let home = memory.home(a, at);
            let len = home.reach.min(to.saturating_sub(at)).max(1);
            homes.push((home, len));
            at = at.saturating_add(len);
        }
    }
    for (home, len) in homes {
        let there = fixed.entry(home.owner).or_default();
        there.add(home.address, home.address.saturating_add(len));
    }
}

/// Environment and arguments on the stack, and their texts for the search of copies.
fn vectors(
    options: &Options,
    memory: &Memory<'_>,
    search: &mut Search,
    fixed: &mut Fixed,
    there: &mut There,
    report: &mut Report,
) -> Result<(), Failure> {
    let fixed = fixed.entry(memory.owner()).or_default();
    let process = Process::new(&memory.image().image.sections);
    let Some(mm) = process.mm else {
        return Ok(());
    };
    let mut remove = |start: u64, text: &[u8], report: &mut Report| {
        fixed.add(start, start.saturating_add(text.len() as u64));
        if options.no_copies || text.is_empty() {
            return;
        }
        if text.len() < SHORTEST_COPY {
            report.short = report.short.saturating_add(1);
        } else {
            search.literal(text);
        }
    };
    if options.env_all || !options.env.is_empty() {
        let strings = stack::strings(memory, mm.env_start, mm.env_end)?;
        let wanted =
            |name: &[u8]| options.env_all || options.env.iter().any(|n| n.as_bytes() == name);
        for s in strings.iter().filter(|s| wanted(s.name())) {
            let value = s.bytes.get(s.value()..).unwrap_or(&[]);
            remove(s.start.saturating_add(s.value() as u64), value, report);
            report.variables = report.variables.saturating_add(1);
        }
        for (n, name) in options.env.iter().enumerate() {
            if strings.iter().any(|s| s.name() == name.as_bytes()) {
                there.variables.insert(n);
            }
        }
    }
    if options.fields.args {
        let strings = stack::strings(memory, mm.arg_start, mm.arg_end)?;
        for s in strings.iter().skip(1) {
            remove(s.start, &s.bytes, report);
        }
        // The record has them as well, and is cut at another length.
        if let Some(p) = &process.process {
            for arg in p.args.split(|b| *b == 0).skip(1) {
                if !options.no_copies && arg.len() >= SHORTEST_COPY {
                    search.literal(arg);
                }
            }
        }
    }
    Ok(())
}

/// Searches the new image, which is to be `name`.
fn recheck(path: &Path, name: &Path, search: &Search) -> Result<(), Failure> {
    let file = ImageFile::open(&path.to_string_lossy())?;
    let left = |place: String| {
        Failure::Malformed {
        file: name.to_string_lossy().into_owned(),
        place,
        message: "a text that was to go would still be there".to_owned(),
        remedy: "Nothing was written. Overwrite the place of that text with --range; an expression must not fit \
                 what is kept, such as names of fields and files."
            .into(),
    }
    };
    for ((section, _), places) in pages::search(&file, search)? {
        if let Some((start, _)) = places.iter().next() {
            return Err(left(format!(
                "page data of section {section:#x} at {start:#x}"
            )));
        }
    }
    for (_, id, section) in file.image.sections.iter() {
        let mut bytes = section.bytes.clone();
        if id == PROVENANCE {
            // The last record is what this redaction says of itself.
            let last = records_in(id, &bytes).map_while(Result::ok).last();
            bytes.truncate(last.map_or(0, |r| usize::try_from(r.offset).unwrap_or(0)));
        }
        let (fields, _) = records::redact(id, &mut bytes, search, &Fields::default(), 0);
        if fields > 0 {
            return Err(left(format!("section {id:#x}")));
        }
    }
    Ok(())
}
