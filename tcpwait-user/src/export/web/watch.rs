//! The file while it is served by: read anew when somebody comes, and taken over if it has changed and is right. In the tracing process, which may read it.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use super::{
    config::{self, WebConfig},
    policy::Policy,
};
use crate::{output::say, plain};

/// The file, and what of it is in force.
pub struct WebFile {
    path: PathBuf,
    in_force: WebConfig,
    is_told: bool,
    /// Why it was not taken over when it was read last.
    refused: Option<String>,
}

impl WebFile {
    /// Reads it.
    ///
    /// # Errors
    /// It is not as it must be, or cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        let in_force = WebConfig::read(path)?;
        Policy::new(Some(&in_force)).map_err(|why| why.context(path.display().to_string()))?;
        for secret in config::open_secrets(path)? {
            say!("{}: every user of this machine can read the secrets in it: chmod o= it", secret.display());
        }
        Ok(Self { path: path.to_owned(), in_force, is_told: false, refused: None })
    }

    /// What is in force.
    pub fn config(&self) -> &WebConfig {
        &self.in_force
    }

    /// What is in force now, as it is handed over; nothing if that has been done. A new file that is not right is said, and changes nothing.
    pub fn newer(&mut self) -> Option<String> {
        if self.is_told {
            match self.changed() {
                Ok(None) => {
                    self.refused = None;
                    return None;
                }
                Ok(Some(new)) => {
                    say!("{}: read anew", self.path.display());
                    (self.in_force, self.refused) = (new, None);
                }
                Err(why) => {
                    let why = format!("{why:#}");
                    if self.refused.as_ref() != Some(&why) {
                        say!("not taken over, what it said before stays in force: {why}");
                        self.refused = Some(why);
                    }
                    return None;
                }
            }
        }
        self.is_told = true;
        let mut text = Vec::new();
        plain::json(&mut text, &self.in_force).ok()?;
        String::from_utf8(text).ok()
    }

    /// What it says, if that is something else.
    fn changed(&self) -> Result<Option<WebConfig>> {
        let new = WebConfig::read(&self.path)?;
        if new == self.in_force {
            return Ok(None);
        }
        let about = || self.path.display();
        Policy::new(Some(&new)).map_err(|why| why.context(about().to_string()))?;
        // A file that is being written is empty for a moment, and says then that everybody may read everything.
        let (old, restart) = (&self.in_force, "start tcpwait export again if that is meant");
        ensure!(new.tls.is_some() || old.tls.is_none(), "{}: TLS is gone: {restart}", about());
        ensure!(!new.users.is_empty() || old.users.is_empty(), "{}: all users are gone: {restart}", about());
        ensure!(
            new.verifies_clients() || !old.verifies_clients(),
            "{}: certificates of clients are not required any more: {restart}",
            about()
        );
        Ok(Some(new))
    }
}
