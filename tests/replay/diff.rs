//! `tcpwait diff`: what is a difference and what is chance; what it says, and how it ends.

pub mod calibration;
mod sureness;

use std::fs;

use serde_json::Value;

use crate::{
    golden,
    support::{FIXTURES, Ran, finish, fixture, tcpwait},
};

fn diff(before: &str, after: &str, arguments: &[&str]) -> Ran {
    finish(tcpwait().arg("diff").arg(fixture(before)).arg(fixture(after)).args(arguments))
}

fn document(before: &str, after: &str, arguments: &[&str]) -> Value {
    let ran = diff(before, after, &[arguments, &["--json"]].concat());
    assert_eq!(ran.code, Some(0), "{before} {after}: {ran:?}");
    serde_json::from_str(&ran.stdout).unwrap()
}

/// The rows of counts with this name and these words as their verdicts.
fn rows<'a>(document: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    document[list].as_array().unwrap().iter()
}

#[test]
fn a_recording_differs_in_nothing_from_itself() {
    for name in FIXTURES {
        let ran = diff(name, name, &[]);
        assert_eq!(ran.code, Some(0), "{name}: {ran:?}");
        assert!(ran.stdout.contains("BEFORE and AFTER are the same recording.\n"), "{name}: {ran:?}");
        assert!(ran.stdout.contains("\nNo difference.\n"), "{name}: {ran:?}");
        let document = document(name, name, &[]);
        assert_eq!(document["differences"], 0, "{name}");
        assert_eq!(document["settings"].as_array().map_or(0, Vec::len), 0, "{name}");
    }
}

#[test]
fn halves_of_one_recording_are_the_same() {
    for name in ["keepalive_off", "keepalive_on"] {
        let document = document(name, name, &["--window", "..70s", "--window", "70s..140s"]);
        let of = |key: &str| document[key].as_u64().unwrap();
        assert!(of("compared") >= 20, "{name}: {document}");
        assert!(of("differences") * 20 <= of("compared"), "{name}: {document}");
    }
}

/// nginx closed each connection after its answer, and keeps them for 65 s now: there are fewer connections, and those that nginx has are open. What its
/// clients do elsewhere is as it was.
#[test]
fn a_change_of_keepalive_shows_as_what_it_did() {
    let document = document("keepalive_off", "keepalive_on", &[]);
    let verdict = |list: &str, name: &str, of: Option<&str>| {
        let is_it = |row: &&Value| row["name"] == name && row["of"].as_str() == of;
        rows(&document, list).find(is_it).unwrap_or_else(|| panic!("{name} {of:?}: {document}"))["verdict"].clone()
    };
    assert_eq!(verdict("counts", "connections.ended", None), "down");
    assert_eq!(verdict("counts", "connections.ended", Some("nginx :8080")), "down");
    assert_eq!(verdict("sockets", "established.sockets", None), "up");
    // As many TIME_WAITs as connections that were closed: fewer, with the load.
    assert_eq!(verdict("counts", "time_wait.entered", None), "with-load");
    assert_eq!(verdict("counts", "connections.ended", Some("python3 127.0.0.1:8090")), "same");
    assert_eq!(verdict("counts", "connections.ended", Some("python3 :8090")), "same");
    let worse: Vec<&Value> =
        rows(&document, "counts").filter(|row| row["kind"] == "worse" || row["kind"] == "new-failure").collect();
    assert!(worse.is_empty(), "{worse:?}");
    // And nothing else: connections to nginx, their TIME_WAITs, and what comes of having fewer of them.
    for row in rows(&document, "counts").filter(|row| !row["kind"].is_null()) {
        let name = row["name"].as_str().unwrap();
        let expected = ["connections.", "time_wait.entered", "time_wait.left.reused-by-"];
        assert!(expected.iter().any(|expected| name.starts_with(expected)), "{row}");
        assert!(row["of"].as_str().is_none_or(|of| of.contains(":8080")), "{row}");
    }
    let changed = rows(&document, "sockets").filter(|row| !row["kind"].is_null()).map(|row| &row["name"]);
    assert!(
        changed.into_iter().all(|name| ["established.sockets", "time_wait.sockets"].iter().any(|known| name == known)),
        "{document}"
    );
    let longer =
        rows(&document, "durations").flat_map(|row| rows(row, "quantiles")).filter(|row| !row["kind"].is_null());
    assert_eq!(longer.count(), 0, "{document}");
}

