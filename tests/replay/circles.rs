//! No circles of files: following the imports from file to file never leads back. Reads the sources of both sides as text.
//!
//! A parent and its children are one thing told in several files, so two things are no circle: that a parent uses or re-exports a child, and
//! that a child names what stands in a file it is within (`super::`, or the parent's whole path). What a child imports *through* its parent,
//! since the parent re-exports or imports it from elsewhere, is counted as an import of the file that declares it: so two children
//! that use each other are a circle whichever way they write it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// Circles that are left as they are: the files of each, and why.
const EXCEPTIONS: [(&[&str], &str); 0] = [];

#[test]
fn no_circles_of_files() {
    for side in ["tcpwait-user", "tcpwait-ebpf"] {
        let sources = Sources::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(side).join("src"));
        assert!(sources.files.len() > 10, "{side}");
        let circles = sources.circles();
        let (known, new): (Vec<_>, Vec<_>) = circles.iter().partition(|circle| {
            EXCEPTIONS.iter().any(|(files, _)| circle.iter().map(String::as_str).eq(files.iter().copied()))
        });
        assert!(new.is_empty(), "{side}: files that import each other in a circle:\n{}", sources.describe(&new));
        assert_eq!(
            known.len(),
            EXCEPTIONS.iter().filter(|(files, _)| sources.has(files)).count(),
            "an exception is needed no more"
        );
    }
}

#[test]
fn circles_are_found_in_every_form() {
    let found = |texts: &[(&str, &str)]| Sources::of(texts).circles();
    let ab = [vec!["a::b".to_owned(), "a::c".to_owned()]];
    let (b, c) = ("a::b", "a::c");
    assert_eq!(found(&[("a", ""), (b, "use super::c::X;"), (c, "use crate::a::{b::Y, self};")]), ab);
    // In a path, and through the parent's re-export.
    assert_eq!(found(&[("a", "pub use b::Y;"), (b, "fn f() { super::c::g() }"), (c, "use super::Y;")]), ab);
    assert_eq!(
        found(&[("a", "pub use self::b::*;"), (b, "pub struct Y;\nuse super::c::X;"), (c, "use super::{Y};")]),
        ab
    );
    // A parent and its child are none, nor are tests and comments.
    assert!(found(&[("a", "use b::Y;\nstruct P;"), (b, "use super::P;")]).is_empty());
    assert!(found(&[(b, "// crate::a::c::X"), (c, "use crate::a::b::Y;")]).is_empty());
    assert!(
        found(&[(b, "#[cfg(test)]\nmod tests {\nuse super::super::c::X;\n}"), (c, "use crate::a::b::Y;")]).is_empty()
    );
}

/// A path from the root of the crate: `["lifecycle", "mini", "Mini"]`.
type Names = Vec<String>;

/// The files of a crate, by the path of their module.
struct Sources {
    files: BTreeMap<Names, Source>,
}

struct Source {
    code: String,
    /// Every path of a `use`, as written.
    uses: Vec<Names>,
}

