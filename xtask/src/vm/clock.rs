//! What an emulated guest must be told about its clock, because it cannot find it out on a busy host.
//!
//! QEMU's emulation shows the guest the time stamp counter of the host. A booting kernel measures its frequency against
//! emulated timers; if the host takes the processor away in between, the result is wrong by any factor, and so is every
//! clock of the guest from then on: minutes pass in a second, or the boot never ends. Here the frequency is measured where
//! an interruption can be seen, and given to the kernel (`tsc_early_khz`, `tsc=reliable`, `lpj` in the kernel's
//! `Documentation/admin-guide/kernel-parameters.txt`).

use std::time::{Duration, Instant};

/// Words for the command line of a kernel that ticks `hz` times a second; empty where the counter cannot be measured.
pub(super) fn words(hz: u64) -> String {
    let Some(khz) = frequency_khz() else {
        return String::new();
    };
    // Loops per tick; the kernel's delay loop counts in steps of this counter.
    let mut words = format!("tsc_early_khz={khz} tsc=reliable");
    if let Some(loops) = khz.saturating_mul(1000).checked_div(hz) {
        words.push_str(&format!(" lpj={loops}"));
    }
    words
}

/// Ticks a second as the configuration of a kernel says; 0 if it does not.
pub(super) fn ticks_per_second(config: &str) -> u64 {
    config
        .lines()
        .find_map(|line| line.strip_prefix("CONFIG_HZ="))
        .and_then(|value| value.trim().parse().ok())
        .unwrap_or(0)
}

/// The frequency of the time stamp counter, if two measurements in a row agree.
fn frequency_khz() -> Option<u64> {
    const TRIES: usize = 5;
    let mut before: Option<u64> = None;
    for _ in 0..TRIES {
        let now = measure(Duration::from_millis(50))?;
        if let Some(earlier) = before {
            if earlier.abs_diff(now).saturating_mul(2000) <= earlier {
                return Some(now);
            }
        }
        before = Some(now);
    }
    None
}

/// Steps of the counter in a millisecond, over at least `span`.
fn measure(span: Duration) -> Option<u64> {
    let (start, counter) = reading()?;
    std::thread::sleep(span);
    let (end, later) = reading()?;
    let nanos = end.duration_since(start).as_nanos();
    let steps = u128::from(later.checked_sub(counter)?);
    let khz = steps.checked_mul(1_000_000)?.checked_div(nanos)?;
    u64::try_from(khz).ok().filter(|khz| *khz > 0)
}

/// The clock and the counter at the same moment: the closest pair of several, so that an interruption between the two
/// readings does not count.
fn reading() -> Option<(Instant, u64)> {
    (0..50)
        .filter_map(|_| {
            let before = counter()?;
            let clock = Instant::now();
            let width = counter()?.checked_sub(before)?;
            Some((width, clock, before.checked_add(width / 2)?))
        })
        .min_by_key(|(width, ..)| *width)
        .map(|(_, clock, at)| (clock, at))
}

#[cfg(target_arch = "x86_64")]
fn counter() -> Option<u64> {
    // SAFETY: RDTSC is part of every x86-64 processor and only reads; where the kernel forbids it to programs (PR_SET_TSC),
    // it forbids it to those that asked for that, which this one did not.
    Some(unsafe { core::arch::x86_64::_rdtsc() })
}

#[cfg(not(target_arch = "x86_64"))]
fn counter() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ticks_are_read_from_the_configuration() {
        let config = "# CONFIG_HZ_100 is not set\nCONFIG_HZ_250=y\nCONFIG_HZ=250\n";
        assert_eq!(ticks_per_second(config), 250);
        assert_eq!(ticks_per_second("CONFIG_HZ=\n"), 0);
    }

    #[test]
    fn the_kernel_is_told_a_frequency_and_the_loops_that_follow_from_it() {
        let told = words(250);
        if told.is_empty() {
            return; // a counter that jumps is not told
        }
        let value = |key: &str| -> u64 {
            let word = told.split(' ').find_map(|w| w.strip_prefix(key));
            word.expect("the word is there").parse().expect("a number")
        };
        assert_eq!(value("lpj="), value("tsc_early_khz=") * 4);
        assert!(!words(0).contains("lpj"));
    }
}
