//! `tcpwait report`: what is on the page, and that nothing else happens when it is opened.

mod numbers;

use std::{collections::HashSet, fs, path::Path};

use base64::Engine as _;
use serde_json::Value;
use tcpwait_wire::wire;
use zerocopy::{FromBytes, IntoBytes};

use crate::{
    golden,
    support::{FIXTURES, Ran, finish, fixture, records, tcpwait, write},
};

/// The page of a recording, and what was said.
fn page(name: &str) -> (String, Ran) {
    page_of(&fixture(name), &[])
}

/// The same of any file, with these options.
fn page_of(recording: &Path, options: &[&str]) -> (String, Ran) {
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("page.html");
    let ran = finish(tcpwait().args(["report", "--from"]).arg(recording).arg("-o").arg(&out).args(options));
    assert_eq!(ran.code, Some(0), "{recording:?}: {ran:?}");
    (fs::read_to_string(&out).unwrap(), ran)
}

/// The numbers that are in a page.
fn data(page: &str) -> Value {
    serde_json::from_str(between(page, "<script type=\"application/json\" id=\"data\">", "</script>")).unwrap()
}

/// Each picture: its name on the page, and its shapes.
fn pictures_of(page: &str) -> Vec<(&str, &str)> {
    let each = page.split("<svg id=\"picture-").skip(1);
    each.map(|rest| rest.split("</svg></div>").next().unwrap().split_once('"').unwrap()).collect()
}

/// What stands between these two.
fn between<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(begin).unwrap_or_else(|| panic!("{begin} is not there"));
    rest.split_once(end).unwrap_or_else(|| panic!("no {end} behind {begin}")).0
}

#[test]
fn every_recording_has_a_page_that_fetches_nothing() {
    for name in FIXTURES {
        let (page, ran) = page(name);
        assert!(ran.stdout.is_empty(), "{name}: {ran:?}");
        assert!(page.len() < 1 << 20, "{name}: {} bytes", page.len());
        // Where a picture's names are from is no address that anything is fetched from.
        let without_names = page.replace("http://www.w3.org/2000/svg", "").replace("url(#", "");
        for fetched in ["http:", "https:", "src=", "<link", "@import", "url("] {
            assert!(!without_names.contains(fetched), "{name}: {fetched}");
        }
        let script = between(&page, "</script><script>", "</script>");
        let sum = ring::digest::digest(&ring::digest::SHA256, script.as_bytes());
        let sum = base64::engine::general_purpose::STANDARD.encode(sum);
        assert!(page.contains(&format!("script-src 'sha256-{sum}'")), "{name}: the policy allows another script");
        assert!(script.len() <= 10 << 10, "{} bytes", script.len());
        let document = data(&page);
        assert_eq!((&document["schema"], &document["stat"]["final"]), (&"report/1".into(), &true.into()), "{name}");
        let pictures = pictures_of(&page);
        assert!(pictures.len() > 5, "{name}: {}", pictures.len());
        for (picture, shapes) in pictures {
            assert!(
                shapes.starts_with(" viewBox=") && shapes.contains(" role=\"img\" aria-label=\""),
                "{name} {picture}"
            );
            let elements = shapes.matches('<').count() - shapes.matches("</").count();
            assert!(elements <= 4000, "{name} {picture}: {elements}");
        }
        let ids: Vec<&str> = page.split(" id=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len(), "{name}: {ids:?}");
        for used in page.split("url(#").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            assert!(ids.contains(&used), "{name}: {used} is nowhere");
        }
        for heading in ["What it says", "Over time", "Ports", "Opening", "How far this can be trusted"] {
            assert!(page.contains(&format!("<h2>{heading}</h2>")), "{name}: {heading}");
        }
    }
}

/// Byte for byte, a shape on each line.
#[test]
fn pictures() {
    for name in ["natural", "reasons", "handshakes", "incident"] {
        let (page, _) = page(name);
        let pictures = pictures_of(&page);
        let pictures = pictures.iter().map(|(picture, shapes)| format!("{picture}:{}", shapes.replace("><", ">\n<")));
        golden::compare(&format!("{name}.pictures"), &pictures.collect::<Vec<_>>().join("\n\n"));
    }
}

