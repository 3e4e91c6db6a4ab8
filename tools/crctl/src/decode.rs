// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! From the bytes that `read` on the device returns to a [`Report`].
//!
//! What this program does not know is skipped, and what is damaged ends the decoding: a newer or broken kernel side
//! must not hide the rest. The report only explains a result that is known already.

use crate::report::{Access, External, Failed, Note, Obstacle, Report};
use cr_format::{
    records, ExternalRecord, FailureRecord, NoteRecord, ObstacleRecord, RawRecord, Record,
};

/// Decodes whole records.
pub fn report(bytes: &[u8]) -> Report {
    let mut report = Report::default();
    for raw in records(bytes) {
        let Ok(raw) = raw else { break };
        // A record of a known type that does not parse is left out.
        let _ = add(&mut report, raw);
    }
    report
}

fn add(report: &mut Report, raw: RawRecord<'_>) -> Result<(), cr_format::Error> {
    match raw.record_type {
        ObstacleRecord::TYPE => report.obstacles.push(ObstacleRecord::parse(raw)?.into()),
        FailureRecord::TYPE => report.failures.push(FailureRecord::parse(raw)?.into()),
        ExternalRecord::TYPE => report.externals.push(ExternalRecord::parse(raw)?.into()),
        NoteRecord::TYPE => report.notes.push(NoteRecord::parse(raw)?.into()),
        _ => {}
    }
    Ok(())
}

impl From<ObstacleRecord<'_>> for Obstacle {
    fn from(r: ObstacleRecord<'_>) -> Self {
        Self {
            word: r.word.to_vec(),
            pid: r.pid,
            tid: r.tid,
            fd: r.fd,
            address: r.address,
            object: r.object.to_vec(),
            reason: r.reason.to_vec(),
            remedy: r.remedy.to_vec(),
        }
    }
}

impl From<FailureRecord<'_>> for Failed {
    fn from(r: FailureRecord<'_>) -> Self {
        Self {
            word: r.word.to_vec(),
            errno: i32::try_from(r.errno).unwrap_or(0),
            offset: r.offset,
            rule: r.rule.to_vec(),
            message: r.message.to_vec(),
            remedy: r.remedy.to_vec(),
        }
    }
}

impl From<ExternalRecord<'_>> for External {
    fn from(r: ExternalRecord<'_>) -> Self {
        Self {
            fd: u32::try_from(r.fd).unwrap_or(u32::MAX),
            access: match r.access {
                0 => Access::Read,
                1 => Access::Write,
                2 => Access::Both,
                _ => Access::Unknown,
            },
            description: r.description.to_vec(),
            stdio: r.stdio == 1,
            append: r.append == 1,
        }
    }
}

impl From<NoteRecord<'_>> for Note {
    fn from(r: NoteRecord<'_>) -> Self {
        Self {
            word: r.word.to_vec(),
            message: r.message.to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cr_format::{Error, Sink};

    #[derive(Default)]
    struct Bytes(Vec<u8>);

    impl Sink for Bytes {
        fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
            self.0.extend_from_slice(bytes);
            Ok(())
        }
    }

    fn sample() -> Vec<u8> {
        let mut out = Bytes::default();
        let obstacle = ObstacleRecord {
            word: b"files",
            pid: 7,
            tid: 8,
            fd: -1,
            address: 4096,
            object: b"x",
            reason: b"y",
            ..Default::default()
        };
        obstacle.write(&mut out).unwrap();
        let external = ExternalRecord {
            fd: 5,
            access: 2,
            description: b"pipe:[12]",
            append: 1,
            ..Default::default()
        };
        external.write(&mut out).unwrap();
        let start = out.0.len();
        external.write(&mut out).unwrap();
        out.0[start] = 77; // a type of the future
        let failure = FailureRecord {
            word: b"pipes",
            errno: 117,
            offset: 64,
            rule: b"PIPES-3",
            message: b"m",
            remedy: b"r",
            ..Default::default()
        };
        failure.write(&mut out).unwrap();
        NoteRecord {
            word: b"tasks",
            message: b"hello",
            ..Default::default()
        }
        .write(&mut out)
        .unwrap();
        out.0
    }

    #[test]
    fn every_kind_of_record_is_decoded_and_unknown_ones_are_skipped() {
        let report = report(&sample());
        let o = &report.obstacles[0];
        assert_eq!(
            (o.word.as_slice(), o.pid, o.tid, o.fd, o.address),
            (b"files".as_slice(), 7, 8, -1, 4096)
        );
        assert_eq!(
            (o.object.as_slice(), o.reason.as_slice(), o.remedy.len()),
            (b"x".as_slice(), b"y".as_slice(), 0)
        );
        assert_eq!(report.externals.len(), 1);
        let e = &report.externals[0];
        assert_eq!(
            (e.fd, e.access, e.stdio, e.append),
            (5, Access::Both, false, true)
        );
        let f = &report.failures[0];
        assert_eq!(
            (f.errno, f.offset, f.rule.as_slice()),
            (117, 64, b"PIPES-3".as_slice())
        );
        assert_eq!(report.notes[0].message, b"hello");
    }

    #[test]
    fn a_report_that_is_cut_short_gives_what_is_whole() {
        let bytes = sample();
        for end in 0..bytes.len() {
            let cut = report(&bytes[..end]);
            assert!(
                cut.notes.is_empty(),
                "the last record is not whole at {end}"
            );
        }
        assert_eq!(report(&bytes).notes.len(), 1);
    }
}
