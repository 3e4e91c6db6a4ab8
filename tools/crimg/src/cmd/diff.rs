// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg diff`: what has changed from one image to another.

use crate::{
    diff::{self, print, Mem, Options},
    error::{remedy, Failure, Outcome},
    escape,
    file::ImageFile,
    output::Output,
    view::generic::Schema,
};

/// Show what differs between two images.
///
/// Objects are compared by what they are, not by the order of their records: threads by id (leaders with
/// each other), memory areas by address, descriptors by number and through to the open file, mapped files
/// by path, signals and limits by name, arguments and environment as the program sees them. The words say
/// whether an area was added, removed, moved, grown, shrunk, split or merged. Ids, times, host, counts,
/// schema and provenance of the images are shown, but are no difference.
///
/// In images of several processes those of one id are compared with each other (and the first ones, if their ids differ).
///
/// Page data is compared byte by byte, however it is stored: compressed, raw, zero, duplicate. Memory use
/// does not depend on the size of the images.
#[derive(clap::Args)]
#[command(
    after_help = "Exit status: 0 no difference · 1 different · 2 used wrongly · 3 an image is malformed · \
4 an image is newer than this crimg or over its limits · 6 an image cannot be read or the output not written."
)]
pub struct Args {
    /// The old image; `-` is standard input, of which a copy is made in $TMPDIR.
    a: String,
    /// The new image; `-` is standard input, too.
    b: String,
    /// How to compare page data: not at all, counting the pages that differ, or showing the bytes, too.
    #[arg(long, value_name = "HOW", default_value = "pages")]
    mem: Mem,
    /// Pass over a field, for example `pos`, `regs`, `regs.rip`, `task.nice`, `memory.vma.flags`,
    /// `environment.PATH`; may be repeated.
    #[arg(long, value_name = "FIELD")]
    ignore: Vec<String>,
    /// Compare only this section, by its word (`files`, `memory`, …) or number; may be repeated.
    #[arg(long, value_name = "WORD")]
    section: Vec<String>,
    /// With `--mem bytes`, show no more differing bytes than this.
    #[arg(long, value_name = "N", default_value_t = 4096)]
    max_bytes: u64,
    /// Do not read page data whose checksums and runs are equal in both images. A checksum finds damage,
    /// not malice: without this, every byte is compared.
    #[arg(long)]
    trust_crc: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Print nothing and stop at the first difference; the exit status is the answer.
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
}

/// # Errors
/// [`Failure`].
pub fn run(args: &Args, out: &mut Output) -> Result<Outcome, Failure> {
    if args.a == "-" && args.b == "-" {
        return Err(Failure::Usage {
            message: "standard input can only be one of the images".to_owned(),
            remedy: "Write the other one to a file first.".to_owned(),
        });
    }
    let (a, b) = (open(&args.a)?, open(&args.b)?);
    let options = Options {
        mem: args.mem,
        ignore: args.ignore.clone(),
        sections: sections(args, &a, &b)?,
        max_bytes: args.max_bytes.min(16 << 20),
        trust_crc: args.trust_crc,
        first_only: args.quiet,
        progress: !args.quiet,
    };
    if let Some(stray) = options.stray([&a, &b]) {
        return Err(Failure::Usage {
            message: format!(
                "--ignore: no record has a field \"{}\"",
                escape::text(stray.as_bytes())
            ),
            remedy: "Take a name that diff prints, for example pos, regs.rip or environment.PATH."
                .to_owned(),
        });
    }
    let diff = diff::compare(&a, &b, &options)?;
    if args.json {
        out.json(&diff)?;
    } else if !args.quiet {
        print::diff(&diff, out)?;
    }
    out.finish()?;
    let outcome = if diff.is_same() {
        Outcome::Sound
    } else {
        Outcome::Differs
    };
    Ok(outcome.worse(complain(&a, out)).worse(complain(&b, out)))
}

/// An image of which nothing can be read is no image.
fn open(path: &str) -> Result<ImageFile, Failure> {
    let file = ImageFile::open(path)?;
    if let (None, true, Some(e)) = (
        &file.image.superblock,
        file.image.sections.0.is_empty(),
        file.image.damage.first(),
    ) {
        return Err(file.defect(*e, e.offset));
    }
    Ok(file)
}

fn sections(args: &Args, a: &ImageFile, b: &ImageFile) -> Result<Vec<u16>, Failure> {
    let schemas = [(a, Schema::new(&a.image)), (b, Schema::new(&b.image))];
    let find = |word: &String| {
        let mut found = schemas.iter().filter_map(|(f, s)| s.find(&f.image, word));
        found.next().ok_or_else(|| Failure::Usage {
            message: format!(
                "--section: neither image has a section \"{}\"",
                escape::text(word.as_bytes())
            ),
            remedy: "Take a word like files, memory or limits, or a number like 0x9000.".to_owned(),
        })
    };
    args.section.iter().map(find).collect()
}

/// Says on standard error what is damaged: the comparison is only of the rest.
fn complain(file: &ImageFile, out: &mut Output) -> Outcome {
    let name = escape::text(file.image.name.as_bytes());
    let mut outcome = Outcome::Sound;
    for e in &file.image.damage {
        out.message(format_args!(
            "crimg diff: {name}: at {:#x}: {}\n  {}",
            e.offset,
            e.kind,
            remedy(&e.kind)
        ));
        outcome = outcome.worse(Outcome::of(&e.kind));
    }
    outcome
}
