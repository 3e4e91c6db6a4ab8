//! `cargo xtask fuzz`: builds the fuzz targets and runs each for its share of the time.
//!
//! The targets are linked with libFuzzer, which comes as a crate and is compiled by the C++ compiler of the machine; coverage
//! is counted by the compiler of the workspace, so neither cargo-fuzz nor a nightly toolchain is needed. There is no
//! address sanitizer: the crates under test have no unsafe code of their own, and without it ten times more inputs are tried.

use crate::command::{output, run};
use anyhow::{bail, ensure, Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What libFuzzer needs to see which branches an input takes.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing";
/// Memory of a target, MiB.
const MEMORY_MB: u32 = 256;
/// Seconds after which an input has hung. Each target itself sees that one takes no more than a second of processor time.
const TIMEOUT_S: u32 = 30;

/// What a run is to be.
pub struct FuzzOptions {
    /// Time of all targets together.
    pub time: Duration,
    /// Only these; empty: all.
    pub targets: Vec<String>,
    /// Where the tries begin: the same number tries the same inputs in the same order; 0 takes another each time.
    pub seed: u32,
    /// Append the result to `fuzz/RUNS.md`.
    pub record: bool,
    /// Put what the run has found to be worth keeping into `fuzz/corpus/`.
    pub keep: bool,
}

/// What one target did.
struct Outcome {
    target: String,
    seconds: f64,
    executions: u64,
    /// Branches seen, as libFuzzer counts them.
    coverage: u64,
    /// Input that broke the property, if one did.
    found: Option<PathBuf>,
}

struct Fuzz<'a> {
    workspace: &'a Path,
    /// Compiled targets, working corpora, findings, logs.
    folder: PathBuf,
    seed: u32,
}

