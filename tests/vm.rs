//! Every scene as a test: boots the test machine, plays the scenes, and reports each by its sentence.
//!
//! `cargo test -p cr-tests --test vm [-- FILTER]`. Only the scenes that the filter leaves are played, and only the boots
//! that have some. Boots go on two at a time (`CRKIT_JOBS`). What the machine said is kept under `target/tmp/scenes/`.
//! Variables `SCENES_*` are handed to the scenes.

use anyhow::{Context, Result};
use cr_tests::ktap::{self, Outcome, Verdict};
use cr_tests::scenes::{self, Boot, Run, BOOTS};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;
use xtask::vm::{Vm, VmOptions};

/// Where the scenes are in the machine.
const GUEST_SCENES: &str = "/opt/crkit/scenes";
/// Where the images for tests are in the machine.
const GUEST_IMAGES: &str = "/opt/crkit/images";
/// Where the page that says what may differ after a restart is in the machine.
const GUEST_FIDELITY: &str = "/opt/crkit/FIDELITY.md";
/// A run that takes longer hangs; the longest takes about a quarter of it on a slow machine.
const TIMEOUT: Duration = Duration::from_secs(1800);
/// Boots at the same time. An emulated machine keeps one processor busy.
const JOBS: usize = 2;

/// Outcomes by name of the runs that have ended.
#[derive(Default)]
struct Results {
    ended: Mutex<Ended>,
    changed: Condvar,
}

#[derive(Default)]
struct Ended {
    outcomes: HashMap<String, Outcome>,
    /// Groups that have ended, and what is to be said of a scene that has no outcome.
    groups: HashMap<&'static str, String>,
}

