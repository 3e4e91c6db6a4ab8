// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The golden documents of `bt`, `export core` and `import core` obey their published schemas.

mod tool;

#[test]
fn the_documents_obey_their_schemas() {
    for golden in ["bt.bt.json", "bt.export.json", "bt.import.json"] {
        let text = std::fs::read_to_string(tool::folder().join("real").join(golden)).unwrap();
        // What differs from run to run is not in the golden file.
        let text = text.replace("\"bytes\": N", "\"bytes\": 1");
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        let name = document["command"].as_str().unwrap();
        let run = tool::crimg(&["schema", &format!("--documents={name}")]);
        let schema = serde_json::from_str(&run.stdout).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let errors: Vec<String> = validator
            .iter_errors(&document)
            .map(|e| e.to_string())
            .collect();
        assert!(errors.is_empty(), "{golden}: {errors:?}");
    }
}
