//! `tcpwait manual` and `tcpwait completions`.

use std::{
    fs,
    io::{self, IsTerminal, Write},
    path::Path,
    process::ExitCode,
};

use anyhow::{Context, Result, bail};

use super::screen::screen;
use crate::{
    cli::{
        complete,
        manual::{CompletionsArgs, ManualArgs},
    },
    manual::{self, ManualPage, pages},
    output::{Output, say},
    plain,
};

/// Text in longer lines is hard to read.
const WIDEST: usize = 80;

/// What a page of a command is called by is its own name behind this.
const PREFIX: &str = "tcpwait-";

/// Prints one page, or writes them all.
pub fn run(args: &ManualArgs) -> Result<ExitCode> {
    let pages = pages();
    if let Some(folder) = &args.output {
        return write_all(&pages, folder);
    }
    let wanted = args.page.as_deref().unwrap_or("tcpwait");
    let is_wanted = |page: &&ManualPage| page.name == wanted || page.name.strip_prefix(PREFIX) == Some(wanted);
    let Some(page) = pages.iter().find(is_wanted) else {
        let names = pages.iter().map(|page| page.name.strip_prefix(PREFIX).unwrap_or(&page.name));
        bail!("there is no page called {}, only {}", plain::escaped(wanted), names.collect::<Vec<_>>().join(", "));
    };
    let width = if io::stdout().is_terminal() { screen(false).width.min(WIDEST) } else { WIDEST };
    print(&if args.roff { manual::as_roff(page) } else { manual::as_text(page, width) })
}

fn write_all(pages: &[ManualPage], folder: &Path) -> Result<ExitCode> {
    for page in pages {
        let section = folder.join(format!("man{}", page.section));
        fs::create_dir_all(&section).with_context(|| format!("making the folder {}", section.display()))?;
        let file = section.join(page.file());
        fs::write(&file, manual::as_roff(page)).with_context(|| format!("writing {}", file.display()))?;
    }
    say!("{} pages are in {}", pages.len(), folder.display());
    Ok(ExitCode::SUCCESS)
}

/// Prints a shell's script.
pub fn completions(args: &CompletionsArgs) -> Result<ExitCode> {
    let mut script = Vec::new();
    complete::script(args.shell, &program()?, &mut script).context("making the script")?;
    print(&String::from_utf8_lossy(&script))
}

/// What a shell starts this program by, from wherever it is by then.
fn program() -> Result<String> {
    let called = std::env::args().next().unwrap_or_default();
    if !called.contains('/') {
        return Ok("tcpwait".to_owned());
    }
    let path = std::path::absolute(&called).with_context(|| format!("looking for {}", plain::escaped(&called)))?;
    Ok(path.to_string_lossy().into_owned())
}

fn print(text: &str) -> Result<ExitCode> {
    let mut out = Output::patient();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("writing to stdout")?;
    Ok(ExitCode::SUCCESS)
}