/// What stood out while it lasted, too: at the end of this recording both processes are gone.
#[test]
fn what_it_says_is_what_stat_says() {
    let (page, _) = page("incident");
    let report = finish(tcpwait().args(["stat", "-w", "--from"]).arg(fixture("incident")));
    let plain =
        |text: &str| text.replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
    let says = plain(between(&page, "<h2>What it says</h2>", "</section>"));
    let findings: Vec<&str> = report.stdout.lines().skip(1).take_while(|line| !line.is_empty()).collect();
    assert!(findings.len() >= 2, "{report:?}");
    for finding in findings {
        assert!(says.contains(finding), "{finding}\n{says}");
    }
    for stood_out in
        ["of mobile-gw to 10.9.0.99:9001 unanswered", "30 connections last used by orders-api on :8443 in CLOSE_WAIT"]
    {
        assert!(says.contains(stood_out), "{stood_out}\n{says}");
    }
}

/// Each call that failed stands beside a time at which it did, the worst first, with what only that call tells.
#[test]
fn what_failed_has_its_time() {
    let (page, _) = page("handshakes");
    let says = between(&page, "<h2>What it says</h2>", "</section>");
    let trace = finish(tcpwait().args(["trace", "--json", "--from"]).arg(fixture("handshakes")));
    let failures: Vec<Value> = trace.stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let failures: Vec<&Value> = failures.iter().filter(|line| line["event"].is_string()).collect();
    assert_eq!(failures.len(), 5);
    for failure in failures {
        let call = failure["event"].as_str().unwrap().replace("-failed", "()");
        let whose = format!("{call} of {} to", failure["comm"].as_str().unwrap());
        let errno = failure["errno"].as_str().unwrap();
        let line = says.split("<li>").find(|line| line.contains(&whose) && line.contains(errno));
        let (from, to) = between(line.unwrap(), "quiet\">", "</span>").split_once(" to ").unwrap();
        let at = &failure["time"].as_str().unwrap()[11..19];
        assert!(from <= at && at <= to, "{from} {at} {to}: {failure}");
    }
    assert!(says.contains("port 8401 is in use by 17147/server in LISTEN, and by 2 in ESTABLISHED"), "{says}");
    let place = |text: &str| says.find(text).unwrap();
    assert!(place("EADDRNOTAVAIL") < place("EADDRINUSE") && place("EADDRINUSE") < place("ECONNREFUSED"));
}

#[test]
fn goes_to_standard_output_and_never_over_the_recording() {
    let place = tempfile::tempdir().unwrap();
    let copy = place.path().join("copy.tcpwait");
    fs::copy(fixture("natural"), &copy).unwrap();
    let make = |out: &std::path::Path| finish(tcpwait().args(["report", "--from"]).arg(&copy).arg("-o").arg(out));
    let to_stdout = make("-".as_ref());
    assert!(to_stdout.code == Some(0) && to_stdout.stdout.starts_with("<!DOCTYPE html>"), "{:?}", to_stdout.code);
    assert!(to_stdout.stdout.ends_with("</html>"), "cut short");
    let over = make(&copy);
    assert_eq!(over.code, Some(1), "{over:?}");
    assert!(over.stderr.contains("over the recording"), "{over:?}");
    assert_eq!(fs::read(&copy).unwrap(), fs::read(fixture("natural")).unwrap());
}

/// A process may be called anything, and so may the machine.
#[test]
fn names_of_others_stay_text() {
    let place = tempfile::tempdir().unwrap();
    let forged = place.path().join("forged.tcpwait");
    let (mut header, mut records) = records("incident");
    header.host = Some("</dd><script>alert(1)</script>\u{2028}\u{202e}".repeat(1000));
    header.command = Some("tcpwait record <img src=x onerror=alert(1)>".to_owned());
    header.kernel = "<b>".repeat(100_000);
    header.missing_hooks = (0..3000).map(|hook| (format!("<i>{hook}"), "<u>".repeat(1000))).collect();
    let names: [(&[u8], &[u8]); 3] =
        [(b"checkout", b"<script>"), (b"mobile-gw", b"</script>"), (b"orders-api", b"\"onload='x")];
    for record in &mut records {
        for (name, forged) in names {
            let at = record.windows(name.len()).position(|bytes| bytes == name);
            at.into_iter().for_each(|at| record[at..at + name.len()].copy_from_slice(forged));
        }
    }
    write(&forged, &header, &records, 100);
    let (page, _) = page_of(&forged, &["--by", "process,service"]);
    assert!(page.len() < 1 << 20, "{} bytes", page.len());
    assert_eq!(page.matches("<script").count(), 2, "that of the page, and its data");
    assert_eq!(page.matches("</script").count(), 2);
    for markup in ["<img", "<b>", "<i>", "<u>", "\u{2028}", "\u{202e}", "\"onload"] {
        let (shown, numbers) = page.split_once("<script type=").unwrap();
        assert!(!shown.contains(markup), "{markup:?}");
        assert!(!numbers.replace("\\\"onload", "").contains(markup), "{markup:?}");
    }
    assert!(page.contains("&lt;script&gt;") && data(&page).to_string().contains("</script>"));
}

