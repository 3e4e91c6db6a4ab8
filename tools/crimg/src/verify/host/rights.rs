// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Pids that must be free, and what the caller may do: credentials, limits.

use super::{all, Answer, Finding, Host, Severity};
use crate::{escape, load::Sections, names};
use cr_format::{CredRecord, LimitRecord, ProcessRecord, TaskRecord, RESOURCE_NAMES};
use std::fs;

/// `CAP_SYS_RESOURCE`.
pub(super) const CAP_SYS_RESOURCE: u32 = 24;
const ROOT: &str = "Restart as root, or as a user who may do what the process may.";
/// Taken pids that are listed one by one.
const LISTED: usize = 8;

pub(super) fn judge(sections: &Sections, host: &Host, answer: &mut Answer) {
    pids(sections, host, answer);
    answer.looked("credentials");
    if !host.is_root() {
        answer.add(
            Finding::new("credentials", Severity::Warning, "a restart needs root, for it chooses its pid; the rights of root were not compared")
                .values("root", format!("uid {}", host.euid))
                .remedy("Restart with sudo; sudo crimg verify --level host compares the rights as well."),
        );
        return;
    }
    credentials(sections, host, answer);
    limits(sections, host, answer);
}

fn pids(sections: &Sections, host: &Host, answer: &mut Answer) {
    let max = host.sysctl("kernel/pid_max");
    let mut taken = 0_usize;
    for t in all::<TaskRecord<'_>>(sections) {
        answer.looked("pid");
        if let Some(max) = max.filter(|max| t.tid >= *max) {
            answer.add(
                Finding::new("pid", Severity::Blocks, "the pid cannot exist here")
                    .about(t.tid)
                    .values(t.tid, format!("kernel.pid_max {max}"))
                    .remedy("Raise it (sysctl kernel.pid_max=4194304), or restart in a new pid namespace: --new-pidns"),
            );
            return;
        }
        let Some(holder) = holder(host, t.tid) else {
            continue;
        };
        taken = taken.saturating_add(1);
        if taken <= LISTED {
            answer.add(
                Finding::new("pid", Severity::Blocks, "the pid is taken")
                    .about(t.tid)
                    .values("free", holder)
                    .remedy("End it, or restart in a new pid namespace (needs root): --new-pidns"),
            );
        }
    }
    if taken > LISTED {
        let more = taken.saturating_sub(LISTED);
        answer.add(
            Finding::new(
                "pid",
                Severity::Blocks,
                format!("{more} more pids are taken"),
            )
            .remedy("Restart in a new pid namespace (needs root): --new-pidns"),
        );
    }
}

/// Who has this pid or tid; not this program, which will be gone.
fn holder(host: &Host, tid: u64) -> Option<String> {
    let folder = host.proc.join(tid.to_string());
    let status = fs::read_to_string(folder.join("status")).ok()?;
    let field = |name: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(name));
        line.map(str::trim).unwrap_or("").to_owned()
    };
    let tgid = field("Tgid:");
    if tgid == host.pid.to_string() {
        return None;
    }
    let name = escape::text(field("Name:").as_bytes());
    Some(if tgid == tid.to_string() {
        format!("process {tid} {name}")
    } else {
        format!("thread {name} of process {tgid}")
    })
}

fn credentials(sections: &Sections, host: &Host, answer: &mut Answer) {
    let Some(c) = all::<CredRecord<'_>>(sections).next() else {
        return;
    };
    for (what, wanted, here) in [
        ("bounding set", c.cap_bounding, host.bounding),
        ("permitted capabilities", c.cap_permitted, host.permitted),
    ] {
        let missing = wanted & !here;
        if missing != 0 {
            answer.add(
                Finding::new(
                    "credentials",
                    Severity::Blocks,
                    format!(
                        "the process may have capabilities that the caller may not: {}",
                        names::capabilities(missing)
                    ),
                )
                .about(what)
                .values(format!("{wanted:#x}"), format!("{here:#x}"))
                .remedy(ROOT),
            );
        }
    }
}

fn limits(sections: &Sections, host: &Host, answer: &mut Answer) {
    let may = host.permitted & (1 << CAP_SYS_RESOURCE) != 0;
    for l in all::<LimitRecord>(sections) {
        answer.looked("limit");
        let n = usize::try_from(l.resource).unwrap_or(usize::MAX);
        let name = RESOURCE_NAMES.get(n).copied().unwrap_or("?");
        let show = |n: u64| match n {
            u64::MAX => "unlimited".to_owned(),
            n => n.to_string(),
        };
        let here = host.hard_limits.get(n).copied().flatten();
        if let Some(here) = here.filter(|here| l.hard > *here && !may) {
            answer.add(
                Finding::new(
                    "limit",
                    Severity::Blocks,
                    "the hard limit is above what the caller may set",
                )
                .about(name)
                .values(show(l.hard), show(here))
                .remedy(
                    "Restart with CAP_SYS_RESOURCE, or from a shell with that limit (ulimit -H).",
                ),
            );
        }
        let max = host.sysctl("fs/nr_open").filter(|_| name == "nofile");
        if let Some(max) = max.filter(|max| l.hard > *max && here != Some(l.hard)) {
            answer.add(
                Finding::new(
                    "limit",
                    Severity::Blocks,
                    "the limit of open files is above what this kernel allows",
                )
                .about(name)
                .values(show(l.hard), format!("fs.nr_open {max}"))
                .remedy(format!("Raise it: sysctl fs.nr_open={}", l.hard)),
            );
        }
    }
    if let Some(p) = all::<ProcessRecord<'_>>(sections).next() {
        if p.oom_score_adj < host.oom_score_adj && !may {
            answer.add(
                Finding::new(
                    "limit",
                    Severity::Blocks,
                    "the OOM score adjustment of the process cannot be set by the caller",
                )
                .about("oom_score_adj")
                .values(p.oom_score_adj, host.oom_score_adj)
                .remedy("Restart with CAP_SYS_RESOURCE."),
            );
        }
    }
}
