//! `tcpwait report`: what is on the page, and that nothing else happens when it is opened.

use std::fs;

use base64::Engine as _;
use serde_json::Value;

use crate::{
    golden,
    support::{FIXTURES, Ran, finish, fixture, tcpwait},
};

/// The page of a recording, and what was said.
fn page(name: &str) -> (String, Ran) {
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("page.html");
    let ran = finish(tcpwait().args(["report", "--from"]).arg(fixture(name)).arg("-o").arg(&out));
    assert_eq!(ran.code, Some(0), "{name}: {ran:?}");
    (fs::read_to_string(&out).unwrap(), ran)
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
        let without_names = page.replace("http://www.w3.org/2000/svg", "");
        for fetched in ["http:", "https:", "src=", "<link", "@import", "url("] {
            assert!(!without_names.contains(fetched), "{name}: {fetched}");
        }
        let script = between(&page, "</script><script>", "</script>");
        let sum = ring::digest::digest(&ring::digest::SHA256, script.as_bytes());
        let sum = base64::engine::general_purpose::STANDARD.encode(sum);
        assert!(page.contains(&format!("script-src 'sha256-{sum}'")), "{name}: the policy allows another script");
        assert!(script.len() <= 10 << 10, "{} bytes", script.len());
        let document: Value =
            serde_json::from_str(between(&page, "<script type=\"application/json\" id=\"data\">", "</script>"))
                .unwrap();
        assert_eq!(document["final"], true, "{name}");
        for heading in ["What it says", "Over time", "How far this can be trusted"] {
            assert!(page.contains(&format!("<h2>{heading}</h2>")), "{name}: {heading}");
        }
    }
}

/// Byte for byte, a shape on each line.
#[test]
fn pictures() {
    for name in ["natural", "reasons", "handshakes"] {
        let (page, _) = page(name);
        let pictures: Vec<&str> = page.split("<svg viewBox=\"0 0 960").skip(1).collect();
        let pictures = pictures.iter().map(|rest| rest.split("</svg>").next().unwrap().replace("><", ">\n<"));
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
        ["of mobile-gw to 10.9.0.99:9001 unanswered", "30 connections of orders-api on :8443 in CLOSE_WAIT"]
    {
        assert!(says.contains(stood_out), "{stood_out}\n{says}");
    }
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
