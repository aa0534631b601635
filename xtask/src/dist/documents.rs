//! What goes with the program: its manual, completions, schemas, units, examples. The program itself prints what it knows of itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::tree::Tree;
use super::{printed, read};
use crate::compile;
use crate::toolchain;

/// Where a package keeps what people read.
const DOC: &str = "usr/share/doc/tcpwait";

/// Where each shell looks for completions, of a package.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/tcpwait"),
    ("zsh", "usr/share/zsh/vendor-completions/_tcpwait"),
    ("fish", "usr/share/fish/vendor_completions.d/tcpwait.fish"),
];

/// What the program printed, and files of this workspace, by name.
pub struct Documents {
    /// `man1/tcpwait.1` and its like.
    pages: BTreeMap<String, Vec<u8>>,
    completions: BTreeMap<&'static str, String>,
    schemas: BTreeMap<String, String>,
    /// Below contrib/.
    contrib: BTreeMap<String, Vec<u8>>,
}

impl Documents {
    /// Has the program print them.
    pub fn of(tool: &Path) -> Result<Self> {
        let folder = compile::target_dir().join("manual");
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
        }
        printed(Command::new(tool).args(["manual", "--output"]).arg(&folder))?;
        let mut completions = BTreeMap::new();
        for (shell, _) in COMPLETIONS {
            // Called by name: where it is installed is where it is found.
            let mut by_name = Command::new("sh");
            by_name.args(["-c", r#"PATH="$1:$PATH" exec tcpwait completions "$2""#, "sh"]);
            by_name.arg(tool.parent().unwrap_or(Path::new("."))).arg(shell);
            completions.insert(shell, printed(&mut by_name)?);
        }
        let names = printed(Command::new(tool).arg("schema"))?;
        let mut schemas = BTreeMap::new();
        // A table with a head; the name comes first.
        for name in names.lines().skip(1).filter_map(|line| line.split_whitespace().next()) {
            schemas.insert(name.to_owned(), printed(Command::new(tool).args(["schema", name]))?);
        }
        Ok(Self {
            pages: below(&folder)?,
            completions,
            schemas,
            contrib: below(&toolchain::workspace().join("contrib"))?,
        })
    }

    /// As people find them who unpack an archive.
    pub fn for_archive(&self, tree: &mut Tree) -> Result<()> {
        for (path, bytes) in &self.pages {
            tree.file(&format!("man/{path}"), bytes);
        }
        for (shell, script) in &self.completions {
            let name = match *shell {
                "zsh" => "_tcpwait".to_owned(),
                shell => format!("tcpwait.{shell}"),
            };
            tree.file(&format!("completions/{name}"), script.as_bytes());
        }
        for (name, schema) in &self.schemas {
            tree.file(&format!("schema/{name}.schema.json"), schema.as_bytes());
        }
        for (path, bytes) in &self.contrib {
            tree.file(&format!("contrib/{path}"), bytes);
        }
        for (path, bytes) in docs()? {
            tree.file(&path, &bytes);
        }
        for name in ["LICENSE-APACHE", "LICENSE-MIT", "README.md", "CHANGELOG.md"] {
            tree.file(name, &read(name)?);
        }
        Ok(())
    }

    /// As a package installs them.
    pub fn for_system(&self, tree: &mut Tree) -> Result<()> {
        for (path, bytes) in &self.pages {
            tree.file_gz(&format!("usr/share/man/{path}.gz"), bytes)?;
        }
        for (shell, path) in COMPLETIONS {
            tree.file(path, self.completions.get(shell).map(String::as_bytes).unwrap_or_default());
        }
        for (name, schema) in &self.schemas {
            tree.file(&format!("usr/share/tcpwait/schema/{name}.schema.json"), schema.as_bytes());
        }
        for (path, bytes) in &self.contrib {
            match path.strip_prefix("systemd/") {
                Some(unit) => tree.file(&format!("usr/lib/systemd/system/{unit}"), bytes),
                None => tree.file(&format!("{DOC}/examples/{path}"), bytes),
            }
        }
        for (path, bytes) in docs()? {
            tree.file_gz(&format!("{DOC}/{path}.gz"), &bytes)?;
        }
        tree.file(&format!("{DOC}/README.md"), &read("README.md")?);
        tree.file_gz(&format!("{DOC}/changelog.gz"), &read("CHANGELOG.md")?)?;
        Ok(())
    }
}

/// The documents of users, `docs/….md`.
fn docs() -> Result<BTreeMap<String, Vec<u8>>> {
    let all = below(&toolchain::workspace().join("docs"))?.into_iter();
    Ok(all.filter(|(path, _)| path.ends_with(".md")).map(|(path, bytes)| (format!("docs/{path}"), bytes)).collect())
}

/// All files below a folder, by their path in it.
fn below(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let mut folders: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        let entries = fs::read_dir(&next).with_context(|| format!("cannot list {}", next.display()))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().into_owned();
                files.insert(name, fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
            }
        }
    }
    Ok(files)
}
