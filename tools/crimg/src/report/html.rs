// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Builds HTML in which nothing that an image says can become markup.
//!
//! Text goes through [`Html::text`] or one of the helpers that use it; [`Html::raw`] takes what this program
//! says itself (`&'static str`), so a text from an image does not even fit its type.

use crate::escape;
use std::fmt::Display;

/// Rows of a table and items of a list that are shown; the rest is counted.
pub const ROWS: usize = 1000;

/// A document being written.
#[derive(Default)]
pub struct Html(String);

impl Html {
    /// Markup of this program.
    pub fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Text of any origin: escaped for a reader's eyes first (controls, writing direction), then for HTML.
    pub fn text(&mut self, text: impl Display) -> &mut Self {
        self.safe(&escape::text(text.to_string().as_bytes()))
    }

    /// Bytes of an image.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.safe(&escape::text(bytes))
    }

    /// A number within markup: digits only.
    pub fn number(&mut self, n: u64) -> &mut Self {
        self.0.push_str(&n.to_string());
        self
    }

    /// `<h2 id=…>` with a section around what follows; [`Html::end`] closes it.
    pub fn section(&mut self, id: &'static str, title: &'static str) -> &mut Self {
        self.raw("<section id=\"").raw(id).raw("\"><h2>");
        self.raw(title).raw("</h2>\n")
    }

    /// Closes a section.
    pub fn end(&mut self) -> &mut Self {
        self.raw("</section>\n")
    }

    /// A list of names and values; pairs with an empty value are left out.
    pub fn facts(&mut self, facts: &[(&'static str, String)]) -> &mut Self {
        self.raw("<dl>");
        for (name, value) in facts.iter().filter(|f| !f.1.is_empty()) {
            self.raw("<div><dt>").raw(name).raw("</dt><dd>");
            self.safe(value).raw("</dd></div>");
        }
        self.raw("</dl>\n")
    }

    /// A table whose cells are texts; on a narrow screen each row becomes a card.
    pub fn table<const N: usize>(
        &mut self,
        head: [&'static str; N],
        rows: impl Iterator<Item = [String; N]>,
    ) -> &mut Self {
        self.rows("<table>", head, rows)
    }

    /// The same for short cells, which stay side by side on a narrow screen.
    pub fn small_table<const N: usize>(
        &mut self,
        head: [&'static str; N],
        rows: impl Iterator<Item = [String; N]>,
    ) -> &mut Self {
        self.rows("<table class=\"small\">", head, rows)
    }

    fn rows<const N: usize>(
        &mut self,
        begin: &'static str,
        head: [&'static str; N],
        rows: impl Iterator<Item = [String; N]>,
    ) -> &mut Self {
        let mut rows = rows.peekable();
        if rows.peek().is_none() {
            return self.raw("<p class=\"none\">None.</p>\n");
        }
        self.raw(begin).raw("<thead><tr>");
        for title in head {
            self.raw("<th>").raw(title).raw("</th>");
        }
        self.raw("</tr></thead><tbody>\n");
        for row in rows.by_ref().take(ROWS) {
            self.raw("<tr>");
            for (title, cell) in head.iter().zip(&row) {
                if cell.is_empty() {
                    self.raw("<td class=\"empty\"></td>");
                    continue;
                }
                self.raw("<td data-label=\"").raw(title).raw("\">");
                self.safe(cell).raw("</td>");
            }
            self.raw("</tr>\n");
        }
        self.raw("</tbody></table>\n");
        match rows.count() {
            0 => self,
            n => self
                .raw("<p class=\"none\">And ")
                .text(n)
                .raw(" more.</p>\n"),
        }
    }

    /// A text that has been through [`safe`] or is of this program: for HTML only.
    pub fn safe(&mut self, text: &str) -> &mut Self {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // Whatever was forgotten before.
                c if c.is_control() && c != '\n' => self.0.push('\u{fffd}'),
                c => self.0.push(c),
            }
        }
        self
    }

    /// The document.
    pub fn finish(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_hostile_survives() {
        let mut h = Html::default();
        h.text("</title><script>alert('\"&\u{202e}\x1b[2J\0")
            .bytes(b"\xff<img>");
        h.facts(&[("a", "<b>\u{7}".into()), ("b", String::new())]);
        h.table(["x"], ["<i>".to_owned()].map(|c| [c]).into_iter());
        let page = h.finish();
        for bad in [
            "<script", "<img", "<b>", "<i>", "\u{202e}", "\x1b", "\0", "\u{7}",
        ] {
            assert!(!page.contains(bad), "{bad:?}: {page}");
        }
        assert!(page.contains("&lt;/title&gt;&lt;script&gt;alert(&#39;&quot;&amp;"));
    }

    #[test]
    fn long_tables_are_cut_and_say_so() {
        let mut h = Html::default();
        h.table(["n"], (0..ROWS + 5).map(|n| [n.to_string()]));
        let page = h.finish();
        assert_eq!(page.matches("<tr>").count(), ROWS + 1);
        assert!(page.contains("And 5 more."));
    }
}
