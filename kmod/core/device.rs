// SPDX-License-Identifier: GPL-2.0
//! The device node: decodes ioctls, copies arguments, dispatches. See `cr_uapi` for the contract.

use crate::{checkpoint, landlock, registry, restart, session::Session};
use kernel::{
    fs::{File, Kiocb},
    iov::IovIterDest,
    miscdevice::{MiscDevice, MiscDeviceRegistration},
    prelude::*,
    sync::{Arc, ArcBorrow},
    uaccess::{UserPtr, UserSlice},
};

/// The miscdevice; its private data is the session.
pub(crate) struct Device;

/// An argument struct of the interface.
///
/// # Safety
/// `repr(C)` of integers and byte arrays without padding, beginning with its own size as `u32`.
unsafe trait Argument: Copy {}
// SAFETY: see cr_uapi: integers only, explicit padding fields.
unsafe impl Argument for cr_uapi::Query {}
// SAFETY: as above.
unsafe impl Argument for cr_uapi::Checkpoint {}
// SAFETY: as above.
unsafe impl Argument for cr_uapi::Finish {}
// SAFETY: as above.
unsafe impl Argument for cr_uapi::Load {}
// SAFETY: as above.
unsafe impl Argument for cr_uapi::Restart {}
// SAFETY: as above.
unsafe impl Argument for cr_uapi::Coordinate {}
// SAFETY: as above.
unsafe impl Argument for cr_uapi::ExtensionInfo {}
// SAFETY: as above.
unsafe impl Argument for cr_uapi::LandlockProbe {}

fn bytes_of<T: Argument>(v: &mut T) -> &mut [u8] {
    // SAFETY: `Argument` promises plain integers without padding: every byte pattern is valid.
    unsafe { core::slice::from_raw_parts_mut(core::ptr::from_mut(v).cast(), core::mem::size_of::<T>()) }
}

/// Reads an argument once, checks its size, runs `f`, and copies the answer back even on errors (the
/// counts in it explain them).
fn with<T: Argument>(arg: usize, f: impl FnOnce(&mut T) -> Result) -> Result<isize> {
    let len = core::mem::size_of::<T>();
    // SAFETY: zero is a valid value of every field (`Argument`).
    let mut v: T = unsafe { core::mem::zeroed() };
    let (mut reader, mut writer) = UserSlice::new(UserPtr::from_addr(arg), len).reader_writer();
    reader.read_slice(bytes_of(&mut v))?;
    let size = bytes_of(&mut v).first_chunk::<4>().map_or(0, |s| u32::from_ne_bytes(*s)) as usize;
    // The ioctl number carries the length of this version; a longer struct has another number.
    if size != len {
        return Err(if size > len { E2BIG } else { EINVAL });
    }
    let result = f(&mut v);
    writer.write_slice(bytes_of(&mut v))?;
    result.map(|()| 0)
}

/// Reads an array of `count` entries of `T` from user space.
pub(crate) fn read_array(addr: u64, count: u32, entry: usize) -> Result<KVec<u8>> {
    if count > 1024 {
        return Err(E2BIG);
    }
    let mut out = KVec::new();
    if count > 0 {
        let len = (count as usize).checked_mul(entry).ok_or(EOVERFLOW)?;
        UserSlice::new(UserPtr::from_addr(addr as usize), len).read_all(&mut out, GFP_KERNEL)?;
    }
    Ok(out)
}

#[vtable]
impl MiscDevice for Device {
    type Ptr = Arc<Session>;

    fn open(_file: &File, _misc: &MiscDeviceRegistration<Self>) -> Result<Arc<Session>> {
        Session::new()
    }

    fn read_iter(kiocb: Kiocb<'_, Arc<Session>>, iov: &mut IovIterDest<'_>) -> Result<usize> {
        kiocb.file().report.read(iov)
    }

    fn ioctl(session: ArcBorrow<'_, Session>, _file: &File, cmd: u32, arg: usize) -> Result<isize> {
        let s: Arc<Session> = session.into();
        match cmd {
            cr_uapi::STEP => restart::step(&s, arg as i64),
            cr_uapi::QUERY => with(arg, |q: &mut cr_uapi::Query| {
                q.abi = cr_uapi::ABI;
                q.format = (u32::from(cr_format::superblock::MAJOR) << 16) | u32::from(cr_format::superblock::MINOR);
                q.extensions = registry::count();
                q.sessions = Session::count();
                q.landlock = match landlock::slot() {
                    landlock::Slot::Unknown => 0,
                    landlock::Slot::Word(_) => 1,
                    landlock::Slot::Absent => 2,
                };
                Ok(())
            }),
            cr_uapi::EXTENSION => with(arg, |i: &mut cr_uapi::ExtensionInfo| registry::info(i.index, i)),
            cr_uapi::LANDLOCK_PROBE => with(arg, |p: &mut cr_uapi::LandlockProbe| landlock::probe(p.stage, &s.landlock)),
            cr_uapi::CHECKPOINT => with(arg, |c| checkpoint::checkpoint(&s, c)),
            cr_uapi::FINISH => with(arg, |f| checkpoint::finish(&s, f)),
            cr_uapi::LOAD => with(arg, |l| restart::load(&s, l)),
            cr_uapi::RESTART => {
                // Not copied back: on success the caller's memory is gone.
                let mut args: Option<cr_uapi::Restart> = None;
                with(arg, |r| {
                    args = Some(*r);
                    Ok(())
                })?;
                restart::restart(&s, &args.ok_or(EINVAL)?).map(|()| 0)
            }
            cr_uapi::COORDINATE => with(arg, |c| restart::coordinate(&s, c)),
            _ => Err(ENOTTY),
        }
    }
}
