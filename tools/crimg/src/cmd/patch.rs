// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg patch`: typed edits of an image, and the way back.

use crate::{
    error::{Failure, Outcome},
    escape,
    file::ImageFile,
    json, number,
    output::Output,
    patch::{
        self,
        edit::{Edit, WORDS},
        undo,
        write::{self, Done, Undo},
        EditError, Options, Plan, Trouble,
    },
    rewrite::{self, Target},
    style,
};
use clap::{builder::OsStringValueParser, Arg, ArgAction, ArgMatches, Command};
use serde_json::{json, Value};
use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read},
    os::unix::ffi::OsStrExt,
    path::PathBuf,
};

/// Longest script that is read.
const SCRIPT_MAX: u64 = 64 << 20;
const HEADING: &str = "Edits";

/// Edit an image: paths, environment, registers, memory, credentials, limits.
///
/// Several edits can be given; they are done in their order (arguments and environment last and together),
/// all or none. The result has passed every rule of the format, so a restart refuses it for none of the
/// edits; one that it would refuse is refused here, with the rule, and nothing is written.
///
/// Without -o the image is edited in place: the new image is written beside it, synced, and renamed over it,
/// and before that an undo file is written, IMAGE.undo (then .undo2, …), from which `--undo` gives back the
/// old image byte for byte. Page data that is not edited is not read; the file system shares it between both
/// images if it can. A new image has a new id, and tells in its section `provenance` what was done.
///
/// Sizes and times that a restart compares become those of the files at the new paths, as they are on this
/// host (see --sysroot, --no-stat). To take those of a file that has changed, give its old path:
/// --fd 3=/same/path.
#[derive(clap::Args)]
#[command(
    after_help = "A script has one edit per line, as on the command line: `fd 3=/new/path` or `--fd 3=/new/path`. The value is \
the rest of the line as it is. Lines that begin with # say nothing.

  crimg patch --fd 3=/var/log/new.log image.ckpt      edit in place, with image.ckpt.undo
  crimg patch --undo image.ckpt.undo image.ckpt       and back
  crimg patch --dry-run --uid 1000 --gid 1000 image.ckpt
  crimg patch --env LANG=C --reg main:rax=0 -o new.ckpt image.ckpt
  crimg patch --pid 1300 --fd 1=/dev/null tree.ckpt   one of several processes

Exit status: 0 done · 2 an edit cannot be done · 3 the image or the undo file is malformed · \
4 the image is newer than this crimg or over its limits · 6 an image cannot be read or written."
)]
pub struct Args {
    /// The image; `-` is standard input, of which a copy is made in $TMPDIR.
    image: String,
    /// Write the new image there; `-` is standard output. The old one stays as it is.
    #[arg(long, short, value_name = "OUT", conflicts_with = "in_place")]
    output: Option<String>,
    /// With -o or --save-undo, replace a file that exists.
    #[arg(long)]
    force: bool,
    /// Edit in place, as without -o.
    #[arg(long)]
    in_place: bool,
    /// Show what would change, and write nothing.
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Write the undo file there, also with -o.
    #[arg(long, alias = "undo-file", value_name = "FILE")]
    save_undo: Option<PathBuf>,
    /// Write no undo file.
    #[arg(long, conflicts_with = "save_undo")]
    no_undo: bool,
    /// Undo an edit: give back the image that it was made from.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["dry_run", "save_undo", "no_undo"])]
    undo: Option<String>,
    /// Where the files of the process are on this host, to look at those at new paths and to read mapped
    /// files whose pages are edited.
    #[arg(long, value_name = "DIR", default_value = "/")]
    sysroot: PathBuf,
    /// Edit this process, by its id. Only an image of several processes needs it; a file that several of them share changes
    /// for all.
    #[arg(long, value_name = "N", conflicts_with = "undo")]
    pid: Option<u64>,
    /// Leave recorded sizes and times as they are when a path changes.
    #[arg(long)]
    no_stat: bool,
    /// Let a program or library be replaced by another build of it.
    #[arg(long)]
    other_build: bool,
    /// Move arguments and environment on the stack even if the program seems to have pointers to them elsewhere.
    #[arg(long)]
    move_strings: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    edits: Edits,
}

/// Edits in the order of the command line.
#[derive(Clone, Debug, Default)]
struct Edits(Vec<(String, OsString)>);

