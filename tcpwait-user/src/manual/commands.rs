//! The pages of the program and of its commands, from what the command line says of itself.

use clap::{Arg, Command, CommandFactory};

use super::{
    endings, help,
    page::{Block, ManualPage},
};
use crate::{cli::Cli, top::keys::KEYS};

/// The heading of options that have none.
const OPTIONS: &str = "Options";

/// One of the program, and one of each command.
pub(super) fn pages() -> Vec<ManualPage> {
    let mut program = Cli::command();
    program.build();
    let of_commands: Vec<ManualPage> = commands(&program).map(of_command).collect();
    let mut pages = vec![of_program(&program)];
    pages.extend(of_commands);
    pages
}

fn commands(program: &Command) -> impl Iterator<Item = &Command> {
    program.get_subcommands().filter(|command| command.get_name() != "help" && !command.is_hide_set())
}

fn of_program(program: &Command) -> ManualPage {
    let mut page = ManualPage::new(program.get_name(), 1, "trace TCP connection states, above all TIME_WAIT");
    let ways = ["tcpwait [<INTERVAL> [<COUNT>]] [<OPTIONS OF STAT>]", "tcpwait <COMMAND> [<OPTIONS>]"];
    page.add("SYNOPSIS", ways.map(|way| Block::Term(way.to_owned(), String::new())).into());
    page.add(
        "DESCRIPTION",
        vec![
            Block::Text(about(program)),
            Block::Text(
                "Without a command it reports every second: `tcpwait` is `tcpwait stat 1`, `tcpwait 5` is `tcpwait stat 5`, `tcpwait -L 80` is `tcpwait \
                 stat 1 -L 80`. It changes nothing on the machine, and leaves nothing behind when it ends or is killed."
                    .to_owned(),
            ),
            Block::Text(
                "What is not known is shown as -, never as 0. What was lost is counted by its cause, and said at the end of each report."
                    .to_owned(),
            ),
        ],
    );
    let each = commands(program);
    page.add("COMMANDS", each.map(|command| Block::Term(command.get_name().to_owned(), about(command))).collect());
    page.add("OPTIONS", options(program));
    endings::add(&mut page, program.get_name());
    page
}

fn of_command(command: &Command) -> ManualPage {
    let about = about(command);
    let mut page = ManualPage::new(&format!("tcpwait-{}", command.get_name()), 1, &about);
    page.add("SYNOPSIS", usage(command));
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let (said, examples) = help::blocks(&after);
    let mut description = vec![Block::Text(about)];
    description.extend(said);
    page.add("DESCRIPTION", description);
    page.add("OPTIONS", options(command));
    if command.get_name() == "top" {
        page.add(
            "KEYS",
            KEYS.iter().map(|key| Block::Term(key.names.1.to_owned(), format!("{}.", key.help))).collect(),
        );
    }
    endings::add(&mut page, command.get_name());
    page.add("EXAMPLES", examples);
    page
}

fn about(command: &Command) -> String {
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    // clap takes the full stop of the only sentence away.
    if about.ends_with('.') { about } else { format!("{about}.") }
}

fn usage(command: &Command) -> Vec<Block> {
    // Rendering needs one that may be changed.
    let usage = command.clone().render_usage().to_string();
    let lines = usage.lines().map(|line| line.trim_start().trim_start_matches("Usage: "));
    lines.filter(|line| !line.is_empty()).map(|line| Block::Term(line.to_owned(), String::new())).collect()
}

/// The options, and what stands without one, under their headings, which come in the order of the command line.
fn options(command: &Command) -> Vec<Block> {
    let shown: Vec<&Arg> = command.get_arguments().filter(|argument| !argument.is_hide_set()).collect();
    let mut headings: Vec<&str> = Vec::new();
    for heading in shown.iter().map(|argument| argument.get_help_heading().unwrap_or(OPTIONS)) {
        if !headings.contains(&heading) {
            headings.push(heading);
        }
    }
    let mut blocks = Vec::new();
    for heading in &headings {
        if *heading != OPTIONS {
            blocks.push(Block::Heading((*heading).to_owned()));
        }
        let under = shown.iter().filter(|argument| argument.get_help_heading().unwrap_or(OPTIONS) == *heading);
        // What stands without an option comes first, as on the command line.
        let (mut first, with_name): (Vec<&Arg>, Vec<&Arg>) =
            under.copied().partition(|argument| argument.is_positional());
        first.extend(with_name);
        blocks.extend(first.into_iter().map(option));
    }
    blocks
}

fn option(argument: &Arg) -> Block {
    let help = argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut meaning = help.trim().to_owned();
    if !meaning.ends_with('.') {
        meaning.push('.');
    }
    let takes_value = argument.get_action().takes_values();
    let values: Vec<_> = if takes_value && !argument.is_hide_possible_values_set() {
        argument.get_possible_values().into_iter().filter(|value| !value.is_hide_set()).collect()
    } else {
        Vec::new()
    };
    if !values.is_empty() {
        let each = values.iter().map(|value| match value.get_help() {
            Some(help) => format!("`{}` ({help})", value.get_name()),
            None => format!("`{}`", value.get_name()),
        });
        meaning += &format!(" Possible: {}.", each.collect::<Vec<_>>().join(", "));
    }
    let defaults: Vec<String> =
        argument.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy())).collect();
    if takes_value && !defaults.is_empty() {
        meaning += &format!(" Unless said otherwise: {}.", defaults.join(", "));
    }
    Block::Term(name(argument), meaning)
}

/// As it is typed: `-L, --lport <PORTS>`.
fn name(argument: &Arg) -> String {
    let mut name: Vec<String> = Vec::new();
    name.extend(argument.get_short().map(|short| format!("-{short}")));
    name.extend(argument.get_long().map(|long| format!("--{long}")));
    let mut name = name.join(", ");
    if argument.is_positional() || argument.get_action().takes_values() {
        let value = argument.get_value_names().and_then(|names| names.first());
        let value = value.map_or_else(|| argument.get_id().to_string().to_uppercase(), ToString::to_string);
        if !name.is_empty() {
            name.push(' ');
        }
        name += &format!("<{value}>");
    }
    name
}
