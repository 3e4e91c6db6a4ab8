// SPDX-License-Identifier: GPL-2.0
//! Boot ids and time namespace offsets.

/// The 16 bytes of a UUID in its usual text form; dashes and a final newline are skipped.
pub fn parse_uuid(text: &[u8]) -> Option<[u8; 16]> {
    let mut out = [0u8; 16];
    let mut digits = 0usize;
    for c in text.iter().filter(|c| **c != b'-' && **c != b'\n') {
        let v = (*c as char).to_digit(16)? as u8;
        let byte = out.get_mut(digits / 2)?;
        *byte = (*byte << 4) | v;
        digits = digits.checked_add(1)?;
    }
    (digits == 32).then_some(out)
}

/// The clock offsets a restarted process needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Offset of CLOCK_MONOTONIC in nanoseconds.
    pub monotonic: i64,
    /// Offset of CLOCK_BOOTTIME in nanoseconds.
    pub boottime: i64,
}

/// Offsets that let both clocks go on: on the boot of the checkpoint the recorded namespace offsets,
/// on another boot whatever makes the recorded values continue from now.
///
/// `image` and `host` are (monotonic, boottime) in nanoseconds: as the process saw them, and now.
pub fn wanted_offsets(
    same_boot: bool,
    recorded: Wanted,
    image: (i64, i64),
    host: (i64, i64),
) -> Wanted {
    if same_boot {
        return recorded;
    }
    Wanted {
        monotonic: image.0.saturating_sub(host.0),
        boottime: image.1.saturating_sub(host.1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_sixteen_bytes_of_hex() {
        let u = parse_uuid(b"00112233-4455-6677-8899-aabbccddeeff\n");
        assert_eq!(u.map(|u| (u[0], u[1], u[15])), Some((0, 0x11, 0xff)));
        assert_eq!(parse_uuid(b"00112233-4455-6677-8899-aabbccddee"), None);
        assert_eq!(parse_uuid(b"00112233-4455-6677-8899-aabbccddeeff00"), None);
        assert_eq!(parse_uuid(b"zz112233-4455-6677-8899-aabbccddeeff"), None);
    }

    #[test]
    fn another_boot_continues_the_recorded_clock() {
        let zero = Wanted {
            monotonic: 0,
            boottime: 0,
        };
        assert_eq!(wanted_offsets(true, zero, (5, 6), (50, 60)), zero);
        assert_eq!(
            wanted_offsets(false, zero, (500, 600), (50, 60)),
            Wanted {
                monotonic: 450,
                boottime: 540
            }
        );
    }
}
