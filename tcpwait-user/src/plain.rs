//! Text of others, as it may be shown: names of processes, cgroups, interfaces and files, arguments, what a recording's header says. Whoever chooses it
//! must not reach the terminal of who reads it, nor make it look like something else.
//!
//! What is not plain: control characters (C0, DEL, C1), marks that turn the direction of text, characters without width, line and paragraph separators,
//! blanks other than the blank, what is not assigned. This module alone decides, for all that is written:
//! * in columns of a table each becomes `?`, as ps(1) has it: a table stays one;
//! * in sentences it becomes its escape, `\u{1b}`: a file can be found by it;
//! * in JSON it becomes `\u001b`: programs get what it was.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Whether a character shows as one, and does nothing else.
pub fn is_plain(c: char) -> bool {
    match c {
        ' '..='~' => true,
        c if c.is_ascii() => false,
        // Letters without a shape (Hangul fillers).
        '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' => false,
        // The standard library knows the categories Cc, Cf, Cn, Co, Zl, Zp, Zs, and what joins the character before it.
        c => c.escape_debug().len() == 1,
    }
}

fn is_all_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~')) || text.chars().all(is_plain)
}

/// As a column of a table shows it: as many characters as before.
pub fn column(text: &str) -> String {
    if is_all_plain(text) {
        return text.to_owned();
    }
    text.chars().map(|c| if is_plain(c) { c } else { '?' }).collect()
}

/// As a sentence shows it.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if is_plain(c) => escaped.push(c),
            '\n' | '\r' | '\t' => escaped.extend(c.escape_debug()),
            c => escaped.extend(c.escape_unicode()),
        }
    }
    escaped
}

/// Columns of a terminal that plain text takes: a Chinese sign takes two.
pub fn width(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.width() }
}

/// As much of plain text as fits into so many columns.
pub fn fitting(text: &str, columns: usize) -> &str {
    let mut taken = 0;
    for (at, c) in text.char_indices() {
        taken += c.width().unwrap_or_default();
        if taken > columns {
            return text.get(..at).unwrap_or_default();
        }
    }
    text
}

/// The beginning of a text that may be as long as others like.
pub fn beginning(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}...", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Writes a value as JSON, in one line and without what is not plain.
///
/// # Errors
/// The output cannot be written.
pub fn json(out: impl Write, value: &(impl Serialize + ?Sized)) -> io::Result<()> {
    Ok(value.serialize(&mut Serializer::with_formatter(out, Escaping))?)
}

/// Compact, and escapes what JSON itself does not ask to be escaped.
struct Escaping;

impl Formatter for Escaping {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        if is_all_plain(fragment) {
            return out.write_all(fragment.as_bytes());
        }
        for c in fragment.chars() {
            let mut units = [0; 2];
            if is_plain(c) {
                write!(out, "{c}")?;
            } else {
                c.encode_utf16(&mut units).iter().try_for_each(|unit| write!(out, "\\u{unit:04x}"))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::{beginning, column, escaped, is_plain, json};

    /// What must never reach a terminal as it is.
    const DANGEROUS: &str = "\0\u{7}\u{8}\t\n\r\u{1b}\u{7f}\u{80}\u{85}\u{9b}\u{9d}\u{a0}\u{ad}\u{61c}\u{115f}\u{180e}\u{200b}\u{200c}\u{200d}\u{200e}\u{200f}\
                             \u{2028}\u{2029}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2060}\u{2061}\u{2066}\u{2067}\u{2068}\u{2069}\u{206f}\u{3164}\
                             \u{fe0f}\u{feff}\u{ffa0}\u{fff9}\u{1d173}\u{e0001}\u{e0041}\u{e0100}\u{f0000}";

    #[test]
    fn what_acts_is_not_plain_and_what_shows_is() {
        assert!(DANGEROUS.chars().all(|c| !is_plain(c)), "{:?}", DANGEROUS.chars().find(|c| is_plain(*c)));
        assert!("nginx: worker ~ Größe 漢字 한글 العربية ש € 😀 \u{fffd} \\ \" '".chars().all(is_plain));
    }

    #[test]
    fn each_place_has_its_way() {
        let name = "a\u{1b}[2J\u{202e}b\n\u{e0041}";
        assert_eq!(column(name), "a?[2J?b??");
        assert_eq!(escaped(name), "a\\u{1b}[2J\\u{202e}b\\n\\u{e0041}");
        let mut out = Vec::new();
        json(&mut out, &[name]).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), r#"["a\u001b[2J\u202eb\n\udb40\udc41"]"#);
        assert_eq!((beginning("größer", 3), beginning("größer", 6)), ("grö...".to_owned(), "größer".to_owned()));
    }

    proptest! {
        #[test]
        fn whatever_it_is(text in any::<String>(), at in 0..DANGEROUS.chars().count()) {
            let text: String = text.chars().chain(DANGEROUS.chars().nth(at)).collect();
            prop_assert!(escaped(&text).chars().all(is_plain));
            let shown = column(&text);
            prop_assert!(shown.chars().all(is_plain) && shown.chars().count() == text.chars().count());
            let mut out = Vec::new();
            json(&mut out, &[(&text, 1)]).unwrap();
            let written = String::from_utf8(out).unwrap();
            prop_assert!(written.chars().all(is_plain));
            prop_assert_eq!(serde_json::from_str::<Vec<(String, u8)>>(&written).unwrap(), vec![(text, 1)]);
        }
    }
}
