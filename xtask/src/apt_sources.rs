//! Finds the Debian mirror that this machine already uses, so that no host name is written down in the project.
//!
//! Both forms are read: one-line files (`sources.list`, `*.list`) and deb822 files (`*.sources`). Source: sources.list(5).

use anyhow::{bail, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// The mirrors that the Debian trees are made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirrors {
    /// The main archive; it also has the `-updates` and `-backports` suites.
    pub archive: String,
    /// The security archive, if this machine names one.
    pub security: Option<String>,
}

/// One `deb` entry: a mirror with what is taken from it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    uri: String,
    suites: Vec<String>,
    components: Vec<String>,
}

/// Reads the apt sources of this machine.
///
/// # Errors
/// When no entry looks like a Debian archive.
pub fn discover() -> Result<Mirrors> {
    let mut entries = Vec::new();
    for path in source_files(Path::new("/etc/apt")) {
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        if path.extension().is_some_and(|e| e == "sources") {
            entries.extend(parse_deb822(&text));
        } else {
            entries.extend(text.lines().filter_map(parse_line));
        }
    }
    for entry in &mut entries {
        entry.uri = resolve_mirror_file(&entry.uri);
    }
    match choose(&entries) {
        Some(mirrors) => Ok(mirrors),
        None => bail!(
            "no Debian archive in /etc/apt/sources.list or /etc/apt/sources.list.d/\n  \
             Add a 'deb' entry with the component 'main' of a Debian release (see sources.list(5)), then try again."
        ),
    }
}

/// The main file and the files of the `.d` folder, in apt's order.
fn source_files(apt: &Path) -> Vec<PathBuf> {
    let mut files = vec![apt.join("sources.list")];
    let mut extra: Vec<PathBuf> = fs::read_dir(apt.join("sources.list.d"))
        .map(|dir| dir.flatten().map(|e| e.path()).collect())
        .unwrap_or_default();
    extra.retain(|p| p.extension().is_some_and(|e| e == "list" || e == "sources"));
    extra.sort();
    files.extend(extra);
    files
}

/// `mirror+file:` names a list of mirrors; the first one of it is used.
fn resolve_mirror_file(uri: &str) -> String {
    let Some(path) = uri
        .strip_prefix("mirror+file://")
        .or_else(|| uri.strip_prefix("mirror+file:"))
    else {
        return uri.to_owned();
    };
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_whitespace().next())
        .find(|first| !first.starts_with('#'))
        .map_or_else(|| uri.to_owned(), str::to_owned)
}

/// `deb [options] uri suite component...`
fn parse_line(line: &str) -> Option<Entry> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix("deb")?;
    if !rest.starts_with([' ', '\t']) {
        return None;
    }
    let mut rest = rest.trim_start();
    if rest.starts_with('[') {
        rest = rest.split_once(']')?.1;
    }
    let mut words = rest.split_whitespace().map(str::to_owned);
    Some(Entry {
        uri: words.next()?,
        suites: vec![words.next()?],
        components: words.collect(),
    })
}

/// Stanzas of `Key: value` lines; a line that starts with a blank goes on with the value before.
fn parse_deb822(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.lines().chain([""]) {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            entries.extend(stanza(&fields));
            fields.clear();
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((key, value)) = line.split_once(':') {
            fields.push((key.trim().to_lowercase(), value.trim().to_owned()));
        }
    }
    entries
}

/// The entries of one stanza, one per URI.
fn stanza(fields: &[(String, String)]) -> Vec<Entry> {
    let words = |key: &str| -> Vec<String> {
        fields
            .iter()
            .filter(|(k, _)| k == key)
            .flat_map(|(_, v)| v.split_whitespace().map(str::to_owned))
            .collect()
    };
    let disabled = words("enabled")
        .iter()
        .any(|v| v.eq_ignore_ascii_case("no"));
    if disabled || !words("types").iter().any(|t| t == "deb") {
        return Vec::new();
    }
    words("uris")
        .into_iter()
        .map(|uri| Entry {
            uri,
            suites: words("suites"),
            components: words("components"),
        })
        .collect()
}