/// Nothing vanishes: what was there on one side only has its row.
#[test]
fn what_is_on_one_side_only_has_its_row() {
    let paths = ["incident", "reasons"].map(fixture);
    let ran = finish(tcpwait().env("COLUMNS", "1000").arg("diff").args(paths));
    // By default, and for those of groups where they are many.
    for told in ["mobile-gw to 10.9.0.99:9001: connect failed: given-up", "orders-api :8443: connections ended"] {
        assert!(ran.stdout.lines().any(|line| line.starts_with(told)), "{told}\n{}", ran.stdout);
    }
    let document = document("incident", "reasons", &[]);
    for row in rows(&document, "counts") {
        let numbers = ["before", "after"].map(|side| row[side]["count"].as_u64().unwrap());
        let verdict = row["verdict"].as_str().unwrap();
        match numbers {
            [0, _] => assert!(["new", "one-sided", "unknown-too-short"].contains(&verdict), "{row}"),
            [_, 0] => assert!(["gone", "one-sided", "unknown-too-short"].contains(&verdict), "{row}"),
            _ => assert!(!["new", "gone", "one-sided"].contains(&verdict), "{row}"),
        }
    }
    assert!(!ran.stdout.contains("inf") && !ran.stdout.contains("NaN"), "{}", ran.stdout);
}

/// CountsOverTime are those of `stat`.
#[test]
fn counts_are_what_stat_counts() {
    for name in ["keepalive_off", "reasons", "nginx", "7.3-ends"] {
        let document = document(name, name, &[]);
        let stat = finish(tcpwait().args(["stat", "--json", "--from"]).arg(fixture(name)));
        let stat: Value = serde_json::from_str(&stat.stdout).unwrap();
        let counted = |key: &str| {
            let row = rows(&document, "counts").find(|row| row["name"] == key && row["of"].is_null());
            row.map_or(0, |row| row["before"]["count"].as_u64().unwrap())
        };
        let steps = |wanted: &dyn Fn(&Value) -> bool| -> u64 {
            let all = stat["transitions"].as_array().unwrap().iter();
            all.filter(|step| wanted(step)).map(|step| step["count"].as_u64().unwrap()).sum()
        };
        let entered = steps(&|step| step["to"] == "TIME_WAIT");
        assert!(entered > 0, "{name}");
        assert_eq!(counted("time_wait.entered"), entered, "{name}");
        let made = steps(&|step| step["from"] == "SYN_SENT" && step["to"] == "ESTABLISHED");
        assert_eq!(counted("connections.connected"), made, "{name}");
        for (reason, row) in stat["ends"].as_object().unwrap() {
            // Those out of states in which a connection had been made, by detail and in all.
            let counted_of = |prefix: &str| -> u64 {
                let names = |row: &Value| {
                    let name = row["name"].as_str().unwrap().to_owned();
                    row["of"].is_null() && (name == prefix || name.starts_with(&format!("{prefix}.")))
                };
                rows(&document, "counts")
                    .filter(|row| names(row))
                    .map(|row| row["before"]["count"].as_u64().unwrap())
                    .sum()
            };
            let from = row["from"].as_object().unwrap().iter();
            let made = from.filter(|(state, _)| {
                !["SYN_SENT", "SYN_RECV", "LISTEN", "CLOSE", "TIME_WAIT"].contains(&state.as_str())
            });
            let made: u64 = made.map(|(_, count)| count.as_u64().unwrap()).sum();
            assert_eq!(counted_of(&format!("ended.{reason}")), made, "{name} {reason}");
        }
    }
}

