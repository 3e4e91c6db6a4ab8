// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Properties of records and of the sections that they make.

use crate::{common, synth};
use cr_format::{
    validate::{self, MetaSet, CHECKS},
    *,
};
use std::{collections::BTreeMap, sync::OnceLock};

/// Any bytes as records of any section: what can be parsed is written back identically.
pub fn records(data: &[u8]) {
    for section in SECTIONS {
        section_round_trip(section.id, data);
    }
}

/// Sound sections, one of them replaced.
struct Replaced<'a> {
    sound: &'a BTreeMap<u16, Vec<u8>>,
    id: u16,
    data: &'a [u8],
}

impl MetaSet for Replaced<'_> {
    fn section(&self, id: u16) -> &[u8] {
        if id == self.id {
            return self.data;
        }
        self.sound.get(&id).map_or(&[], Vec::as_slice)
    }

    fn ids(&self, visit: &mut dyn FnMut(u16) -> Result<(), Error>) -> Result<(), Error> {
        let others = self.sound.keys().filter(|id| **id != self.id);
        others.copied().chain([self.id]).try_for_each(|id| {
            if self.section(id).is_empty() {
                Ok(())
            } else {
                visit(id)
            }
        })
    }
}

/// Any bytes as the records of section `id` of an otherwise sound image: no panic, and the first defect
/// is that of the first check that finds one.
pub fn section(id: u16, data: &[u8]) {
    static SOUND: OnceLock<BTreeMap<u16, Vec<u8>>> = OnceLock::new();
    let sound = SOUND.get_or_init(|| {
        let sections = SECTIONS.iter().map(|s| (s.id, section_seed(s.id)));
        sections.filter(|s| !s.1.is_empty()).collect()
    });
    let set = Replaced { sound, id, data };
    let own = CHECKS.iter().find(|c| c.0 == id).map(|c| c.1(&set));
    // The fuzzer has better things to do than to check everything each time.
    let all = data.len() & 63 == 0;
    if all || own.is_none_or(|r| r.is_ok()) {
        let verdict = validate::meta(&set);
        let mut each = CHECKS.iter().map(|(_, check)| check(&set));
        assert_eq!(verdict, each.find(Result::is_err).unwrap_or(Ok(())));
    }
    let _ = validate::stats(&set, 9, 4);
    section_round_trip(id, data);
}

/// The section of a sound image that has it, as a seed.
pub fn section_seed(id: u16) -> Vec<u8> {
    let [image, edited] = [synth::resources(), synth::compressed()];
    let stats = (STATS, false, image.stats);
    let all = image.sections.into_iter().chain([stats]);
    let found = all.chain(edited.sections).find(|s| s.0 == id);
    found.map_or(Vec::new(), |s| {
        s.2.iter().flat_map(synth::Rec::bytes).collect()
    })
}

/// Every record that can be parsed is written back identically.
pub fn section_round_trip(id: u16, bytes: &[u8]) {
    let mut end = 0;
    for raw in records_in(id, bytes).map_while(Result::ok) {
        assert_eq!(raw.offset, end);
        end += raw.bytes().len() as u64;
        // Structure must be walkable whatever the fields are.
        let _ = raw.fields().count();
        round_trip(id, raw);
    }
    assert!(end <= bytes.len() as u64);
}

/// The record as it is written after parsing; as it is if its type is not known or it cannot be parsed.
pub fn encoded_again(section: u16, raw: RawRecord<'_>, semantics: bool) -> Vec<u8> {
    assert!(round_trip(section, raw) || !semantics || !is_known(section, raw));
    raw.bytes().to_vec()
}

/// Is it a record that a sound image must be able to parse?
fn is_known(section: u16, raw: RawRecord<'_>) -> bool {
    // What a critical section has was parsed when the image was accepted.
    let critical = SECTIONS.iter().any(|s| s.id == section && s.critical);
    critical && sections::record_of(section, raw.record_type).is_some()
}