impl clap::Args for Edits {
    fn augment_args(command: Command) -> Command {
        let arg = |name: &'static str, value: &'static str, help: &'static str| {
            Arg::new(name)
                .long(name)
                .value_name(value)
                .help(help)
                .help_heading(HEADING)
                .action(ArgAction::Append)
                .value_parser(OsStringValueParser::new())
                .allow_hyphen_values(true)
        };
        let words = WORDS.iter().filter(|w| !w.hidden);
        let words = words.map(|w| arg(w.name, w.value, w.help));
        command.args(words).arg(arg(
            "script",
            "FILE",
            "Edits from a file; - is standard input",
        ))
    }
    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Edits {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut found = Vec::new();
        let words = WORDS.iter().filter(|w| !w.hidden);
        for name in words.map(|w| w.name).chain(["script"]) {
            let places = matches.indices_of(name).into_iter().flatten();
            let values = matches.get_many::<OsString>(name).into_iter().flatten();
            found.extend(
                places
                    .zip(values)
                    .map(|(at, v)| (at, name.to_owned(), v.clone())),
            );
        }
        found.sort_by_key(|f| f.0);
        Ok(Self(
            found
                .into_iter()
                .map(|(_, name, value)| (name, value))
                .collect(),
        ))
    }
    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// # Errors
/// [`Failure`].
pub fn run(args: &Args, out: &mut Output) -> Result<Outcome, Failure> {
    if let Some(undo) = &args.undo {
        return go_back(args, undo, out);
    }
    let script_from_stdin = |(word, value): &(String, OsString)| word == "script" && value == "-";
    if args.image == "-" && args.edits.0.iter().any(script_from_stdin) {
        return Err(usage(
            "image and script cannot both come from standard input".to_owned(),
            "Name a file for one of them.".to_owned(),
        ));
    }
    let edits = match edits(&args.edits)? {
        Ok(edits) => edits,
        Err(errors) => return Err(refused(args, &errors, out)?),
    };
    if edits.is_empty() {
        return Err(Failure::Usage {
            message: "there is nothing to do: no edit is given".to_owned(),
            remedy: match args.pid {
                Some(_) => "--pid says which process is edited. The id itself cannot be edited: it is also in its memory.",
                None => "See crimg patch --help for the edits.",
            }
            .to_owned(),
        });
    }
    let options = Options {
        sysroot: Some(args.sysroot.clone()),
        stat: !args.no_stat,
        other_build: args.other_build,
        move_strings: args.move_strings,
    };
    let file = ImageFile::open_process(&args.image, args.pid)?;
    let plan = match patch::apply(&file, &edits, &options) {
        Ok(plan) => plan,
        Err(Trouble::Edits(errors)) => return Err(refused(args, &errors, out)?),
        Err(Trouble::Failure(failure)) => return Err(failure),
    };
    let mut document = document(args, &edits, &plan);
    // What goes to standard output is the image.
    let quiet = args.output.as_deref() == Some("-") && !args.dry_run;
    if !args.json && !quiet {
        print(args, &plan, out)?;
    } else if quiet {
        for note in &plan.notes {
            out.message(format_args!("crimg patch: note: {note}"));
        }
    }
    if !args.dry_run {
        let done = write(args, plan)?;
        if let Some(done) = &done {
            document["written"] = written(done);
            if !args.json {
                tell(args, done, out)?;
            }
        }
    }
    if args.json && !quiet {
        out.json(&document)?;
    }
    Ok(Outcome::Sound)
}

fn edits(given: &Edits) -> Result<Result<Vec<Edit>, Vec<EditError>>, Failure> {
    let (mut edits, mut errors) = (Vec::new(), Vec::new());
    for (word, value) in &given.0 {
        if word == "script" {
            match Edit::script(&script(value)?) {
                Ok(more) => edits.extend(more),
                Err(more) => errors.extend(more),
            }
            continue;
        }
        match Edit::parse(word, value.as_bytes()) {
            Ok(edit) => edits.push(edit),
            Err(e) => errors.push(e),
        }
    }
    Ok(if errors.is_empty() {
        Ok(edits)
    } else {
        Err(errors)
    })
}

fn script(path: &OsString) -> Result<Vec<u8>, Failure> {
    let fail = |error| Failure::Read {
        image: path.to_string_lossy().into_owned(),
        error,
    };
    let mut bytes = Vec::new();
    let input: Box<dyn Read> = if path == "-" {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path).map_err(fail)?)
    };
    let n = input
        .take(SCRIPT_MAX.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(fail)?;
    if n as u64 > SCRIPT_MAX {
        return Err(fail(io::Error::other("it is longer than 64 MiB")));
    }
    Ok(bytes)
}

