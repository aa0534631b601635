//! The tables in docs/kernels.md are what the hooks, the fixtures and the needs of the kernel side make them. `UPDATE_GOLDEN=1` writes
//! them anew, between the marks; the text around them is a person's.

use std::{env, fs};

use serde::Deserialize;
use tcpwait::kernel::{AttachKind, HOOKS, Hook, NEEDS, Need, Work};
use tcpwait_wire::config::{ABSENT, OFFSETS};

use super::{Behaviour, KERNELS, Report, report, types};
use crate::support::tests;

#[test]
fn the_document_is_what_the_code_makes() {
    let path = tests().join("../docs/kernels.md");
    let text = fs::read_to_string(&path).unwrap();
    let mut made = text.clone();
    let tables = [
        ("matrix", matrix()),
        ("hooks", hooks()),
        ("behaviour", behaviour()),
        ("fields", fields()),
        ("needs", needs()),
    ];
    for (name, table) in tables {
        made = replaced(&made, name, &table);
    }
    if env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        return fs::write(&path, made).unwrap();
    }
    for (written, made) in text.lines().zip(made.lines()) {
        assert_eq!(written, made, "docs/kernels.md (UPDATE_GOLDEN=1 writes its tables anew)");
    }
    assert_eq!(text, made, "docs/kernels.md (UPDATE_GOLDEN=1 writes its tables anew)");
}

/// The text with what is between two marks replaced.
fn replaced(text: &str, name: &str, table: &str) -> String {
    let begin = format!("<!-- {name}: made from the code by tests/replay/kernels/table.rs -->\n");
    let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("docs/kernels.md has no {begin}"));
    let (_, after) = rest.split_once("<!-- end -->").unwrap_or_else(|| panic!("{name} has no end"));
    format!("{before}{begin}{table}<!-- end -->{after}")
}

fn row(cells: impl IntoIterator<Item = String>) -> String {
    format!("| {} |\n", cells.into_iter().collect::<Vec<_>>().join(" | "))
}

/// The heading, and the line below it.
fn heading(cells: impl IntoIterator<Item = String>) -> String {
    let cells: Vec<String> = cells.into_iter().collect();
    let line = row(cells.iter().map(|_| "---".to_owned()));
    row(cells) + &line
}

/// How the tests went, as `cargo xtask vm --matrix` has left it in its `matrix.json`.
#[derive(Deserialize)]
struct Matrix {
    tests: usize,
    finished: bool,
    rows: Vec<Run>,
}

/// On one kernel, in one profile.
#[derive(Deserialize)]
struct Run {
    kernel: String,
    profile: String,
    release: Option<String>,
    result: String,
    why: Option<String>,
    seconds: Option<u64>,
}

fn matrix() -> String {
    let path = tests().join("fixtures/kernels/matrix.json");
    let matrix: Matrix = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let mut table = heading(["kernel", "profile", "release", "result", "time", ""].map(str::to_owned));
    for run in &matrix.rows {
        let result = match run.result.as_str() {
            "passed" => format!("all {} passed", matrix.tests),
            "failed" => "**failed**".to_owned(),
            _ => "not run".to_owned(),
        };
        let time = run.seconds.map_or_else(|| "-".to_owned(), |all| format!("{}:{:02}", all / 60, all % 60));
        let why = run.why.as_deref().unwrap_or_default().lines().next().unwrap_or_default().replace('|', "/");
        let release = run.release.clone().unwrap_or_else(|| "-".to_owned());
        table += &row([run.kernel.clone(), run.profile.clone(), release, result, time, why]);
    }
    if !matrix.finished {
        table += "\nThis run was not finished: what has no row was not run.\n";
    }
    table
}

fn reports() -> [Report; KERNELS.len()] {
    KERNELS.map(report)
}

