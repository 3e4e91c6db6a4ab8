//! Which scenes there are, and which boot of the test machine plays them.
//!
//! A scene registers itself with `@scene("sentence", ...)` in a file of `scenes/<word>/`; its name here and in the
//! results is `word: sentence`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// One run of the machine: the name of the group and the words whose scenes it plays.
pub struct Run {
    /// The name in messages and files.
    pub group: &'static str,
    /// Folders below `scenes/`, in this order.
    pub words: &'static [&'static str],
}

/// Runs that belong together; all of one [`Boot`] share a disk, one after the other.
pub struct Boot {
    /// The runs, in order. Two different boots can go on at the same time.
    pub runs: &'static [Run],
    /// All scenes must be played for any of them to make sense, and a disk that outlives the run is needed.
    pub keeps_disk: bool,
    /// The programs under test are on the root disk with the runtimes.
    pub runtimes: bool,
}

/// Every boot, the longest first.
pub const BOOTS: &[Boot] = &[
    Boot {
        runs: &[Run {
            group: "faults",
            words: &["faults"],
        }],
        keeps_disk: false,
        runtimes: false,
    },
    Boot {
        runs: &[Run {
            group: "core",
            words: &["core"],
        }],
        keeps_disk: false,
        runtimes: false,
    },
    Boot {
        runs: &[Run {
            group: "tree",
            words: &["tree"],
        }],
        keeps_disk: false,
        runtimes: false,
    },
    Boot {
        runs: &[Run {
            group: "state",
            words: &["tasks", "signals", "creds", "limits", "patch"],
        }],
        keeps_disk: false,
        runtimes: false,
    },
    Boot {
        runs: &[Run {
            group: "objects",
            words: &[
                "memory", "files", "pipes", "eventfd", "timerfd", "signalfd", "epoll", "timers",
                "locks", "inotify", "pidfd", "owners", "uring", "proc", "cgroups", "landlock",
                "seccomp",
            ],
        }],
        keeps_disk: false,
        runtimes: false,
    },
    Boot {
        runs: &[Run {
            group: "kinds",
            words: &["kinds"],
        }],
        keeps_disk: false,
        runtimes: false,
    },
    Boot {
        runs: &[Run {
            group: "programs",
            words: &["programs"],
        }],
        keeps_disk: false,
        runtimes: false,
    },
    Boot {
        runs: &[Run {
            group: "runtimes",
            words: &["runtimes"],
        }],
        keeps_disk: false,
        runtimes: true,
    },
    Boot {
        runs: &[
            Run {
                group: "reboot-before",
                words: &["reboot/before"],
            },
            Run {
                group: "reboot-after",
                words: &["reboot/after"],
            },
        ],
        keeps_disk: true,
        runtimes: false,
    },
];

/// The last scene of a run: nothing holds the modules.
pub fn unload_scene(group: &str) -> String {
    format!("{group}: afterwards the modules unload and leave nothing")
}

/// The folder of the scenes in this checkout.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenes")
}

/// The folder of the images for tests in this checkout.
pub fn images() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("images")
}

/// The page that says what may differ after a restart.
pub fn fidelity() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("FIDELITY.md")
}

/// The names of all scenes of a word, in the order they are played.
///
/// # Errors
/// When the folder of the word or a file in it cannot be read.
pub fn of_word(word: &str) -> io::Result<Vec<String>> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder().join(word))?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<io::Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|e| e == "py"));
    files.sort();
    let mut names = Vec::new();
    for path in files {
        names.extend(
            sentences(&fs::read_to_string(path)?)
                .into_iter()
                .map(|s| format!("{word}: {s}")),
        );
    }
    Ok(names)
}

/// The sentences of the scenes in a file, in their order.
fn sentences(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.strip_prefix("@scene(\"")?.split_once('"'))
        .map(|(sentence, _)| sentence.to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn sentences_are_found_in_their_order() {
        let text = "@scene(\"a\", 1)\n@scene(\"b\", timeout=3)\ndef f(s, n):\n    pass\n\n@scene(\"c\")\ndef g(s):\n";
        assert_eq!(sentences(text), ["a", "b", "c"]);
    }

    #[test]
    fn every_scene_has_a_sentence_of_its_own_that_the_results_can_carry() {
        let mut seen = BTreeSet::new();
        for run in BOOTS.iter().flat_map(|b| b.runs) {
            for word in run.words {
                let names = of_word(word).expect("the folder of every word can be read");
                assert!(!names.is_empty(), "{word} has no scenes");
                for name in names {
                    assert!(!name.contains('#') && !name.contains(" - "), "{name}");
                    assert!(seen.insert(name.clone()), "two scenes are called {name}");
                }
            }
        }
    }

    #[test]
    fn every_scene_decorator_is_on_one_line_with_its_sentence() {
        for run in BOOTS.iter().flat_map(|b| b.runs) {
            for word in run.words {
                for entry in fs::read_dir(folder().join(word)).expect("folder") {
                    let path = entry.expect("entry").path();
                    if path.extension().is_some_and(|e| e == "py") {
                        let text = fs::read_to_string(&path).expect("scene file");
                        let decorators = text.lines().filter(|l| l.starts_with("@scene(")).count();
                        assert_eq!(decorators, sentences(&text).len(), "{}", path.display());
                    }
                }
            }
        }
    }
}
