// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! What a page may consist of.

/// Every tag is one that the page uses, every attribute too, each tag is closed, and nothing comes from elsewhere.
pub fn check(page: &str) {
    const TAGS: [&str; 39] = [
        "!DOCTYPE", "html", "head", "meta", "title", "style", "body", "main", "header", "h1", "h2",
        "h3", "small", "div", "span", "nav", "a", "section", "p", "dl", "dt", "dd", "table",
        "thead", "tbody", "tr", "th", "td", "svg", "rect", "g", "details", "summary", "b", "i",
        "code", "footer", "ul", "li",
    ];
    const ATTRIBUTES: [&str; 20] = [
        "html",
        "lang",
        "charset",
        "http-equiv",
        "content",
        "name",
        "class",
        "href",
        "id",
        "role",
        "aria-label",
        "aria-hidden",
        "preserveAspectRatio",
        "viewBox",
        "x",
        "y",
        "width",
        "height",
        "open",
        "data-label",
    ];
    let style = page.find("<style>").unwrap()..page.find("</style>").unwrap();
    let body = format!("{}{}", &page[..style.start + 7], &page[style.end..]);
    for word in ["url(", "@import", "expression", "http:", "https:"] {
        assert!(!page[style.clone()].contains(word), "{word}");
    }
    let mut open: Vec<&str> = Vec::new();
    for tag in body.split('<').skip(1) {
        let tag = tag.split('>').next().unwrap();
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
            continue;
        }
        let single = tag.ends_with('/');
        let tag = tag.trim_end_matches('/');
        let name = tag.split_whitespace().next().unwrap();
        assert!(TAGS.contains(&name), "{name}");
        if !single && !matches!(name, "!DOCTYPE" | "meta") {
            open.push(name);
        }
        // Values have no quotes in them, so this finds the names.
        for (n, part) in tag[name.len()..].split('"').enumerate() {
            for attribute in part.split_whitespace().filter(|_| n % 2 == 0) {
                let attribute = attribute.trim_end_matches('=');
                assert!(ATTRIBUTES.contains(&attribute), "{attribute:?} in {tag}");
            }
        }
        if name == "a" {
            assert!(tag.contains("href=\"#"), "{tag}");
        }
    }
    assert!(open.is_empty(), "{open:?}");
    assert!(page.contains("content=\"default-src 'none'; style-src 'unsafe-inline'\""));
    assert!(page.contains("name=\"viewport\""));
    for c in page.chars() {
        assert!(c == '\n' || !c.is_control(), "{c:?}");
        assert!(
            !('\u{202a}'..='\u{202e}').contains(&c) && c != '\u{200b}',
            "{c:?}"
        );
    }
}