fn hooks() -> String {
    let kernels = reports();
    let before = ["hook", "attached by", "needed"].map(str::to_owned);
    let names = kernels.iter().map(|kernel| kernel.kernel.clone());
    let mut table = heading(before.into_iter().chain(names).chain(["without it".to_owned()]));
    for hook in HOOKS {
        let kind = match hook.kind {
            AttachKind::Tracepoint => "`tp_btf`",
            AttachKind::Fexit => "`fexit`",
        };
        let need = match hook.need {
            Need::Required => "yes",
            Need::Optional => "no",
            Need::OneOf(Work::Segments) => "the first of these for late segments",
            Need::OneOf(Work::Ports) => "the first of these for calls that fail",
            Need::OneOf(Work::Accepts) => "the first of these for who accepts",
        };
        let states = KERNELS.iter().zip(&kernels).map(|(name, kernel)| state(hook, name, kernel));
        let cells = [format!("`{}`", hook.name), kind.to_owned(), need.to_owned()].into_iter().chain(states);
        table += &row(cells.chain([hook.without.to_owned()]));
    }
    table
}

fn state(hook: &Hook, name: &str, kernel: &Report) -> String {
    let row = kernel.hooks.iter().find(|row| row.hook == hook.name);
    let row = row.unwrap_or_else(|| panic!("{name} was not asked for {}: make.sh makes it anew", hook.name));
    assert_eq!(row.attached, row.why.is_none(), "{} on {name}", hook.name);
    match &row.why {
        None => "attached".to_owned(),
        // Nobody tried, so its types have to tell.
        Some(_) if hook.name == "kfree_skb" && !types::of(name).tracepoint_arg_is(hook.name, 3, "sock") => {
            "of no use: carries no `rx_sk`".to_owned()
        }
        Some(_) if hook.name == "tcp_sendmsg_locked" && !types::of(name).tracepoint_arg_is(hook.name, 0, "sock") => {
            "not there".to_owned()
        }
        Some(why) if why.ends_with("does its work") => "would do, but is not needed".to_owned(),
        Some(why) => format!("refused: {why}"),
    }
}

fn behaviour() -> String {
    let kernels = reports();
    let mut table = heading([String::new()].into_iter().chain(kernels.iter().map(|kernel| kernel.kernel.clone())));
    let mut add = |what: &str, answer: fn(&Behaviour) -> Option<bool>, yes: &str, no: &str| {
        let said = kernels.iter().map(|kernel| match answer(&kernel.behaviour) {
            Some(true) => yes.to_owned(),
            Some(false) => no.to_owned(),
            None => format!("not known: {}", kernel.behaviour.untried.as_deref().unwrap_or("nobody says why")),
        });
        table += &row([what.to_owned()].into_iter().chain(said));
    };
    add("`ss -K` ends a TIME_WAIT", |found| found.destroy_ends_time_wait, "yes", "no");
    add("`TcpExtTW` counts TIME_WAITs", |found| found.tw_counts_beginnings, "when they begin", "when they end");
    table
}

fn fields() -> String {
    let mut table = heading(["optional field".to_owned()].into_iter().chain(KERNELS.map(str::to_owned)));
    for field in OFFSETS.iter().filter(|field| field.optional) {
        let there = KERNELS.map(|kernel| match types::offset(&types::of(kernel), field.global) {
            ABSENT => "absent".to_owned(),
            _ => "there".to_owned(),
        });
        table +=
            &row([format!("`{}.{}`", field.structure, field.member.replace('|', "` or `"))].into_iter().chain(there));
    }
    table
}

fn needs() -> String {
    let mut needs: Vec<_> = NEEDS.iter().collect();
    needs.sort_by_key(|need| std::cmp::Reverse(need.since));
    let mut table = heading(["the kernel side uses", "since", "commit"].map(str::to_owned));
    for need in needs {
        let (major, minor) = need.since;
        table += &row([need.name.to_owned(), format!("{major}.{minor}"), format!("`{}`", need.commit)]);
    }
    table
}
