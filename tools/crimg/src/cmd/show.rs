// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg show`: what an image contains.

use crate::{
    error::{remedy, Failure, Outcome},
    escape,
    file::ImageFile,
    input::Input,
    json::Document,
    load::{load, Image},
    output::Output,
    style,
    view::{
        self,
        generic::Schema,
        head::Head,
        summary::{self, Totals},
        Show,
    },
};
use cr_format::{
    chunk::ChunkType, CGROUPS, CREDS, EPOLL, EVENTFD, FILES, INOTIFY, LANDLOCK, LIMITS, LOCKS,
    MEMORY, OWNERS, PIDFD, PIPES, PROC, PROVENANCE, SECCOMP, SIGNALFD, SIGNALS, STATS, TASKS,
    TIMERFD, TIMERS, URING,
};
use serde_json::Value;
use std::path::PathBuf;

/// Show what an image contains: without options, a summary on one screen.
///
/// The page data is not read (only --args, --env and --auxv take a few pages of the stack), so it is not checked
/// either: that is what `crimg verify` does. A damaged image is shown as far as it goes, and one that is newer
/// than this crimg as far as it is understood.
#[derive(clap::Args)]
#[command(after_help = "\
Several views are shown in this order. From a pipe everything works but the parts of the stack.

Exit status: 0 shown · 2 used wrongly · 3 shown, but malformed · 4 shown, but newer than this crimg or
over its limits · 6 cannot be read")]
pub struct Args {
    /// The image; `-` is standard input.
    image: String,
    /// Show the process and its threads as a tree, and what each was doing.
    #[arg(long)]
    tree: bool,
    /// Show every thread with its registers: general, flags, x87, SSE, AVX, AVX-512, PKRU.
    #[arg(long)]
    threads: bool,
    /// Show the memory areas and where the bytes of each are.
    #[arg(long)]
    maps: bool,
    /// Show the mapped files with their addresses and build ids.
    #[arg(long)]
    modules: bool,
    /// Show the descriptors and what they are open on.
    #[arg(long)]
    fds: bool,
    /// Show signal handlers, masks and pending signals.
    #[arg(long)]
    signals: bool,
    /// Show timers: of the process, and those that are descriptors.
    #[arg(long)]
    timers: bool,
    /// Show user and group ids and capabilities.
    #[arg(long)]
    creds: bool,
    /// Show the resource limits.
    #[arg(long)]
    limits: bool,
    /// Show program, directory and all arguments, from the stack.
    #[arg(long)]
    args: bool,
    /// Show the environment, from the stack. It may hold secrets.
    #[arg(long)]
    env: bool,
    /// Show the auxiliary vector.
    #[arg(long)]
    auxv: bool,
    /// Show what the image is made of and how well it is packed; `=list` lists every chunk.
    #[arg(long, value_enum, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "summary")]
    chunks: Option<Chunks>,
    /// Show where the image comes from and what tools have done to it.
    #[arg(long)]
    provenance: bool,
    /// Show all records of a section, by its word (`pipes`, `image`, …) or number; may be repeated.
    #[arg(long, value_name = "WORD")]
    section: Vec<String>,
    /// Show all views, and the sections that have none.
    #[arg(long)]
    all: bool,
    /// With --modules: read build ids that the image does not have from the files below this folder.
    #[arg(long, value_name = "DIR")]
    sysroot: Option<PathBuf>,
    /// Show only this process or thread, by its pid or tid.
    #[arg(long, value_name = "N")]
    pid: Option<u64>,
    /// Print JSON: the whole image, or only what the other options name.
    #[arg(long)]
    json: bool,
}

/// How to show the chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Chunks {
    /// Counts and sizes by type and section
    Summary,
    /// One line for each chunk
    List,
}

/// The image as the command needs it.
struct Source {
    /// Read forward, if run tables and chunk headers are needed or it is no regular file.
    whole: Option<Image>,
    /// For random access.
    file: Option<ImageFile>,
    totals: Totals,
    /// The superblock, if it is newer than this release.
    head: Option<Head>,
}

impl Args {
    /// Are run tables and chunk headers needed?
    fn needs_container(&self) -> bool {
        self.all || self.maps || self.chunks.is_some() || self.json && !self.has_view()
    }
    /// Is the stack needed?
    fn needs_contents(&self) -> bool {
        self.all || self.args || self.env || self.auxv || self.modules
    }
    /// Does an option name something to show?
    fn has_view(&self) -> bool {
        let flags = [
            self.tree,
            self.threads,
            self.maps,
            self.modules,
            self.fds,
            self.signals,
            self.timers,
            self.creds,
            self.limits,
            self.args,
            self.env,
            self.auxv,
            self.provenance,
        ];
        flags.contains(&true) || self.chunks.is_some() || !self.section.is_empty()
    }

