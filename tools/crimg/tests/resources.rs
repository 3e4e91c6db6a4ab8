// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The views of event counters, timers, polls, locks, watched folders and rings.

mod tool;

#[test]
fn each_resource_has_its_view() {
    for word in [
        "eventfd", "timerfd", "signalfd", "epoll", "timers", "locks", "inotify", "owners", "uring",
        "seccomp",
    ] {
        let run = tool::crimg(&["show", "--section", word, "resources.ckpt"]);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""));
        tool::golden(&format!("resources/{word}.txt"), run.stdout.as_bytes());
    }
    assert_eq!(tool::crimg(&["verify", "resources.ckpt"]).code, 0);
}
