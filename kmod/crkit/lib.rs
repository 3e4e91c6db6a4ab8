// SPDX-License-Identifier: GPL-2.0
//! The kit that the core and every extension module are built from.
//!
//! An extension keeps one kind of resource: it implements [`Extension`], registers it with
//! [`Registration`] and is done. The C ABI between modules (`include/crkit_abi.h`), the bindings and
//! all raw pointers stay in here. See `kmod/samples/` for a complete third-party extension.
//!
//! Layout: [`extension`] the trait and its registration · [`context`] what an extension may ask of the
//! core · [`codec`] compression of page data · [`sys`] the thin layer over kernel functions · [`bindings`] what bindgen made.

pub mod anonymous;
pub mod bindings;
pub mod codec;
pub mod context;
pub mod extension;
pub mod objects;
pub mod plan;
pub mod record;
pub mod schema;
pub mod sys;

pub use codec::{Codec, CodecRegistration};
pub use context::{Checkpoint, Restart, Session};
pub use extension::{At, Extension, Next, Phase, Registration, Syscall};
pub use record::{Obstacle, RecordBuf};

/// Turns an error of the image format into the errno that user space sees.
pub fn errno_of(e: cr_format::Error) -> kernel::error::Error {
    use cr_format::ErrorKind as K;
    use kernel::error::code;
    match e.kind {
        K::BadChecksum { .. } => code::EBADMSG,
        K::Unsupported(_) => code::EOPNOTSUPP,
        K::OverLimit { .. } => code::EFBIG,
        K::NoSpace => code::ENOMEM,
        _ => code::EUCLEAN,
    }
}
