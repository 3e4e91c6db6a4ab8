// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg verify`: is an image sound, and can this host restart it? What it accepts the kernel accepts.

use crate::{
    error::{remedy, Failure, Outcome},
    escape,
    input::Input,
    json,
    load::Image,
    number,
    output::Output,
    style,
    verify::{
        self,
        host::{self, Answer, Finding, Host, Severity},
        Checked, Level,
    },
    view::generic::{one_line, Schema},
};
use cr_format::{limits, records_in, validate::MetaSet, Error, STATS};
use serde_json::{json, Value};
use std::path::PathBuf;

/// Defects and notes that are printed one by one; JSON has all.
const LISTED: usize = 50;

/// Check an image: its structure, every checksum, every rule of the format; and whether this host can restart it.
///
/// Each defect is listed with cause, place and remedy. Memory use does not depend on the size of the image.
#[derive(clap::Args)]
#[command(after_help = "\
Levels: crc        container and checksums, at the speed of reading
        structure  also the encoding of every record, headers of compressed data
        semantics  also every rule of the format, compressed data decoded (without --level)
        host       also everything here that a restart compares: mapped and open files, processor,
                   kernel, vDSO, modules, free pids, clocks, rights; run it as whoever will restart

Exit status: 0 sound (host: and can be restarted) · 2 used wrongly · 3 malformed
4 newer than this crimg or over its limits · 5 sound, but this host cannot restart it · 6 cannot be read")]
pub struct Args {
    /// The image; `-` is standard input.
    image: String,
    /// How deep to check; see below.
    #[arg(long, value_enum, default_value_t = Level::Semantics, hide_possible_values = true)]
    level: Level,
    /// With --level host: look files up below this folder instead of in the root folder.
    #[arg(long, value_name = "DIR")]
    sysroot: Option<PathBuf>,
    /// With --level host: what `crctl restart --files` will be given about changed files.
    #[arg(long, value_enum, default_value_t = host::Files::Check)]
    files: host::Files,
    /// Print the verdict as JSON.
    #[arg(long)]
    json: bool,
    /// Print nothing; the exit status is the verdict.
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
}

/// # Errors
/// [`Failure`].
pub fn run(args: &Args, out: &mut Output) -> Result<Outcome, Failure> {
    let uses_host = args.sysroot.is_some() || args.files != host::Files::Check;
    if uses_host && args.level != Level::Host {
        return Err(Failure::Usage {
            message: "--sysroot and --files say how this host is looked at".to_owned(),
            remedy: "Add --level host.".to_owned(),
        });
    }
    let mut input = Input::open(&args.image)?;
    let checked = verify::check(&mut input, args.level, !args.quiet)?;
    let mut outcome = checked.outcome();
    let answer = (args.level == Level::Host && checked.has_meta).then(|| {
        let sysroot = args.sysroot.clone().unwrap_or_else(|| "/".into());
        let host = Host::here(&sysroot, args.files);
        host::judge(&checked.sections, checked.superblock.as_ref(), &host)
    });
    if answer.as_ref().is_some_and(|a| !a.can_restart()) {
        outcome = outcome.worse(Outcome::HostCannot);
    }
    let Checked {
        superblock,
        sections,
        defects,
        len,
        ..
    } = checked;
    let image = Image {
        name: input.name,
        superblock,
        process: 0,
        sections,
        whole: None,
        chunks: Vec::new(),
        runs: Vec::new(),
        end: None,
        len,
        damage: Vec::new(),
    };
    let report = Report {
        image: &image,
        schema: Schema::new(&image),
        level: args.level,
        defects: &defects,
        answer: answer.as_ref(),
        pages: (checked.pages, checked.zero_pages),
        stored: checked.stored,
    };
    if args.json {
        report.json(outcome, out)?;
    } else if !args.quiet {
        if defects.is_empty() {
            report.sound(out)?;
        } else {
            report.defects(out);
        }
        report.host(out)?;
    }
    Ok(outcome)
}

struct Report<'a> {
    image: &'a Image,
    schema: Schema,
    level: Level,
    defects: &'a [Error],
    answer: Option<&'a Answer>,
    /// With contents, zero.
    pages: (u64, u64),
    stored: u64,
}

