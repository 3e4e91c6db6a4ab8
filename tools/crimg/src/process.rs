// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The records that most commands need, decoded once.

use crate::load::Sections;
use cr_format::{
    records_of, validate::MetaSet, ExitedRecord, MmRecord, ProcessRecord, TaskRecord, MEMORY, REGS,
    REG_NAMES, TASKS,
};

/// The process of an image, as far as its records can be decoded.
pub struct Process<'s> {
    /// The process itself.
    pub process: Option<ProcessRecord<'s>>,
    /// Its threads, the leader first.
    pub tasks: Vec<TaskRecord<'s>>,
    /// Its address space.
    pub mm: Option<MmRecord<'s>>,
}

impl<'s> Process<'s> {
    /// Decodes the records; what cannot be decoded is left out (`verify` says why).
    pub fn new(sections: &'s Sections) -> Self {
        let tasks = sections.section(TASKS);
        Self {
            process: records_of::<ProcessRecord<'_>>(tasks)
                .map_while(Result::ok)
                .next(),
            tasks: records_of::<TaskRecord<'_>>(tasks)
                .map_while(Result::ok)
                .collect(),
            mm: records_of::<MmRecord<'_>>(sections.section(MEMORY))
                .map_while(Result::ok)
                .next(),
        }
    }

    /// The thread with this id.
    pub fn task(&self, tid: u64) -> Option<&TaskRecord<'s>> {
        self.tasks.iter().find(|t| t.tid == tid)
    }

    /// Value of an entry of the auxiliary vector (`AT_*`).
    pub fn auxv(&self, kind: u64) -> Option<u64> {
        let words: Vec<u64> = self.mm.as_ref()?.auxv.iter().collect();
        words
            .chunks_exact(2)
            .find_map(|pair| (pair.first() == Some(&kind)).then(|| pair.last().copied())?)
    }
}

/// The exit code of a main thread that has ended while others go on; `None` for every other thread.
pub fn exit_code(sections: &Sections, task: &TaskRecord<'_>) -> Option<u64> {
    records_of::<ExitedRecord>(sections.section(TASKS))
        .map_while(Result::ok)
        .find(|e| u64::from(e.id) == task.tid)
        .map(|e| e.status >> 8)
}

/// The general registers of a thread, in the order of [`REG_NAMES`]; missing ones are zero.
pub fn registers(task: &TaskRecord<'_>) -> [u64; REGS] {
    let mut regs = [0; REGS];
    for (to, from) in regs.iter_mut().zip(task.regs.iter()) {
        *to = from;
    }
    regs
}

/// A general register by name.
pub fn register(task: &TaskRecord<'_>, name: &str) -> Option<u64> {
    let n = REG_NAMES.iter().position(|r| *r == name)?;
    registers(task).get(n).copied()
}
