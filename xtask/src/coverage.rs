//! `cargo xtask coverage`: how many lines of the format crate its tests and kept inputs reach.

use crate::command::output;
use anyhow::{ensure, Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Percent of lines that must be reached.
const WANTED: f64 = 95.0;

/// Runs the tests of the format crate with counters, prints the table of its files, and judges the total.
///
/// # Errors
/// When the LLVM tools of the compiler are missing, a test fails, or less than 95 % of the lines are reached.
pub fn coverage(workspace: &Path) -> Result<()> {
    let tools = tools()?;
    let folder = workspace.join("target/coverage");
    let raw = folder.join("raw");
    let _ = fs::remove_dir_all(&raw);
    fs::create_dir_all(&raw).with_context(|| format!("cannot make {}", raw.display()))?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let built = cargo
        .current_dir(workspace)
        .args(["test", "-p", "cr-format", "--no-run"])
        .env("CARGO_TARGET_DIR", &folder)
        .env("RUSTFLAGS", "-Cinstrument-coverage")
        .stdin(Stdio::null())
        .output()
        .context("cannot start cargo")?;
    let text = String::from_utf8_lossy(&built.stderr);
    ensure!(built.status.success(), "the tests do not build\n{text}");
    let programs: Vec<PathBuf> = programs(&text).iter().map(|p| workspace.join(p)).collect();
    ensure!(!programs.is_empty(), "cargo names no test program\n{text}");
    for program in &programs {
        output(
            Command::new(program)
                .current_dir(workspace.join("format"))
                .env("LLVM_PROFILE_FILE", raw.join("%p-%m.profraw")),
        )?;
    }
    let merged = folder.join("merged.profdata");
    let mut profdata = Command::new(tools.join("llvm-profdata"));
    profdata.args(["merge", "-sparse", "-o"]).arg(&merged);
    for entry in fs::read_dir(&raw)? {
        profdata.arg(entry?.path());
    }
    output(&mut profdata)?;
    let mut cov = Command::new(tools.join("llvm-cov"));
    cov.arg("report")
        .arg(format!("-instr-profile={}", merged.display()));
    for program in &programs {
        cov.arg("-object").arg(program);
    }
    let table = output(cov.arg("-sources").arg(workspace.join("format/src")))?;
    println!("{table}");
    let percent = total(&table).context("llvm-cov gives no total")?;
    println!(
        "lines of format/src reached by tests and kept inputs: {percent} % (wanted: {WANTED} %)"
    );
    ensure!(
        percent >= WANTED,
        "{percent} % of the lines are reached, {WANTED} % are wanted"
    );
    Ok(())
}

/// The folder with the LLVM tools that fit the compiler.
fn tools() -> Result<PathBuf> {
    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let folder = Path::new(sysroot.trim()).join("lib/rustlib/x86_64-unknown-linux-gnu/bin");
    ensure!(
        folder.join("llvm-cov").exists() && folder.join("llvm-profdata").exists(),
        "the compiler's llvm-cov and llvm-profdata are missing\n  Install them: rustup component add llvm-tools"
    );
    Ok(folder)
}

/// The paths in lines such as `Executable tests/x.rs (target/debug/deps/x-1f)`.
fn programs(text: &str) -> Vec<&str> {
    text.lines()
        .filter(|l| l.trim_start().starts_with("Executable "))
        .filter_map(|l| l.rsplit_once('(')?.1.strip_suffix(')'))
        .collect()
}

/// Percent of lines in the last row of llvm-cov's table.
fn total(table: &str) -> Option<f64> {
    let row = table.lines().find(|l| l.starts_with("TOTAL"))?;
    // Three columns each of regions, functions, lines.
    row.split_whitespace()
        .nth(9)?
        .strip_suffix('%')?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_and_the_total_are_found() {
        let text = "   Compiling x\n  Executable tests/a.rs (target/debug/deps/a-1f)\n";
        assert_eq!(programs(text), ["target/debug/deps/a-1f"]);
        let table = "TOTAL   2000  100  95.00%  300  3  99.00%  4000  120  97.00%  0  0  -\n";
        assert_eq!(total(table), Some(97.0));
    }
}