#[test]
fn says_where_the_recording_is_from() {
    let place = tempfile::tempdir().unwrap();
    let copy = place.path().join("copy.tcpwait");
    let (mut header, records) = records("natural");
    header.host = Some("web-7".to_owned());
    header.command = Some("tcpwait record -o copy.tcpwait --netns blue".to_owned());
    write(&copy, &header, &records, 100);
    let sum = ring::digest::digest(&ring::digest::SHA256, &fs::read(&copy).unwrap());
    let sum: String = sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let (page, _) = page_of(&copy, &["-D", "8001,8002", "-4"]);
    let head = between(&page, "<dl>", "</dl>");
    for (name, value) in [
        ("host", "web-7"),
        ("recorded with", "tcpwait record -o copy.tcpwait --netns blue"),
        ("shown", "-D 8001,8002 -4"),
        ("its SHA-256", &sum),
        ("recording", "copy.tcpwait"),
    ] {
        assert!(head.contains(&format!("<dt>{name}</dt><dd>{value}</dd>")), "{name}: {head}");
    }
    // An older one does not say, and what is read from standard input is read once.
    let command = "exec \"$0\" report --from - -o - < \"$1\"";
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", command, env!("CARGO_BIN_EXE_tcpwait")]).arg(fixture("natural")).env("TZ", "UTC");
    let piped = finish(&mut shell);
    let head = between(&piped.stdout, "<dl>", "</dl>");
    assert!(head.contains("<dt>host</dt><dd>-</dd>") && head.contains("<dt>its SHA-256</dt><dd>- ("), "{head}");
}

#[test]
fn a_loss_is_hatched_where_it_was() {
    let place = tempfile::tempdir().unwrap();
    let lossy = place.path().join("lossy.tcpwait");
    let (header, mut records) = records("natural");
    let middle = records.len() / 2;
    let (head, _) = wire::Head::read_from_prefix(&records[middle]).unwrap();
    let loss = wire::Loss {
        head: wire::Head { len: size_of::<wire::Loss>() as u16, kind: wire::Kind::Loss as u8, ..head },
        lost: 7,
    };
    records.insert(middle, loss.as_bytes().to_vec());
    write(&lossy, &header, &records, 100);
    let (page, _) = page_of(&lossy, &[]);
    let lost: Vec<Value> = data(&page)["pictures"]["sockets"]["rows"].as_array().unwrap().clone();
    let lost: Vec<bool> = lost.iter().map(|row| row.as_array().unwrap().last().unwrap().as_bool().unwrap()).collect();
    assert!(lost.iter().filter(|lost| **lost).count() == 1, "{lost:?}");
    for (picture, shapes) in pictures_of(&page) {
        let over_time = ["sockets", "sockets-log", "rates", "services", "ports"].contains(&picture);
        assert_eq!(shapes.matches("class=\"lost\"").count(), usize::from(over_time), "{picture}");
    }
    assert!(!self::page("natural").0.contains("class=\"lost\""));
}

#[test]
fn says_what_to_do_where_it_cannot_be_made() {
    let missing = finish(tcpwait().args(["report", "--from", "/nonexistent/a.tcpwait", "-o", "-"]));
    assert!(missing.code == Some(1) && missing.stderr.contains("tcpwait record -o FILE"), "{missing:?}");
    let unwritable =
        finish(tcpwait().args(["report", "--from"]).arg(fixture("natural")).args(["-o", "/nonexistent/a.html"]));
    assert!(unwritable.code == Some(1) && unwritable.stderr.contains("with -o"), "{unwritable:?}");
}
