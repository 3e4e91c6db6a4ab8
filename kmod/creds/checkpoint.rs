// SPDX-License-Identifier: GPL-2.0
//! Checkpoint: one record for the process, whose threads must agree.

use crate::{
    sys::{self, CredRef},
    WORD,
};
use cr_logic::creds::GROUPS_MAX;
use crkit::{Checkpoint, Obstacle};
use kernel::prelude::*;

/// Emits the record and reports obstacles.
pub(crate) fn emit(cx: &Checkpoint<'_>) -> Result {
    let leader = cx.leader();
    let cred = CredRef::of(&leader)?;
    let groups = cred.groups()?;
    let mine = cred.read(&groups);
    if groups.len() > GROUPS_MAX {
        cx.obstacle(Obstacle::new(
            WORD,
            b"more than 1000 supplementary groups",
            "a restart can set at most 1000",
            "let the program leave groups that it does not need",
        ))?;
    }
    for t in cx.tasks() {
        let other = CredRef::of(&t)?;
        if other.is(&cred) {
            continue;
        }
        let groups = other.groups()?;
        if let Some(what) = other.read(&groups).differs_in(&mine) {
            cx.obstacle(Obstacle {
                tid: t.pid_vnr(),
                ..Obstacle::new(
                    WORD,
                    what.as_bytes(),
                    "the thread has other credentials than the main thread; only processes whose threads agree can be restarted",
                    "let the threads finish their privileged work first",
                )
            })?;
            break;
        }
    }
    for t in cx.tasks() {
        if sys::label_differs(&t) {
            let mut text = [0u8; 256];
            cx.obstacle(Obstacle {
                tid: t.pid_vnr(),
                ..Obstacle::new(
                    WORD,
                    sys::label(&t, &mut text),
                    "the process has another security label (AppArmor, SELinux or Smack) than crctl; restarted by crctl it would have that of crctl",
                    "run crctl under the same label for checkpoint and restart, for example with aa-exec(1) or runcon(1)",
                )
            })?;
            break;
        }
    }
    if cred.has_keyrings() {
        cx.note(WORD, b"keyrings of the thread and of the process are not kept")?;
    }
    if cred.has_other_session_keyring()? {
        cx.note(WORD, b"the session keyring is not kept: the restarted process has that of whoever restarts it")?;
    }
    cx.emit(&mine.to_record(leader.tgid_vnr()))
}
