// SPDX-License-Identifier: GPL-2.0
//! Finding the Landlock slot by comparing two security blobs, and making a domain again, layer by layer.

/// Kernel pointers of x86-64 have all of the upper 8 bits set, with four and with five levels of page tables.
fn is_kernel_pointer(word: u64) -> bool {
    word >> 56 == 0xff
}

/// Index of the one word that was empty or a kernel pointer in `before` and is another kernel pointer
/// in `after`; `None` when there is not exactly one, or the blobs differ in length.
pub fn find_slot(before: &[u64], after: &[u64]) -> Option<usize> {
    if before.len() != after.len() {
        return None;
    }
    let mut changed = before
        .iter()
        .zip(after)
        .enumerate()
        .filter(|(_, (old, new))| {
            old != new && is_kernel_pointer(**new) && (**old == 0 || is_kernel_pointer(**old))
        });
    match (changed.next(), changed.next()) {
        (Some((i, _)), None) => Some(i),
        _ => None,
    }
}

/// `LANDLOCK_RESTRICT_SELF_LOG_SAME_EXEC_OFF`.
pub const LOG_SAME_EXEC_OFF: u64 = 1;
/// `LANDLOCK_RESTRICT_SELF_LOG_NEW_EXEC_ON`.
pub const LOG_NEW_EXEC_ON: u64 = 2;
/// `LANDLOCK_RESTRICT_SELF_LOG_SUBDOMAINS_OFF`.
pub const LOG_SUBDOMAINS_OFF: u64 = 4;

const SYS_CLOSE: u32 = 3;
const SYS_CREATE_RULESET: u32 = 444;
const SYS_RESTRICT_SELF: u32 = 446;
/// Bytes of `struct landlock_ruleset_attr`: six numbers of eight.
pub const ATTR_LEN: usize = 48;

/// What a layer has about the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// Denials of the program that made the layer are told.
    pub same_exec: bool,
    /// Denials of programs that it has started are told.
    pub new_exec: bool,
    /// Nothing is told, whatever the other two say.
    pub disabled: bool,
}

/// The flags that make layer `level` (from 0) of `layers` again. `off`: the thread wants nothing told of layers to come.
pub fn log_flags(layers: &[Log], level: usize, off: bool) -> u64 {
    let Some(l) = layers.get(level) else { return 0 };
    // A layer that would tell and is silent was made after one that silenced those to come.
    let silenced = |l: &Log| l.disabled && (l.same_exec || l.new_exec);
    let mut flags = match (level, silenced(l)) {
        // Nobody was there to silence the first: it does so itself.
        (0, true) => LOG_SAME_EXEC_OFF,
        _ => {
            let same = if l.same_exec { 0 } else { LOG_SAME_EXEC_OFF };
            same | if l.new_exec { LOG_NEW_EXEC_ON } else { 0 }
        }
    };
    let silencer = match layers.iter().position(silenced) {
        Some(first) => Some(first.saturating_sub(1)),
        None if off => layers.len().checked_sub(1),
        None => None,
    };
    if silencer == Some(level) {
        flags |= LOG_SUBDOMAINS_OFF;
    }
    flags
}

/// The next thing to do for a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// This call; the rights of the layer with this number, from 0, are in user memory.
    Call(u32, [u64; 3], usize),
    /// All layers are there.
    Done,
    /// This layer cannot be made, for this negative error number.
    Failed(usize, i64),
}

/// Results of the calls so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Making {
    /// Descriptor of the rule set.
    pub fd: u64,
    /// What enforcing it returned.
    pub enforced: i64,
}

/// What comes at step `step`, after a call that returned `prev`, to make `layers` layers. The rights are at `attr`, `flags` are
/// those of the layer with the number that it gets.
pub fn next(
    step: u32,
    prev: i64,
    layers: usize,
    attr: u64,
    flags: impl Fn(usize) -> u64,
    state: &mut Making,
) -> Step {
    let (layer, part) = ((step / 3) as usize, step % 3);
    match part {
        0 if layer > 0 && state.enforced != 0 => {
            Step::Failed(layer.saturating_sub(1), state.enforced)
        }
        0 if layer >= layers => Step::Done,
        0 => Step::Call(SYS_CREATE_RULESET, [attr, ATTR_LEN as u64, 0], layer),
        1 => match u64::try_from(prev) {
            Ok(fd) => {
                state.fd = fd;
                Step::Call(SYS_RESTRICT_SELF, [fd, flags(layer), 0], layer)
            }
            Err(_) => Step::Failed(layer, prev),
        },
        _ => {
            state.enforced = prev;
            Step::Call(SYS_CLOSE, [state.fd, 0, 0], layer)
        }
    }
}

