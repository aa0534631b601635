//! Colour: on a terminal only, unless it is asked for; whole lines, and never the only sign.

use std::process::Command;

use crate::support::{Ran, finish, fixture, tcpwait};

const ESCAPE: char = '\u{1b}';

/// Verbs with something wrong in their report.
const VERBS: [&str; 2] = ["trace", "stat"];

fn command(verb: &str, color: &[&str]) -> Command {
    let mut command = tcpwait();
    command.env("TZ", "UTC").env("COLUMNS", "80").args([verb, "--from"]).arg(fixture("reasons")).args(color);
    command
}

fn piped(verb: &str, color: &[&str], no_color: Option<&str>) -> Ran {
    let mut command = command(verb, color);
    command.env_remove("NO_COLOR");
    if let Some(value) = no_color {
        command.env("NO_COLOR", value);
    }
    let ran = finish(&mut command);
    assert_eq!(ran.code, Some(0), "{verb} {color:?}: {}", ran.stderr);
    ran
}

/// What it writes to a terminal; `None` where there is no script(1) to make one.
fn on_a_terminal(verb: &str, color: &[&str], no_color: Option<&str>) -> Option<String> {
    let mut script = Command::new("script");
    let command = command(verb, color);
    let words = [command.get_program()].into_iter().chain(command.get_args());
    let line: Vec<String> = words.map(|word| format!("'{}'", word.to_str().unwrap())).collect();
    script.args(["-qec", &format!("{} 2>/dev/null", line.join(" ")), "/dev/null"]);
    script.env("TERM", "xterm").env("COLUMNS", "80").env_remove("NO_COLOR");
    if let Some(value) = no_color {
        script.env("NO_COLOR", value);
    }
    match script.output() {
        Ok(output) => {
            assert!(output.status.success(), "{output:?}");
            Some(String::from_utf8(output.stdout).unwrap())
        }
        Err(e) => {
            println!("no script(1), so no terminal: {e}");
            None
        }
    }
}

/// The same text without colour.
fn plain(text: &str) -> String {
    text.replace("\u{1b}[31m", "").replace("\u{1b}[33m", "").replace("\u{1b}[0m", "").replace('\r', "")
}

#[test]
fn none_goes_into_a_pipe_unless_it_is_asked_for() {
    for verb in VERBS {
        let auto = piped(verb, &[], None).stdout;
        assert!(!auto.contains(ESCAPE), "{auto}");
        assert_eq!(piped(verb, &["--color", "never"], None).stdout, auto);
        for no_color in [None, Some("1")] {
            let always = piped(verb, &["--color", "always"], no_color).stdout;
            assert!(always.contains("\u{1b}[31m") && always.contains("\u{1b}[33m") || verb == "stat", "{always}");
            assert!(always.contains("\u{1b}[31m"), "{always}");
            assert_eq!(plain(&always), auto, "{verb}");
            for line in always.lines().filter(|line| line.contains(ESCAPE)) {
                assert!(line.starts_with(ESCAPE) && line.ends_with("\u{1b}[0m"), "{line:?}");
                assert_eq!(line.matches(ESCAPE).count(), 2, "{line:?}");
            }
        }
    }
}

#[test]
fn a_terminal_has_it_unless_no_color_is_set() {
    for verb in VERBS {
        let Some(auto) = on_a_terminal(verb, &[], None) else { return };
        assert!(auto.contains("\u{1b}[31m"), "{verb}: {auto}");
        let without = [(&["--color", "never"][..], None), (&[][..], Some("1"))];
        for (color, no_color) in without {
            let text = on_a_terminal(verb, color, no_color).unwrap();
            assert!(!text.contains(ESCAPE) && !text.is_empty(), "{verb} {color:?} {no_color:?}: {text}");
        }
        assert!(on_a_terminal(verb, &[], Some("")).unwrap().contains(ESCAPE), "an empty NO_COLOR is none");
        assert!(on_a_terminal(verb, &["--color", "always"], Some("1")).unwrap().contains(ESCAPE), "it is asked for");
    }
}