    fn open(&self) -> Result<Source, Failure> {
        let regular =
            self.image != "-" && std::fs::metadata(&self.image).is_ok_and(|meta| meta.is_file());
        let mut file = None;
        if regular && (self.needs_contents() || !self.needs_container()) {
            let opened = ImageFile::open(&self.image)?;
            if !self.needs_container() {
                // The counts are in the image, unless it is damaged or strange.
                if let Some(totals) = recorded(&opened) {
                    return Ok(Source {
                        whole: None,
                        totals,
                        file: Some(opened),
                        head: None,
                    });
                }
            }
            file = self.needs_contents().then_some(opened);
        }
        let mut input = Input::open(&self.image)?;
        let image = load(&mut input)?;
        let (pages, zero) = image.page_counts();
        let is_page = |c: &&crate::load::Chunk| c.header.chunk_type == ChunkType::Page;
        let stored = image.chunks.iter().filter(is_page);
        let stored = stored.fold(0_u64, |n, c| n.saturating_add(c.header.stored_len.into()));
        Ok(Source {
            totals: Totals {
                pages,
                zero,
                stored: Some(stored),
            },
            whole: Some(image),
            file,
            head: Head::new(&input.head),
        })
    }
}

/// The counts that the image records, if it was read by its index.
fn recorded(file: &ImageFile) -> Option<Totals> {
    if !file.image.damage.is_empty() {
        return None;
    }
    let s = view::first::<cr_format::StatsRecord>(&file.image)?;
    let stored = file
        .page_chunks()
        .fold(0_u64, |n, e| n.saturating_add(e.stored_len.into()));
    Some(Totals {
        pages: s.pages,
        zero: s.zero_pages,
        stored: Some(stored),
    })
}

/// # Errors
/// [`Failure`].
pub fn run(args: &Args, out: &mut Output) -> Result<Outcome, Failure> {
    let mut source = args.open()?;
    if let Some(pid) = args.pid {
        if let Some(whole) = &mut source.whole {
            whole.select(pid);
        }
        if let Some(file) = &mut source.file {
            file.image.select(pid);
        }
    }
    let opened = source.file.as_ref().map(|f| &f.image);
    let Some(image) = source.whole.as_ref().or(opened) else {
        return Ok(Outcome::Sound);
    };
    let schema = Schema::new(image);
    if image.superblock.is_none() && image.chunks.is_empty() {
        // Nothing of it but perhaps the head can be shown.
        if let Some(head) = &source.head {
            if args.json {
                out.json(&Document {
                    image,
                    schema: &schema,
                    only: None,
                    container: false,
                    head: Some(&head.json()),
                    views: &[],
                })?;
            } else {
                head.print(&image.name, out)?;
            }
            out.finish()?;
        }
        return Ok(complain(image, out));
    }
    let sections = args
        .section
        .iter()
        .map(|word| {
            schema
                .find(image, word)
                .ok_or_else(|| unknown(image, &schema, word))
        })
        .collect::<Result<Vec<u16>, Failure>>()?;
    let show = Show {
        image,
        schema: &schema,
        file: source.file.as_ref(),
        tid: args
            .pid
            .map(|pid| chosen(image, pid))
            .transpose()?
            .flatten(),
        sysroot: args.sysroot.as_deref(),
    };
    if args.json {
        json(args, &show, &source.totals, sections, out)?;
    } else {
        views(args, &show, &source.totals, &sections, out)?;
    }
    out.finish()?;
    Ok(complain(image, out))
}

/// The thread that `--pid` means; `None` for the process, which is all of it.
fn chosen(image: &Image, pid: u64) -> Result<Option<u64>, Failure> {
    let process = view::first::<cr_format::ProcessRecord<'_>>(image).map(|p| p.tgid);
    if process == Some(pid) {
        return Ok(None);
    }
    let tids: Vec<u64> = view::all::<cr_format::TaskRecord<'_>>(image)
        .map(|t| t.tid)
        .collect();
    if tids.contains(&pid) {
        return Ok(Some(pid));
    }
    let shown: Vec<String> = tids.iter().take(20).map(u64::to_string).collect();
    let more = if tids.len() > shown.len() { " …" } else { "" };
    Err(Failure::Usage {
        message: format!("--pid {pid}: the image has no such process or thread"),
        remedy: format!("It has the threads: {}{more}", shown.join(" ")),
    })
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

type Print<'v> = Box<dyn Fn(&mut Output) -> Result<(), Failure> + 'v>;

/// One view: was it asked for, its title with `--all`, the section that its records come from.
struct View<'v> {
    wanted: bool,
    title: &'static str,
    section: Option<u16>,
    print: Print<'v>,
}