/// Picks the archive and the security archive. Other vendors use suites like `bookworm` as well, so an address that
/// also serves `-updates` or `-backports`, or ends in `debian`, wins.
fn choose(entries: &[Entry]) -> Option<Mirrors> {
    const RELEASES: [&str; 10] = [
        "bullseye",
        "bookworm",
        "trixie",
        "forky",
        "duke",
        "oldstable",
        "stable",
        "testing",
        "unstable",
        "sid",
    ];
    let usable = |e: &&Entry| {
        e.components.iter().any(|c| c == "main")
            && e.uri.contains(':')
            && !e.uri.starts_with("cdrom:")
    };
    let is_release = |suite: &str| RELEASES.contains(&suite);
    let score = |entry: &Entry| {
        let same_host = entries.iter().filter(|e| e.uri == entry.uri);
        let has_pockets = same_host.flat_map(|e| &e.suites).any(|suite| {
            suite
                .strip_suffix("-updates")
                .or_else(|| suite.strip_suffix("-backports"))
                .is_some_and(is_release)
        });
        let is_named = entry.uri.trim_end_matches('/').ends_with("debian");
        u8::from(has_pockets) * 2 + u8::from(is_named)
    };
    let mut archive: Option<&Entry> = None;
    for entry in entries.iter().filter(usable) {
        if !entry.suites.iter().any(|s| is_release(s)) {
            continue;
        }
        if archive.is_none_or(|best| score(best) < score(entry)) {
            archive = Some(entry);
        }
    }
    let security = entries.iter().filter(usable).find(|e| {
        e.suites.iter().any(|s| {
            s.strip_suffix("-security")
                .or_else(|| s.strip_suffix("/updates"))
                .is_some_and(is_release)
        })
    });
    archive.map(|entry| Mirrors {
        archive: entry.uri.trim_end_matches('/').to_owned(),
        security: security.map(|e| e.uri.trim_end_matches('/').to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::{choose, parse_deb822, parse_line};

    #[test]
    fn one_line_entries_are_read_and_other_vendors_lose() {
        let text = "\
            # deb http://old.example/debian bookworm main\n\
            deb [arch=amd64 signed-by=/k.gpg] https://vendor.example/linux bookworm main\n\
            deb-src http://mirror.example/debian bookworm main\n\
            deb http://mirror.example/debian/ bookworm main contrib # the mirror\n\
            deb http://mirror.example/debian/ bookworm-updates main\n\
            deb http://mirror.example/debian-security bookworm-security main\n";
        let entries: Vec<_> = text.lines().filter_map(|l| parse_line(l.trim())).collect();
        let mirrors = choose(&entries).expect("a mirror");
        assert_eq!(mirrors.archive, "http://mirror.example/debian");
        assert_eq!(
            mirrors.security.as_deref(),
            Some("http://mirror.example/debian-security")
        );
    }

    #[test]
    fn deb822_stanzas_are_read_with_continuation_comments_and_enabled() {
        let text = "Types: deb deb-src\n# a note\nURIs: http://m.example/debian\nSuites: trixie\n trixie-updates\n\
            Components: main\n\nTypes: deb\nEnabled: no\nURIs: http://off.example/debian\nSuites: trixie\nComponents: main\n";
        let entries = parse_deb822(text);
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].suites, ["trixie", "trixie-updates"]);
        let mirrors = choose(&entries).expect("a mirror");
        assert_eq!(mirrors.archive, "http://m.example/debian");
        assert_eq!(mirrors.security, None);
    }

    #[test]
    fn a_machine_without_debian_sources_has_no_mirror() {
        let entries = parse_deb822(
            "Types: deb\nURIs: https://v.example/node\nSuites: nodistro\nComponents: main\n",
        );
        assert_eq!(choose(&entries), None);
    }
}
