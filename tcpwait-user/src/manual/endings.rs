//! What the command line does not say of itself: exit codes, variables, files.

use super::page::{Block, ManualPage};

/// Those that trace.
const TRACING: [&str; 6] = ["tcpwait", "stat", "top", "trace", "ports", "export"];

/// Adds those sections to the page of `command`; `tcpwait` is the program.
pub(super) fn add(page: &mut ManualPage, command: &str) {
    let traces = TRACING.contains(&command) || command == "record";
    page.add("EXIT STATUS", exit_codes(command));
    page.add("ENVIRONMENT", variables(command));
    let mut files = vec![term(
        "/run/netns, /proc/*/ns/net",
        "Where network namespaces are looked for. A process of the namespace, or a name in that folder, is what it is called by.",
    )];
    if traces || command == "probes" {
        files.push(term("/sys/kernel/btf/vmlinux", "The types of this kernel, without which nothing can be traced."));
    }
    if command == "export" {
        files.push(term(
            "/etc/default/tcpwait-exporter",
            "Where the systemd unit takes its options from: TCPWAIT_OPTIONS.",
        ));
    }
    if !["version", "manual", "completions", "schema"].contains(&command) {
        page.add("FILES", files);
    }
}

fn term(word: &str, meaning: &str) -> Block {
    Block::Term(word.to_owned(), meaning.to_owned())
}

fn exit_codes(command: &str) -> Vec<Block> {
    let mut codes = vec![
        term("0", "Done, also after Ctrl-C, or when nobody reads the output any more."),
        term("1", "Not possible; stderr says why."),
        term("2", "Wrong usage."),
    ];
    match command {
        "doctor" => {
            codes.insert(
                1,
                term(
                    "0 to 3",
                    "With --check: 0 nothing to do, 1 a NOTE on sockets that are there, 2 a finding NOW, 3 nothing could be read.",
                ),
            );
        }
        "stat" | "tcpwait" => codes.push(term(
            "3",
            "Done, but --fail-on-loss was given and something was lost, or the kernel's own counters differ from those of stat without an explanation.",
        )),
        "diff" => {
            codes.push(term("3", "Done, but --fail-on-loss was given and something was lost in a recording."));
            codes.push(term("4", "Done, and a condition of --fail-if holds, or cannot be said."));
        }
        "trace" | "ports" | "record" | "report" => {
            codes.push(term("3", "Done, but --fail-on-loss was given and something was lost."));
        }
        _ => {}
    }
    if command == "stat" {
        codes.push(term("others", "Those of COMMAND; 128 and the number of the signal, if one ended it."));
    }
    codes
}

fn variables(command: &str) -> Vec<Block> {
    let mut variables = Vec::new();
    let draws = ["tcpwait", "stat", "top", "trace", "states", "ports", "doctor"].contains(&command);
    if draws {
        variables.push(term("NO_COLOR", "Not empty: no colours, unless --color says otherwise."));
        variables.push(term("TERM", "`dumb`: no colours, and no screen of top."));
        variables.push(term("COLUMNS", "How wide lines may be, instead of the terminal's width."));
    }
    if command == "top" {
        variables.push(term("LINES", "How many lines --once prints, instead of the terminal's."));
        variables.push(term(
            "LC_ALL, LC_CTYPE, LANG",
            "The first of them that is set says the character set; other than UTF-8: as with --ascii.",
        ));
    }
    if ["tcpwait", "stat", "trace", "top"].contains(&command) {
        variables.push(term("TZ", "The time zone of what is shown as time of day."));
    }
    variables
}