/// Tells every edit that cannot be done.
fn refused(args: &Args, errors: &[EditError], out: &mut Output) -> Result<Failure, Failure> {
    if args.json {
        out.json(&json!({
            "crimg_schema": json::SCHEMA,
            "command": "patch",
            "image": escape_name(&args.image),
            "errors": errors,
        }))?;
        out.finish()?;
    }
    let (last, others) = match errors.split_last() {
        Some(split) => split,
        None => return Ok(usage("no edit can be done".to_owned(), String::new())),
    };
    for e in others {
        out.message(format_args!("crimg: {e}"));
    }
    let mut message = format!("{}: {}", last.edit, last.message);
    if let Some(rule) = &last.rule {
        message.push_str(&format!(" ({rule})"));
    }
    Ok(usage(
        message,
        format!("{}\n{}", last.remedy, "Nothing was written."),
    ))
}

fn usage(message: String, remedy: String) -> Failure {
    Failure::Usage { message, remedy }
}

/// Names in JSON are as the user gave them; the document is escaped on its way out.
fn escape_name(name: &str) -> Value {
    Value::String(name.to_owned())
}

fn document(args: &Args, edits: &[Edit], plan: &Plan<'_>) -> Value {
    json!({
        "crimg_schema": json::SCHEMA,
            "command": "patch",
        "image": escape_name(&args.image),
        "dry_run": args.dry_run,
        "edits": edits.iter().map(|e| &e.text).collect::<Vec<_>>(),
        "changes": plan.changes,
        "notes": plan.notes,
        "written": null,
    })
}

fn written(done: &Done) -> Value {
    let path = |p: &PathBuf| p.to_string_lossy().into_owned();
    json!({
        "image": path(&done.image),
        "uuid": number::uuid(&done.written.uuid),
        "bytes": done.written.bytes,
        "bytes_kept": done.written.copied,
        "undo": done.undo.as_ref().map(path),
    })
}

fn print(args: &Args, plan: &Plan<'_>, out: &mut Output) -> Result<(), Failure> {
    for line in plan.describe() {
        out.line(line)?;
    }
    for note in &plan.notes {
        out.line(format_args!("{}: {note}", style::warn("note")))?;
    }
    if plan.changes.is_empty() {
        out.line("nothing changes: the image is already so")?;
    }
    if args.dry_run {
        out.line("dry run: nothing was written")?;
    }
    Ok(())
}

fn write(args: &Args, plan: Plan<'_>) -> Result<Option<Done>, Failure> {
    let undo = |beside: bool| match &args.save_undo {
        Some(path) => Undo::At {
            path: path.clone(),
            force: args.force,
        },
        None if beside && !args.no_undo => Undo::Beside,
        None => Undo::No,
    };
    match args.output.as_deref() {
        Some("-") => {
            if args.save_undo.is_some() {
                return Err(usage(
                    "an undo file needs the new image in a file".to_owned(),
                    "Give a file with -o.".to_owned(),
                ));
            }
            plan.write(rewrite::target("-", false), true)?;
            Ok(None)
        }
        Some(path) => write::to_file(plan, path.into(), args.force, &undo(false), true).map(Some),
        None if plan.is_empty() => Ok(None),
        None => write::in_place(plan, &undo(true), true).map(Some),
    }
}

fn tell(args: &Args, done: &Done, out: &mut Output) -> Result<(), Failure> {
    let name = |p: &PathBuf| escape::text(p.as_os_str().as_encoded_bytes());
    out.line(format_args!(
        "written: {}, {}",
        name(&done.image),
        number::size(done.written.bytes)
    ))?;
    if let Some(undo) = &done.undo {
        let image = args.output.as_ref().map_or_else(
            || escape::text(args.image.as_bytes()),
            |o| escape::text(o.as_bytes()),
        );
        out.line(format_args!(
            "back with: crimg patch --undo {} {image}",
            name(undo)
        ))?;
    }
    Ok(())
}

fn go_back(args: &Args, undo: &str, out: &mut Output) -> Result<Outcome, Failure> {
    if !args.edits.0.is_empty() {
        return Err(usage(
            "--undo does not go together with edits".to_owned(),
            "Undo first, then edit.".to_owned(),
        ));
    }
    let target = match args.output.as_deref() {
        Some(path) => rewrite::target(path, args.force),
        None => Target::InPlace,
    };
    let bytes = undo::restore(&args.image, undo, target, true)?;
    let image = args.output.as_ref().unwrap_or(&args.image);
    if args.json {
        out.json(&json!({
            "crimg_schema": json::SCHEMA,
            "command": "patch",
            "image": escape_name(&args.image),
            "undone": { "image": escape_name(image), "bytes": bytes },
        }))?;
    } else {
        out.line(format_args!(
            "undone: {} is the old image, byte for byte",
            escape::text(image.as_bytes())
        ))?;
    }
    Ok(Outcome::Sound)
}