impl Report<'_> {
    fn sound(&self, out: &mut Output) -> Result<(), Failure> {
        let name = escape::text(self.image.name.as_bytes());
        let (pages, zero) = self.pages;
        let records: usize = self
            .image
            .sections
            .0
            .iter()
            .map(|(id, s)| records_in(*id, &s.bytes).count())
            .sum();
        let verdict = match self.level {
            Level::Crc => "checksums right",
            Level::Structure => "structure sound",
            Level::Semantics | Level::Host => "sound",
        };
        let data = number::size(pages.saturating_mul(limits::PAGE));
        let packed = if self.stored < pages.saturating_mul(limits::PAGE) {
            format!(" in {}", number::size(self.stored))
        } else {
            String::new()
        };
        out.line(format_args!(
            "{name}: {}: {} in {} sections, {data} of page data{packed} ({zero} zero pages), {} in all",
            style::good(verdict),
            number::count(records as u64, "record", "records"),
            self.image.sections.0.len(),
            number::size(self.image.len),
        ))
    }

    /// Messages go to standard error: cause and place, the record if there is one, the remedy.
    fn defects(&self, out: &mut Output) {
        let name = escape::text(self.image.name.as_bytes());
        for e in self.defects.iter().take(LISTED) {
            let offset = self.image.sections.file_offset(e);
            let place = if e.section == 0 {
                "container".to_owned()
            } else {
                self.schema.word(e.section)
            };
            out.message(format_args!(
                "crimg verify: {name}: {place} at {offset:#x}: {}",
                e.kind
            ));
            if let Some(record) = self.record(e) {
                out.message(format_args!("  in {record}"));
            }
            out.message(format_args!("  {}", remedy(&e.kind)));
        }
        let more = self.defects.len().saturating_sub(LISTED);
        if more > 0 {
            out.message(format_args!(
                "crimg verify: {name}: {more} more defects: see --json"
            ));
        }
    }

    /// The record that an error is about, in one line.
    fn record(&self, e: &Error) -> Option<String> {
        if e.section == 0 || e.section == STATS && self.image.sections.section(STATS).is_empty() {
            return None;
        }
        let raw = records_in(e.section, self.image.sections.section(e.section))
            .map_while(Result::ok)
            .find(|r| r.offset == e.offset)?;
        Some(one_line(&self.schema, &raw))
    }

    /// What a restart here would say.
    fn host(&self, out: &mut Output) -> Result<(), Failure> {
        let Some(answer) = self.answer else {
            if self.level == Level::Host {
                return out
                    .line("this host: not compared, the metadata of the image is not complete");
            }
            return Ok(());
        };
        let blocks = answer.count(Severity::Blocks) as u64;
        let warnings = answer.count(Severity::Warning) as u64;
        let warned = match warnings {
            0 => String::new(),
            n => format!("; {}", number::count(n, "warning", "warnings")),
        };
        if blocks > 0 {
            let n = number::count(blocks, "thing blocks", "things block");
            out.line(format_args!(
                "this host: {}: {n} a restart{warned}",
                style::bad("cannot restart it")
            ))?;
        } else if !self.defects.is_empty() {
            out.line(format_args!(
                "this host: nothing here blocks a restart, but the image does{warned}"
            ))?;
        } else {
            out.line(format_args!(
                "this host: {}{warned}",
                style::good("can restart it")
            ))?;
        }
        let looked: Vec<String> = answer
            .checked
            .iter()
            .map(|(check, n)| format!("{n} {}", check.replace('_', " ")))
            .collect();
        out.line(format_args!("  compared: {}", looked.join(", ")))?;
        for f in answer.findings.iter().take(LISTED) {
            finding(f, out)?;
        }
        let more = answer.findings.len().saturating_sub(LISTED);
        if more > 0 {
            out.line(format_args!("{more} more: see --json"))?;
        }
        Ok(())
    }

    fn json(&self, outcome: Outcome, out: &mut Output) -> Result<(), Failure> {
        let defects: Vec<_> = self
            .defects
            .iter()
            .map(|e| {
                let mut value = json::defect(&self.schema, e, self.image.sections.file_offset(e));
                if let (Some(m), Some(record)) = (value.as_object_mut(), self.record(e)) {
                    m.insert("record".into(), record.into());
                }
                value
            })
            .collect();
        let mut document = json!({
            "crimg_schema": json::SCHEMA,
            "image": json::text(self.image.name.as_bytes()),
            "bytes": json::integer(self.image.len),
            "level": self.level.word(),
            "verdict": outcome.word(),
            "pages": {"stored": json::integer(self.pages.0), "zero": json::integer(self.pages.1)},
            "stored_bytes": json::integer(self.stored),
            "defects": defects,
        });
        if let (Some(m), Some(answer)) = (document.as_object_mut(), self.answer) {
            m.insert("host".to_owned(), answer_json(answer));
        }
        out.json(&document)
    }
}

fn finding(f: &Finding, out: &mut Output) -> Result<(), Failure> {
    let word = match f.severity {
        Severity::Blocks => style::bad("blocks"),
        Severity::Warning => style::warn("warning"),
        Severity::Note => "note".to_owned(),
    };
    let subject = if f.subject.is_empty() {
        String::new()
    } else {
        format!(" {}:", f.subject)
    };
    out.line(format_args!(
        "{word}: {}:{subject} {}",
        f.check.replace('_', " "),
        f.message
    ))?;
    if let (Some(recorded), Some(found)) = (&f.recorded, &f.found) {
        out.line(format_args!("  recorded: {recorded}; here: {found}"))?;
    }
    if !f.remedy.is_empty() {
        out.line(format_args!("  {}", f.remedy))?;
    }
    Ok(())
}

fn answer_json(answer: &Answer) -> Value {
    let findings: Vec<Value> = answer
        .findings
        .iter()
        .map(|f| {
            json!({
                "check": f.check,
                "severity": f.severity.word(),
                "subject": f.subject,
                "message": f.message,
                "recorded": f.recorded,
                "found": f.found,
                "remedy": f.remedy,
            })
        })
        .collect();
    json!({
        "can_restart": answer.can_restart(),
        "checked": answer.checked,
        "findings": findings,
    })
}
