//! The manual, the completions and the version that the one file prints: they tell of every command and option, and the programs that read them take them.

use std::{collections::BTreeSet, fs, process::Command};

use clap::CommandFactory as _;
use tcpwait::{
    cli::Cli,
    manual::{as_text, pages},
};

use crate::support::{Ran, finish, run, tcpwait};

/// Commands that have a page, which are all but clap's own.
fn commands() -> Vec<clap::Command> {
    let mut program = Cli::command();
    program.build();
    program.get_subcommands().filter(|command| command.get_name() != "help").cloned().collect()
}

#[test]
fn every_command_and_option_has_its_place() {
    for command in commands() {
        let name = command.get_name();
        let page = run(["manual", name]).stdout;
        for heading in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "SEE ALSO"] {
            assert!(page.lines().any(|line| line == heading), "{name}: no {heading}\n{page}");
        }
        let shown = command.get_arguments().filter(|argument| !argument.is_hide_set());
        for long in shown.filter_map(|argument| argument.get_long()) {
            let is_named = |line: &str| line.split([' ', ',']).any(|word| word == format!("--{long}"));
            assert!(page.lines().any(is_named), "{name}: no --{long}");
        }
    }
    let names: BTreeSet<String> = pages().iter().map(|page| page.name.clone()).collect();
    assert_eq!(names.len(), pages().len(), "two pages have one name");
}

#[test]
fn text_fits_into_80_columns() {
    for page in pages() {
        for line in as_text(&page, 80).lines() {
            // A command to copy, or a name, is not broken.
            assert!(line.chars().count() <= 80 || !line.trim().contains(' '), "{}: {line}", page.name);
            assert!(line.trim_end() == line && line.is_ascii(), "{}: {line:?}", page.name);
        }
    }
}

#[test]
fn examples_are_commands_that_there_are() {
    let mut examples = 0;
    for page in pages() {
        let text = as_text(&page, 1000);
        let of_examples = text.split("\nEXAMPLES\n").nth(1).unwrap_or_default();
        for line in of_examples.lines().take_while(|line| !line.starts_with("SEE")) {
            let Some(command) =
                line.strip_prefix("       tcpwait").filter(|rest| rest.is_empty() || rest.starts_with(' '))
            else {
                continue;
            };
            let words = words(command);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let arguments = std::iter::once("tcpwait");
            // Without a verb it is stat.
            let verb = words.first().is_none_or(|word| word.starts_with(|c: char| c == '-' || c.is_ascii_digit()));
            let arguments = arguments.chain(verb.then_some("stat")).chain(words.iter().copied());
            let parsed = clap::Parser::try_parse_from(arguments).map(|_: Cli| ());
            assert!(parsed.is_ok(), "{}: {command}: {}", page.name, parsed.unwrap_err());
            examples += 1;
        }
    }
    assert!(examples > 30, "{examples}");
}

/// The words of a command up to a pipe or a redirection, as a shell has them: single quotes hold one together.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut word, mut is_quoted) = (Vec::new(), String::new(), false);
    for c in command.chars().chain([' ']) {
        match c {
            '\'' => is_quoted = !is_quoted,
            ' ' if !is_quoted => words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty())),
            '|' | '>' if !is_quoted => break,
            c => word.push(c),
        }
    }
    words
}

/// mandoc(1) and groff(1) are asked where they are; `cargo xtask test` installs them.
#[test]
fn roff_is_taken_without_a_word() {
    let folder = tempfile::tempdir().unwrap();
    let written = finish(tcpwait().arg("manual").arg("--output").arg(folder.path()));
    assert_eq!(written.code, Some(0), "{written:?}");
    for page in pages() {
        let file = folder.path().join(format!("man{}", page.section)).join(page.file());
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with(".TH ") && text.is_ascii(), "{}", file.display());
        let path = file.to_str().unwrap();
        for (program, arguments) in
            [("mandoc", &["-T", "lint", path][..]), ("groff", &["-man", "-ww", "-Tutf8", "-z", path])]
        {
            let Ok(output) = Command::new(program).args(arguments).output() else {
                println!("{program} is not here");
                continue;
            };
            let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
            // What was not built for use does not know its date.
            let complaints: Vec<&str> = said.lines().filter(|line| !line.contains("missing date")).collect();
            assert!(complaints.is_empty(), "{program}: {complaints:#?}");
        }
    }
}