/// Parses `raw` as what it says it is; if that works, writing gives the same bytes.
pub fn round_trip(section: u16, raw: RawRecord<'_>) -> bool {
    fn trip<'a, R: Record<'a> + PartialEq + std::fmt::Debug>(raw: RawRecord<'a>) -> bool {
        if raw.record_type != R::TYPE {
            return false;
        }
        let Ok(record) = R::parse(raw) else {
            return false;
        };
        let mut out = common::Buf::default();
        record.write(&mut out).unwrap();
        assert_eq!(out.0, raw.bytes());
        assert_eq!(record.encoded_len(), out.0.len());
        assert_eq!(record.id(), raw.id);
        true
    }
    match section {
        IMAGE => trip::<ImageRecord<'_>>(raw) || trip::<SectionRecord<'_>>(raw),
        SCHEMA => trip::<SchemaRecord<'_>>(raw) || trip::<SchemaField<'_>>(raw),
        PROVENANCE => trip::<EditRecord<'_>>(raw),
        EVENTFD => trip::<EventfdRecord>(raw),
        TIMERFD => trip::<TimerfdRecord>(raw),
        SIGNALFD => trip::<SignalfdRecord>(raw),
        EPOLL => trip::<EpollRecord>(raw) || trip::<WatchRecord>(raw),
        LOCKS => trip::<LockRecord>(raw),
        INOTIFY => {
            trip::<InotifyRecord>(raw)
                || trip::<PlaceRecord<'_>>(raw)
                || trip::<NotifyRecord<'_>>(raw)
        }
        PIDFD => trip::<PidfdRecord>(raw),
        PROC => trip::<ProcRecord<'_>>(raw),
        OWNERS => trip::<OwnerRecord>(raw),
        SECCOMP => trip::<FilterRecord<'_>>(raw) || trip::<ConfinedRecord>(raw),
        LANDLOCK => trip::<LayerRecord>(raw) || trip::<SubjectRecord>(raw),
        CGROUPS => trip::<CgroupRecord<'_>>(raw),
        TIMERS => trip::<ItimerRecord>(raw) || trip::<TimerRecord>(raw),
        URING => {
            trip::<RingRecord>(raw)
                || trip::<RegisteredRingRecord>(raw)
                || trip::<RingEventfdRecord>(raw)
        }
        TASKS => {
            trip::<ProcessRecord<'_>>(raw)
                || trip::<TaskRecord<'_>>(raw)
                || trip::<KinRecord>(raw)
                || trip::<AttributesRecord<'_>>(raw)
                || trip::<LeaderRecord>(raw)
                || trip::<ExitedRecord>(raw)
        }
        MEMORY => {
            trip::<MmRecord<'_>>(raw)
                || trip::<VmaRecord<'_>>(raw)
                || trip::<MappedFileRecord<'_>>(raw)
                || trip::<GuardRecord>(raw)
                || trip::<PolicyRecord<'_>>(raw)
                || trip::<MappedObjectRecord>(raw)
                || trip::<HugeRecord>(raw)
                || trip::<KeysRecord>(raw)
        }
        FILES => {
            trip::<FsRecord<'_>>(raw)
                || trip::<FileRecord<'_>>(raw)
                || trip::<DescriptorRecord>(raw)
                || trip::<MemfdRecord<'_>>(raw)
                || trip::<ContentsRecord>(raw)
        }
        PIPES => {
            trip::<PipeRecord<'_>>(raw) || trip::<BufferRecord<'_>>(raw) || trip::<EndRecord>(raw)
        }
        SIGNALS => {
            trip::<ActionRecord>(raw)
                || trip::<TaskSignalsRecord>(raw)
                || trip::<PendingRecord<'_>>(raw)
        }
        CREDS => trip::<CredRecord<'_>>(raw),
        LIMITS => trip::<LimitRecord>(raw),
        STATS => trip::<StatsRecord>(raw) || trip::<VmaStatsRecord>(raw),
        REPORT => {
            trip::<ObstacleRecord<'_>>(raw)
                || trip::<FailureRecord<'_>>(raw)
                || trip::<ExternalRecord<'_>>(raw)
                || trip::<NoteRecord<'_>>(raw)
        }
        _ => false,
    }
}
