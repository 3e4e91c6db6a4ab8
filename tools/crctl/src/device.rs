// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The device node: the only caller of its ioctls, and the decoder of what `read` on it returns.

use crate::decode;
use crate::report::Report;
use crate::sys;
use cr_uapi as uapi;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// One open session.
pub struct Device {
    file: File,
}

/// An argument struct of the device: `repr(C)`, integers only, beginning with its own size.
///
/// # Safety
/// The implementer is such a struct, and `COMMAND` is the ioctl that takes exactly it.
unsafe trait Argument: Copy {
    /// ioctl number.
    const COMMAND: u32;
    /// Sets the size field.
    fn set_size(&mut self, size: u32);
}

macro_rules! arguments {
    ($($type:ident = $command:ident),* $(,)?) => { $(
        // SAFETY: the interface crate defines the pair; the struct is `repr(C)` and made of integers.
        unsafe impl Argument for uapi::$type {
            const COMMAND: u32 = uapi::$command;
            fn set_size(&mut self, size: u32) {
                self.size = size;
            }
        }
    )* };
}

arguments! {
    Query = QUERY,
    Checkpoint = CHECKPOINT,
    Finish = FINISH,
    Load = LOAD,
    Restart = RESTART,
    Coordinate = COORDINATE,
    ExtensionInfo = EXTENSION,
    LandlockProbe = LANDLOCK_PROBE,
}

/// Makes one call. `arg` comes back with the kernel's answers, also when the call fails.
///
/// # Safety
/// User pointers inside `arg` are valid for what the command does with them.
unsafe fn call<T: Argument>(fd: RawFd, arg: &mut T) -> io::Result<()> {
    // CAST: the structs are far smaller than 4 GiB; an ioctl number is a C `unsigned long`.
    arg.set_size(size_of::<T>() as u32);
    // SAFETY: `arg` is a valid, writable struct of the type that `COMMAND` takes (trait requirement); pointers
    // inside it are the caller's duty.
    sys::check(unsafe { libc::ioctl(fd, T::COMMAND as libc::c_ulong, std::ptr::from_mut(arg)) })
        .map(drop)
}

impl Device {
    /// Opens a session. The errno tells why it did not work; see `modules::open` for the friendly form.
    pub fn open() -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(uapi::DEVICE_PATH)?;
        Ok(Self { file })
    }

    /// What the loaded core is.
    pub fn query(&self) -> io::Result<uapi::Query> {
        let mut arg = uapi::Query::default();
        // SAFETY: no pointers inside.
        unsafe { call(self.file.as_raw_fd(), &mut arg) }.map(|()| arg)
    }

    /// The n-th registered extension, `None` behind the last.
    pub fn extension(&self, index: u32) -> io::Result<Option<uapi::ExtensionInfo>> {
        let mut arg = uapi::ExtensionInfo {
            size: 0,
            index,
            section: 0,
            users: 0,
            word: [0; 32],
            module: [0; 64],
        };
        // SAFETY: no pointers inside.
        match unsafe { call(self.file.as_raw_fd(), &mut arg) } {
            Err(e) if sys::errno(&e) == libc::ENOENT => Ok(None),
            other => other.map(|()| Some(arg)),
        }
    }

    /// Checkpoints (or only looks at) a process. The answers are valid also when the call fails.
    pub fn checkpoint(
        &self,
        (pid, scope): (i32, u32),
        flags: u32,
        out: Option<BorrowedFd<'_>>,
        external: &[u32],
        zstd_level: u32,
    ) -> (uapi::Checkpoint, io::Result<()>) {
        let mut arg = uapi::Checkpoint {
            flags,
            pid,
            out_fd: out.map_or(-1, |fd| fd.as_raw_fd()),
            // CAST: a user pointer travels as 64 bits; clap admits far less than 4 Gi options, the kernel 1024.
            external: external.as_ptr() as u64,
            external_count: external.len() as u32,
            zstd_level,
            scope,
            ..Default::default()
        };
        // SAFETY: `external` points to `external_count` values that outlive the call.
        let result = unsafe { call(self.file.as_raw_fd(), &mut arg) };
        (arg, result)
    }

    /// Ends a checkpoint that left the process frozen; nanoseconds that it was frozen.
    pub fn finish(&self, action: u32) -> io::Result<u64> {
        let mut arg = uapi::Finish {
            action,
            ..Default::default()
        };
        // SAFETY: no pointers inside.
        unsafe { call(self.file.as_raw_fd(), &mut arg) }.map(|()| arg.frozen_ns)
    }

    /// Reads an image up to its page data.
    pub fn load(&self, image: BorrowedFd<'_>, flags: u32) -> io::Result<uapi::Load> {
        let mut arg = uapi::Load {
            flags,
            image_fd: image.as_raw_fd(),
            ..Default::default()
        };
        // SAFETY: no pointers inside.
        unsafe { call(self.file.as_raw_fd(), &mut arg) }.map(|()| arg)
    }

    /// Replaces the calling process by the one in the image. Returns only on failure.
    ///
    /// Makes nothing but one system call, so that a fresh clone may use it.
    /// `policy` is a `FILES_*` number and `RESTART_*` bits.
    pub fn restart(device: &OwnedFd, policy: (u32, u32), map: &[uapi::FdMap]) -> io::Error {
        let mut arg = uapi::Restart {
            device_fd: device.as_raw_fd(),
            files: policy.0,
            flags: policy.1,
            // CAST: as in `checkpoint`.
            fd_map: map.as_ptr() as u64,
            fd_map_count: map.len() as u32,
            ..Default::default()
        };
        // SAFETY: `map` points to `fd_map_count` entries that outlive the call.
        match unsafe { call(device.as_raw_fd(), &mut arg) } {
            Ok(()) => io::Error::from_raw_os_error(libc::EPROTO),
            Err(e) => e,
        }
    }

    /// Serves a restart until the process runs or has failed.
    pub fn coordinate(&self) -> io::Result<uapi::Coordinate> {
        let mut arg = uapi::Coordinate::default();
        // SAFETY: no pointers inside.
        unsafe { call(self.file.as_raw_fd(), &mut arg) }.map(|()| arg)
    }

    /// One stage of the Landlock probe.
    pub fn landlock_probe(&self, stage: u32) -> io::Result<()> {
        let mut arg = uapi::LandlockProbe {
            stage,
            ..Default::default()
        };
        // SAFETY: no pointers inside.
        unsafe { call(self.file.as_raw_fd(), &mut arg) }
    }

    /// Everything the session has to say since the last call. A report that cannot be read or decoded is left
    /// out as far as it is wrong: it only explains a result that is known already.
    pub fn report(&self) -> Report {
        let mut bytes = Vec::new();
        let mut chunk = vec![0; 1 << 18];
        loop {
            match (&self.file).read(&mut chunk) {
                Ok(0) => break,
                Ok(n) => bytes.extend_from_slice(&chunk[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        decode::report(&bytes)
    }

    /// A second descriptor of the same session, numbered `min` or above.
    pub fn duplicate_from(&self, min: RawFd) -> io::Result<OwnedFd> {
        sys::fs::dup_from(self.file.as_fd(), min)
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