/// Is there a C++ compiler? libFuzzer is C++.
pub fn has_compiler() -> bool {
    Command::new("c++")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

/// Builds the targets, runs them one after the other, prints a table and writes it to `target/fuzz/summary.md`.
///
/// # Errors
/// When the targets do not build, or one of them finds something; the input has been kept.
pub fn fuzz(workspace: &Path, options: &FuzzOptions) -> Result<()> {
    let fuzz = Fuzz {
        workspace,
        folder: workspace.join("target/fuzz"),
        seed: options.seed,
    };
    let all = fuzz.targets()?;
    for wanted in &options.targets {
        ensure!(
            all.contains(wanted),
            "no fuzz target {wanted}\n  There are: {}",
            all.join(" ")
        );
    }
    let chosen: Vec<String> = all
        .into_iter()
        .filter(|t| options.targets.is_empty() || options.targets.contains(t))
        .collect();
    fuzz.build()?;
    let share = options.time.as_secs() / u64::try_from(chosen.len()).unwrap_or(1).max(1);
    let mut outcomes = Vec::new();
    for target in &chosen {
        let outcome = fuzz.run(target, share.max(1))?;
        eprintln!("{}", row(&outcome));
        outcomes.push(outcome);
    }
    let summary = summary(workspace, &outcomes)?;
    println!("{summary}");
    let path = fuzz.folder.join("summary.md");
    fs::write(&path, &summary).with_context(|| format!("cannot write {}", path.display()))?;
    if options.record {
        let path = workspace.join("fuzz/RUNS.md");
        let before = fs::read_to_string(&path).unwrap_or_default();
        fs::write(&path, format!("{before}\n{summary}"))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if options.keep {
        chosen.iter().try_for_each(|t| fuzz.keep(t))?;
    }
    let found: Vec<&Outcome> = outcomes.iter().filter(|o| o.found.is_some()).collect();
    if found.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = found
        .iter()
        .filter_map(|o| Some(format!("{}: {}", o.target, o.found.as_ref()?.display())))
        .collect();
    bail!(
        "a property does not hold:\n  {}\n  Copy the input to fuzz/regressions/TARGET/NAME, where cargo test replays it.",
        lines.join("\n  ")
    )
}

impl Fuzz<'_> {
    /// The targets are the files in `fuzz/fuzz_targets/`.
    fn targets(&self) -> Result<Vec<String>> {
        let folder = self.workspace.join("fuzz/fuzz_targets");
        let mut names = Vec::new();
        for entry in
            fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?
        {
            let path = entry?.path();
            if let (Some(stem), Some("rs")) = (
                path.file_stem().and_then(|s| s.to_str()),
                path.extension().and_then(|s| s.to_str()),
            ) {
                names.push(stem.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    fn build(&self) -> Result<()> {
        ensure!(
            has_compiler(),
            "no C++ compiler: libFuzzer must be compiled\n  Install one, for example: apt-get install g++"
        );
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        run(cargo
            .current_dir(self.workspace.join("fuzz"))
            // With a target, build scripts are compiled without the flags.
            .args(["build", "--release", "--locked", "--target", TRIPLE])
            .env("CARGO_TARGET_DIR", &self.folder)
            .env("RUSTFLAGS", COVERAGE))
    }

    fn run(&self, target: &str, seconds: u64) -> Result<Outcome> {
        let corpus = self.folder.join("corpus").join(target);
        let findings = self.folder.join("found").join(target);
        let log = self.folder.join(format!("{target}.log"));
        for folder in [&corpus, &findings] {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let mut command = Command::new("nice");
        command
            .arg(self.binary(target))
            .arg(&corpus)
            .args(self.seeds(target))
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-seed={}", self.seed))
            .arg(format!("-rss_limit_mb={MEMORY_MB}"))
            .arg(format!("-timeout={TIMEOUT_S}"))
            .arg(format!("-artifact_prefix={}/", findings.display()))
            .arg("-print_final_stats=1")
            .current_dir(&self.folder);
        for name in [target, "image"] {
            let dictionary = self
                .workspace
                .join(format!("fuzz/dictionaries/{name}.dict"));
            if dictionary.exists() {
                command.arg(format!("-dict={}", dictionary.display()));
                break;
            }
        }
        // Whole images are larger than what libFuzzer tries by itself.
        if matches!(target, "image" | "import_core" | "import_json") {
            command.arg("-max_len=65536");
        }
        // Whole images are written to files by the targets of crimg: in memory, and gone afterwards.
        let scratch = Scratch::new()?;
        command.env("TMPDIR", &scratch.0);
        let before = newest(&findings);
        let started = Instant::now();
        let out = command
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot start the fuzz target {target}"))?;
        let text = String::from_utf8_lossy(&out.stderr);
        fs::write(&log, text.as_bytes())
            .with_context(|| format!("cannot write {}", log.display()))?;
        // Whoever ends a target by a signal has found nothing; the seconds tell.
        let interrupted = text.contains("libFuzzer: run interrupted");
        let found = (!out.status.success() && !interrupted).then(|| {
            newest(&findings)
                .filter(|f| before.as_ref() != Some(f))
                .unwrap_or(log)
        });
        Ok(Outcome {
            target: target.to_owned(),
            seconds: started.elapsed().as_secs_f64(),
            executions: number_behind(&text, "stat::number_of_executed_units:")
                .or_else(|| last_execution(&text))
                .unwrap_or(0),
            coverage: number_behind(&text, "cov: ").unwrap_or(0),
            found,
        })
    }

    fn binary(&self, target: &str) -> PathBuf {
        self.folder.join(TRIPLE).join("release").join(target)
    }

    /// Folders with inputs to begin with.
    fn seeds(&self, target: &str) -> Vec<PathBuf> {
        let mut seeds = vec![
            self.workspace.join("fuzz/corpus").join(target),
            self.workspace.join("fuzz/regressions").join(target),
        ];
        if target == "image" {
            seeds.push(self.workspace.join("tests/images/bad"));
        }
        seeds.retain(|s| s.exists());
        seeds
    }

    /// Merges the working corpus into the kept one: only inputs that add coverage, small ones first.
    fn keep(&self, target: &str) -> Result<()> {
        let kept = self.workspace.join("fuzz/corpus").join(target);
        let fresh = self.folder.join("merged").join(target);
        let _ = fs::remove_dir_all(&fresh);
        fs::create_dir_all(&fresh).with_context(|| format!("cannot make {}", fresh.display()))?;
        fs::create_dir_all(&kept).with_context(|| format!("cannot make {}", kept.display()))?;
        output(
            Command::new(self.binary(target))
                .args(["-merge=1", "-max_len=4096"])
                .arg(&fresh)
                .arg(&kept)
                .arg(self.folder.join("corpus").join(target))
                .current_dir(&self.folder),
        )?;
        fs::remove_dir_all(&kept).with_context(|| format!("cannot replace {}", kept.display()))?;
        fs::create_dir_all(&kept)?;
        for entry in fs::read_dir(&fresh)? {
            let from = entry?.path();
            if let Some(name) = from.file_name() {
                fs::copy(&from, kept.join(name))?;
            }
        }
        Ok(())
    }
}

/// A folder in memory for the files of one target, removed with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() {
            memory.to_owned()
        } else {
            std::env::temp_dir()
        };
        let folder = parent.join(format!("crkit-fuzz-{}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is small and in memory only.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The only machine that the project runs on.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// The file that was changed last.
fn newest(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?.filter_map(Result::ok);
    entries
        .max_by_key(|e| e.metadata().and_then(|m| m.modified()).ok())
        .map(|e| e.path())
}

/// The last number behind `word` in the text.
fn number_behind(text: &str, word: &str) -> Option<u64> {
    let rest = text.rsplit_once(word)?.1.trim_start();
    let digits = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    rest.get(..digits)?.parse().ok()
}

/// The count in the last line that begins with one: `#4096 pulse …`. A target that stopped has no statistics.
fn last_execution(text: &str) -> Option<u64> {
    let line = text.lines().rev().find(|l| l.starts_with('#'))?;
    number_behind(line.split_whitespace().next()?, "#")
}

fn row(o: &Outcome) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = o.executions as f64 / o.seconds.max(0.001);
    format!(
        "| {} | {} | {:.0} | {rate:.0} | {} | {} |",
        o.target,
        o.executions,
        o.seconds,
        o.coverage,
        u8::from(o.found.is_some())
    )
}

fn summary(workspace: &Path, outcomes: &[Outcome]) -> Result<String> {
    let git = |arguments: &[&str]| {
        output(Command::new("git").current_dir(workspace).args(arguments))
            .map(|s| s.trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short", "HEAD"]).unwrap_or_else(|_| "unknown".into());
    let date = output(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"]))?;
    let mut text = format!("## {}, commit {commit}\n\n", date.trim());
    text.push_str("| target | executions | seconds | per second | branches | found |\n");
    text.push_str("| --- | ---: | ---: | ---: | ---: | ---: |\n");
    for o in outcomes {
        text.push_str(&row(o));
        text.push('\n');
    }
    let executions: u64 = outcomes.iter().map(|o| o.executions).sum();
    let seconds: f64 = outcomes.iter().map(|o| o.seconds).sum();
    let found = outcomes.iter().filter(|o| o.found.is_some()).count();
    text.push_str(&format!(
        "| **all** | **{executions}** | {seconds:.0} | | | {found} |\n"
    ));
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_from_the_log_of_libfuzzer() {
        let log = "#2\tINITED cov: 5\n#4096\tpulse  cov: 69 ft: 79\nstat::number_of_executed_units: 192178\n";
        assert_eq!(number_behind(log, "cov: "), Some(69));
        assert_eq!(
            number_behind(log, "stat::number_of_executed_units:"),
            Some(192_178)
        );
        assert_eq!(
            last_execution("#7\tNEW\n#12 NEW cov\n==1== ERROR"),
            Some(12)
        );
        assert_eq!(number_behind("nothing", "cov: "), None);
    }
}
