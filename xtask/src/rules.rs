//! `cargo xtask rules`: every rule of the specification has a test.
//!
//! A rule is tested by a bad image (`tests/images/bad/manifest.tsv`) or by a test whose documentation begins with its
//! id, as in `/// EDIT-2.` above `#[test]`.

use anyhow::{bail, ensure, Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Where tests with rules in their documentation are.
const TESTS: [&str; 2] = ["format/tests", "tools/crimg/tests"];

/// Prints how many rules there are and what tests them.
///
/// # Errors
/// When a rule has no test; all of those are named. When a file cannot be read.
pub fn rules(workspace: &Path) -> Result<()> {
    let read = |path: &str| {
        let path = workspace.join(path);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let rules = specified(&read("spec/IMAGE_FORMAT.md")?);
    ensure!(!rules.is_empty(), "the specification has no rule");
    let images = from_manifest(&read("tests/images/bad/manifest.tsv")?);
    let mut tests = BTreeMap::new();
    for folder in TESTS {
        for entry in fs::read_dir(workspace.join(folder))? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "rs") {
                tests.extend(from_source(&fs::read_to_string(&path)?));
            }
        }
    }
    let missing = untested(&rules, &images, &tests);
    if !missing.is_empty() {
        bail!(
            "rules without a test: {}\n  Add a bad image in format/tests/synth/bad.rs, or name the rule in the documentation of a test",
            missing.join(" ")
        );
    }
    let by_image = rules.iter().filter(|r| images.contains(*r)).count();
    println!(
        "{} rules: {by_image} with a bad image, {} with a named test, 0 without",
        rules.len(),
        rules.len().saturating_sub(by_image)
    );
    Ok(())
}

/// Ids of the lines `- **RULE-1**: …`.
fn specified(spec: &str) -> BTreeSet<String> {
    spec.lines()
        .filter_map(|l| Some(l.strip_prefix("- **")?.split_once("**: ")?.0.to_owned()))
        .collect()
}

/// The third column.
fn from_manifest(manifest: &str) -> BTreeSet<String> {
    manifest
        .lines()
        .filter(|l| !l.starts_with('#'))
        .filter_map(|l| l.split('\t').nth(2).map(str::to_owned))
        .collect()
}

/// Rules in the documentation of tests, with the name of the test.
fn from_source(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let (mut ids, mut is_test) = (Vec::new(), false);
    for line in text.lines().map(str::trim) {
        if let Some(doc) = line.strip_prefix("/// ") {
            ids.extend(
                doc.split([' ', ',', '.'])
                    .filter(|w| is_id(w))
                    .map(str::to_owned),
            );
        } else if line == "#[test]" {
            is_test = true;
        } else if let Some(name) = line.strip_prefix("fn ").filter(|_| is_test) {
            let name = name.split('(').next().unwrap_or(name);
            found.extend(ids.drain(..).map(|id| (id, name.to_owned())));
            is_test = false;
        } else if !line.starts_with("#[") {
            ids.clear();
            is_test = false;
        }
    }
    found
}

fn is_id(word: &str) -> bool {
    word.split_once('-').is_some_and(|(word, number)| {
        !word.is_empty()
            && word.bytes().all(|b| b.is_ascii_uppercase())
            && !number.is_empty()
            && number.bytes().all(|b| b.is_ascii_digit())
    })
}

fn untested(
    rules: &BTreeSet<String>,
    images: &BTreeSet<String>,
    tests: &BTreeMap<String, String>,
) -> Vec<String> {
    let untested = |r: &&String| !images.contains(*r) && !tests.contains_key(*r);
    rules.iter().filter(untested).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_without_a_test_is_found() {
        let rules = specified("- **A-1**: One.\n- **A-2**: Two.\n- **A-3**: Three.\ntext");
        let images = from_manifest("# FILE\nx.ckpt\t3\tA-1\tEUCLEAN\n");
        let source = "/// A-2: so it is.\n#[test]\nfn two() {}\n/// A-3.\nfn no_test() {}\n";
        let tests = from_source(&source.replace("A-2:", "A-2."));
        assert_eq!(tests.get("A-2").map(String::as_str), Some("two"));
        assert_eq!(untested(&rules, &images, &tests), ["A-3"]);
    }

    #[test]
    fn every_rule_has_a_test() {
        rules(&crate::workspace_root()).unwrap();
    }
}
