//! The manual: a page for each command, one for the keys of JSON and one for the metrics. All of it is made from what the command line, the schemas and the
//! table of metrics say of themselves, so that none of them can say something else.

mod commands;
mod endings;
mod help;
mod json;
mod metrics;
mod page;
mod roff;
mod text;

pub use self::page::ManualPage;

/// A page as man(1) reads it.
pub fn as_roff(page: &ManualPage) -> String {
    roff::of(page)
}

/// A page to be read as it is, in lines of at most `width` characters.
pub fn as_text(page: &ManualPage, width: usize) -> String {
    text::of(page, width)
}

/// Every page, the one of the program itself first.
pub fn pages() -> Vec<ManualPage> {
    let mut pages = commands::pages();
    pages.push(json::page());
    pages.push(metrics::page());
    let names: Vec<(String, u8)> = pages.iter().map(|page| (page.name.clone(), page.section)).collect();
    for page in &mut pages {
        let others = names.iter().filter(|(name, _)| *name != page.name);
        let others: Vec<String> = others.map(|(name, section)| format!("{name}({section})")).collect();
        page.say("SEE ALSO", &format!("{}, ss(8), tcp(7)", others.join(", ")));
    }
    pages
}

/// As a sentence begins.
fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