impl Results {
    fn publish(&self, group: &'static str, outcomes: Vec<Outcome>, ending: String) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        for outcome in outcomes {
            ended.outcomes.insert(outcome.name.clone(), outcome);
        }
        ended.groups.insert(group, ending);
        self.changed.notify_all();
    }

    /// Waits until the group has ended; the outcome of the scene, or why it has none.
    fn wait(&self, group: &str, name: &str) -> Result<Outcome, String> {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(ending) = ended.groups.get(group) {
                return ended.outcomes.get(name).cloned().ok_or(ending.clone());
            }
            ended = self
                .changed
                .wait(ended)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Waiting for a boot costs nothing, and the tests must not be fewer than the boots.
    arguments.test_threads = Some(arguments.test_threads.unwrap_or(1).max(1));
    match play(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("vm: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn play(arguments: &Arguments) -> Result<ExitCode> {
    let mut trials = Vec::new();
    let results = Arc::new(Results::default());
    let mut wanted: Vec<(&'static Boot, BTreeSet<String>)> = Vec::new();
    for boot in BOOTS {
        let mut selected = BTreeSet::new();
        for run in boot.runs {
            for name in names(run)? {
                if is_selected(arguments, &name) {
                    selected.insert(name.clone());
                }
                trials.push(trial(run.group, name, &results));
            }
        }
        if !selected.is_empty() {
            wanted.push((boot, selected));
        }
    }
    if !arguments.list && !wanted.is_empty() {
        let vm = Arc::new(Vm::prepare().context("the test machine cannot be prepared")?);
        let queue = Arc::new(Mutex::new(wanted.into_iter()));
        let jobs = std::env::var("CRKIT_JOBS")
            .ok()
            .and_then(|j| j.parse().ok());
        for _ in 0..jobs.unwrap_or(JOBS) {
            let (vm, queue, results) = (vm.clone(), queue.clone(), results.clone());
            std::thread::spawn(move || loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some((boot, selected)) = next else { break };
                play_boot(&vm, boot, &selected, &results);
            });
        }
    }
    Ok(libtest_mimic::run(arguments, trials).exit_code())
}

/// All tests of a run: its scenes, the unloading, and the machine's own ending.
fn names(run: &Run) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for word in run.words {
        names.extend(scenes::of_word(word).with_context(|| format!("the scenes of {word}"))?);
    }
    names.push(scenes::unload_scene(run.group));
    names.push(log_test(run.group));
    Ok(names)
}

fn log_test(group: &str) -> String {
    format!("{group}: the kernel log of the whole boot has no complaint")
}

/// The rule of the usual test programs.
fn is_selected(arguments: &Arguments, name: &str) -> bool {
    let matches = |pattern: &String| {
        if arguments.exact {
            name == pattern
        } else {
            name.contains(pattern.as_str())
        }
    };
    arguments.filter.as_ref().is_none_or(matches) && !arguments.skip.iter().any(matches)
}

fn trial(group: &'static str, name: String, results: &Arc<Results>) -> Trial {
    let results = results.clone();
    let own = name.clone();
    Trial::ignorable_test(name, move || {
        let outcome = results.wait(group, &own).map_err(Failed::from)?;
        match outcome.verdict {
            Verdict::Passed => Ok(Completion::Completed),
            Verdict::Skipped(reason) => Ok(Completion::ignored_with(reason)),
            Verdict::Failed(reason) => {
                let said = outcome.diagnostics.join("\n  ");
                Err(Failed::from(format!(
                    "{reason}\n  {said}\n  All that was said: {}",
                    log_file(group, "ktap").display()
                )))
            }
        }
    })
}

fn log_file(group: &str, kind: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("scenes")
        .join(format!("{group}.{kind}"))
}

/// Plays the runs of a boot one after the other; whatever happens, every group gets an ending.
fn play_boot(vm: &Vm, boot: &'static Boot, selected: &BTreeSet<String>, results: &Results) {
    let disk = boot
        .keeps_disk
        .then(|| format!("scenes-{}", std::process::id()));
    for run in boot.runs {
        // A run that hands something over to the next must be played whole.
        let only = (!boot.keeps_disk).then_some(selected);
        match play_run(vm, run, only, disk.as_deref(), boot.runtimes) {
            Ok((outcomes, ending)) => results.publish(run.group, outcomes, ending),
            Err(error) => results.publish(run.group, Vec::new(), format!("{error:#}")),
        }
    }
    if let Some(disk) = disk {
        if let Err(error) = vm.remove_disk(&disk) {
            eprintln!("vm: {error:#}");
        }
    }
}

fn play_run(
    vm: &Vm,
    run: &'static Run,
    only: Option<&BTreeSet<String>>,
    disk: Option<&str>,
    runtimes: bool,
) -> Result<(Vec<Outcome>, String)> {
    let folder = log_file(run.group, "");
    fs::create_dir_all(folder.parent().unwrap_or(&folder)).context("the folder for logs")?;
    let mut files = vec![
        (scenes::folder(), PathBuf::from(GUEST_SCENES)),
        (scenes::images(), PathBuf::from(GUEST_IMAGES)),
        (scenes::fidelity(), PathBuf::from(GUEST_FIDELITY)),
    ];
    let mut command = format!(
        "#!/bin/sh\nexec python3 -B {GUEST_SCENES}/run.py {}",
        run.group
    );
    for word in run.words {
        command.push(' ');
        command.push_str(word);
    }
    if let Some(only) = only {
        let list = log_file(run.group, "only");
        let text: String = only.iter().map(|name| format!("{name}\n")).collect();
        fs::write(&list, text).with_context(|| format!("cannot write {}", list.display()))?;
        files.push((list, PathBuf::from("/opt/crkit/scenes-only")));
        command.push_str(" --only /opt/crkit/scenes-only");
    }
    command.push('\n');
    let result = vm.run(&VmOptions {
        script: command,
        files,
        environment: std::env::vars()
            .filter(|(key, _)| key.starts_with("SCENES_"))
            .collect(),
        disk: disk.map(str::to_owned),
        runtimes,
        timeout: TIMEOUT,
        console_log: Some(log_file(run.group, "console")),
        ..VmOptions::default()
    })?;
    let said = format!("{}\n--- standard error\n{}", result.stdout, result.stderr);
    fs::write(log_file(run.group, "ktap"), said).context("cannot write the log")?;
    let mut outcomes = ktap::parse(&result.stdout);
    let tail = tail(&result.console, 30);
    let verdict = if result.status.is_none() {
        Verdict::Failed(format!("{}\n{tail}", result.ending))
    } else if result.complaints.is_empty() {
        Verdict::Passed
    } else {
        Verdict::Failed(result.complaints.join("\n  "))
    };
    outcomes.push(Outcome {
        name: log_test(run.group),
        verdict,
        diagnostics: Vec::new(),
    });
    let ending = format!(
        "this scene gave no result: {}\n{}\n{tail}",
        result.ending,
        self::tail(&result.stderr, 10)
    );
    Ok((outcomes, ending))
}

/// The last lines of a text.
fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
