// SPDX-License-Identifier: GPL-2.0
//! Paths of objects that are known by their place in a file system only, from the text of `/proc/PID/mountinfo`.
//!
//! Source: `Documentation/filesystems/proc.rst`, chapter 3.5; `show_mountinfo()` in `fs/proc_namespace.c`.

use crate::anon::number;

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mount<'t> {
    /// Id of the mount.
    pub id: u32,
    /// Major and minor number of the file system.
    pub dev: (u32, u32),
    /// The folder of the file system that is mounted, escaped.
    root: &'t [u8],
    /// Where it is mounted, escaped.
    point: &'t [u8],
}

/// The lines of `text`; `None` for one that is not understood.
pub fn mounts(text: &[u8]) -> impl Iterator<Item = Option<Mount<'_>>> {
    text.split(|b| *b == b'\n')
        .filter(|l| !l.is_empty())
        .map(mount)
}

fn mount(line: &[u8]) -> Option<Mount<'_>> {
    let mut words = line.split(|b| *b == b' ');
    let small = |w: Option<&[u8]>| u32::try_from(number(w?, 10)?).ok();
    let id = small(words.next())?;
    let _parent = words.next()?;
    let mut dev = words.next()?.split(|b| *b == b':');
    let dev = (small(dev.next())?, small(dev.next())?);
    let (root, point) = (words.next()?, words.next()?);
    let absolute = root.first() == Some(&b'/') && point.first() == Some(&b'/');
    absolute.then_some(Mount {
        id,
        dev,
        root,
        point,
    })
}

/// Undoes `\040` and the like; a backslash that begins no number stays.
fn unescape(text: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let mut rest = text;
    core::iter::from_fn(move || {
        let (first, behind) = rest.split_first()?;
        let coded = rest.get(1..4).and_then(|digits| number(digits, 8));
        match coded.and_then(|n| u8::try_from(n).ok()) {
            Some(byte) if *first == b'\\' => {
                rest = rest.get(4..)?;
                Some(byte)
            }
            _ => {
                rest = behind;
                Some(*first)
            }
        }
    })
}

impl<'t> Mount<'t> {
    /// Where the object with the path `inner` in the file system is seen through this mount, byte by byte; `None` if
    /// the mount does not show it.
    pub fn path<'p>(&self, inner: &'p [u8]) -> Option<impl Iterator<Item = u8> + use<'t, 'p>> {
        let mut rest = inner;
        // Of the root of the whole file system no part of `inner` is left out.
        if self.root != b"/" {
            for byte in unescape(self.root) {
                let (first, behind) = rest.split_first()?;
                if *first != byte {
                    return None;
                }
                rest = behind;
            }
        }
        if !matches!(rest.first(), None | Some(b'/')) {
            return None;
        }
        // The root of the file system is the mount point itself, with "/" for both at "/".
        let rest = if rest == b"/" { &[] } else { rest };
        let point = if self.point == b"/" && !rest.is_empty() {
            &[]
        } else {
            self.point
        };
        Some(unescape(point).chain(rest.iter().copied()))
    }
}

/// Major and minor number of a device number as the kernel keeps it, which `fdinfo` shows.
pub fn split(dev: u32) -> (u32, u32) {
    (dev >> 20, dev & 0xf_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{string::String, vec::Vec};

    const TEXT: &[u8] = b"22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
        30 22 0:25 / /run rw - tmpfs tmpfs rw\n\
        31 22 254:0 /home/a\\040b /mnt/two\\134words rw - ext4 /dev/vda rw\n\
        32 22 254:0 /srv /srv2 rw - ext4 /dev/vda rw\n";

    fn seen(mount: usize, inner: &str) -> Option<String> {
        let all: Vec<Mount<'_>> = mounts(TEXT).map(|m| m.unwrap()).collect();
        let path: Vec<u8> = all[mount].path(inner.as_bytes())?.collect();
        Some(String::from_utf8(path).unwrap())
    }

    #[test]
    fn lines_are_understood_or_not() {
        let all: Vec<_> = mounts(TEXT).collect();
        assert_eq!(all.len(), 4);
        assert_eq!(all[1].unwrap().dev, (0, 25));
        assert_eq!(all[2].unwrap().id, 31);
        for bad in [
            "1 2 3",
            "x 1 254:0 / / rw",
            "1 1 254 / / rw",
            "1 1 1:2 a / rw",
            "1 1 1:2 / a rw",
        ] {
            assert_eq!(mounts(bad.as_bytes()).next(), Some(None), "{bad}");
        }
    }

    #[test]
    fn an_object_is_seen_below_the_mount_points_of_its_folder() {
        assert_eq!(seen(0, "/etc/passwd").unwrap(), "/etc/passwd");
        assert_eq!(seen(0, "/").unwrap(), "/");
        assert_eq!(seen(1, "/").unwrap(), "/run");
        assert_eq!(seen(1, "/x/y").unwrap(), "/run/x/y");
        assert_eq!(seen(2, "/home/a b/c").unwrap(), "/mnt/two\\words/c");
        assert_eq!(seen(2, "/home/a b").unwrap(), "/mnt/two\\words");
        assert_eq!(seen(2, "/home/a bc"), None);
        assert_eq!(seen(2, "/home"), None);
        assert_eq!(seen(3, "/srv/x").unwrap(), "/srv2/x");
    }

    #[test]
    fn a_backslash_that_begins_no_number_stays() {
        let text: Vec<u8> = unescape(b"a\\9b\\0\\777\\101").collect();
        assert_eq!(text, b"a\\9b\\0\\777A");
    }

    #[test]
    fn device_numbers_are_the_kernels() {
        assert_eq!(split(0x0fe0_0001), (254, 1));
    }
}
