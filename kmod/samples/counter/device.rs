// SPDX-License-Identifier: GPL-2.0
//! The driver: `/dev/cr_counter`, a number per open file.

use core::sync::atomic::{AtomicU64, Ordering};
use kernel::{
    fs::{File, Kiocb},
    iov::{IovIterDest, IovIterSource},
    miscdevice::{MiscDevice, MiscDeviceRegistration},
    prelude::*,
    str::CString,
};

/// Longest number that is written, with its newline.
const TEXT: usize = 21;

/// What one open file has.
pub(crate) struct Counter {
    value: AtomicU64,
}

impl Counter {
    /// The number.
    pub(crate) fn value(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }

    /// Sets the number.
    pub(crate) fn set(&self, value: u64) {
        self.value.store(value, Ordering::Relaxed);
    }
}

#[vtable]
impl MiscDevice for Counter {
    type Ptr = KBox<Self>;

    fn open(_file: &File, _misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        Ok(KBox::new(Counter { value: AtomicU64::new(0) }, GFP_KERNEL)?)
    }

    /// Gives the number as text with a newline, each time from its start: there is no position.
    fn read_iter(kiocb: Kiocb<'_, Self::Ptr>, to: &mut IovIterDest<'_>) -> Result<usize> {
        let text = CString::try_from_fmt(fmt!("{}\n", kiocb.file().value()))?;
        let bytes = text.to_bytes();
        if to.len() < bytes.len() {
            return Err(EINVAL);
        }
        match to.copy_to_iter(bytes) {
            n if n == bytes.len() => Ok(n),
            _ => Err(EFAULT),
        }
    }

    /// Takes a decimal number, with or without a newline, and adds it.
    fn write_iter(kiocb: Kiocb<'_, Self::Ptr>, from: &mut IovIterSource<'_>) -> Result<usize> {
        let mut buf = [0u8; TEXT];
        if from.len() > buf.len() {
            return Err(EINVAL);
        }
        let len = from.len();
        let buf = buf.get_mut(..len).ok_or(EINVAL)?;
        if from.copy_from_iter(buf) != len {
            return Err(EFAULT);
        }
        let text = core::str::from_utf8(buf).map_err(|_| EINVAL)?;
        let number: u64 = text.trim_end_matches('\n').parse().map_err(|_| EINVAL)?;
        let counter = kiocb.file();
        let add = |v: u64| v.checked_add(number);
        counter.value.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).map_err(|_| ERANGE)?;
        Ok(len)
    }
}
