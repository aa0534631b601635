//! The layering that the order of the modules in both lib.rs promises, the engine's above the tool's: a module imports only from modules above it, and
//! only `kernel` talks to aya or is unsafe. Reads the sources as text, without their comments.

use std::{
    fs,
    path::{Path, PathBuf},
};

#[test]
fn modules_import_only_from_those_above() {
    let order = modules();
    let place = |module: &str| order.iter().position(|other| other == module);
    let mut wrong = Vec::new();
    for (_, path, module, code) in sources() {
        // The program itself is below all of them.
        let own = if module == "main" || module == "lib" { order.len() } else { place(&module).unwrap() };
        for import in imports(&code) {
            let Some(other) = place(&import) else {
                wrong.push(format!("{}: crate::{import} is not a module of lib.rs", path.display()));
                continue;
            };
            if other > own {
                wrong.push(format!("{}: {module} imports {import}, which stands below it", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_the_kernel_module_uses_aya_and_is_unsafe() {
    for (_, path, module, code) in sources() {
        if module == "kernel" {
            continue;
        }
        let words: Vec<&str> = code.split(|c: char| !(c.is_alphanumeric() || c == '_')).collect();
        for forbidden in ["aya", "aya_log", "aya_obj", "unsafe"] {
            assert!(!words.contains(&forbidden), "{} says `{forbidden}`", path.display());
        }
    }
}

#[test]
fn imports_are_found_in_every_form() {
    let code = "use crate::tcp::State; use crate::{\n    event::{decode, Fact},\n    view, live::{self},\n}; crate::run::run();";
    assert_eq!(imports(code), ["tcp", "event", "view", "live", "run"]);
}

/// Where the sources are: the engine's, and those of the rest of the tool.
fn roots() -> [PathBuf; 2] {
    ["engine/src", "src"].map(|folder| Path::new(env!("CARGO_MANIFEST_DIR")).join(folder))
}

/// The modules of both lib.rs, from the top down.
fn modules() -> Vec<String> {
    let lines = roots().map(|root| fs::read_to_string(root.join("lib.rs")).unwrap()).concat();
    let modules: Vec<String> =
        lines.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).map(str::to_owned).collect();
    assert!(modules.len() > 10, "{modules:?}");
    modules
}

/// Every source file: where it is, its path below that, the module of lib.rs that it belongs to, and its code without comments.
fn sources() -> Vec<(PathBuf, PathBuf, String, String)> {
    let mut found = Vec::new();
    for root in roots() {
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let below = path.strip_prefix(&root).unwrap().to_path_buf();
                    let top = below.components().next().unwrap().as_os_str().to_str().unwrap();
                    let module = top.trim_end_matches(".rs").to_owned();
                    found.push((root.clone(), below, module, code(&fs::read_to_string(path).unwrap())));
                }
            }
        }
    }
    found
}

/// Every source file, whole, in the order of their paths.
pub fn texts() -> Vec<(PathBuf, String)> {
    let mut texts: Vec<_> = sources()
        .into_iter()
        .map(|(root, path, ..)| (path.clone(), fs::read_to_string(root.join(path)).unwrap()))
        .collect();
    texts.sort();
    texts
}

fn code(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The modules named after `crate::`, in a path or in a group.
fn imports(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for after in code.split("crate::").skip(1) {
        let Some(group) = after.strip_prefix('{') else {
            found.push(word(after));
            continue;
        };
        let (mut depth, mut start) = (0usize, true);
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => start = true,
                c if start && c.is_alphabetic() => {
                    found.push(word(&group[at..]));
                    start = false;
                }
                _ => {}
            }
        }
    }
    found
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}
