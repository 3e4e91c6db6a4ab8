// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Features of the processor's extended state, and its layout.
//!
//! As `fit_xstate` in `kmod/logic/src/tasks.rs`: the layout matters only if more than x87, SSE and AVX is in use.

use super::{all, Answer, Finding, Host, Severity};
use crate::{load::Sections, names, xsave};
use cr_format::{ImageRecord, TaskRecord};

/// Features whose place is the same on every processor.
const COMMON: u64 = 7;
const REMEDY: &str = "Restart on a machine with the same or a newer processor of the same maker.";

pub(super) fn judge(sections: &Sections, host: &Host, answer: &mut Answer) {
    if let Some(image) = all::<ImageRecord<'_>>(sections).next() {
        answer.looked("processor");
        let missing = image.xfeatures & !host.xfeatures;
        if missing != 0 {
            answer.add(
                Finding::new(
                    "processor",
                    Severity::Blocks,
                    format!(
                        "this processor lacks features that the process may use: {}",
                        names::xfeatures(missing)
                    ),
                )
                .values(
                    format!("XCR0 {:#x}", image.xfeatures),
                    format!("XCR0 {:#x}", host.xfeatures),
                )
                .remedy(REMEDY),
            );
            // The threads cannot fit either.
            return;
        }
    }
    for t in all::<TaskRecord<'_>>(sections) {
        let used = xsave::in_use(t.xstate);
        let size = t.xstate.len() as u64;
        if host.xsave_size == 0 || size == host.xsave_size || used & !COMMON == 0 {
            continue;
        }
        answer.add(
            Finding::new(
                "processor",
                Severity::Blocks,
                "this processor keeps its extended registers in another layout",
            )
            .about(format!("thread {}", t.tid))
            .values(
                format!("{size} bytes, in use: {}", names::xfeatures(used)),
                format!("{} bytes", host.xsave_size),
            )
            .remedy(REMEDY),
        );
        // The others say the same.
        return;
    }
}
