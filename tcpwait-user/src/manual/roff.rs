//! A page for man(1), in the macros of man(7).

use roff::{Inline, Roff, bold, italic, roman};

use super::page::{Block, ManualPage, words};

/// A line of the source is at most so long: mandoc(1) warns of longer ones.
const LINE: usize = 80;

/// When what this was built from was written, as `YYYY-MM-DD`; empty where nobody said.
const DATE: &str = match option_env!("TCPWAIT_DATE") {
    Some(date) => date,
    None => "",
};

/// The source of a page.
pub(super) fn of(page: &ManualPage) -> String {
    let mut roff = Roff::new();
    let source = concat!("tcpwait ", env!("CARGO_PKG_VERSION"));
    let title = page.name.to_uppercase();
    let kind = if page.section == 1 { "User Commands" } else { "Miscellaneous Information" };
    // Lines are neither stretched to the margin nor is a word cut at the end of one: commands and keys can be copied.
    // groff 1.23 goes back to what AD and HY say at each paragraph.
    roff.control("ds", ["AD", "l"]);
    roff.control("nr", ["HY", "0"]);
    roff.control("nh", []);
    roff.control("ad", ["l"]);
    roff.control("SH", ["NAME"]);
    filled(&mut roff, &format!("{} - {}", page.name, page.about));
    for section in &page.sections {
        roff.control("SH", [section.title.as_str()]);
        let mut is_first = true;
        for block in &section.blocks {
            match block {
                Block::Heading(heading) => {
                    roff.control("SS", [heading.as_str()]);
                }
                Block::Text(text) => {
                    if !is_first {
                        roff.control("PP", []);
                    }
                    filled(&mut roff, text);
                }
                Block::Term(word, meaning) => {
                    roff.control("TP", []);
                    roff.text(term(word));
                    filled(&mut roff, meaning);
                }
                Block::Example(command, meaning) => {
                    roff.control("TP", []);
                    roff.text(vec![bold(command.as_str())]);
                    filled(&mut roff, meaning);
                }
            }
            is_first = matches!(block, Block::Heading(_));
        }
    }
    // An argument that may be empty, which the library would leave out.
    format!(".TH {title} {} \"{DATE}\" \"{source}\" \"{kind}\"\n{}", page.section, roff.to_roff())
}

/// A word of a list: what is typed is bold, what stands for something is in italics.
fn term(word: &str) -> Vec<Inline> {
    let mut inlines = Vec::new();
    let mut rest = word;
    while let Some((before, more)) = rest.split_once('<') {
        let Some((name, after)) = more.split_once('>') else { break };
        if !before.is_empty() {
            inlines.push(bold(before));
        }
        inlines.push(italic(name));
        rest = after;
    }
    if !rest.is_empty() {
        inlines.push(bold(rest));
    }
    inlines
}

/// A paragraph, in lines that end between words.
fn filled(roff: &mut Roff, text: &str) {
    let mut line: Vec<Inline> = Vec::new();
    let mut length = 0;
    for word in words(text) {
        let width: usize = word.iter().map(|(piece, quoted)| written(piece, *quoted)).sum();
        if length > 0 && length + 1 + width > LINE {
            roff.text(std::mem::take(&mut line));
            length = 0;
        }
        if length > 0 {
            line.push(roman(" "));
        }
        length += 1 + width;
        line.extend(word.into_iter().map(|(piece, quoted)| if quoted { bold(piece) } else { roman(piece) }));
    }
    if !line.is_empty() {
        roff.text(line);
    }
}

/// The length of a piece in the source: a hyphen takes a backslash, bold letters take the names of fonts around them.
fn written(piece: &str, quoted: bool) -> usize {
    piece.len() + piece.matches('-').count() + if quoted { "\\fB\\fR".len() } else { 0 }
}
