//! Where a trace for Perfetto goes.

use std::{
    fs::File,
    io::{self, IsTerminal},
    path::Path,
};

use anyhow::{Context, Result, bail};

use crate::output;

/// Has what is written go to this file; `-` is standard output.
pub(super) fn write_to(path: &Path) -> Result<()> {
    if path == Path::new("-") {
        if io::stdout().is_terminal() {
            bail!("standard output is a terminal, and a Perfetto trace is binary: use --perfetto OUT, or > OUT");
        }
        return Ok(());
    }
    let file = File::create(path).with_context(|| format!("writing a Perfetto trace to {}", path.display()))?;
    output::redirect(file);
    Ok(())
}
