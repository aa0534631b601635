//! How a command ends: standard output is written, losses are said, and the exit code tells of them.

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::{
    aggregate::audit::AuditReport,
    ledger::Ledger,
    output::{self, say},
    view::{self, ledger, units::count},
};

/// Exit code of `--fail-on-loss`.
const LOSSY: u8 = 3;

/// Says the account of a trace.
pub(super) fn close(
    account: &Ledger,
    audit: Option<&AuditReport>,
    verbose: bool,
    fail_on_loss: bool,
) -> Result<ExitCode> {
    let written = all_is_written()?;
    let mut text = Vec::new();
    let _ = ledger::write(account, &mut text);
    String::from_utf8_lossy(&text).lines().for_each(|line| say!("{line}"));
    if let Some(audit) = audit {
        say!("{}", view::audit::sentence(audit, verbose));
    }
    let lossy = !written || account.is_lossy() || audit.is_some_and(AuditReport::differs);
    Ok(code(lossy, fail_on_loss))
}

/// Losses are an error only to those who say so (`--fail-on-loss`).
pub(super) fn code(lossy: bool, fail_on_loss: bool) -> ExitCode {
    if fail_on_loss && lossy { ExitCode::from(LOSSY) } else { ExitCode::SUCCESS }
}

/// Waits until standard output is written, for as long as somebody takes it, and says what was not. Whether all was.
pub(super) fn all_is_written() -> Result<bool> {
    let lines = output::settle().context("writing to stdout")?;
    if lines > 0 {
        say!("tcpwait: up to {} lines were not written: the reader of standard output was too slow", count(lines));
    }
    Ok(lines == 0)
}
