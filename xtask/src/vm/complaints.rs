//! Reads the kernel's console for signs that something is wrong.

/// The console lines that no healthy run has.
///
/// One exception: a report of an RCU or soft-lockup stall is not counted, because an emulated processor on a busy host
/// stands still for seconds without any fault in the guest. A guest that really hangs runs into its timeout.
pub fn complaints(console: &str) -> Vec<String> {
    const SIGNS: &[&str] = &[
        "WARNING:",
        "BUG:",
        "kernel BUG at",
        "Oops",
        "Call Trace:",
        "scheduling while atomic",
        "sleeping function called",
        "leaked",
        "refcount_t",
        "general protection fault",
        "possible recursive locking",
        "possible circular locking",
        "inconsistent lock state",
        "blocked for more than",
        "Kernel panic",
        "double free",
        "use-after-free",
        "unable to handle",
        "bad page state",
        "Bad page",
        "Bad rss-counter",
        "UBSAN:",
        "KASAN:",
        "list_add corruption",
        "list_del corruption",
        "Objects remaining",
        "EXT4-fs error",
    ];
    const STALLS: &[&str] = &[
        "soft lockup",
        "rcu_sched",
        "rcu_preempt",
        "rcu: INFO",
        "workqueue lockup",
    ];
    // The report of a stall has traces of every processor; every other trace stands under a line that is a sign itself.
    const STALL_LINES: usize = 200;
    let mut since_stall = usize::MAX;
    console
        .lines()
        .filter(|line| {
            let has = |signs: &[&str]| signs.iter().any(|sign| line.contains(sign));
            if has(STALLS) {
                since_stall = 0;
                return false;
            }
            since_stall = since_stall.saturating_add(1);
            let is_trace_of_stall = line.contains("Call Trace:") && since_stall < STALL_LINES;
            has(SIGNS) && !is_trace_of_stall
        })
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::complaints;

    #[test]
    fn complaints_are_found_and_stalls_of_a_busy_host_are_not() {
        let log = "[ 1.0] hello\n[ 2.0] WARNING: kernel/x.c:1 at f\n[ 3.0] watchdog: BUG: soft lockup - CPU#0 stuck\n\
                   [ 4.0] BUG: scheduling while atomic: a/1/0x2\n[ 5.0] rcu: INFO: rcu_preempt self-detected stall on CPU\n";
        assert_eq!(complaints(log).len(), 2);
    }

    #[test]
    fn the_traces_of_a_stall_do_not_count_and_others_do() {
        let stall = "[ 5.0] rcu: INFO: rcu_preempt self-detected stall on CPU\n[ 5.1] Call Trace:\n[ 5.2] Call Trace:\n";
        assert!(complaints(stall).is_empty());
        let between = "[ 6.0] line\n".repeat(300);
        assert_eq!(
            complaints(&format!("{stall}{between}[ 7.0] Call Trace:\n")).len(),
            1
        );
        assert_eq!(
            complaints(&format!("{stall}[ 6.0] WARNING: f\n[ 6.1] Call Trace:\n")).len(),
            1
        );
    }
}
