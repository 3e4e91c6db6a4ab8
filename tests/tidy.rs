//! Checks of the sources that no compiler makes: every word in every place, a first line in every file, no left-overs.

use std::fs;
use std::path::{Path, PathBuf};

/// The resources; each is one word in the specification, the format, the kernel, the viewer and the scenes.
const WORDS: &[&str] = &[
    "tasks", "memory", "files", "pipes", "signals", "creds", "limits", "eventfd", "timerfd",
    "signalfd", "epoll", "timers", "locks", "inotify", "pidfd", "owners", "uring", "proc",
    "cgroups", "seccomp", "landlock",
];

/// Folders that hold sources of this project.
const SOURCES: &[&str] = &["format", "kmod", "tools", "xtask", "tests", "fuzz"];

fn top() -> PathBuf {
    xtask::workspace_root()
}

/// All files below a folder, without build results.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            if name != "target" && name != ".git" && name != "corpus" && name != "artifacts" {
                files(&path, found);
            }
        } else {
            found.push(path);
        }
    }
}

fn with_extension(extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in SOURCES {
        files(&top().join(folder), &mut found);
    }
    found.retain(|path| {
        path.extension()
            .is_some_and(|e| extensions.iter().any(|x| e == *x))
    });
    found.sort();
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()))
}

fn shown(path: &Path) -> String {
    path.strip_prefix(top())
        .unwrap_or(path)
        .display()
        .to_string()
}

#[test]
fn every_word_is_found_in_every_place() {
    let spec = read(&top().join("spec/IMAGE_FORMAT.md"));
    let mut missing = Vec::new();
    for word in WORDS {
        if !spec.lines().any(|l| l.starts_with('#') && l.contains(word)) {
            missing.push(format!("a heading of spec/IMAGE_FORMAT.md with {word}"));
        }
        for place in [
            format!("format/src/sections/{word}.rs"),
            format!("kmod/{word}"),
            format!("tools/crimg/src/view/{word}.rs"),
            format!("tests/scenes/{word}/{word}.py"),
        ] {
            if !top().join(&place).exists() {
                missing.push(place);
            }
        }
    }
    assert!(missing.is_empty(), "missing:\n{}", missing.join("\n"));
}

#[test]
fn every_rule_of_the_specification_is_known_to_the_format() {
    let spec = read(&top().join("spec/IMAGE_FORMAT.md"));
    let mut sources = String::new();
    let mut found = Vec::new();
    files(&top().join("format/src"), &mut found);
    for path in found {
        sources += &read(&path);
    }
    let mut missing: Vec<String> = Vec::new();
    for word in WORDS {
        let upper = word.to_uppercase();
        for rule in spec
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
            .filter(|w| w.strip_prefix(&format!("{upper}-")).is_some_and(is_number))
        {
            if !sources.contains(&format!("\"{rule}\"")) && !missing.contains(&rule.to_owned()) {
                missing.push(rule.to_owned());
            }
        }
    }
    assert!(
        missing.is_empty(),
        "rules that format/ never names: {missing:?}"
    );
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

#[test]
fn every_rust_file_says_in_its_first_lines_what_it_is() {
    let silent: Vec<String> = with_extension(&["rs"])
        .into_iter()
        .filter(|path| !read(path).lines().take(8).any(|l| l.starts_with("//!")))
        .map(|path| shown(&path))
        .collect();
    assert!(silent.is_empty(), "no //! line:\n{}", silent.join("\n"));
}

#[test]
fn every_test_program_and_script_says_what_it_is() {
    let mut silent = Vec::new();
    for path in with_extension(&["c", "h", "py", "sh", "pl", "lua"]) {
        let text = read(&path);
        let first = text.lines().find(|l| !l.starts_with("#!")).unwrap_or("");
        let is_comment = ["/*", "//", "#", "--", "\"\"\""]
            .iter()
            .any(|c| first.starts_with(c));
        if !is_comment {
            silent.push(shown(&path));
        }
    }
    assert!(
        silent.is_empty(),
        "no first comment:\n{}",
        silent.join("\n")
    );
}

#[test]
fn nothing_is_left_to_do_in_the_sources() {
    // Written in parts, or this file would find itself.
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
        concat!("to", "do!("),
        concat!("unimpl", "emented!("),
        concat!("d", "bg!("),
    ];
    let mut found = Vec::new();
    for path in with_extension(&["rs", "c", "h", "py", "sh", "toml", "md"]) {
        for (number, line) in read(&path).lines().enumerate() {
            if marks.iter().any(|m| line.contains(m)) {
                found.push(format!("{}:{}: {}", shown(&path), number + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn no_file_names_a_folder_of_the_machine_it_was_written_on() {
    let marks = [
        concat!("/wo", "rk/"),
        concat!("/fa", "rm/"),
        concat!("/root/.ca", "che"),
        concat!("/tmp/te", "am"),
    ];
    let mut found = Vec::new();
    for path in with_extension(&[
        "rs", "c", "h", "py", "sh", "toml", "md", "pl", "lua", "list",
    ]) {
        for (number, line) in read(&path).lines().enumerate() {
            if marks.iter().any(|m| line.contains(m)) {
                found.push(format!("{}:{}", shown(&path), number + 1));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn unsafe_code_is_explained_and_absent_where_bytes_are_parsed() {
    let mut found = Vec::new();
    for path in with_extension(&["rs"]) {
        let name = shown(&path);
        let text = read(&path);
        let blocks = text.matches("unsafe {").count() + text.matches("unsafe impl").count();
        if blocks > text.matches("SAFETY:").count() {
            found.push(format!(
                "{name}: {blocks} unsafe blocks, fewer SAFETY comments"
            ));
        }
        if blocks > 0 && name.starts_with("format/") {
            found.push(format!("{name}: unsafe code in the parser"));
        }
    }
    // This very check names the words.
    found.retain(|line| !line.starts_with("tests/tidy.rs"));
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_kernel_modules_cannot_panic_by_a_word() {
    let words = [
        concat!(".unw", "rap()"),
        concat!(".exp", "ect(\""),
        concat!("pan", "ic!("),
        concat!("unreach", "able!("),
    ];
    let mut found = Vec::new();
    for path in with_extension(&["rs"]) {
        let name = shown(&path);
        if !name.starts_with("kmod/") && !name.starts_with("format/src/") {
            continue;
        }
        let text = read(&path);
        let code = text.split("#[cfg(test)]").next().unwrap_or("");
        for (number, line) in code.lines().enumerate() {
            let line = line.trim();
            if !line.starts_with("//") && words.iter().any(|w| line.contains(w)) {
                found.push(format!("{name}:{}: {line}", number + 1));
            }
        }
    }
    found.retain(|line| !line.contains("/tests/") && !line.contains("tests.rs"));
    assert!(found.is_empty(), "{}", found.join("\n"));
}
