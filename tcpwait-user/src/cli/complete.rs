//! What a shell is told when somebody presses Tab.

use std::{collections::BTreeSet, ffi::OsStr, fmt::Display, fs, io};

use clap::{Arg, Command, CommandFactory};
use clap_complete::{ArgValueCompleter, CompleteEnv, CompletionCandidate, env::Shells};

use super::{Cli, manual::Shell};
use crate::{aggregate::by::GroupBy, plain, select::steps::Word, tcp::State};

/// What the script of a shell sets when it asks.
const VARIABLE: &str = "TCPWAIT_COMPLETE";

/// So many processes and namespaces are offered at most: nobody reads more.
const MOST: usize = 1000;

/// Answers the shell's question, if this is one. Whether it was.
///
/// # Errors
/// The shell is none of those known, or does not listen.
pub fn answered() -> Result<bool, clap::Error> {
    let here = std::env::current_dir().ok();
    CompleteEnv::with_factory(command).var(VARIABLE).try_complete(std::env::args_os(), here.as_deref())
}

/// The script by which `shell` asks the program that `program` starts.
///
/// # Errors
/// `out` does not take it.
pub fn script(shell: Shell, program: &str, out: &mut dyn io::Write) -> io::Result<()> {
    match Shells::builtins().completer(shell.name()) {
        Some(known) => known.write_registration(VARIABLE, "tcpwait", "tcpwait", program, out)?,
        None => return Err(io::Error::other(format!("there is no script for {}", shell.name()))),
    }
    if shell == Shell::Zsh {
        // Where zsh has found the file by its first line, it calls what it is named after, for a first answer.
        writeln!(out, r#"[[ ${{funcstack[1]}} == _tcpwait ]] && _clap_dynamic_completer_tcpwait "$@""#)?;
    }
    Ok(())
}

/// The command line, with the options of `stat` where no command is, and with what each option can be given.
fn command() -> Command {
    let program = Cli::command();
    let stat = program.find_subcommand("stat").cloned().unwrap_or_default();
    let without_a_verb = program.args(stat.get_arguments().filter(|argument| !argument.is_positional()).cloned());
    without_a_verb.mut_args(with_values).mut_subcommands(|command| command.mut_args(with_values))
}

fn with_values(argument: Arg) -> Arg {
    let values: fn(&OsStr) -> Vec<CompletionCandidate> = match argument.get_id().as_str() {
        "state" => states,
        "reason" => reasons,
        "by" => groups,
        "netns" => namespaces,
        "comm" => processes,
        "page" => pages,
        _ => return argument,
    };
    argument.add(ArgValueCompleter::new(values))
}

/// States: a list.
fn states(typed: &OsStr) -> Vec<CompletionCandidate> {
    list(typed, State::ALL.map(|state| state.to_string()))
}

/// Reasons: a list.
fn reasons(typed: &OsStr) -> Vec<CompletionCandidate> {
    list(typed, Word::all())
}

/// What to group by: a list.
fn groups(typed: &OsStr) -> Vec<CompletionCandidate> {
    list(typed, GroupBy::ALL)
}

/// Network namespaces that have a name: a list.
fn namespaces(typed: &OsStr) -> Vec<CompletionCandidate> {
    list(typed, names("/run/netns", |name| Some(name.to_owned())))
}

/// Names of processes: a list.
fn processes(typed: &OsStr) -> Vec<CompletionCandidate> {
    let comm = |pid: &str| {
        pid.parse::<u32>().ok()?;
        // A kernel thread has no command line, and owns no connection.
        fs::read(format!("/proc/{pid}/cmdline")).ok().filter(|line| !line.is_empty())?;
        Some(fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim_end().to_owned())
    };
    list(typed, names("/proc", comm))
}

/// The pages of the manual.
fn pages(typed: &OsStr) -> Vec<CompletionCandidate> {
    let program = Cli::command();
    let commands = program.get_subcommands().map(|command| command.get_name().to_owned());
    list(typed, commands.chain(["json", "metrics"].map(str::to_owned)))
}

/// What a folder has in it, each once. What cannot be typed as it is, or has a comma, is left out.
fn names(folder: &str, name: impl Fn(&str) -> Option<String>) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let found = entries.filter_map(|entry| name(entry.file_name().to_str()?));
    found.filter(|name| !name.is_empty() && !name.contains(',') && plain::escaped(name) == *name).take(MOST).collect()
}

/// What may stand at the end of a list that has been typed up to there: what it has already is left out, a `!` before it stays.
fn list<T: Display>(typed: &OsStr, all: impl IntoIterator<Item = T>) -> Vec<CompletionCandidate> {
    let Some(typed) = typed.to_str() else { return Vec::new() };
    let at = typed.rfind(',').map(|comma| comma + 1).unwrap_or_else(|| usize::from(typed.starts_with('!')));
    let (before, begun) = typed.split_at_checked(at).unwrap_or((typed, ""));
    let has: Vec<&str> = before.trim_start_matches('!').split(',').collect();
    let begun = begun.to_lowercase().replace('-', "_");
    let all = all.into_iter().map(|value| value.to_string());
    all.filter(|value| !has.contains(&value.as_str()) && value.to_lowercase().replace('-', "_").starts_with(&begun))
        .map(|value| CompletionCandidate::new(format!("{before}{value}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::{command, list};

    #[test]
    fn lists_go_on_behind_their_commas() {
        let of = |typed: &str| {
            let candidates = list(OsStr::new(typed), ["TIME_WAIT", "CLOSE", "CLOSE_WAIT"]);
            candidates.iter().map(|candidate| candidate.get_value().to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(of(""), ["TIME_WAIT", "CLOSE", "CLOSE_WAIT"]);
        assert_eq!(of("close-"), ["CLOSE_WAIT"]);
        assert_eq!(of("!TIME_WAIT,c"), ["!TIME_WAIT,CLOSE", "!TIME_WAIT,CLOSE_WAIT"]);
        assert_eq!(of("!t"), ["!TIME_WAIT"]);
        assert_eq!(of("CLOSE,CLOSE"), ["CLOSE,CLOSE_WAIT"]);
        assert!(of("x").is_empty());
    }

    #[test]
    fn the_command_line_with_values_is_consistent() {
        command().debug_assert();
    }
}
