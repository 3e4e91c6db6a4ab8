// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `show --section landlock`: the restrictions that threads have put on themselves.

use crate::{
    error::Failure,
    load::Image,
    output::{print, table, Output},
    view::all,
};
use cr_format::{LayerRecord, SubjectRecord};

/// `LANDLOCK_ACCESS_FS_*`, from bit 0. Source: `include/uapi/linux/landlock.h`.
const FS: &[&str] = &[
    "execute",
    "write_file",
    "read_file",
    "read_dir",
    "remove_dir",
    "remove_file",
    "make_char",
    "make_dir",
    "make_reg",
    "make_sock",
    "make_fifo",
    "make_block",
    "make_sym",
    "refer",
    "truncate",
    "ioctl_dev",
    "resolve_unix",
];
/// `LANDLOCK_ACCESS_NET_*`.
const NET: &[&str] = &["bind_tcp", "connect_tcp", "bind_udp", "connect_send_udp"];
/// `LANDLOCK_SCOPE_*`.
const SCOPE: &[&str] = &["abstract_unix_socket", "signal"];

/// Which threads are in a domain, and what the layers of each deny.
///
/// # Errors
/// [`Failure::Write`].
pub fn section(image: &Image, out: &mut Output) -> Result<(), Failure> {
    let mut rows = table(["DOMAIN", "THREADS", "LAYER", "DENIED"]);
    for l in all::<LayerRecord>(image) {
        let threads = match l.level {
            1 => threads(image, l.domain),
            _ => String::new(),
        };
        let domain = match l.level {
            1 => l.domain.to_string(),
            _ => String::new(),
        };
        rows.add_row([domain, threads, l.level.to_string(), denied(&l)]);
    }
    print(&rows, out)
}

/// For the summary: how many threads are in domains; nothing if none is.
pub fn summary(image: &Image) -> Option<String> {
    let layers = all::<LayerRecord>(image);
    let most = layers.map(|l| l.level).max()?;
    let threads = all::<SubjectRecord>(image).count();
    let s = |n: u64| if n == 1 { "" } else { "s" };
    Some(format!(
        "{threads} thread{} in a Landlock domain of up to {most} layer{}",
        s(threads as u64),
        s(most)
    ))
}

fn threads(image: &Image, domain: u64) -> String {
    let ids = all::<SubjectRecord>(image).filter(|s| s.domain == domain);
    ids.map(|s| s.id.to_string()).collect::<Vec<_>>().join(" ")
}

/// What a layer denies, for people.
fn denied(l: &LayerRecord) -> String {
    let mut parts = Vec::new();
    let every = (1_u64 << FS.len()) - 1;
    match l.fs {
        0 => {}
        fs if fs == every => parts.push("files: all".to_owned()),
        fs => parts.push(format!("files: {}", names(fs, FS))),
    }
    for (what, bits, list) in [("net", l.net, NET), ("outside", l.scope, SCOPE)] {
        if bits != 0 {
            parts.push(format!("{what}: {}", names(bits, list)));
        }
    }
    parts.join("; ")
}

/// The names of the bits, and the bits that have none.
fn names(bits: u64, list: &[&str]) -> String {
    let name = |n: usize| match list.get(n) {
        Some(name) => (*name).to_owned(),
        None => format!("bit {n}"),
    };
    let set = (0..64_usize).filter(|n| bits >> n & 1 == 1);
    set.map(name).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_have_names_or_numbers() {
        assert_eq!(names(0b110, FS), "write_file read_file");
        assert_eq!(names(1 << 40 | 1, NET), "bind_tcp bit 40");
        assert_eq!(names(0, SCOPE), "");
    }
}
