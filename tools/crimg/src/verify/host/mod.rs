// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Can this host restart an image? What the kernel modules and `crctl restart` compare, compared beforehand.
//!
//! A finding *blocks* only where a restart as `crctl restart IMAGE` does it here and now would refuse, by the
//! same comparison: `kmod/memory/mapped.rs` (mapped files), `kmod/files/verify.rs` (open files),
//! `kmod/tasks/restart.rs` (processor), `kmod/core/restart.rs` (kernel, modules), `crctl` (pids, rights).
//! Everything else that a user should know is a *warning* or a *note*.

mod build_id;
mod facts;
mod files;
mod kernel;
mod mapped;
mod processor;
mod rights;

pub use facts::{Files, Host};

use crate::load::Sections;
use cr_format::{records_of, superblock::Superblock, validate::MetaSet, Record};
use std::collections::BTreeMap;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; the restart goes well.
    Note,
    /// The restart may go well, or needs an option.
    Warning,
    /// The restart is refused.
    Blocks,
}

impl Severity {
    /// The word in JSON and for people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Blocks => "blocks",
        }
    }
}

/// One difference between the image and this host. All texts are escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was checked: `image`, `kernel`, `vdso`, `module`, `processor`, `clock`, `pid`, `mapped_file`, `file`,
    /// `directory`, `descriptor`, `pipe`, `credentials`, `limit`, `memory`, `cpu`.
    pub check: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// The object: a path, a pid, a limit; may be empty.
    pub subject: String,
    /// What is different, one sentence without its full stop.
    pub message: String,
    /// The value in the image, if there is one to compare.
    pub recorded: Option<String>,
    /// The value here.
    pub found: Option<String>,
    /// What to do.
    pub remedy: String,
}

impl Finding {
    fn new(check: &'static str, severity: Severity, message: impl Into<String>) -> Self {
        Self {
            check,
            severity,
            subject: String::new(),
            message: message.into(),
            recorded: None,
            found: None,
            remedy: String::new(),
        }
    }
    fn about(mut self, subject: impl ToString) -> Self {
        self.subject = subject.to_string();
        self
    }
    fn values(mut self, recorded: impl ToString, found: impl ToString) -> Self {
        self.recorded = Some(recorded.to_string());
        self.found = Some(found.to_string());
        self
    }
    fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }
}

/// The answer.
#[derive(Default)]
pub struct Answer {
    /// Differences, the blocking ones first, else in the order of the checks.
    pub findings: Vec<Finding>,
    /// How many objects each check has looked at.
    pub checked: BTreeMap<&'static str, u64>,
}

impl Answer {
    /// Nothing blocks.
    pub fn can_restart(&self) -> bool {
        self.count(Severity::Blocks) == 0
    }
    /// Number of findings of one severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings
            .iter()
            .filter(|f| f.severity == severity)
            .count()
    }
    fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }
    fn looked(&mut self, check: &'static str) {
        let n = self.checked.entry(check).or_default();
        *n = n.saturating_add(1);
    }
}

/// The records of one type that can be decoded.
fn all<'a, R: Record<'a> + 'a>(set: &'a Sections) -> impl Iterator<Item = R> + 'a {
    records_of::<R>(set.section(R::SECTION)).map_while(Result::ok)
}

/// Compares an image with a host. `packed`: some page data is compressed.
pub fn judge(sections: &Sections, superblock: Option<&Superblock>, host: &Host) -> Answer {
    let mut answer = Answer::default();
    if superblock.is_some_and(|s| !s.is_restartable()) {
        answer.add(
            Finding::new(
                "image",
                Severity::Blocks,
                "the image is marked as not restartable",
            )
            .remedy(
                "It was made for looking at only; take the image of the checkpoint it came from.",
            ),
        );
    }
    kernel::judge(sections, superblock, host, &mut answer);
    processor::judge(sections, host, &mut answer);
    rights::judge(sections, host, &mut answer);
    mapped::judge(sections, host, &mut answer);
    files::judge(sections, host, &mut answer);
    // Stable: the order of the checks stays.
    answer
        .findings
        .sort_by_key(|f| std::cmp::Reverse(f.severity));
    answer
}
