// SPDX-License-Identifier: GPL-2.0
//! `cr_sample_counter.ko`: a small driver that keeps its own state through checkpoint and restart.
//!
//! The driver is `/dev/cr_counter`: every open file has a number of its own; writing adds to it, reading
//! gives it as text. Its state lives in the kernel only, so without this extension a process that
//! has it open could not be checkpointed.
//!
//! Preserved: the number of each open file, which descriptors share it, flags. Not preserved: nothing.
//!
//! `device.rs` is the driver, as it would be without checkpoints; `extension.rs` is what is added.
//! See `../README.md` for the steps.

mod device;
mod extension;

use crkit::Registration;
use device::Counter;
use kernel::{
    miscdevice::{MiscDeviceOptions, MiscDeviceRegistration},
    prelude::*,
};

module! {
    type: Module,
    name: "cr_sample_counter",
    authors: ["The crkit authors"],
    description: "Sample: a counter device that takes part in checkpoint and restart",
    license: "GPL",
    alias: ["crext-counter"],
}

struct Module {
    // Order of drop: no new session may ask for the extension once the device goes.
    _extension: Registration<extension::CounterExtension>,
    _device: Pin<KBox<MiscDeviceRegistration<Counter>>>,
}

impl kernel::Module for Module {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let options = MiscDeviceOptions { name: c"cr_counter" };
        let device = KBox::pin_init(MiscDeviceRegistration::register(options), GFP_KERNEL)?;
        extension::remember_operations(&device);
        Ok(Self {
            _extension: Registration::new(module, crkit::schema!(extension::CounterRecord))?,
            _device: device,
        })
    }
}
