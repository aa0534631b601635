//! Where a new recording goes. A file is for root alone (a recording has kernel addresses and the names of processes), and takes an older one's place only
//! when it has begun well.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io,
    os::{
        fd::AsFd,
        unix::fs::{OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::{Header, Writer};
use crate::output::WriteBehind;

/// Read and written by the owner.
const MODE: u32 = 0o600;

/// A recording that has not begun.
pub struct New {
    file: File,
    /// How it is called.
    shown: String,
    /// Where it lies, and where it will.
    moves: Option<(PathBuf, PathBuf)>,
}

impl New {
    /// Standard output.
    ///
    /// # Errors
    /// It is closed.
    pub fn stdout() -> Result<Self> {
        let file = io::stdout().as_fd().try_clone_to_owned().context("writing a recording to standard output")?;
        Ok(Self { file: File::from(file), shown: "standard output".to_owned(), moves: None })
    }

    /// A file. What else is there already, as a pipe or a device, is written to as it is.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn file(path: &Path) -> Result<Self> {
        let shown = path.display().to_string();
        let doing = || format!("writing a recording to {shown}");
        let is_other = fs::metadata(path).is_ok_and(|there| !there.is_file());
        if is_other {
            let file = OpenOptions::new().write(true).open(path).with_context(doing)?;
            return Ok(Self { file, shown, moves: None });
        }
        // A link stays one.
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let beside = beside(&target).with_context(|| format!("{}: it names no file", doing()))?;
        // One that a process with this number left when it was killed.
        let _ = fs::remove_file(&beside);
        let file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&beside).with_context(doing)?;
        file.set_permissions(fs::Permissions::from_mode(MODE)).with_context(doing)?;
        Ok(Self { file, shown, moves: Some((beside, target)) })
    }

    /// How it is called.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Begins. Now an older recording of that name is gone.
    ///
    /// # Errors
    /// The header cannot be written.
    pub fn begin(self, header: &Header) -> Result<Writer<WriteBehind>> {
        let Self { file, shown, moves } = self;
        let begun = WriteBehind::new(file).map_err(anyhow::Error::from).and_then(|out| {
            let writer = Writer::begin(out, header)?;
            if let Some((beside, target)) = &moves {
                writer.get_ref().settle()?;
                fs::rename(beside, target)?;
            }
            Ok(writer)
        });
        if let (Err(_), Some((beside, _))) = (&begun, &moves) {
            let _ = fs::remove_file(beside);
        }
        begun.with_context(|| format!("writing a recording to {shown}"))
    }
}

/// A hidden file in the same directory.
fn beside(target: &Path) -> Option<PathBuf> {
    let mut name = OsString::from(".");
    name.push(target.file_name()?);
    name.push(format!(".{}", std::process::id()));
    Some(target.with_file_name(name))
}
