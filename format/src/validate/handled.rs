// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Open files that a section handles, and its records: one to one, both in ascending order.

use super::MetaSet;
use crate::{
    error::{ensure, Error, Result},
    record::{records_of, RecordsOf},
    sections::{FileRecord, FILES, FILE_HANDLED},
};

/// Goes over the open files of one section.
pub(super) struct Handled<'s> {
    files: RecordsOf<'s, FileRecord<'s>>,
    section: u16,
    rule: &'static str,
}

impl<'s> Handled<'s> {
    /// The open files that `section` handles; `rule` demands a record for each.
    pub(super) fn new(set: &'s dyn MetaSet, section: u16, rule: &'static str) -> Self {
        Self {
            files: records_of(set.shared(FILES)),
            section,
            rule,
        }
    }

    fn advance(&mut self) -> Result<Option<u32>> {
        for file in self.files.by_ref() {
            let file = file?;
            if file.kind == FILE_HANDLED && file.handler == u64::from(self.section) {
                return Ok(Some(file.id));
            }
        }
        Ok(None)
    }

    /// The next record has this id and refers to this open file.
    pub(super) fn next(&mut self, id: u32, file: u64) -> Result {
        let next = self.advance()?;
        ensure(u64::from(id) == file && next == Some(id), self.rule)
    }

    /// The next record has this id and refers to one of the open files, behind those of the records before.
    pub(super) fn find(&mut self, id: u32, file: u64) -> Result {
        ensure(u64::from(id) == file, self.rule)?;
        while let Some(next) = self.advance()? {
            if next == id {
                return Ok(());
            }
        }
        Err(Error::rule(self.rule))
    }

    /// How many open files there are from here on.
    pub(super) fn count(mut self) -> Result<u64> {
        let mut n = 0_u64;
        while self.advance()?.is_some() {
            n = n.saturating_add(1);
        }
        Ok(n)
    }

    /// There are no more records.
    pub(super) fn end(&mut self) -> Result {
        match self.advance()? {
            None => Ok(()),
            Some(_) => Err(Error::rule(self.rule).placed(self.section, 0)),
        }
    }
}
