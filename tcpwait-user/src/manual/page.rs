//! A page, before it is known how it is shown.

/// A page of the manual.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManualPage {
    /// What man(1) finds it by, such as `tcpwait-stat`.
    pub name: String,
    /// The section of the manual it is in: 1 for commands, 7 for the rest.
    pub section: u8,
    /// What it is, in one line without a full stop.
    pub about: String,
    /// What it says, under headings in capitals.
    pub(super) sections: Vec<Section>,
}

/// What stands under one heading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) title: String,
    pub(super) blocks: Vec<Block>,
}

/// A piece of text. What stands between backticks is to be typed or read as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// A paragraph.
    Text(String),
    /// A heading within the section.
    Heading(String),
    /// A word, and what it means; `<…>` in the word is to be replaced.
    Term(String, String),
    /// A command, and what it is for.
    Example(String, String),
}

impl ManualPage {
    pub(super) fn new(name: &str, section: u8, about: &str) -> Self {
        let about = uncapital(about.trim().trim_end_matches('.'));
        Self { name: name.to_owned(), section, about, sections: Vec::new() }
    }

    /// Adds a section, unless there is nothing in it.
    pub(super) fn add(&mut self, title: &str, blocks: Vec<Block>) {
        if !blocks.is_empty() {
            self.sections.push(Section { title: title.to_owned(), blocks });
        }
    }

    /// Adds a section of one paragraph.
    pub(super) fn say(&mut self, title: &str, text: &str) {
        self.add(title, vec![Block::Text(text.to_owned())]);
    }

    /// What its file is called in a folder of man pages.
    pub fn file(&self) -> String {
        format!("{}.{}", self.name, self.section)
    }
}

/// As it stands behind a dash: lists of pages have it so.
fn uncapital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// A piece of a word, and whether it stood between backticks.
pub(super) type Piece = (String, bool);

/// The words of a text, each in pieces. What is quoted is not broken, whatever it has in it.
pub(super) fn words(text: &str) -> Vec<Vec<Piece>> {
    let mut words: Vec<Vec<Piece>> = Vec::new();
    let mut word: Vec<Piece> = Vec::new();
    for (at, part) in text.split('`').enumerate() {
        if at % 2 == 1 {
            word.push((part.to_owned(), true));
            continue;
        }
        for (at, piece) in part.split(char::is_whitespace).enumerate() {
            if at > 0 && !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            if !piece.is_empty() {
                word.push((piece.to_owned(), false));
            }
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn what_is_quoted_stays_together() {
        let plain = |text: &str| {
            let words = words(text).into_iter();
            words
                .map(|word| word.into_iter().map(|(piece, quoted)| if quoted { format!("[{piece}]") } else { piece }))
                .map(|pieces| pieces.collect::<String>())
                .collect::<Vec<_>>()
        };
        assert_eq!(plain("run (`a  b`), then `c`."), ["run", "([a  b]),", "then", "[c]."]);
        assert_eq!(plain(" a\n b "), ["a", "b"]);
        assert_eq!(plain(""), Vec::<String>::new());
    }
}