impl<'v> View<'v> {
    fn new(wanted: bool, title: &'static str, section: Option<u16>, print: Print<'v>) -> Self {
        Self {
            wanted,
            title,
            section,
            print,
        }
    }
}

fn views(
    args: &Args,
    show: &Show<'_>,
    totals: &Totals,
    sections: &[u16],
    out: &mut Output,
) -> Result<(), Failure> {
    let image = show.image;
    let all = [
        View::new(
            args.all || args.tree,
            "process",
            None,
            Box::new(|out| view::tree::tree(show, out)),
        ),
        View::new(
            args.all || args.threads,
            "threads",
            Some(TASKS),
            Box::new(|out| view::tasks::threads(show, out)),
        ),
        View::new(
            args.all || args.maps,
            "memory",
            Some(MEMORY),
            Box::new(|out| view::memory::maps(show, out)),
        ),
        View::new(
            args.all || args.modules,
            "mapped files",
            None,
            Box::new(|out| view::modules::section(show, out)),
        ),
        View::new(
            args.all || args.fds,
            "descriptors",
            Some(FILES),
            Box::new(|out| view::files::fds(show, out)),
        ),
        View::new(
            args.all || args.signals,
            "signals",
            Some(SIGNALS),
            Box::new(|out| view::signals::signals(show, out)),
        ),
        View::new(
            args.all || args.timers,
            "timers",
            Some(TIMERS),
            Box::new(|out| view::timers::all_timers(image, out)),
        ),
        View::new(
            args.all || args.creds,
            "credentials",
            Some(CREDS),
            Box::new(|out| view::creds::section(image, out)),
        ),
        View::new(
            args.all || args.limits,
            "limits",
            Some(LIMITS),
            Box::new(|out| view::limits::section(image, out)),
        ),
        View::new(
            args.all || args.args,
            "arguments",
            None,
            Box::new(|out| view::process::args(show, out)),
        ),
        View::new(
            args.all || args.env,
            "environment",
            None,
            Box::new(|out| view::process::env(show, out)),
        ),
        View::new(
            args.all || args.auxv,
            "auxiliary vector",
            None,
            Box::new(|out| view::process::auxv(show, out)),
        ),
        View::new(
            args.all || args.chunks == Some(Chunks::Summary),
            "chunks",
            None,
            Box::new(|out| view::chunks::summary(show, out)),
        ),
        View {
            wanted: args.chunks == Some(Chunks::List),
            title: "list of chunks",
            section: None,
            print: Box::new(|out| view::chunks::list(show, out)),
        },
        View::new(
            args.all || args.provenance,
            "provenance",
            Some(PROVENANCE),
            Box::new(|out| view::provenance::section(show, out)),
        ),
    ];
    let mut first = !args.all;
    if args.all {
        summary::summary(show, totals, out)?;
    }
    for view in all.iter().filter(|v| v.wanted) {
        gap(&mut first, out)?;
        if args.all {
            out.line(style::bold(&format!("── {} ──", view.title)))?;
        }
        (view.print)(out)?;
        if let Some(id) = view.section {
            strangers(image, show.schema, id, out)?;
        }
    }
    let rest = if args.all {
        without_view(image)
    } else {
        Vec::new()
    };
    for id in sections.iter().chain(&rest) {
        gap(&mut first, out)?;
        if args.all {
            let word = show.schema.word(*id);
            out.line(style::bold(&format!("── section {word} ──")))?;
        }
        section(image, show.schema, *id, out)?;
    }
    if first {
        summary::summary(show, totals, out)?;
    }
    Ok(())
}

/// Sections of the image that `--all` must show by their records: those without a view of their own, and those of
/// other parties or releases.
fn without_view(image: &Image) -> Vec<u16> {
    let ids = image.sections.0.keys().copied();
    let without = [
        PIPES, EVENTFD, SIGNALFD, EPOLL, LOCKS, INOTIFY, PIDFD, PROC, OWNERS, URING,
    ];
    ids.filter(|id| without.contains(id) || cr_format::sections::by_id(*id).is_none())
        .collect()
}

