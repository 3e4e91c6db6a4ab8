//! The library behind `cargo xtask`: everything that turns a bare Debian machine into built modules and a running VM.
//!
//! The binary is only a table of commands. The tests use this crate too: [`vm::Vm::run`] boots the stock kernel with
//! the modules of this checkout, runs a script and brings its output back.
//!
//! | module | subject |
//! | --- | --- |
//! | [`apt_sources`] | which Debian mirror this machine uses |
//! | [`cache`] | the one cache folder: locks, stamps, paths |
//! | [`command`] | starting programs, here or inside a Debian tree |
//! | [`setup`] | Debian trees, kernel source, guest disk |
//! | [`build`] | tools, kernel modules, test programs |
//! | [`vm`] | booting, running a script, reading the kernel's complaints |
//! | [`dist`] | what a user installs |
//! | [`bench`] | the toolkit against other programs |
//! | [`checks`] | `test` and `demo` |
//! | [`fuzz`] | running the fuzz targets |
//! | [`rules`] | every rule of the specification has a test |
//! | [`coverage`] | lines of the format crate that its tests reach |

pub mod apt_sources;
pub mod bench;
pub mod build;
pub mod cache;
pub mod checks;
pub mod command;
pub mod coverage;
pub mod cpio;
pub mod dist;
pub mod fuzz;
pub mod rules;
pub mod setup;
pub mod vm;

use std::path::{Path, PathBuf};

/// The top folder of the checkout: `$CRKIT_WORKSPACE`, else the one this program was compiled from.
///
/// The variable is for work on a second copy of the sources with a driver that is built already.
pub fn workspace_root() -> PathBuf {
    if let Some(folder) = std::env::var_os("CRKIT_WORKSPACE").filter(|f| !f.is_empty()) {
        return PathBuf::from(folder);
    }
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_path_buf()
}
