// SPDX-License-Identifier: GPL-2.0
//! Peeking into pipes without consuming anything.

use crate::WORD;
use cr_format::{BufferRecord, EndRecord, PipeRecord, BUFFER_PACKET};
use cr_logic::pipes::{capacity, joins, Piece};
use crkit::{
    sys::{
        file::FileRef,
        path::{PathRef, PathText},
        pipe::LockedPipe,
    },
    Checkpoint, Obstacle, RecordBuf,
};
use kernel::prelude::*;

/// Numbering of buffers, apart from that of pipes (see `object_in`).
const BUFFERS: u16 = 1;

const CLOSE: &str = "have the program close it first";

/// Emits the records of one end, and those of its pipe when it is the first end of it.
pub(crate) fn file(cx: &Checkpoint<'_>, file: &FileRef, id: u32) -> Result {
    let (pipe, new) = cx.object(file.inode_key() as u64)?;
    if new {
        let mut records = RecordBuf::new();
        if let Some(reason) = contents(cx, file, pipe, &mut records)? {
            let fd = cx.descriptor_of(file);
            return cx.obstacle(Obstacle { fd, ..Obstacle::new(WORD, b"pipe", reason, CLOSE) });
        }
        cx.emit_bytes(cr_format::PIPES, records.bytes())?;
    }
    cx.emit(&EndRecord { id, file: id.into(), pipe: pipe.into() })
}

/// The path of a FIFO that can be opened again by it, empty for a pipe; `None` for a FIFO that cannot.
fn fifo_path<'b>(file: &FileRef, buf: &'b mut [u8]) -> Result<Option<&'b [u8]>> {
    if file.open_file().internal != 0 {
        return Ok(Some(&[]));
    }
    let place = PathRef::of(file);
    let text = place.text(buf)?;
    let found = || PathRef::lookup(PathText::new(text)?.as_cstr()?, false);
    Ok((!place.is_unlinked() && found().is_ok_and(|p| p.is_same_object(&place))).then_some(text))
}

/// Puts the records of the pipe and its buffers; or says what is in the way.
fn contents(cx: &Checkpoint<'_>, file: &FileRef, pipe: u32, out: &mut RecordBuf) -> Result<Option<&'static str>> {
    let mut buf = KBox::new([0u8; 4096], GFP_KERNEL)?;
    let Some(path) = fifo_path(file, &mut *buf)? else {
        return Ok(Some("the FIFO has been removed, or its path does not lead to it any more"));
    };
    let p = LockedPipe::lock(file).ok_or(EINVAL)?;
    if p.is_watch_queue() {
        return Ok(Some("the kernel puts notifications into it (O_NOTIFICATION_PIPE)"));
    }
    let mut queued = 0u64;
    for i in 0..p.len() {
        let b = p.buffer(i).ok_or(EINVAL)?;
        if b.confirm().is_err() {
            return Ok(Some("its unread bytes come from a file that cannot be read"));
        }
        queued = queued.saturating_add(b.len() as u64);
    }
    let capacity = capacity(p.slots());
    if queued > capacity {
        return Ok(Some("its buffers hold more than their number allows (large pages were spliced into it)"));
    }
    out.push(&PipeRecord { id: pipe, capacity, fifo_path: path, queued })?;
    let mut w = Writer { cx, pipe, piece: Piece::default(), data: KVVec::new(), out };
    for i in 0..p.len() {
        let b = p.buffer(i).ok_or(EINVAL)?;
        let mut from = 0usize;
        while from < b.len() {
            let left = b.len().saturating_sub(from);
            let n = joins(w.piece, left, b.is_packet());
            if n == 0 {
                w.flush()?;
                continue;
            }
            b.peek(from, n, &mut w.data)?;
            w.piece = Piece { len: w.piece.len.saturating_add(n), packet: b.is_packet() };
            from = from.saturating_add(n);
        }
    }
    w.flush()?;
    Ok(None)
}

/// Joins buffers into records.
struct Writer<'w> {
    cx: &'w Checkpoint<'w>,
    pipe: u32,
    piece: Piece,
    data: KVVec<u8>,
    out: &'w mut RecordBuf,
}

impl Writer<'_> {
    fn flush(&mut self) -> Result {
        if self.piece.len == 0 {
            return Ok(());
        }
        // Buffers of all pipes are numbered together; the key only has to be another one each time.
        let mut key = u64::from(self.pipe) << 32;
        let id = loop {
            match self.cx.object_in(BUFFERS, key)? {
                (id, true) => break id,
                _ => key = key.wrapping_add(1),
            }
        };
        self.out.push(&BufferRecord {
            id,
            pipe: self.pipe.into(),
            flags: if self.piece.packet { BUFFER_PACKET } else { 0 },
            data: &self.data,
        })?;
        self.data.clear();
        self.piece = Piece::default();
        Ok(())
    }
}
