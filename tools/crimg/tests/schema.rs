// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg schema`, and the published JSON Schemas: every golden document obeys the one of its command.

mod tool;

use serde_json::Value;
use std::path::PathBuf;
use tool::{crimg, folder, golden, stdin};

fn published(name: &str) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("schema")
        .join(format!("{name}.schema.json"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Panics with every place where `document` is not as the schema of `name` says.
fn validate(name: &str, what: &str, document: &Value) {
    let validator = jsonschema::validator_for(&published(name)).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(document)
        .map(|e| format!("{}: {e}", e.instance_path))
        .take(5)
        .collect();
    assert!(errors.is_empty(), "{what} against {name}: {errors:#?}");
}

fn json(args: &[&str]) -> Value {
    let r = crimg(args);
    serde_json::from_str(&r.stdout).unwrap_or_else(|e| panic!("{args:?}: {e}: {}", r.stderr))
}

#[test]
fn every_golden_document_obeys_the_schema_of_its_command() {
    let mut seen = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let dir = entry.unwrap().path();
        // Folders of golden files are named after the command.
        let command = dir.file_name().unwrap().to_str().unwrap().to_owned();
        if !dir.is_dir() || ["real", "bad"].contains(&command.as_str()) {
            continue;
        }
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|e| e != "json") {
                continue;
            }
            // A file may have the documents of several commands, which name themselves.
            let bytes = std::fs::read(&path).unwrap();
            for document in serde_json::Deserializer::from_slice(&bytes).into_iter::<Value>() {
                let document = document.unwrap();
                let own = document.get("command").and_then(Value::as_str);
                // `mem grep` and the like are one document.
                let own = own.map(|own| own.split(' ').next().unwrap_or(own));
                let name = match own {
                    Some(own) => own,
                    None if command == "json" => "image",
                    None if command == "schema" && path.ends_with("check.json") => "schema-check",
                    None => &command,
                };
                validate(name, path.to_str().unwrap(), &document);
                seen += 1;
            }
        }
    }
    assert!(seen >= 20, "{seen}");
    let whole = std::fs::read(folder().join("process.json")).unwrap();
    validate(
        "show",
        "process.json",
        &serde_json::from_slice(&whole).unwrap(),
    );
}

#[test]
fn golden_documents_of_real_images_obey_theirs() {
    for (name, file) in [("export-core", "bt.export.json"), ("bt", "bt.bt.json")] {
        let path = folder().join("real").join(file);
        let document = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        validate(name, file, &document);
    }
}

#[test]
fn documents_of_real_and_damaged_images_obey_them_too() {
    for entry in std::fs::read_dir(folder().join("real")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !name.ends_with(".ckpt") {
            continue;
        }
        let image = format!("real/{name}");
        validate("show", &image, &json(&["show", "--all", "--json", &image]));
        validate(
            "verify",
            &image,
            &json(&["verify", "--level", "host", "--json", &image]),
        );
    }
    let bytes = tool::image("process.ckpt");
    for len in [
        3000,
        4100,
        6000,
        8000,
        12_000,
        20_000,
        40_000,
        bytes.len() - 1,
    ] {
        let cut = &bytes[..len];
        for (command, options) in [("show", &["--all"][..]), ("verify", &[]), ("show", &[])] {
            let mut args = vec![command, "-", "--json"];
            args.extend(options);
            let r = stdin(&args, cut);
            assert!(r.code == 3, "{args:?} {len}: {}", r.stderr);
            if !r.stdout.is_empty() {
                validate(
                    command,
                    &format!("{args:?} of {len} bytes"),
                    &serde_json::from_str(&r.stdout).unwrap(),
                );
            }
        }
    }
}

#[test]
fn a_document_that_is_wrong_is_found() {
    let mut document = json(&["verify", "--json", "process.ckpt"]);
    document["verdict"] = 7.into();
    let validator = jsonschema::validator_for(&published("verify")).unwrap();
    assert!(!validator.is_valid(&document));
}

#[test]
fn the_schema_of_the_format_is_as_reviewed() {
    golden("schema/schema.txt", crimg(&["schema"]).stdout.as_bytes());
    golden(
        "schema/schema.json",
        crimg(&["schema", "--json"]).stdout.as_bytes(),
    );
    let r = crimg(&["schema", "--documents"]);
    assert!(
        r.stdout.contains("show\n") && r.stdout.contains("verify\n"),
        "{}",
        r.stdout
    );
    let printed: Value =
        serde_json::from_str(&crimg(&["schema", "--documents=show"]).stdout).unwrap();
    assert_eq!(printed, published("show"));
    assert_eq!(crimg(&["schema", "--documents=nothing"]).code, 2);
}

#[test]
fn an_older_schema_is_compared() {
    let now = crimg(&["schema", "--json"]).stdout;
    let same = stdin(&["schema", "--check", "-"], now.as_bytes());
    assert_eq!(
        (same.code, same.stdout.as_str()),
        (0, "compatible: 0 breaking, 0 added\n")
    );
    let mut old: Value = json(&["schema", "--json"]);
    *old.pointer_mut("/sections/3/records/0/fields/0/wire")
        .unwrap() = "i64".into();
    old["sections"].as_array_mut().unwrap().pop();
    let r = stdin(&["schema", "--check", "-"], old.to_string().as_bytes());
    assert_eq!(r.code, 1);
    golden("schema/check.txt", r.stdout.as_bytes());
    let r = stdin(
        &["schema", "--check", "-", "--json"],
        old.to_string().as_bytes(),
    );
    assert_eq!(r.code, 1);
    golden("schema/check.json", r.stdout.as_bytes());
    let r = stdin(&["schema", "--check", "-"], b"{}");
    assert_eq!(r.code, 3, "{}", r.stderr);
    assert!(r.stderr.contains("/format/major"), "{}", r.stderr);
    let r = stdin(&["schema", "--check", "-"], b"no json");
    assert_eq!(r.code, 3);
    assert!(r.stderr.contains("line 1"), "{}", r.stderr);
    assert_eq!(crimg(&["schema", "--check", "no-such-file"]).code, 6);
}
