//! Every sentence that the tool can print, in one file, so that a change of words is seen in a diff: `tests/golden/words.txt` has the help of every verb
//! and every text in the sources that has a blank in it, by file. What the views make of recordings is in the other golden files.
//!
//! Also: words that readers stumbled over do not come back.

use std::{fmt::Write, fs, str::FromStr};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::{golden, layers, support};

const VERBS: [&str; 11] =
    ["", "trace", "stat", "top", "ports", "states", "doctor", "record", "probes", "export", "schema"];

/// What a reader could not make sense of, or took for something else.
const STUMBLED_OVER: [&str; 26] = [
    "OFF BY",
    "nothing says why",
    "has no say",
    "in vain",
    "It is {by} that",
    "1 destinations",
    "of those it is not known",
    "cannot be had",
    "gives no hook",
    "nobody knows whom",
    "sockets taken in",
    "too low",
    "shown by themselves",
    "want a number",
    "want an address",
    "keeps TIME_WAIT, and",
    "whatever the kernel gave",
    "Would not:",
    "stands so",
    "come to TIME_WAIT",
    "makes no sense",
    "this root may not",
    "want a ",
    "nobody found by ARP",
    "somebody holds",
    "want of memory",
];

#[test]
fn are_all_in_one_file() {
    let mut all = String::new();
    for verb in VERBS {
        let help = support::run([verb, "--help"].into_iter().filter(|word| !word.is_empty()));
        assert_eq!(help.code, Some(0), "{}", help.stderr);
        writeln!(all, "==== tcpwait {verb} --help\n{}", help.stdout.trim_end()).unwrap();
    }
    for (path, text) in layers::texts() {
        let mut found = Vec::new();
        collect(TokenStream::from_str(&text).unwrap(), &mut found);
        if !found.is_empty() {
            writeln!(all, "==== {}", path.display()).unwrap();
        }
        found.iter().for_each(|line| writeln!(all, "{line}").unwrap());
    }
    golden::compare("words.txt", &all);
    for line in all.lines() {
        assert!(!STUMBLED_OVER.iter().any(|word| line.contains(word)), "{line}");
    }
}

#[test]
fn of_the_documents_are_plain_too() {
    let root = support::tests().join("..");
    let docs = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    for path in docs.chain([root.join("README.md")]).filter(|path| path.extension().is_some_and(|e| e == "md")) {
        let text = fs::read_to_string(&path).unwrap();
        for word in STUMBLED_OVER {
            assert!(!text.contains(word), "{}: {word:?}", path.display());
        }
    }
}

/// The texts in code that is not only for tests, without attributes that nobody is shown.
fn collect(code: TokenStream, found: &mut Vec<String>) {
    let mut tokens = code.into_iter().peekable();
    let mut is_test = false;
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '#' => {
                let attribute = tokens.next_if(|next| matches!(next, TokenTree::Group(_) | TokenTree::Punct(_)));
                let attribute = match attribute {
                    Some(TokenTree::Punct(_)) => tokens.next(),
                    other => other,
                };
                let Some(TokenTree::Group(attribute)) = attribute else { continue };
                let name = attribute.stream().into_iter().next().map(|name| name.to_string()).unwrap_or_default();
                is_test |= attribute.stream().to_string().replace(' ', "") == "cfg(test)";
                if !["doc", "expect", "allow"].contains(&name.as_str()) {
                    collect(attribute.stream(), found);
                }
            }
            TokenTree::Group(group) => {
                let skipped = is_test && group.delimiter() == Delimiter::Brace;
                if !skipped {
                    collect(group.stream(), found);
                }
                is_test &= !skipped;
            }
            TokenTree::Literal(literal) => {
                let text = literal.to_string();
                let is_sentence = text.starts_with('"') && text.trim_matches('"').trim().contains(' ');
                if is_sentence && !is_test {
                    found.push(text);
                }
            }
            TokenTree::Ident(_) | TokenTree::Punct(_) => {}
        }
    }
}
