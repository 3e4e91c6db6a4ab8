// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg show`: what an image contains.

use crate::{
    error::{remedy, Failure, Outcome},
    escape,
    input::Input,
    json::Document,
    load::{load, Image},
    output::Output,
    view::{self, generic::Schema},
};
use cr_format::{CREDS, FILES, LIMITS, MEMORY, PIPES, SIGNALS, STATS, TASKS};

/// Show what an image contains: without options, a summary on one screen.
///
/// The page data is not read (it is passed over in a file), so it is not checked either: that is what
/// `crimg verify` does. A damaged image is shown as far as it goes.
#[derive(clap::Args)]
pub struct Args {
    /// The image; `-` is standard input.
    image: String,
    /// Show every thread with its registers.
    #[arg(long)]
    threads: bool,
    /// Show the memory areas and how much of each is stored.
    #[arg(long)]
    maps: bool,
    /// Show the descriptors and what they are open on.
    #[arg(long)]
    fds: bool,
    /// Show signal handlers, masks and pending signals.
    #[arg(long)]
    signals: bool,
    /// Show all records of a section, by its word (`pipes`, `creds`, `limits`, …) or number; may be repeated.
    #[arg(long, value_name = "WORD")]
    section: Vec<String>,
    /// Print JSON: the whole image, or only the sections that the other options name.
    #[arg(long)]
    json: bool,
}

/// # Errors
/// [`Failure`].
pub fn run(args: &Args, out: &mut Output) -> Result<Outcome, Failure> {
    let mut input = Input::open(&args.image)?;
    let image = load(&mut input)?;
    let schema = Schema::new(&image);
    if image.superblock.is_none() && image.chunks.is_empty() {
        // Nothing that could be shown.
        return Ok(complain(&image));
    }
    let sections = args
        .section
        .iter()
        .map(|word| {
            schema
                .find(&image, word)
                .ok_or_else(|| unknown(&image, &schema, word))
        })
        .collect::<Result<Vec<u16>, Failure>>()?;
    if args.json {
        json(args, &image, &schema, sections, out)?;
    } else {
        views(args, &image, &schema, &sections, out)?;
    }
    out.finish()?;
    Ok(complain(&image))
}

fn unknown(image: &Image, schema: &Schema, word: &str) -> Failure {
    let there: Vec<String> = image.sections.0.keys().map(|id| schema.word(*id)).collect();
    Failure::Usage {
        message: format!(
            "--section: the image has no section \"{}\"",
            escape::text(word.as_bytes())
        ),
        remedy: format!("Its sections are: {}.", there.join(" ")),
    }
}

fn views(
    args: &Args,
    image: &Image,
    schema: &Schema,
    sections: &[u16],
    out: &mut Output,
) -> Result<(), Failure> {
    type View<'v> = &'v dyn Fn(&mut Output) -> Result<(), Failure>;
    let chosen: [(bool, u16, View<'_>); 4] = [
        (args.threads, TASKS, &|out| view::tasks::threads(image, out)),
        (args.maps, MEMORY, &|out| view::memory::maps(image, out)),
        (args.fds, FILES, &|out| view::files::fds(image, out)),
        (args.signals, SIGNALS, &|out| {
            view::signals::signals(image, out)
        }),
    ];
    let mut first = true;
    for (_, id, view) in chosen.iter().filter(|v| v.0) {
        gap(&mut first, out)?;
        view(out)?;
        strangers(image, schema, *id, out)?;
    }
    for id in sections {
        gap(&mut first, out)?;
        section(image, schema, *id, out)?;
    }
    if first {
        view::summary::summary(image, schema, out)?;
    }
    Ok(())
}

/// A section has its own view, or that of all records.
fn section(image: &Image, schema: &Schema, id: u16, out: &mut Output) -> Result<(), Failure> {
    match id {
        // Leaves nothing out.
        _ if view::strangers(image, id) > 0 => view::generic::section(image, schema, id, out),
        PIPES => view::pipes::section(image, out),
        CREDS => view::creds::section(image, out),
        LIMITS => view::limits::section(image, out),
        cr_format::EVENTFD => view::eventfd::section(image, out),
        cr_format::TIMERFD => view::timerfd::section(image, out),
        cr_format::SIGNALFD => view::signalfd::section(image, out),
        cr_format::EPOLL => view::epoll::section(image, out),
        cr_format::TIMERS => view::timers::section(image, out),
        cr_format::LOCKS => view::locks::section(image, out),
        _ => view::generic::section(image, schema, id, out),
    }
}

fn gap(first: &mut bool, out: &mut Output) -> Result<(), Failure> {
    if !std::mem::take(first) {
        out.line("")?;
    }
    Ok(())
}

/// A view leaves out what it does not know; say so.
fn strangers(image: &Image, schema: &Schema, id: u16, out: &mut Output) -> Result<(), Failure> {
    match view::strangers(image, id) {
        0 => Ok(()),
        n => {
            let word = schema.word(id);
            out.line(format_args!(
                "({n} records of section {word} are not shown: see --section {word})"
            ))
        }
    }
}

fn json(
    args: &Args,
    image: &Image,
    schema: &Schema,
    mut only: Vec<u16>,
    out: &mut Output,
) -> Result<(), Failure> {
    let views = [
        (args.threads, &[TASKS][..]),
        (args.maps, &[MEMORY, STATS]),
        (args.fds, &[FILES, PIPES]),
        (args.signals, &[SIGNALS]),
    ];
    only.extend(views.iter().filter(|v| v.0).flat_map(|v| v.1));
    out.json(&Document {
        image,
        schema,
        only: &only,
    })
}

/// Says on standard error what is damaged.
fn complain(image: &Image) -> Outcome {
    let name = escape::text(image.name.as_bytes());
    let mut outcome = Outcome::Sound;
    for e in &image.damage {
        eprintln!(
            "crimg show: {name}: at {:#x}: {}\n  {}",
            e.offset,
            e.kind,
            remedy(&e.kind)
        );
        outcome = outcome.worse(Outcome::of(&e.kind));
    }
    outcome
}
