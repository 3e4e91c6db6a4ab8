// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! What the searching commands have in common: opening, threads, counting, the verdict.

use super::{
    engine::Engine,
    pieces::Pieces,
    place,
    scan::{search, Hit, Summary},
    select::{nothing, Select},
    stream::Stream,
};
use crate::{
    error::{remedy, Failure, Outcome},
    escape,
    file::ImageFile,
    json,
    memory::Memory,
    number,
    output::Output,
    progress,
};
use serde_json::{Map, Value};

/// Opens an image and says on standard error what is damaged.
///
/// # Errors
/// [`Failure`].
pub fn open(
    command: &str,
    image: &str,
    select: &Select,
    out: &mut Output,
) -> Result<(ImageFile, Outcome), Failure> {
    let file = ImageFile::open_process(image, select.pid)?;
    let mut outcome = Outcome::Sound;
    for e in &file.image.damage {
        out.message(format_args!(
            "crimg {command}: {}: at {:#x}: {}\n  {}",
            escape::text(image.as_bytes()),
            e.offset,
            e.kind,
            remedy(&e.kind)
        ));
        outcome = outcome.worse(Outcome::of(&e.kind));
    }
    Ok((file, outcome))
}

/// Found, or not: exit status 0 or 1, unless the image is damaged.
pub fn verdict(found: bool, damage: Outcome) -> Outcome {
    damage.worse(if found {
        Outcome::Sound
    } else {
        Outcome::Differs
    })
}

/// Threads to search with.
pub fn threads(asked: Option<usize>) -> usize {
    let host = || std::thread::available_parallelism().map_or(1, usize::from);
    // More would only take memory.
    asked.unwrap_or_else(host).clamp(1, 64)
}

/// Adds members to the JSON object of a hit.
type Members<'a> =
    &'a dyn Fn(&Memory<'_>, &Hit<'_>, &mut Map<String, Value>) -> Result<(), Failure>;

/// How matches are reported.
pub struct Report<'a> {
    /// For messages: `mem grep`.
    pub command: &'static str,
    /// Name of the list in JSON.
    pub list: &'static str,
    /// Print JSON.
    pub json: bool,
    /// Print only how many.
    pub count: bool,
    /// Stop after so many.
    pub max_count: Option<u64>,
    /// See [`threads`].
    pub threads: Option<usize>,
    /// Prints one hit for people.
    pub line: &'a dyn Fn(&Memory<'_>, &Hit<'_>, &mut Output) -> Result<(), Failure>,
    /// Adds members for JSON.
    pub members: Members<'a>,
}

/// Searches the selected memory and reports. Exit status 0 if something was found, 1 if not.
///
/// # Errors
/// [`Failure`].
pub fn run(
    memory: &Memory<'_>,
    select: &Select,
    engine: &dyn Engine,
    report: &Report<'_>,
    damage: Outcome,
    out: &mut Output,
) -> Result<Outcome, Failure> {
    let parts = select.parts(memory, None);
    if parts.is_empty() {
        nothing(report.command, memory, out);
    }
    let files = select.sysroot.is_some();
    let pieces = Pieces::new(memory, &parts, select.stored_only, files, !select.no_check)?;
    let bar = progress::bar(pieces.total(), "searched");
    let mut stream = None;
    if report.json {
        let name = &memory.image().image.name;
        stream = Some(Stream::begin(out, name, report.command, report.list)?);
    }
    let most = report.max_count.unwrap_or(u64::MAX);
    let mut found = 0_u64;
    let mut sink = |hit: &Hit<'_>| {
        let room = most.saturating_sub(found);
        let hit = Hit {
            count: hit.count.min(room),
            ..*hit
        };
        if hit.count == 0 {
            return Ok(false);
        }
        found = found.saturating_add(hit.count);
        if !report.count {
            match &mut stream {
                Some(stream) => stream.element(out, element(memory, report, &hit)?)?,
                None => (report.line)(memory, &hit, out)?,
            }
        }
        Ok(found < most)
    };
    let summary = search(&pieces, engine, threads(report.threads), &bar, &mut sink)?;
    bar.finish_and_clear();
    if let Some(stream) = stream {
        let mut m = Map::new();
        m.insert("count".into(), json::integer(found));
        m.insert("searched".into(), json::integer(summary.searched));
        m.insert("not_in_image".into(), json::integer(summary.elsewhere));
        stream.end(out, m)?;
    } else if report.count {
        out.line(found)?;
    }
    out.finish()?;
    if found == 0 && !parts.is_empty() {
        hint(report.command, memory, &summary, out);
    }
    Ok(verdict(found > 0, damage))
}

fn element(
    memory: &Memory<'_>,
    report: &Report<'_>,
    hit: &Hit<'_>,
) -> Result<Map<String, Value>, Failure> {
    let mut m = place::members(memory, hit.address);
    (report.members)(memory, hit, &mut m)?;
    if hit.count > 1 {
        m.insert("count".into(), json::integer(hit.count));
        m.insert("step".into(), json::integer(hit.step));
    }
    Ok(m)
}

/// A search that found nothing may have been kept from where it was meant to look.
fn hint(command: &str, memory: &Memory<'_>, summary: &Summary, out: &mut Output) {
    if summary.elsewhere > 0 {
        out.message(format_args!(
            "crimg {command}: {}: nothing found; {} of mapped files are not in the image and were not searched\n  \
             Add --sysroot / if this host has the same files.",
            escape::text(memory.image().image.name.as_bytes()),
            number::size(summary.elsewhere)
        ));
    }
}

/// `  (and at each of the next 4095 addresses)` behind a stretch of matches.
pub fn repeated(hit: &Hit<'_>) -> String {
    match (hit.count, hit.step) {
        (0 | 1, _) => String::new(),
        (2, step) => format!("  (and once more, {step} bytes on)"),
        (n, 1) => format!(
            "  (and at each of the next {} addresses)",
            n.saturating_sub(1)
        ),
        (n, step) => format!(
            "  (and {} more, one every {step} bytes)",
            n.saturating_sub(1)
        ),
    }
}