impl Sources {
    fn read(root: &Path) -> Self {
        let (mut texts, mut folders) = (Vec::new(), vec![root.to_path_buf()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let below = path.strip_prefix(root).unwrap().with_extension("");
                    let mut module: Vec<_> = below.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
                    // The root declares its modules and is the parent of all; tests may look wherever they like.
                    if ["mod", "lib", "main"].contains(&module.last().unwrap().as_str()) {
                        module.pop();
                    }
                    if module.last().is_none_or(|last| last != "tests") {
                        texts.push((module.join("::"), fs::read_to_string(path).unwrap()));
                    }
                }
            }
        }
        Self::of(&texts)
    }

    fn of<P: AsRef<str>, T: AsRef<str>>(texts: &[(P, T)]) -> Self {
        let mut files: BTreeMap<Names, Source> = BTreeMap::new();
        for (module, text) in texts {
            let module = module.as_ref().split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
            let code = code(text.as_ref());
            let uses = uses(&code);
            let source = files.entry(module).or_insert_with(|| Source { code: String::new(), uses: Vec::new() });
            source.code.push_str(&code);
            source.uses.extend(uses);
        }
        Self { files }
    }

    /// The files that a file imports from, without those that it is within.
    fn imports(&self, module: &Names) -> BTreeSet<&Names> {
        let source = &self.files[module];
        let paths = source.uses.iter().cloned().chain(paths(&source.code));
        paths
            .filter_map(|path| self.declaring(&self.absolute(module, &path)?, 0))
            .filter(|other| !module.starts_with(other))
            .collect()
    }

    /// A path as seen from the root; `None` where it leads out of the crate.
    fn absolute(&self, module: &Names, path: &[String]) -> Option<Names> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some([module, rest].concat()),
            "super" => {
                let (_, parent) = module.split_last()?;
                let parent = parent.to_vec();
                if rest.first().is_some_and(|next| next == "super") {
                    self.absolute(&parent, rest)
                } else {
                    Some([&parent, rest].concat())
                }
            }
            _ => {
                let within = [module.as_slice(), path].concat();
                self.files.contains_key(&within[..=module.len()]).then_some(within)
            }
        }
    }

    /// The file that declares what a path from the root names, past re-exports and imports.
    fn declaring(&self, path: &[String], depth: usize) -> Option<&Names> {
        let length = (0..=path.len()).rev().find(|length| self.files.contains_key(&path[..*length]))?;
        let (module, source) = self.files.get_key_value(&path[..length])?;
        let Some(name) = path.get(length).filter(|_| depth < 8) else { return Some(module) };
        let elsewhere = |used: &Names, name: &str| {
            let mut target = self.absolute(module, used)?;
            if target.last()? == "*" {
                target.pop();
                target.push(name.to_owned());
                let found = self.declaring(&target, depth + 1)?;
                return declares(&self.files[found].code, name).then_some(found);
            }
            (target.last()? == name).then(|| self.declaring(&target, depth + 1))?
        };
        if declares(&source.code, name) {
            return Some(module);
        }
        Some(source.uses.iter().find_map(|used| elsewhere(used, name)).unwrap_or(module))
    }

    /// Groups of files that all lead to each other, each in the order of their paths.
    fn circles(&self) -> Vec<Vec<String>> {
        let imports: BTreeMap<&Names, BTreeSet<&Names>> =
            self.files.keys().map(|file| (file, self.imports(file))).collect();
        let reached = |from: &Names| {
            let (mut seen, mut next): (BTreeSet<Names>, _) = (BTreeSet::new(), vec![from]);
            while let Some(file) = next.pop() {
                next.extend(imports[file].iter().filter(|other| seen.insert((**other).clone())));
            }
            seen
        };
        let reached: BTreeMap<&Names, BTreeSet<Names>> = self.files.keys().map(|file| (file, reached(file))).collect();
        let circle = |file: &Names| -> Vec<String> {
            reached[file].iter().filter(|other| reached[*other].contains(file)).map(|other| other.join("::")).collect()
        };
        let circles: BTreeSet<Vec<String>> = self.files.keys().map(circle).filter(|circle| circle.len() > 1).collect();
        circles.into_iter().collect()
    }

    fn has(&self, files: &[&str]) -> bool {
        files.iter().all(|file| self.files.contains_key(&file.split("::").map(str::to_owned).collect::<Names>()))
    }

    /// The circles, with what each file of one imports from the others.
    fn describe(&self, circles: &[&Vec<String>]) -> String {
        let mut text = String::new();
        for circle in circles {
            for file in *circle {
                let module: Names = file.split("::").map(str::to_owned).collect();
                let others: Vec<String> = self
                    .imports(&module)
                    .iter()
                    .map(|other| other.join("::"))
                    .filter(|other| circle.contains(other))
                    .collect();
                text.push_str(&format!("{file} imports {}\n", others.join(", ")));
            }
            text.push('\n');
        }
        text
    }
}

/// A file without comments, and without the tests at its end.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

fn declares(code: &str, name: &str) -> bool {
    let words: Vec<&str> =
        code.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty()).collect();
    let keywords = ["struct", "enum", "union", "trait", "type", "fn", "const", "static", "macro_rules"];
    words.windows(2).any(|pair| pair[1] == name && (keywords.contains(&pair[0]) || pair[0] == "mut"))
}

/// Every path that a `use` brings in.
fn uses(code: &str) -> Vec<Names> {
    let mut found = Vec::new();
    let mut statements = code.split(';').filter_map(|statement| {
        let at = statement.rmatch_indices("use ").find(|(at, _)| {
            statement[..*at].chars().next_back().is_none_or(|before| before.is_whitespace() || before == ')')
        })?;
        Some(&statement[at.0 + 4..])
    });
    statements.by_ref().for_each(|tree| spread(tree, &[], &mut found));
    found
}

/// Spreads `a::{b, c::d}` out, behind a prefix.
fn spread(tree: &str, prefix: &[String], found: &mut Vec<Names>) {
    let tree = tree.trim();
    let (head, group) = tree.split_once('{').map_or((tree, None), |(head, group)| (head, Some(group)));
    let head = head.split(" as ").next().unwrap_or_default();
    // `self` is where the path begins, or in a group what the group is of.
    let named = |name: &&str| !name.is_empty() && (*name != "self" || prefix.is_empty());
    let mut path = prefix.to_vec();
    path.extend(head.split("::").map(str::trim).filter(named).map(str::to_owned));
    let Some(group) = group else {
        if !path.is_empty() {
            found.push(path);
        }
        return;
    };
    let (mut depth, mut start) = (0usize, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' | ',' if depth == 0 => {
                if !group[start..at].trim().is_empty() {
                    spread(&group[start..at], &path, found);
                }
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
}

/// Every path in the code that begins at `crate`, `super` or `self`.
fn paths(code: &str) -> Vec<Names> {
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    code.split(|c: char| !is_path(c))
        .map(|text| text.split("::").map(str::to_owned).collect::<Names>())
        .filter(|path| path.len() > 1 && ["crate", "super", "self"].contains(&path[0].as_str()))
        .map(|path| path.into_iter().filter(|part| !part.is_empty()).collect())
        .collect()
}
