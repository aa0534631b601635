//! A page as plain text, as man(1) would show it: for machines that have no man(1).

use super::page::{Block, ManualPage};
use crate::fold::fold;

/// By how much text is indented, and what explains a word.
const TEXT: usize = 7;
const MEANING: usize = 14;

pub(super) fn of(page: &ManualPage, width: usize) -> String {
    let mut lines = vec![format!("{}({})", page.name.to_uppercase(), page.section), String::new(), "NAME".to_owned()];
    folded(&mut lines, &format!("{} - {}", page.name, page.about), TEXT, width);
    for section in &page.sections {
        lines.push(String::new());
        lines.push(section.title.clone());
        for (at, block) in section.blocks.iter().enumerate() {
            if at > 0 {
                lines.push(String::new());
            }
            match block {
                Block::Text(text) => folded(&mut lines, text, TEXT, width),
                Block::Heading(heading) => folded(&mut lines, heading, TEXT / 2, width),
                // As man(1) does: what is short has its meaning beside it.
                Block::Term(word, meaning) if word.len() < MEANING - TEXT && !meaning.is_empty() => {
                    let first = lines.len();
                    folded(&mut lines, meaning, MEANING, width);
                    if let Some(line) = lines.get_mut(first) {
                        line.replace_range(TEXT..TEXT + word.len(), word);
                    }
                }
                Block::Term(word, meaning) | Block::Example(word, meaning) => {
                    folded(&mut lines, word, TEXT, width);
                    folded(&mut lines, meaning, MEANING, width);
                }
            }
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

fn folded(lines: &mut Vec<String>, text: &str, indent: usize, width: usize) {
    if text.is_empty() {
        return;
    }
    let room = width.saturating_sub(indent).max(20);
    lines.extend(fold(text, room, 0).into_iter().map(|line| format!("{:indent$}{line}", "")));
}
