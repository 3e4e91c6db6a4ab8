// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Where an image is read from: a file, which can be skipped over, or a stream.

use crate::error::Failure;
use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
};

/// An open image.
pub struct Input {
    /// As the user named it.
    pub name: String,
    /// The superblock, if [`crate::load::load`] could not take it because it is newer.
    pub head: Vec<u8>,
    source: Source,
}

enum Source {
    /// A regular file, with its length and the position in it.
    File {
        file: File,
        len: u64,
        at: u64,
    },
    Stream(Box<dyn Read>),
}

/// How a read of a whole part ended.
pub enum Got {
    /// All of it.
    All,
    /// The input ended; this many bytes were there.
    Short(usize),
}

impl Input {
    /// Opens `name`; `-` is standard input.
    ///
    /// # Errors
    /// [`Failure::Read`].
    pub fn open(name: &str) -> Result<Self, Failure> {
        let fail = |error| Failure::Read {
            image: name.to_owned(),
            error,
        };
        if name == "-" {
            return Ok(Self {
                name: "standard input".to_owned(),
                head: Vec::new(),
                source: Source::Stream(Box::new(io::stdin())),
            });
        }
        let file = File::open(name).map_err(fail)?;
        let meta = file.metadata().map_err(fail)?;
        if meta.is_dir() {
            return Err(fail(io::Error::new(
                io::ErrorKind::IsADirectory,
                "it is a directory",
            )));
        }
        let source = if meta.is_file() {
            Source::File {
                file,
                len: meta.len(),
                at: 0,
            }
        } else {
            Source::Stream(Box::new(file))
        };
        Ok(Self {
            name: name.to_owned(),
            head: Vec::new(),
            source,
        })
    }

    /// A stream.
    pub fn stream(name: &str, stream: impl Read + 'static) -> Self {
        Self {
            name: name.to_owned(),
            head: Vec::new(),
            source: Source::Stream(Box::new(stream)),
        }
    }

    /// A regular file that is open, from its beginning.
    ///
    /// # Errors
    /// Those of the file.
    pub fn of_file(name: &str, mut file: File) -> io::Result<Self> {
        file.rewind()?;
        Ok(Self {
            name: name.to_owned(),
            head: Vec::new(),
            source: Source::File {
                len: file.metadata()?.len(),
                at: 0,
                file,
            },
        })
    }

    /// The file, if it is a regular one: for reading at any place with `pread`.
    pub fn file(&self) -> Option<&File> {
        match &self.source {
            Source::File { file, .. } => Some(file),
            Source::Stream(_) => None,
        }
    }

    /// Length of a regular file, bytes.
    pub fn file_len(&self) -> Option<u64> {
        match &self.source {
            Source::File { len, .. } => Some(*len),
            Source::Stream(_) => None,
        }
    }

    fn fail(&self, error: io::Error) -> Failure {
        Failure::Read {
            image: self.name.clone(),
            error,
        }
    }

    /// Fills `buf`.
    ///
    /// # Errors
    /// [`Failure::Read`].
    pub fn fill(&mut self, buf: &mut [u8]) -> Result<Got, Failure> {
        let mut have = 0;
        while have < buf.len() {
            let rest = buf.get_mut(have..).unwrap_or(&mut []);
            let result = match &mut self.source {
                Source::File { file, .. } => file.read(rest),
                Source::Stream(stream) => stream.read(rest),
            };
            match result {
                Ok(0) => return Ok(Got::Short(have)),
                Ok(n) => have += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(self.fail(e)),
            }
        }
        if let Source::File { at, .. } = &mut self.source {
            *at += have as u64;
        }
        Ok(Got::All)
    }

    /// Passes over `n` bytes: by seeking in a file, by reading in a stream. Says how many were missing.
    ///
    /// # Errors
    /// [`Failure::Read`].
    pub fn skip(&mut self, n: u64) -> Result<u64, Failure> {
        match &mut self.source {
            Source::File { file, len, at } => {
                let missing = n.saturating_sub(len.saturating_sub(*at));
                *at += n - missing;
                let to = *at;
                file.seek(SeekFrom::Start(to)).map_err(|e| self.fail(e))?;
                Ok(missing)
            }
            Source::Stream(stream) => {
                let done =
                    io::copy(&mut stream.take(n), &mut io::sink()).map_err(|e| self.fail(e))?;
                Ok(n - done)
            }
        }
    }

    /// Is there still a byte?
    ///
    /// # Errors
    /// [`Failure::Read`].
    pub fn has_more(&mut self) -> Result<bool, Failure> {
        Ok(matches!(self.fill(&mut [0])?, Got::All))
    }
}
