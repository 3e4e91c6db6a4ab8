// SPDX-License-Identifier: GPL-2.0
//! `cr_core.ko`: the device, permission, freeze and thaw, the image stream, the extension registry and
//! the restart pump. Names no resource; every resource is an extension module.
//!
//! Invariants, kept by the files below:
//! - one open of the device is one session, and a session does one thing (`session.rs`);
//! - a frozen process is thawed in every way out, crctl's death included (`freeze.rs`);
//! - nothing of a restart is visible before the image is verified to its last byte, and a half-built
//!   process never runs a user instruction of its own (`restart.rs`);
//! - image bytes are copied into kernel memory once, checked there, and used from there (`input.rs`, `page_data.rs`);
//! - while a session, a parked task or a queued work exists the module cannot be unloaded.

mod birth;
mod checkpoint;
mod claim;
mod clocks;
mod codec;
mod confine;
mod device;
mod exports;
mod freeze;
mod go_on;
mod inherit;
mod input;
mod landlock;
mod output;
mod page_data;
mod permission;
mod registry;
mod report;
mod restart;
mod session;
mod verify;

use kernel::{
    miscdevice::{MiscDeviceOptions, MiscDeviceRegistration},
    prelude::*,
};

module! {
    type: Core,
    name: "cr_core",
    authors: ["The crkit authors"],
    description: "Checkpoint and restart of processes: core",
    license: "GPL",
}

/// The module: its device.
#[pin_data(PinnedDrop)]
struct Core {
    #[pin]
    device: MiscDeviceRegistration<device::Device>,
}

impl kernel::InPlaceModule for Core {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        // SAFETY: called once, before the device exists and before anybody can register.
        unsafe {
            codec::init();
            registry::init();
            landlock::init();
            claim::init();
        }
        freeze::set_owner(module);
        try_pin_init!(Self {
            device <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"crkit" }),
        })
    }
}

#[pinned_drop]
impl PinnedDrop for Core {
    fn drop(self: Pin<&mut Self>) {
        // A task that has just been thawed may still execute its last instructions in freeze.rs or
        // restart.rs: its module reference is gone, its program counter is not.
        // SAFETY: may sleep; module exit runs in process context.
        unsafe { crkit::bindings::synchronize_rcu_tasks() };
    }
}
