// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The list of sections, and one module per section with its records.
//!
//! The list exists once: readers, `crimg` and the tests walk it. Adding a section is one line here and
//! one file beside it.

use crate::record::{FieldSchema, Record, Sink};

/// One section of this release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// Section id.
    pub id: u16,
    /// Resource word.
    pub word: &'static str,
    /// Must a reader that does not know it refuse?
    pub critical: bool,
    /// Kernel module that restarts it, empty for the core's own.
    pub module: &'static str,
    /// Its record types, ascending by number.
    pub records: &'static [RecordType],
}

/// One record type of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordType {
    /// Number, unique in the section.
    pub number: u16,
    /// Name.
    pub name: &'static str,
    /// Fields, ascending by id.
    pub fields: &'static [FieldSchema],
}

const fn record_type<'a, R: Record<'a>>() -> RecordType {
    RecordType {
        number: R::TYPE,
        name: R::NAME,
        fields: R::FIELDS,
    }
}

macro_rules! sections {
    ($($(#[$doc:meta])* $word:ident $constant:ident = $id:literal, $critical:literal, $module:literal, [$($record:ident),+];)+) => {
        $(mod $word;)+
        $(pub use $word::*;)+
        $($(#[$doc])* pub const $constant: u16 = $id;)+

        /// The sections of an image, ascending by id.
        pub const SECTIONS: &[Section] = &[$(Section {
            id: $id,
            word: stringify!($word),
            critical: $critical,
            module: $module,
            records: &[$(record_type::<$record>()),+],
        }),+];

        /// Their resource words, in the same order.
        pub const WORDS: &[&str] = &[$(stringify!($word)),+];
    };
}

sections! {
    /// Where the image comes from, and the list of its sections.
    image IMAGE = 0x0001, true, "", [ImageRecord, SectionRecord];
    /// Names of records and fields, for tools older than the image.
    schema SCHEMA = 0x0002, false, "", [SchemaRecord, SchemaField];
    /// What tools have done to the image since the checkpoint.
    provenance PROVENANCE = 0x0003, false, "", [EditRecord];
    /// The process and its threads with their registers.
    tasks TASKS = 0x0010, true, "cr_tasks", [ProcessRecord, TaskRecord, KinRecord, AttributesRecord, LeaderRecord, ExitedRecord];
    /// The address space.
    memory MEMORY = 0x0011, true, "cr_memory", [MmRecord, VmaRecord, MappedFileRecord, GuardRecord, PolicyRecord, MappedObjectRecord, HugeRecord, KeysRecord];
    /// Open files and the descriptor table.
    files FILES = 0x0012, true, "cr_files", [FsRecord, FileRecord, DescriptorRecord, MemfdRecord, ContentsRecord];
    /// Pipes, FIFOs and their unread bytes.
    pipes PIPES = 0x0013, true, "cr_pipes", [PipeRecord, BufferRecord, EndRecord];
    /// Signal handlers, masks, alternate stacks and pending signals.
    signals SIGNALS = 0x0014, true, "cr_signals", [ActionRecord, TaskSignalsRecord, PendingRecord];
    /// User and group ids, capabilities.
    creds CREDS = 0x0015, true, "cr_creds", [CredRecord];
    /// Resource limits.
    limits LIMITS = 0x0016, true, "cr_limits", [LimitRecord];
    /// Event counters.
    eventfd EVENTFD = 0x0017, true, "cr_eventfd", [EventfdRecord];
    /// Timers behind descriptors.
    timerfd TIMERFD = 0x0018, true, "cr_timerfd", [TimerfdRecord];
    /// Descriptors that signals are read from.
    signalfd SIGNALFD = 0x0019, true, "cr_signalfd", [SignalfdRecord];
    /// Event polls and what they watch.
    epoll EPOLL = 0x001a, true, "cr_epoll", [EpollRecord, WatchRecord];
    /// Interval timers and POSIX timers.
    timers TIMERS = 0x001b, true, "cr_timers", [ItimerRecord, TimerRecord];
    /// Locks on files.
    locks LOCKS = 0x001c, true, "cr_locks", [LockRecord];
    /// Instances of inotify, what they watch, unread events.
    inotify INOTIFY = 0x001e, true, "cr_inotify", [InotifyRecord, PlaceRecord, NotifyRecord];
    /// Descriptors of processes.
    pidfd PIDFD = 0x0020, true, "cr_pidfd", [PidfdRecord];
    /// Whom open files tell by signal that they are ready.
    owners OWNERS = 0x0021, true, "cr_owners", [OwnerRecord];
    /// Which system calls threads have left themselves.
    seccomp SECCOMP = 0x0022, true, "cr_seccomp", [FilterRecord, ConfinedRecord];
    /// The restrictions that threads have put on themselves.
    landlock LANDLOCK = 0x0023, true, "cr_landlock", [LayerRecord, SubjectRecord];
    /// Rings of asynchronous requests.
    uring URING = 0x0024, true, "cr_uring", [RingRecord, RegisteredRingRecord, RingEventfdRecord];
    /// Open files and folders of `/proc`.
    proc PROC = 0x0025, true, "cr_proc", [ProcRecord];
    /// The control group of the process.
    cgroups CGROUPS = 0x0027, true, "cr_cgroups", [CgroupRecord];
    /// Counts that are known only after the page data.
    stats STATS = 0x0100, false, "", [StatsRecord, VmaStatsRecord];
    /// What the device tells the user; never in an image.
    report REPORT = 0x0200, false, "", [ObstacleRecord, FailureRecord, ExternalRecord, NoteRecord];
}

/// First section id of third-party extensions: `0x8000 | (crc32(word) & 0x7fff)`.
pub const THIRD_PARTY: u16 = 0x8000;

/// Section id of the third-party extension with this resource word.
pub fn third_party_id(word: &[u8]) -> u16 {
    // CAST: masked to 15 bits.
    THIRD_PARTY | (crate::crc::crc32(0, word) & 0x7fff) as u16
}

/// Sections whose records are all about one process, or that may be: only they have records of other processes than
/// the first. What several processes share, open files for example, is with the first.
pub fn is_of_process(id: u16) -> bool {
    matches!(
        id,
        TASKS
            | MEMORY
            | FILES
            | SIGNALS
            | CREDS
            | LIMITS
            | EPOLL
            | TIMERS
            | LOCKS
            | OWNERS
            | SECCOMP
            | LANDLOCK
            | URING
            | CGROUPS
    ) || id >= THIRD_PARTY
}

/// The section with this id, if this release has it.
pub fn by_id(id: u16) -> Option<&'static Section> {
    SECTIONS.iter().find(|s| s.id == id)
}

/// The section with this word, if this release has it.
pub fn by_word(word: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|s| s.word == word)
}

/// The word of the section with this id.
pub fn word(id: u16) -> Option<&'static str> {
    by_id(id).map(|s| s.word)
}

/// The record type of a section, if this release has it.
pub fn record_of(section: u16, number: u16) -> Option<&'static RecordType> {
    by_id(section)?.records.iter().find(|r| r.number == number)
}

/// Is this a section that images can have?
pub(crate) fn belongs_in_images(id: u16) -> bool {
    id >= THIRD_PARTY || (id != REPORT && by_id(id).is_some())
}

/// Puts the whole `schema` section: what this release knows about all record types of images.
///
/// # Errors
/// Those of `out`.
pub fn write_schema(out: &mut dyn Sink) -> crate::error::Result {
    let mut id = 0_u32;
    for section in SECTIONS.iter().filter(|s| s.id != REPORT) {
        for record in section.records {
            id = id.saturating_add(1);
            let (section, number) = (section.id.into(), record.number.into());
            SchemaRecord {
                id,
                section,
                record_type: number,
                name: record.name.as_bytes(),
            }
            .write(out)?;
            for f in record.fields {
                id = id.saturating_add(1);
                SchemaField {
                    id,
                    section,
                    record_type: number,
                    field: f.id.into(),
                    name: f.name.as_bytes(),
                    wire: f.wire as u64,
                    hint: f.hint as u64,
                }
                .write(out)?;
            }
        }
    }
    Ok(())
}