#[test]
fn a_page_that_is_none_is_refused_with_those_there_are() {
    let Ran { code, stderr, .. } = run(["manual", "no\u{1b}such"]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("there is no page called no\\u{1b}such") && stderr.contains("stat"), "{stderr}");
}

/// What a shell gets that asks.
fn completed(words: &[&str]) -> Vec<String> {
    let mut asking = tcpwait();
    asking
        .env("TCPWAIT_COMPLETE", "bash")
        .env("_CLAP_IFS", "\n")
        .env("_CLAP_COMPLETE_INDEX", (words.len() - 1).to_string());
    let ran = finish(asking.arg("--").args(words));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran.stdout.lines().map(str::to_owned).collect()
}

#[test]
fn shells_are_told_what_may_come_next() {
    for command in commands() {
        assert!(completed(&["tcpwait", ""]).contains(&command.get_name().to_owned()), "{}", command.get_name());
    }
    assert_eq!(
        completed(&["tcpwait", "trace", "--state", "TIME_WAIT,cl"]),
        ["TIME_WAIT,CLOSE", "TIME_WAIT,CLOSE_WAIT", "TIME_WAIT,CLOSING"]
    );
    assert_eq!(completed(&["tcpwait", "stat", "--by", "service,pr"]), ["service,process"]);
    assert_eq!(completed(&["tcpwait", "trace", "--reason", "timed"]), ["timed-out"]);
    // Without a verb it is stat.
    assert_eq!(completed(&["tcpwait", "--fail"]), ["--fail-on-loss"]);
    assert!(completed(&["tcpwait", "states", "--comm", ""]).contains(&own_name()));
}

/// As ps(1) calls this process.
fn own_name() -> String {
    fs::read_to_string("/proc/self/comm").unwrap().trim_end().to_owned()
}

/// The shells themselves are asked where they are; `cargo xtask test` installs them.
#[test]
fn each_shell_takes_its_script() {
    let folder = tempfile::tempdir().unwrap();
    for (shell, check) in [
        ("bash", r#"source "$1"; complete -p tcpwait"#),
        ("zsh", r#"autoload -U compinit; compinit -u -D; source "$1"; print -r -- "${_comps[tcpwait]}""#),
        ("fish", r#"source $argv[1]; complete -C "tcpwait trace --state TIME_WAIT,closi""#),
    ] {
        let script = run(["completions", shell]);
        assert_eq!(script.code, Some(0), "{script:?}");
        let file = folder.path().join(shell);
        fs::write(&file, &script.stdout).unwrap();
        let mut asking = Command::new(shell);
        match shell {
            "bash" => asking.args(["--norc", "-c", check, "bash"]),
            "zsh" => asking.args(["-f", "-c", check, "zsh"]),
            _ => asking.args(["--no-config", "-c", check]),
        };
        let Ok(output) = asking.arg(&file).env("HOME", folder.path()).env("TERM", "dumb").output() else {
            println!("{shell} is not here");
            continue;
        };
        let (said, complaints) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && complaints.is_empty(), "{shell}: {said}{complaints}");
        let expected = if shell == "fish" { "TIME_WAIT,CLOSING" } else { "_tcpwait" };
        let expected = if shell == "zsh" { "_clap_dynamic_completer_tcpwait" } else { expected };
        assert!(said.contains(expected), "{shell}: {said}");
    }
}

#[test]
fn the_version_says_what_it_was_built_from() {
    let version = run(["version"]);
    assert_eq!(version.stdout, format!("tcpwait {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(run(["--version"]).stdout, version.stdout);
    let all = run(["version", "--verbose"]);
    assert_eq!(all.code, Some(0), "{all:?}");
    for name in ["commit", "built for", "built by", "BPF side", "recordings", "JSON", "kernel", "hooks"] {
        assert!(all.stdout.lines().any(|line| line.starts_with(name)), "no {name}\n{}", all.stdout);
    }
    let json: serde_json::Value = serde_json::from_str(&run(["version", "--json"]).stdout).unwrap();
    assert_eq!(json["schema"], "version/1");
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
    // Either they were tried, or it is said why not.
    assert_ne!(json["probes"].is_null(), json["untried"].is_null());
}