/// A section has its own view, or that of all records.
fn section(image: &Image, schema: &Schema, id: u16, out: &mut Output) -> Result<(), Failure> {
    match id {
        // Leaves nothing out.
        _ if view::strangers(image, id) > 0 => view::generic::section(image, schema, id, out),
        PIPES => view::pipes::section(image, out),
        CREDS => view::creds::section(image, out),
        LIMITS => view::limits::section(image, out),
        EVENTFD => view::eventfd::section(image, out),
        TIMERFD => view::timerfd::section(image, out),
        SIGNALFD => view::signalfd::section(image, out),
        EPOLL => view::epoll::section(image, out),
        TIMERS => view::timers::section(image, out),
        LOCKS => view::locks::section(image, out),
        INOTIFY => view::inotify::section(image, out),
        PIDFD => view::pidfd::section(image, out),
        PROC => view::proc::section(image, out),
        OWNERS => view::owners::section(image, out),
        SECCOMP => view::seccomp::section(image, out),
        LANDLOCK => view::landlock::section(image, out),
        CGROUPS => view::cgroups::section(image, out),
        URING => view::uring::section(image, out),
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
    show: &Show<'_>,
    totals: &Totals,
    mut only: Vec<u16>,
    out: &mut Output,
) -> Result<(), Failure> {
    let image = show.image;
    let whole = args.all || !args.has_view();
    let mut views: Vec<(&'static str, Value)> = Vec::new();
    let mut add =
        |wanted: bool, name, sections: &[u16], view: &dyn Fn() -> Result<Value, Failure>| {
            if wanted || args.all {
                only.extend(sections);
                views.push((name, view()?));
            }
            Ok::<(), Failure>(())
        };
    add(whole, "summary", &[], &|| Ok(summary::json(show, totals)))?;
    add(args.tree, "tree", &[TASKS], &|| Ok(view::tree::json(show)))?;
    add(args.threads, "threads", &[TASKS], &|| {
        Ok(view::tasks::json(show).into())
    })?;
    add(args.maps, "maps", &[MEMORY, STATS], &|| {
        Ok(view::memory::json(show).into())
    })?;
    add(args.modules, "modules", &[MEMORY], &|| {
        Ok(view::modules::json(show).into())
    })?;
    add(
        args.fds,
        "descriptors",
        &[
            FILES, PIPES, EVENTFD, TIMERFD, SIGNALFD, EPOLL, LOCKS, INOTIFY, PIDFD, PROC, OWNERS,
            URING,
        ],
        &|| Ok(view::files::json(show).into()),
    )?;
    add(args.signals, "signals", &[SIGNALS], &|| {
        Ok(view::signals::json(show))
    })?;
    add(args.timers, "timers", &[TIMERS, TIMERFD], &|| {
        Ok(view::timers::json(image))
    })?;
    add(args.creds, "creds", &[CREDS], &|| {
        Ok(view::creds::json(image))
    })?;
    add(args.limits, "limits", &[LIMITS], &|| {
        Ok(view::limits::json(image).into())
    })?;
    add(args.args, "args", &[], &|| view::process::args_json(show))?;
    add(args.env, "env", &[], &|| view::process::env_json(show))?;
    add(args.auxv, "auxv", &[], &|| view::process::auxv_json(show))?;
    add(args.chunks.is_some(), "chunk_statistics", &[], &|| {
        Ok(view::chunks::json(show))
    })?;
    add(args.provenance, "provenance", &[PROVENANCE], &|| {
        Ok(view::provenance::json(show))
    })?;
    out.json(&Document {
        image,
        schema: show.schema,
        only: (!whole).then_some(only.as_slice()),
        container: whole || args.chunks == Some(Chunks::List),
        head: None,
        views: &views,
    })
}

/// Says on standard error what is damaged.
fn complain(image: &Image, out: &mut Output) -> Outcome {
    let name = escape::text(image.name.as_bytes());
    let mut outcome = Outcome::Sound;
    for e in &image.damage {
        out.message(format_args!(
            "crimg show: {name}: at {:#x}: {}\n  {}",
            e.offset,
            e.kind,
            remedy(&e.kind)
        ));
        outcome = outcome.worse(Outcome::of(&e.kind));
    }
    outcome
}
