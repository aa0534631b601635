//! Lines that fit into a terminal: broken between words.

use crate::plain;

/// What stands between two backticks, a command mostly, is one word up to this length: it can be copied from one line.
const QUOTED: usize = 40;

/// A sentence in lines at most `width` wide; those after the first begin with `indent` blanks. Only a word longer than a line
/// is cut.
pub fn fold(sentence: &str, width: usize, indent: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words(sentence, width.saturating_sub(indent).min(QUOTED)) {
        match lines.last_mut() {
            Some(line) if plain::width(line) + 1 + plain::width(word) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) => lines.push(format!("{:indent$}{word}", "")),
            None => lines.push(word.to_owned()),
        }
    }
    lines.into_iter().map(|line| plain::fitting(&line, width).to_owned()).collect()
}

/// The words of a sentence; what is quoted is one, where it is no longer than `most`.
fn words(sentence: &str, most: usize) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = sentence;
    loop {
        let end = quoted(rest).filter(|end| *end <= most).or_else(|| rest.find(' '));
        let Some((word, more)) = end.and_then(|end| rest.split_at_checked(end)) else {
            words.push(rest);
            return words;
        };
        words.push(word);
        let Some(more) = more.strip_prefix(' ') else { return words };
        rest = more;
    }
}

/// Where the word ends that a quotation is, if the text begins with one, or with a bracket and one.
fn quoted(text: &str) -> Option<usize> {
    let open = usize::from(text.starts_with('('));
    let inside = text.get(open..)?.strip_prefix('`')?;
    let close = open + inside.find('`')? + 2;
    let behind = text.get(close..)?;
    Some(close + behind.find(' ').unwrap_or(behind.len()))
}

/// A row of columns in lines at most `width` wide, its blanks kept; those after the first begin with `indent` blanks. Only a word longer than a line is
/// broken.
pub fn row(row: &str, width: usize, indent: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut rest = row;
    loop {
        let indented = if lines.is_empty() { String::new() } else { " ".repeat(indent) };
        let room = width.saturating_sub(indented.len()).max(1);
        let Some((end, _)) = rest.char_indices().nth(room) else {
            lines.push(indented + rest);
            return lines;
        };
        // What is just as long as the line may end before a blank.
        let whole = rest.get(..=end).unwrap_or(rest);
        let at = whole.rfind(' ').filter(|at| !whole.get(..*at).unwrap_or_default().trim().is_empty()).unwrap_or(end);
        let (line, more) = rest.split_at_checked(at).unwrap_or((rest, ""));
        lines.push(format!("{indented}{}", line.trim_end()));
        rest = more.trim_start();
        if rest.is_empty() {
            return lines;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{fold, row};

    #[test]
    fn sentences_are_folded_between_words() {
        assert_eq!(fold("one two three four", 9, 2), ["one two", "  three", "  four"]);
        assert_eq!(fold("enormous", 4, 0), ["enor"]);
        assert_eq!(fold("Run `a b c`. Then", 11, 2), ["Run", "  `a b c`.", "  Then"]);
        assert_eq!(fold("Run `a b c`", 10, 2), ["Run", "  `a b c`"]);
        assert_eq!(fold("Run (`a b`: c)", 10, 2), ["Run", "  (`a b`:", "  c)"]);
        // A backtick in the name of a process is no quotation; one that is longer than a line is folded as ever.
        assert_eq!(fold("of `x in a", 6, 2), ["of `x", "  in a"]);
        assert_eq!(fold("`a b c d`", 6, 2), ["`a b c", "  d`"]);
    }

    #[test]
    fn rows_keep_their_blanks() {
        assert_eq!(row("a    b    c", 20, 2), ["a    b    c"]);
        assert_eq!(row("a    b    c", 6, 2), ["a    b", "  c"]);
        assert_eq!(row("a    bb   c", 6, 2), ["a", "  bb", "  c"]);
        assert_eq!(row("enormous word", 4, 2), ["enor", "  mo", "  us", "  wo", "  rd"]);
        assert_eq!(row("äöü äöü", 3, 0), ["äöü", "äöü"]);
        assert_eq!(row("", 3, 0), [""]);
    }
}
