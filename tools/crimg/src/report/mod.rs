// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! An image as one HTML page: for a bug report, a colleague, a phone.
//!
//! The page needs nothing but itself: style and drawings are inside, there is no script, and its own policy
//! forbids the browser to load anything. Everything from the image is escaped ([`html`]); lists are cut
//! (and say so), so a page stays small whatever the image.

pub mod html;
mod map;
mod process;
mod resources;
mod storage;

use crate::{
    error::{Failure, Outcome},
    escape,
    file::number_of,
    input::Input,
    load::{load, Image},
    number,
    verify::{self, Level},
    view::{all, first, generic::Schema},
};
use cr_format::{validate, DescriptorRecord, Error, ProcessRecord, TaskRecord};
use html::Html;
use map::Map;

/// What was found out about the image.
pub struct Verdict {
    /// Sound, malformed, unsupported.
    pub outcome: Outcome,
    /// What is wrong.
    pub defects: Vec<Error>,
    /// Was the page data checked as well?
    pub complete: bool,
}

/// The bytes of a text for people; HTML escaping comes after.
fn safe(bytes: &[u8]) -> String {
    escape::text(bytes)
}

/// Reads an image (`-`: standard input) and makes the page, of the process `pid` if there are several.
///
/// # Errors
/// [`Failure::Read`]; [`Failure::Defect`] if there is nothing to be shown; [`Failure::Usage`] for a process that is not there.
pub fn report(name: &str, pid: Option<u64>) -> Result<(String, Outcome), Failure> {
    let mut input = Input::open(name)?;
    let mut image = load(&mut input)?;
    if let (true, Some(e)) = (image.chunks.is_empty(), image.damage.first()) {
        return Err(Failure::Defect {
            image: image.name,
            error: *e,
        });
    }
    let verdict = match input.file() {
        Some(_) => {
            let checked = verify::check(&mut Input::open(name)?, Level::Semantics, true)?;
            Verdict {
                outcome: checked.outcome(),
                defects: checked.defects,
                complete: true,
            }
        }
        None => metadata(&image),
    };
    let outcome = verdict.outcome;
    if let Some(number) = pid.map(|pid| number_of(&image.sections, pid)).transpose()? {
        image.take(number);
    }
    Ok((page(&image, &verdict), outcome))
}

/// The verdict on an image that can be read only once.
fn metadata(image: &Image) -> Verdict {
    let mut defects = image.damage.clone();
    if defects.is_empty() {
        defects.extend(validate::meta(&image.sections).err());
    }
    Verdict {
        outcome: defects
            .iter()
            .fold(Outcome::Sound, |o, e| o.worse(Outcome::of(&e.kind))),
        defects,
        complete: false,
    }
}

/// The page.
pub fn page(image: &Image, verdict: &Verdict) -> String {
    let schema = Schema::new(image);
    let map = Map::new(image);
    let mut h = Html::default();
    head(image, &mut h);
    header(image, verdict, &mut h);
    tiles(image, &map, &mut h);
    process::process(image, &mut h);
    storage::verdict(image, verdict, &schema, &mut h);
    map.draw(&mut h);
    process::threads(image, &mut h);
    resources::descriptors(image, &mut h);
    resources::signals(image, &mut h);
    resources::rights(image, &mut h);
    resources::others(image, &schema, &mut h);
    resources::mapped_files(image, &mut h);
    storage::storage(image, &schema, &mut h);
    storage::history(image, &mut h);
    h.raw(concat!(
        "<footer>Made by crimg ",
        env!("CARGO_PKG_VERSION"),
        ". No scripts, nothing loaded from elsewhere. Paths, arguments and names are those of the \
         process; contents of memory are not on this page.</footer>\n</main></body></html>\n"
    ));
    h.finish()
}

fn title(image: &Image) -> String {
    match first::<ProcessRecord<'_>>(image) {
        Some(p) => format!("{} {}", safe(p.comm), p.tgid),
        None => "checkpoint image".to_owned(),
    }
}

fn head(image: &Image, h: &mut Html) {
    h.raw(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n<title>",
    );
    h.safe(&title(image))
        .raw(" · crimg report</title>\n<style>\n");
    h.raw(include_str!("style.css"))
        .raw("</style></head>\n<body><main>\n");
}

fn header(image: &Image, verdict: &Verdict, h: &mut Html) {
    h.raw("<header><h1>").safe(&title(image)).raw(" <small>");
    h.text(&image.name)
        .raw("</small></h1>\n<div class=\"badges\">");
    let (class, word) = match (verdict.outcome, verdict.complete) {
        (Outcome::Sound, true) => ("<span class=\"badge good\">", "sound"),
        (Outcome::Sound, false) => ("<span class=\"badge warn\">", "metadata sound"),
        (Outcome::Unsupported, _) => ("<span class=\"badge bad\">", "unsupported"),
        _ => ("<span class=\"badge bad\">", "damaged"),
    };
    h.raw(class).raw(word).raw("</span>");
    if let Some(s) = image.superblock {
        if !s.is_restartable() {
            h.raw("<span class=\"badge warn\">for looking at only</span>");
        } else if verdict.outcome == Outcome::Sound {
            h.raw("<span class=\"badge\">can be restarted</span>");
        }
        h.raw("<span class=\"badge\">format ");
        h.text(format_args!("{}.{}", s.major, s.minor))
            .raw("</span>");
        h.raw("<span class=\"badge m\">");
        h.text(number::uuid(&s.uuid)).raw("</span>");
    }
    h.raw("</div></header>\n<nav>");
    for (id, name) in [
        ("#process", "Process"),
        ("#verdict", "Verification"),
        ("#memory", "Memory"),
        ("#threads", "Threads"),
        ("#files", "Descriptors"),
        ("#signals", "Signals"),
        ("#rights", "Rights"),
        ("#mapped", "Files"),
        ("#storage", "Storage"),
        ("#history", "History"),
    ] {
        h.raw("<a href=\"").raw(id).raw("\">").raw(name).raw("</a>");
    }
    h.raw("</nav>\n");
}

fn tiles(image: &Image, map: &Map, h: &mut Html) {
    let all_memory = map.residency(0, u64::MAX);
    let pages = |n: u64| number::size(n.saturating_mul(cr_format::limits::PAGE));
    let tiles: [(&'static str, String); 7] = [
        ("image", number::size(image.len)),
        ("threads", all::<TaskRecord<'_>>(image).count().to_string()),
        ("memory areas", map.areas().len().to_string()),
        ("mapped", number::size(map.mapped())),
        ("stored", pages(all_memory.stored)),
        (
            "repeated or zero",
            pages(all_memory.duplicate.saturating_add(all_memory.zero)),
        ),
        (
            "descriptors",
            all::<DescriptorRecord>(image).count().to_string(),
        ),
    ];
    h.raw("<div class=\"tiles\">");
    for (name, value) in tiles {
        h.raw("<div class=\"tile\"><b>")
            .text(value)
            .raw("</b><span>");
        h.raw(name).raw("</span></div>");
    }
    h.raw("</div>\n");
}
