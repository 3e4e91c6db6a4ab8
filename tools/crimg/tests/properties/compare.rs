// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Two images.

use super::{
    input::{self, cut},
    printed,
    tool::{crimg, write},
};
use crate::properties::model;
use crimg::error::Outcome;

/// The first part makes an image, the second changes it further.
pub fn diff(data: &[u8]) {
    let (first, second) = cut(data);
    let mut model = input::model(first);
    let a = write("a.ckpt", &model.bytes());
    model::change(&mut model, second);
    let b = write("b.ckpt", &model.bytes());
    for mem in ["none", "pages", "bytes"] {
        let verdict = |x: &str, y: &str, more: &[&str]| {
            let mut args = vec!["diff", x, y, "--mem", mem];
            args.extend(more);
            let said = crimg(&args);
            match said.done() {
                Some(json) if more.contains(&"--json") => drop(printed::json(json)),
                Some(text) => drop(printed::text(text)),
                None => {}
            }
            said.result.ok()
        };
        let there = verdict(&a, &b, &[]);
        assert_eq!(there, verdict(&a, &b, &["--json"]));
        assert_eq!(there, verdict(&b, &a, &[]));
        // A damaged image is compared as far as it goes, which may be less if nothing is printed.
        let quiet = verdict(&a, &b, &["--quiet"]);
        assert!(quiet == there || quiet.is_none() || there.is_none());
        let itself = verdict(&a, &a, &[]);
        assert!(itself != Some(Outcome::Differs));
    }
}
