// SPDX-License-Identifier: GPL-2.0
//! What makes the driver take part: one record type, and the trait `Extension`.

use crate::device::Counter;
use core::sync::atomic::{AtomicUsize, Ordering};
use cr_format::{
    record::{field_len, FieldReader, FieldWriter, RECORD_HEADER},
    FieldSchema, Hint, RawRecord, Record, Sink, Wire,
};
use crkit::{sys::file::FileRef, At, Checkpoint, Extension, Next, Restart};
use kernel::{
    miscdevice::MiscDeviceRegistration,
    prelude::*,
    types::ForeignOwnable,
};

/// Resource word: section, alias `crext-counter` and messages.
const WORD: &str = "counter";

// ---- the record -------------------------------------------------------------------------------------

/// One open counter. Its id is the id of the open file in section `files`.
#[derive(Clone, Copy, Default)]
pub(crate) struct CounterRecord {
    id: u32,
    value: u64,
}

impl<'a> Record<'a> for CounterRecord {
    const SECTION: u16 = crkit::schema::third_party_id(WORD);
    const TYPE: u16 = 1;
    const NAME: &'static str = "counter";
    const FIELDS: &'static [FieldSchema] =
        &[FieldSchema { id: 1, name: "value", wire: Wire::U64, hint: Hint::Dec }];

    fn parse(raw: RawRecord<'a>) -> cr_format::Result<Self> {
        let mut fields = FieldReader::new(raw, Self::SECTION, Self::TYPE, Self::FIELDS)?;
        let record = Self { id: raw.id, value: fields.take()? };
        fields.end()?;
        Ok(record)
    }
    fn id(&self) -> u32 {
        self.id
    }
    fn encoded_len(&self) -> usize {
        RECORD_HEADER.saturating_add(field_len(&self.value))
    }
    fn write(&self, out: &mut dyn Sink) -> cr_format::Result {
        let mut fields = FieldWriter::new(out, Self::TYPE, self.id, self.encoded_len(), Self::FIELDS)?;
        fields.put(&self.value)
    }
}

// ---- recognising our files ----------------------------------------------------------------------------

/// Address of the device's `file_operations`; 0 until it is registered.
static OPERATIONS: AtomicUsize = AtomicUsize::new(0);

/// Notes how the kernel marks our open files.
pub(crate) fn remember_operations(device: &MiscDeviceRegistration<Counter>) {
    // SAFETY: a registered device; the field does not change.
    let fops = unsafe { (*device.as_raw()).fops };
    OPERATIONS.store(fops as usize, Ordering::Release);
}

fn is_ours(file: &FileRef) -> bool {
    let fops = OPERATIONS.load(Ordering::Acquire);
    fops != 0 && file.operations() == fops
}

/// The counter of an open file of ours.
fn counter(file: &FileRef) -> Result<&Counter> {
    if !is_ours(file) {
        return Err(EINVAL);
    }
    // SAFETY: the file has our operations, so `open` has put a `KBox<Counter>` there, which lives until the
    // file is released; the borrow of `file` keeps it open.
    Ok(unsafe { <KBox<Counter> as ForeignOwnable>::borrow(file.private_data()) })
}

// ---- the extension --------------------------------------------------------------------------------------

/// The extension. All our state hangs on open files, so the functions about files are all it needs; the others
/// have defaults.
pub(crate) struct CounterExtension;

impl Extension for CounterExtension {
    const WORD: &'static CStr = c"counter";
    const SECTION: u16 = <CounterRecord as Record<'_>>::SECTION;
    /// Third parties come behind all others; files are asked for when they are needed.
    const ORDER: u32 = 100;
    type State = ();

    fn claims(file: &FileRef) -> bool {
        is_ours(file)
    }
    fn checkpoint_file(cx: &Checkpoint<'_>, file: &FileRef, id: u32) -> Result {
        cx.emit(&CounterRecord { id, value: counter(file)?.value() })
    }

    fn prepare(cx: &Restart<'_>) -> Result<KBox<()>> {
        // Every record must make sense before anything is touched.
        for r in cx.records::<CounterRecord>() {
            let file = cx.file_record(r?.id)?;
            if file.handler != u64::from(Self::SECTION) {
                return Err(cx.fail(EUCLEAN, WORD, "", b"a counter belongs to no open file of ours", "crimg verify IMAGE"));
            }
        }
        Ok(KBox::new((), GFP_KERNEL)?)
    }
    fn step(_: &Restart<'_>, _: &(), _: At) -> Result<Next> {
        // No system call is needed: see `restart_file`.
        Ok(Next::Done)
    }
    fn restart_file(cx: &Restart<'_>, _: &(), id: u32) -> Result<FileRef> {
        for r in cx.records::<CounterRecord>() {
            let r = r?;
            if r.id != id {
                continue;
            }
            let record = cx.file_record(id)?;
            let flags = u32::try_from(record.flags).map_err(|_| EUCLEAN)?;
            let flags = cr_logic::files::reopen_flags(cr_format::FILE_DEVICE, flags);
            // Opened with the rights of whoever makes the restart, like every other file.
            let file = FileRef::open(c"/dev/cr_counter", flags, 0)?;
            counter(&file)?.set(r.value);
            return Ok(file);
        }
        Err(cx.fail(EUCLEAN, WORD, "", b"an open counter has no record", "crimg verify IMAGE"))
    }
}
