// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Where a document goes: standard output, memory, or a file that appears when it is complete.

use crate::{atomic::AtomicFile, error::Failure, output::Output};
use std::{io::Write, path::Path};

/// Bytes that are collected before they are written.
const BUFFER: usize = 256 << 10;

/// Takes the bytes of a document.
pub enum Sink<'o> {
    /// Standard output.
    Output(&'o mut Output),
    /// A file, with what was not yet written to it.
    File(AtomicFile, Vec<u8>),
    /// Memory, for tests.
    Bytes(&'o mut Vec<u8>),
}

impl Sink<'_> {
    /// A file that appears at [`Sink::commit`].
    ///
    /// # Errors
    /// [`Failure::Usage`] for one that exists unless `force`, [`Failure::Output`].
    pub fn create(path: &Path, force: bool) -> Result<Self, Failure> {
        let file = AtomicFile::create(path, force)?;
        Ok(Self::File(file, Vec::with_capacity(BUFFER)))
    }

    /// Writes bytes.
    ///
    /// # Errors
    /// [`Failure::Write`], [`Failure::Output`].
    pub fn put(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Output(out) => out.bytes(bytes),
            Self::Bytes(out) => {
                out.extend_from_slice(bytes);
                Ok(())
            }
            Self::File(file, buffer) => {
                if buffer.len().saturating_add(bytes.len()) > BUFFER {
                    let result = file.file.write_all(buffer);
                    result.map_err(|e| file.failed(e))?;
                    buffer.clear();
                }
                if bytes.len() > BUFFER {
                    let result = file.file.write_all(bytes);
                    return result.map_err(|e| file.failed(e));
                }
                buffer.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// Everything is written: makes a file appear.
    ///
    /// # Errors
    /// [`Failure::Write`], [`Failure::Output`], [`Failure::Usage`] for a file that appeared meanwhile.
    pub fn commit(self) -> Result<(), Failure> {
        match self {
            Self::Output(out) => out.finish(),
            Self::Bytes(_) => Ok(()),
            Self::File(mut file, buffer) => {
                let result = file.file.write_all(&buffer);
                result.map_err(|e| file.failed(e))?;
                file.commit()
            }
        }
    }
}