/// Why a layer cannot be made, and what helps, from the negative error number.
pub fn reason(error: i64) -> (&'static str, &'static str) {
    match error {
        -1 => (
            "you may not restrict a process that may gain privileges",
            "restart as root",
        ),
        -7 => (
            "there would be more layers than the kernel allows",
            "restart outside of other Landlock domains",
        ),
        -38 | -95 => (
            "this kernel runs without Landlock",
            "boot with landlock in the list of lsm=",
        ),
        _ => (
            "the kernel refuses it",
            "checkpoint with --drop landlock restarts the process without it",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    const P: u64 = 0xffff_8880_1234_5678;

    #[test]
    fn the_slot_is_the_only_new_kernel_pointer() {
        assert_eq!(
            find_slot(&[P, 0, 7], &[P, P + 8, 9]),
            Some(1),
            "counters may change as well"
        );
        assert_eq!(
            find_slot(&[P, P, 7], &[P, P + 8, 7]),
            Some(1),
            "nested domain"
        );
        assert_eq!(find_slot(&[P, 0], &[P, 0]), None, "nothing changed");
        assert_eq!(find_slot(&[0, 0], &[P, P]), None, "ambiguous");
        assert_eq!(find_slot(&[0], &[0x7fff_0000_0000]), None, "a user address");
        assert_eq!(find_slot(&[0], &[0, P]), None, "another size");
    }

    const PLAIN: Log = Log {
        same_exec: true,
        new_exec: false,
        disabled: false,
    };

    #[test]
    fn flags_say_what_is_told() {
        assert_eq!(log_flags(&[PLAIN], 0, false), 0);
        assert_eq!(log_flags(&[PLAIN], 0, true), LOG_SUBDOMAINS_OFF);
        let all = Log {
            new_exec: true,
            ..PLAIN
        };
        assert_eq!(log_flags(&[PLAIN, all], 1, false), LOG_NEW_EXEC_ON);
        let none = Log {
            same_exec: false,
            new_exec: false,
            disabled: true,
        };
        assert_eq!(log_flags(&[none, PLAIN], 0, false), LOG_SAME_EXEC_OFF);
        assert_eq!(log_flags(&[none], 1, false), 0);
    }

    #[test]
    fn the_layer_before_a_silenced_one_silences_it() {
        let silent = Log {
            disabled: true,
            ..PLAIN
        };
        let layers = [PLAIN, PLAIN, silent];
        let flags: std::vec::Vec<u64> = (0..3).map(|n| log_flags(&layers, n, true)).collect();
        assert_eq!(flags, [0, LOG_SUBDOMAINS_OFF, 0]);
        assert_eq!(
            log_flags(&[silent, silent], 0, true),
            LOG_SAME_EXEC_OFF | LOG_SUBDOMAINS_OFF
        );
    }

    /// Runs the steps with these results.
    fn play(layers: usize, results: &[i64]) -> (Step, std::vec::Vec<(u32, [u64; 3])>) {
        let (mut state, mut prev, mut calls) = (Making::default(), 0, std::vec::Vec::new());
        for (n, r) in (0u32..).zip(results.iter().chain([&0])) {
            match next(n, prev, layers, 0x1000, |l| l as u64, &mut state) {
                Step::Call(nr, args, _) => {
                    calls.push((nr, args));
                    prev = *r;
                }
                end => return (end, calls),
            }
        }
        panic!("it does not end");
    }

    #[test]
    fn layers_are_made_one_after_the_other_and_nothing_stays_open() {
        let (end, calls) = play(2, &[7, 0, 0, 8, 0, 0]);
        let create = (SYS_CREATE_RULESET, [0x1000, 48, 0]);
        let wanted = [
            create,
            (SYS_RESTRICT_SELF, [7, 0, 0]),
            (SYS_CLOSE, [7, 0, 0]),
            create,
            (SYS_RESTRICT_SELF, [8, 1, 0]),
            (SYS_CLOSE, [8, 0, 0]),
        ];
        assert_eq!((end, calls.as_slice()), (Step::Done, &wanted[..]));
        assert_eq!(play(0, &[]).0, Step::Done);
    }

    #[test]
    fn a_layer_that_cannot_be_made_ends_it() {
        assert_eq!(play(1, &[-95]).0, Step::Failed(0, -95));
        let (end, calls) = play(2, &[7, 0, 0, 8, -7, 0]);
        assert_eq!(
            (end, calls.last()),
            (Step::Failed(1, -7), Some(&(SYS_CLOSE, [8, 0, 0])))
        );
        assert_eq!(reason(-1).1, "restart as root");
    }
}
