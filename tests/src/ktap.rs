//! KTAP, the kernel's test protocol, as far as `scenes/run.py` writes it.
//!
//! One line per scene, `ok N - name`, `ok N - name # SKIP reason` or `not ok N - name # reason`; lines that begin with
//! `#` before it belong to it. Source: `Documentation/dev-tools/ktap.rst` of the kernel.

/// How a scene ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It went as it must.
    Passed,
    /// It cannot be played on that machine; the reason.
    Skipped(String),
    /// It did not go as it must; the reason.
    Failed(String),
}

/// One result line with what was said before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The sentence of the scene, with its word.
    pub name: String,
    /// How it ended.
    pub verdict: Verdict,
    /// The diagnostic lines before it, without `# `.
    pub diagnostics: Vec<String>,
}

/// Reads everything that looks like a result; other lines are passed over.
pub fn parse(text: &str) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let mut diagnostics = Vec::new();
    for line in text.lines() {
        if let Some(said) = line.strip_prefix('#') {
            diagnostics.push(said.trim().to_owned());
        } else if let Some((name, verdict)) = result(line) {
            let diagnostics = std::mem::take(&mut diagnostics);
            outcomes.push(Outcome {
                name,
                verdict,
                diagnostics,
            });
        }
    }
    outcomes
}

/// The name and verdict of a result line.
fn result(line: &str) -> Option<(String, Verdict)> {
    let (is_ok, rest) = match line.strip_prefix("not ok ") {
        Some(rest) => (false, rest),
        None => (true, line.strip_prefix("ok ")?),
    };
    let (number, rest) = rest.split_once(" - ")?;
    number.trim().parse::<u32>().ok()?;
    let (name, reason) = rest.split_once(" # ").unwrap_or((rest, ""));
    let verdict = match (is_ok, reason.strip_prefix("SKIP")) {
        (true, Some(reason)) => Verdict::Skipped(reason.trim().to_owned()),
        (true, None) => Verdict::Passed,
        (false, _) => Verdict::Failed(reason.to_owned()),
    };
    Some((name.to_owned(), verdict))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read_with_their_diagnostics() {
        let text = "KTAP version 1\n1..3\n# took 1 s\nok 1 - pipes: half-read\n# left: a\n# took 2 s\n\
                    not ok 2 - pipes: full # it was empty\nnoise\nok 3 - pipes: fifo # SKIP no fifo\n";
        let outcomes = parse(text);
        let verdicts: Vec<_> = outcomes.iter().map(|o| o.verdict.clone()).collect();
        assert_eq!(
            verdicts,
            [
                Verdict::Passed,
                Verdict::Failed("it was empty".into()),
                Verdict::Skipped("no fifo".into())
            ]
        );
        assert_eq!(outcomes[1].name, "pipes: full");
        assert_eq!(outcomes[1].diagnostics, ["left: a", "took 2 s"]);
    }

    #[test]
    fn other_lines_are_no_results() {
        assert!(parse("ok\nok - no number\nok 1\nnot ok x - y\nokay 1 - y\n1..2\n").is_empty());
    }
}
