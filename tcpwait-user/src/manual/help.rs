//! What `--help` says at its end, as blocks: its paragraphs, its lists of words, its examples.

use super::page::Block;

/// The line from which on there are examples.
const EXAMPLES: &str = "Examples:";

/// What it says, and its examples.
pub(super) fn blocks(help: &str) -> (Vec<Block>, Vec<Block>) {
    let mut said = HelpReader::default();
    let mut examples = HelpReader { of_examples: true, ..HelpReader::default() };
    let mut into = &mut said;
    for line in help.lines() {
        if line == EXAMPLES {
            into = &mut examples;
        } else {
            into.read(line);
        }
    }
    (said.blocks, examples.blocks)
}

/// Reads lines as people do: what is indented by two blanks is a word of a list, with its meaning behind at least two more blanks or in lines that are
/// indented further; a line that is not indented belongs to a paragraph.
#[derive(Default)]
struct HelpReader {
    of_examples: bool,
    blocks: Vec<Block>,
    /// An empty line was read: what comes is no part of what was.
    is_apart: bool,
}

impl HelpReader {
    fn read(&mut self, line: &str) {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        if text.is_empty() {
            self.is_apart = true;
            return;
        }
        let is_apart = std::mem::take(&mut self.is_apart);
        let (word, meaning) = text.split_once("  ").map_or((text, ""), |(word, meaning)| (word, meaning.trim_start()));
        match (self.blocks.last_mut(), indent) {
            (Some(Block::Text(before)), 0) if !is_apart => continued(before, text),
            (_, 0) => self.blocks.push(Block::Text(text.to_owned())),
            (_, 1 | 2) if self.of_examples => self.blocks.push(Block::Example(word.to_owned(), meaning.to_owned())),
            // A list in lines, without meanings.
            (Some(Block::Term(before, of)), 1 | 2) if of.is_empty() && meaning.is_empty() => continued(before, text),
            (_, 1 | 2) => self.blocks.push(Block::Term(word.to_owned(), meaning.to_owned())),
            (Some(Block::Term(_, meaning) | Block::Example(_, meaning)), _) => continued(meaning, text),
            (Some(Block::Text(before)), _) => continued(before, text),
            (_, _) => self.blocks.push(Block::Text(text.to_owned())),
        }
    }
}

fn continued(before: &mut String, text: &str) {
    if !before.is_empty() {
        before.push(' ');
    }
    before.push_str(text);
}

#[cfg(test)]
mod tests {
    use super::{Block, blocks};

    #[test]
    fn lists_and_examples_are_told_from_paragraphs() {
        let help = "One\ntwo.\n\nWords:\n  a, b  first\n        second\n  long word\n        its meaning\n\nAll:\n  x, y,\n  z\n\nExamples:\n  run it   \
                    why\n  run\n      because";
        let text = |text: &str| Block::Text(text.to_owned());
        let term = |word: &str, meaning: &str| Block::Term(word.to_owned(), meaning.to_owned());
        let example = |command: &str, why: &str| Block::Example(command.to_owned(), why.to_owned());
        let (said, examples) = blocks(help);
        assert_eq!(
            said,
            [
                text("One two."),
                text("Words:"),
                term("a, b", "first second"),
                term("long word", "its meaning"),
                text("All:"),
                term("x, y, z", ""),
            ]
        );
        assert_eq!(examples, [example("run it", "why"), example("run", "because")]);
    }
}
