// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg man` and `crimg completions`: made from the same definition as the command line.

mod tool;

use std::process::{Command, Stdio};

/// The sub-commands that the help page lists.
fn commands() -> Vec<String> {
    let help = tool::crimg(&["--help"]).stdout;
    let list = help.split("Commands:").nth(1).unwrap();
    let list = list.split("\n\n").next().unwrap().lines();
    let names: Vec<String> = list
        .filter(|l| l.starts_with("  ") && !l.starts_with("   "))
        .map(|l| l.split_whitespace().next().unwrap().to_owned())
        .filter(|name| name != "help")
        .collect();
    assert!(names.len() > 5);
    names
}

#[test]
fn every_sub_command_has_a_page_that_names_its_options() {
    let dir = tempfile::tempdir().unwrap();
    let run = tool::crimg(&["man", "--dir", dir.path().to_str().unwrap()]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    for name in commands() {
        let page = std::fs::read_to_string(dir.path().join(format!("crimg-{name}.1"))).unwrap();
        let same = tool::crimg(&["man", &name]).stdout;
        assert!(page == same && page.starts_with(".ie"), "{name}");
        let help = tool::crimg(&[&name, "--help"]).stdout;
        for option in help.split_whitespace().filter(|w| w.starts_with("--")) {
            let option = option.trim_matches(|c: char| !c.is_ascii_lowercase());
            let roff = option.replace('-', "\\-");
            assert!(page.contains(&roff), "{name}: {option}");
        }
    }
    assert!(dir.path().join("crimg.1").exists());
    let run = tool::crimg(&["man", "nothing"]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("verify"), "{}", run.stderr);
}

#[test]
fn every_shell_gets_a_script_that_knows_the_sub_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = tool::crimg(&["completions", shell]).stdout;
        for name in commands() {
            assert!(script.contains(&name), "{shell}: {name}");
        }
        // Where the shell is there, it reads the script.
        if let ("bash" | "zsh" | "fish", Ok(mut child)) = (
            shell,
            Command::new(shell).arg("-n").stdin(Stdio::piped()).spawn(),
        ) {
            use std::io::Write;
            child
                .stdin
                .take()
                .unwrap()
                .write_all(script.as_bytes())
                .unwrap();
            assert!(child.wait().unwrap().success(), "{shell}");
        }
    }
    assert_eq!(tool::crimg(&["completions", "cmd.exe"]).code, 2);
}
