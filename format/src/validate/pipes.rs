// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Rules of section `pipes`.

use super::{each, is_path, known_records, MetaSet};
use crate::{
    error::{ensure, Error, Result},
    limits::{FDS, PAGE},
    record::records_of,
    sections::{
        BufferRecord, EndRecord, FileRecord, PipeRecord, BUFFER_PACKET, FILE_HANDLED, PIPES,
    },
    wire::len64,
};

/// Largest capacity that the kernel can have.
const CAPACITY_MAX: u64 = 1 << 31;
const O_ACCMODE: u64 = 3;
/// Flags of an end: access mode, `O_APPEND`, `O_NONBLOCK`, `O_SYNC`, `O_DIRECT`, `O_LARGEFILE`, `O_NOFOLLOW`,
/// `O_NOATIME`; and `O_CLOEXEC`, which means nothing any more.
const END_FLAGS: u64 = O_ACCMODE
    | 0o2_000
    | 0o4_000
    | 0o4_010_000
    | 0o40_000
    | 0o100_000
    | 0o400_000
    | 0o1_000_000
    | 0o2_000_000;

pub(super) fn check(set: &dyn MetaSet) -> Result {
    known_records(set, PIPES)?;
    let mut pipes = 0_u64;
    each(set, |p: PipeRecord<'_>| {
        pipes = pipes.saturating_add(1);
        if pipes > FDS {
            return Err(Error::over_limit(pipes, FDS));
        }
        ensure(u64::from(p.id) == pipes, "PIPES-1")?;
        let capacity = p.capacity.is_power_of_two() && (PAGE..=CAPACITY_MAX).contains(&p.capacity);
        ensure(capacity, "PIPES-2")?;
        ensure(p.queued <= p.capacity, "PIPES-3")?;
        ensure(p.fifo_path.is_empty() || is_path(p.fifo_path), "PIPES-8")
    })?;
    buffers(set)?;
    ends(set, pipes)
}

/// Buffers stand in the order of their pipes and add up to what each pipe has queued.
fn buffers(set: &dyn MetaSet) -> Result {
    let mut all = records_of::<PipeRecord<'_>>(set.section(PIPES));
    let mut current: Option<PipeRecord<'_>> = None;
    let (mut sum, mut running) = (0_u64, 0_u32);
    each(set, |b: BufferRecord<'_>| {
        running = running.saturating_add(1);
        ensure(b.id == running && !b.data.is_empty(), "PIPES-5")?;
        if b.flags & !BUFFER_PACKET != 0 {
            return Err(Error::unsupported("flag of a pipe buffer"));
        }
        ensure(
            b.flags & BUFFER_PACKET == 0 || len64(b.data) <= PAGE,
            "PIPES-5",
        )?;
        while current.is_none_or(|p| u64::from(p.id) != b.pipe) {
            ensure(current.is_none_or(|p| p.queued == sum), "PIPES-4")?;
            current = Some(all.next().ok_or(Error::rule("PIPES-4"))??);
            sum = 0;
        }
        sum = sum.saturating_add(len64(b.data));
        ensure(current.is_some_and(|p| sum <= p.queued), "PIPES-4")
    })?;
    ensure(current.is_none_or(|p| p.queued == sum), "PIPES-4").map_err(|e| e.placed(PIPES, 0))?;
    all.try_for_each(|p| {
        ensure(p?.queued == 0, "PIPES-4").map_err(|e| {
            if e.section == 0 {
                e.placed(PIPES, 0)
            } else {
                e
            }
        })
    })
}

/// Ends and the files that this section makes belong together, one to one, both in ascending order.
fn ends(set: &dyn MetaSet, pipes: u64) -> Result {
    let mut files = records_of::<FileRecord<'_>>(set.section(crate::sections::FILES)).filter(|f| {
        f.as_ref().map_or(true, |f| {
            f.kind == FILE_HANDLED && f.handler == PIPES.into()
        })
    });
    each(set, |e: EndRecord| {
        ensure(
            u64::from(e.id) == e.file && (1..=pipes).contains(&e.pipe),
            "PIPES-6",
        )?;
        let file = files.next().ok_or(Error::rule("PIPES-6"))??;
        ensure(u64::from(file.id) >= e.file, "PIPES-7")?;
        ensure(u64::from(file.id) == e.file, "PIPES-6")?;
        if file.flags & !END_FLAGS != 0 || file.flags & O_ACCMODE == O_ACCMODE {
            return Err(Error::unsupported("flag of an end of a pipe"));
        }
        Ok(())
    })?;
    match files.next() {
        None => Ok(()),
        Some(file) => file.and_then(|_| Err(Error::rule("PIPES-7").placed(PIPES, 0))),
    }
}