#[test]
fn conditions_decide_the_exit_code() {
    let code = |conditions: &[&str]| {
        let conditions: Vec<&str> = conditions.iter().flat_map(|condition| ["--fail-if", condition]).collect();
        let ran = diff("keepalive_off", "keepalive_on", &conditions);
        (ran.code, ran.stderr)
    };
    for holds in [
        "CLOSE_WAIT.sockets >= 0",
        "failures.no-free-port >= 0",
        "connections.ended < -50%",
        "connections.ended[nginx :8080] < -90%",
        "established.sockets > +50%",
        "time_wait.entered.count > 100",
        "time_wait.p50 > 60s",
        "established.sockets[python3 127.0.0.1:8080].max > 2",
        "connections.ended[nginx :8080].per_s < -90%",
        "time_wait.entered < -10%",
    ] {
        let (code, said) = code(&[holds]);
        assert_eq!(code, Some(4), "{holds}: {said}");
        assert!(said.contains(&format!("--fail-if '{holds}' holds: ")), "{said}");
    }
    for does_not in [
        "connections.ended > +5%",
        "failures > 0",
        "failures.no-free-port.count > 0",
        "drops.accept-queue > 0",
        "drops > +10%",
        "ended.reset > +0%",
        "time_wait.entered.per_1000 > +10%",
        "time_wait.p99 > 63s",
    ] {
        assert_eq!(code(&[does_not]).0, Some(0), "{does_not}");
    }
    assert_eq!(code(&["failures > 0", "time_wait.entered > 0"]).0, Some(4));
    let (code_of, said) = code(&["connections.ended[nobody] > 0"]);
    assert!(code_of == Some(4) && said.contains("neither recording has anything of [nobody]"), "{said}");
    // Four connections to nginx are too few for a percentile, or for a comparison of their medians.
    for unknown in ["established.p99[nginx :8080] > 5ms", "established.p50[nginx :8080] > +10%"] {
        let (code_of, said) = code(&[unknown]);
        assert!(code_of == Some(4) && said.contains("cannot be said"), "{unknown}: {said}");
    }
    let (refused, said) = code(&["nothing > 5"]);
    assert!(refused == Some(2) && said.contains("nothing is called \"nothing\""), "{said}");
    // Too short to be said: that is no pass.
    let short = diff("natural", "natural", &["--fail-if", "time_wait.left.expired > +10%"]);
    assert_eq!(short.code, Some(0), "nothing of it was counted: {short:?}");
    let short = diff("6.1-ends", "incident", &["--fail-if", "connections.ended > +10%"]);
    assert!(short.code == Some(4) && short.stderr.contains("cannot be said"), "{short:?}");
}

#[test]
fn it_refuses_what_it_cannot_do() {
    let twice = finish(tcpwait().args(["diff", "-", "-"]));
    assert!(twice.code == Some(1) && twice.stderr.contains("only be one"), "{twice:?}");
    let late = diff("natural", "natural", &["--window", "2h.."]);
    assert!(late.code == Some(1) && late.stderr.contains("nothing was recorded in the time"), "{late:?}");
    let many = diff("natural", "natural", &["--window", "..1s", "--window", "1s..2s", "--window", "2s.."]);
    assert!(many.code == Some(1) && many.stderr.contains("given 3 times"), "{many:?}");
    let place = tempfile::tempdir().unwrap();
    let copy = place.path().join("copy.tcpwait");
    fs::copy(fixture("natural"), &copy).unwrap();
    let over = finish(tcpwait().arg("diff").arg(fixture("natural")).arg(&copy).arg("-o").arg(&copy));
    assert!(over.code == Some(1) && over.stderr.contains("over the recording"), "{over:?}");
    assert_eq!(fs::read(&copy).unwrap(), fs::read(fixture("natural")).unwrap());
}

#[test]
fn the_page_says_what_the_text_says() {
    let page = diff("keepalive_off", "keepalive_on", &["-o", "-"]);
    assert_eq!(page.code, Some(0), "{page:?}");
    let mut command = tcpwait();
    let paths = ["keepalive_off", "keepalive_on"].map(fixture);
    let text = finish(command.env("COLUMNS", "1000").arg("diff").args(paths));
    let html = page.stdout.replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">");
    for sentence in text.stdout.lines().filter(|line| line.ends_with('.') && line.contains(" before, ")) {
        assert!(html.contains(sentence), "{sentence}\n{html}");
    }
    for heading in ["What differs", "Over time", "How long things took", "How this was judged"] {
        assert!(html.contains(&format!("<h2>{heading}</h2>")), "{heading}");
    }
    let (_, rest) = page.stdout.split_once("<script type=\"application/json\" id=\"data\">").unwrap();
    let document: Value = serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap();
    assert_eq!(document["schema"], "diff/1");
    let without_names = page.stdout.replace("http://www.w3.org/2000/svg", "").replace("url(#", "");
    for fetched in ["http:", "https:", "src=", "<link", "@import", "url("] {
        assert!(!without_names.contains(fetched), "{fetched}");
    }
    assert!(page.stdout.len() < 1 << 20, "{} bytes", page.stdout.len());
}

/// Byte for byte, a shape on each line.
#[test]
fn pictures() {
    let page = diff("keepalive_off", "keepalive_on", &["-o", "-"]).stdout;
    let pictures = page.split("<svg id=\"picture-").skip(1);
    let pictures: Vec<String> =
        pictures.map(|rest| rest.split("</svg>").next().unwrap().replace("><", ">\n<")).collect();
    assert_eq!(pictures.len(), 3, "over time, the state machine, lengths");
    golden::compare("keepalive.pictures", &pictures.join("\n\n"));
}
