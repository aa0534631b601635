//! THIRD-PARTY: who wrote what is in the program, and the texts of their licences.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::components::{Components, Crate};

/// What a file with a licence is called, whatever comes behind it.
const NAMES: [&str; 6] = ["LICENSE", "LICENCE", "COPYING", "NOTICE", "COPYRIGHT", "UNLICENSE"];

const FOREWORD: &str = "\
tcpwait is linked statically: what it is made of is in its file. These are the
others' works in it, with their licences.

glibc is under the LGPL, version 2.1 or later. Its source is what the
distribution named below publishes as the source of that version. To link
tcpwait with another glibc, build it from its source on a machine that has it:
`cargo xtask build --release`.
";

/// The text.
pub fn text(components: &Components) -> Result<String> {
    let mut text = FOREWORD.to_owned();
    for library in &components.libraries {
        let _ = write!(
            text,
            "\n{} {}: {}\n  licence: {}\n  {}\n",
            library.name, library.version, library.about, library.licence, library.home
        );
    }
    // The same text often is in many crates.
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for one in components.crates.iter().filter(|one| one.checksum.is_some()) {
        let Crate { name, version, licence, repository, .. } = one;
        let _ = write!(text, "\n{name} {version}\n  licence: {}\n", licence.as_deref().unwrap_or("see its text below"));
        if let Some(repository) = repository {
            let _ = writeln!(text, "  {repository}");
        }
        let found = licences(&one.folder)?;
        if found.is_empty() {
            let _ = writeln!(text, "  It comes without a text of its licence.");
        }
        for licence in found {
            texts.entry(licence).or_default().push(format!("{name} {version}"));
        }
    }
    let mut texts: Vec<(String, Vec<String>)> = texts.into_iter().collect();
    texts.sort_by(|(_, a), (_, b)| a.cmp(b));
    for (licence, of) in texts {
        let _ = write!(text, "\n{}\nOf {}:\n\n{}\n", "-".repeat(78), of.join(", "), licence);
    }
    Ok(text)
}

/// The texts in a crate's folder.
fn licences(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.sort();
    let is_licence = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
        NAMES.iter().any(|begin| name.starts_with(begin))
    };
    let texts = files.iter().filter(|path| is_licence(path)).map(|path| {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let text = String::from_utf8_lossy(&bytes).replace("\r\n", "\n");
        Ok(text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim().to_owned())
    });
    texts.collect()
}
