// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Images that the kernel modules made of real processes are sound, and every view can show them.

mod tool;

/// The images of `tests/images/real`.
fn images() -> Vec<String> {
    let mut found: Vec<String> = std::fs::read_dir(tool::folder().join("real"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|n| n.ends_with(".ckpt"))
        .map(|n| format!("real/{n}"))
        .collect();
    found.sort();
    assert!(found.len() >= 10, "{found:?}");
    found
}

#[test]
fn real_images_are_sound() {
    for image in images() {
        let run = tool::crimg(&["verify", &image]);
        assert_eq!(run.code, 0, "{image}: {}{}", run.stdout, run.stderr);
    }
}

#[test]
fn real_images_can_be_shown() {
    for image in images() {
        for view in [
            &[][..],
            &["--threads"],
            &["--maps"],
            &["--fds"],
            &["--signals"],
            &["--json"],
        ] {
            let mut args = vec!["show", &image];
            args.extend(view);
            let run = tool::crimg(&args);
            assert_eq!(run.code, 0, "{args:?}: {}", run.stderr);
            assert!(!run.stdout.contains('\x1b'), "{args:?}: escape sequence");
        }
    }
}
