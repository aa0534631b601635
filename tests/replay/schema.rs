//! `tcpwait schema`: every document that the tool prints is as its schema says, without a key that the schema lacks; and every key of a schema is in some
//! document. docs/output.md has the same keys.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    io::Read,
    net::{TcpListener, TcpStream},
};

use serde_json::{Map, Value, json};
use tcpwait::view::schema::JsonDocument;

use crate::{
    diff::calibration,
    layers::texts,
    pods,
    support::{FIXTURES, fixture, run, tests},
};

pub mod made;
mod strict;
mod use_of_keys;

use self::{
    strict::{Checked, schema_of},
    use_of_keys::{Use, unused},
};

/// Lines of one recording that are looked at: others are like them.
const LINES: usize = 3_000;

#[test]
fn every_document_is_as_its_schema_says() {
    let schemas: HashMap<&str, (Value, Checked)> =
        JsonDocument::ALL.map(|document| (document.schema(), (schema_of(document), Checked::new(document)))).into();
    let mut used = BTreeMap::new();
    let mut count = BTreeMap::new();
    for (origin, document) in documents() {
        let name = document["schema"].as_str().unwrap_or_else(|| panic!("{origin}: no schema: {document}"));
        let (schema, checked) = schemas.get(name).unwrap_or_else(|| panic!("{origin}: {name}"));
        checked.check(&document).unwrap_or_else(|why| panic!("{origin}: {why}\n{document}"));
        used.entry(name.to_owned()).or_insert_with(Use::default).look(schema, &document);
        *count.entry(name.to_owned()).or_insert(0) += 1;
    }
    assert_eq!(count.len(), JsonDocument::ALL.len(), "{count:?}");
    let unused: BTreeSet<String> = used
        .iter()
        .flat_map(|(name, used)| {
            unused(&schemas[name.as_str()].0, used).into_iter().map(move |what| format!("{name} {what}"))
        })
        .collect();
    // A listing knows pods only of processes that are in one: tests/kernel/pods.rs has them.
    let in_pods = ["pod", "container"].map(|key| format!("states/1 /groups/[]/key/{key} known"));
    let unused: Vec<&String> = unused.iter().filter(|what| !in_pods.contains(what)).collect();
    assert!(unused.is_empty(), "in no document, or in every one: {unused:#?}");
}

/// A document with a key too many, one too few, or another type is refused.
#[test]
fn a_wrong_document_is_refused() {
    let checked = Checked::new(JsonDocument::Stat);
    let ran = run(["stat", "--from", fixture("handshakes").to_str().unwrap(), "--json"]);
    let right: Value = serde_json::from_str(ran.stdout.lines().next().unwrap()).unwrap();
    assert_eq!(checked.check(&right), Ok(()));
    for (place, value) in [
        ("/unheard_of", Some(json!(1))),
        ("/states/LISTEN/unheard_of", Some(json!(1))),
        ("/states/HALF_OPEN", Some(right["states"]["LISTEN"].clone())),
        ("/interval_ns", Some(json!("1"))),
        ("/interval_ns", Some(json!(-1))),
        ("/interval_ns", Some(Value::Null)),
        ("/interval_ns", None),
        ("/schema", Some(json!("stat/2"))),
        ("/audit/checks", None),
        ("/ledger/lost/gaps", None),
    ] {
        let mut wrong = right.clone();
        let (parent, key) = place.rsplit_once('/').unwrap();
        let parent = wrong.pointer_mut(parent).and_then(Value::as_object_mut).unwrap();
        match value {
            Some(value) => drop(parent.insert(key.to_owned(), value)),
            None => assert!(parent.remove(key).is_some(), "{place}"),
        }
        assert!(checked.check(&wrong).is_err(), "{place}");
    }
    // A program that has the schema of today reads the documents of tomorrow.
    let mut newer = right;
    newer["unheard_of"] = json!(1);
    newer["states"]["LISTEN"]["unheard_of"] = json!(1);
    assert!(checked.takes(&newer));
}

#[test]
fn each_says_what_it_is_and_every_key_what_it_means() {
    for document in JsonDocument::ALL {
        let schema = schema_of(document);
        assert!(jsonschema::meta::is_valid(&schema), "{}", document.name());
        assert_eq!(schema["title"], document.schema());
        assert_eq!(schema["$id"], format!("urn:tcpwait:{}", document.schema()));
        assert!(document.schema().starts_with(document.name()), "{}", document.schema());
        each_key(&schema, &mut |key, value| {
            let meaning = value["description"].as_str().unwrap_or_default();
            assert!(meaning.ends_with('.') && meaning.len() > 3, "{} {key}: {meaning:?}", document.name());
            for (end, unit) in [("_ns", "Nanoseconds"), ("_ms", "Milliseconds"), ("_per_s", "Per second")] {
                assert!(!key.ends_with(end) || meaning.contains(unit), "{} {key}: {meaning:?}", document.name());
            }
        });
    }
}

#[test]
fn the_command_prints_them() {
    for document in JsonDocument::ALL {
        let ran = run(["schema", document.name()]);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
        assert_eq!(serde_json::from_str::<Value>(&ran.stdout).unwrap(), schema_of(document));
        let listed = run(["schema"]);
        assert!(listed.stdout.contains(&format!(" {} ", document.schema())), "{}", listed.stdout);
    }
    let wrong = run(["schema", "top"]);
    assert_eq!((wrong.code, wrong.stdout.as_str()), (Some(2), ""));
    assert!(
        wrong.stderr.contains("trace, raw, stat, ports, states, doctor, diff, probes, version"),
        "{}",
        wrong.stderr
    );
}

/// What the tables of docs/output.md name is in the schema, and what the schema has the document says.
#[test]
fn the_manual_has_the_same_keys() {
    let text = fs::read_to_string(tests().join("../docs/output.md")).unwrap();
    let words = |text: &str| -> BTreeSet<String> {
        text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-')).map(str::to_owned).collect()
    };
    let all = words(&text);
    for document in JsonDocument::ALL {
        let schema = schema_of(document);
        let (mut keys, mut shared) = (BTreeSet::new(), BTreeSet::new());
        let mut own = schema.clone();
        own["properties"].as_object_mut().and_then(|keys| keys.remove("schema"));
        let defs = own.as_object_mut().unwrap().remove("$defs").unwrap_or_default();
        each_key(&own, &mut |key, _| keys.extend([key.to_owned()]));
        each_key(&defs, &mut |key, _| shared.extend([key.to_owned()]));
        let command = match document {
            JsonDocument::Raw => "### --raw\n".to_owned(),
            other => format!("## {}\n", other.command()),
        };
        let section = text.split(&command).nth(1).unwrap_or_else(|| panic!("{command}"));
        let section = section.split("\n## ").next().unwrap();
        let section = match document {
            JsonDocument::Raw => section.split("\n### ").next().unwrap(),
            _ => section,
        };
        let said = words(section);
        let missing: Vec<_> = keys.iter().filter(|key| !said.contains(*key)).collect();
        assert!(missing.is_empty(), "docs/output.md, {}: {missing:?}", document.command());
        let missing: Vec<_> = shared.iter().filter(|key| !all.contains(*key)).collect();
        assert!(missing.is_empty(), "docs/output.md: {missing:?}");
        each_word(&schema, &mut |word| {
            // The names of settings are in docs/settings.md, and the schema's name is in the table at the beginning.
            let is_elsewhere = word.contains(['.', '/', '(']);
            assert!(is_elsewhere || all.contains(word), "docs/output.md, {}: {word}", document.command());
        });
        // A map's names are keys, too.
        let mut named: BTreeSet<String> = keys.union(&shared).cloned().collect();
        each_name(&schema, &mut |name| named.extend([name.to_owned()]));
        if document == JsonDocument::Trace {
            each_key(&schema_of(JsonDocument::Raw), &mut |key, _| named.extend([key.to_owned()]));
        }
        for key in table_keys(section) {
            assert!(named.contains(&key), "docs/output.md, {}: `{key}` is not in the schema", document.command());
        }
    }
}

/// The lists of words in the schemas are those of the code.
#[test]
fn words_are_those_of_the_code() {
    let stat = schema_of(JsonDocument::Stat);
    let ports = schema_of(JsonDocument::Ports);
    let trace = schema_of(JsonDocument::Trace);
    let raw = schema_of(JsonDocument::Raw);
    let doctor = schema_of(JsonDocument::Doctor);
    let list = |schema: &Value, place: &str| -> BTreeSet<String> {
        let words = schema.pointer(place).and_then(Value::as_array).unwrap_or_else(|| panic!("{place}"));
        words.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let found = list(&stat, "/properties/findings/items/properties/finding/enum");
    assert_eq!(found, literals("aggregate/findings.rs", "pub fn name(&self)"));
    let hooks = list(&raw, "/$defs/record/properties/hook/enum");
    let written = literals("view/raw.rs", "fn line(event: &Event");
    let written: BTreeSet<String> = written
        .into_iter()
        .chain(literals("view/raw.rs", "Fact::RequestArmed { reqsk, start } => {"))
        .chain(literals("event/call.rs", "pub const fn name(self)"))
        .filter(|word| word.len() > 3 && !word.contains('#'))
        .collect();
    assert_eq!(hooks, written);
    let checks = list(&stat, "/properties/audit/properties/checks/items/properties/what/enum");
    let written = literals("view/stat/json/audit.rs", "pub(super) fn audit");
    assert_eq!(
        checks,
        written
            .into_iter()
            .filter(|word| word != "sock_diag" && word.chars().all(|c| c.is_lowercase() || c == '_'))
            .collect()
    );
    let ids = list(&doctor, "/properties/findings/items/properties/id/enum");
    let mut given = BTreeSet::new();
    for (path, text) in texts() {
        if path.starts_with("doctor") && !path.ends_with("tests.rs") && !path.ends_with("doctor/mod.rs") {
            let text = text.split("#[cfg(test)]\nmod tests").next().unwrap().to_owned();
            given.extend(text.split("Finding::new(\"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()));
        }
    }
    given.extend(literals("doctor/closing.rs", "fn close_wait_id"));
    assert_eq!(ids, given);
    for (file, name, list) in [
        (
            "aggregate/steady.rs",
            "SteadyVerdict",
            list(&stat, "/properties/time_wait/properties/steady/properties/verdict/enum"),
        ),
        ("lifecycle/transition.rs", "Timing", list(&trace, "/$defs/transition/properties/timing/enum")),
        ("ledger.rs", "CutBy", list(&trace, "/$defs/recording-damaged/properties/cut/properties/why/enum")),
        ("event/call.rs", "Call", list(&trace, "/$defs/failed-call/properties/event/enum")),
        ("doctor/finding.rs", "Severity", list(&doctor, "/properties/findings/items/properties/severity/enum")),
        (
            "aggregate/ports/advice.rs",
            "PortCause",
            list(&ports, "/properties/destinations/items/properties/advice/properties/cause/enum"),
        ),
        (
            "aggregate/ports/advice.rs",
            "NoHelp",
            list(&ports, "/properties/destinations/items/properties/advice/properties/no_help/items/enum"),
        ),
    ] {
        assert_eq!(list.len(), variants(file, name), "{file}: {name}: {list:?}");
    }
}

fn objects<'a>(schema: &'a Value, found: &mut dyn FnMut(&'a Map<String, Value>)) {
    match schema {
        Value::Object(object) => {
            found(object);
            object.values().for_each(|value| objects(value, found));
        }
        Value::Array(all) => all.iter().for_each(|value| objects(value, found)),
        _ => {}
    }
}

/// Every key of every object in a schema, with what it is.
fn each_key(schema: &Value, look: &mut dyn FnMut(&str, &Value)) {
    objects(schema, &mut |object| {
        if object.contains_key("required")
            && let Some(properties) = object.get("properties").and_then(Value::as_object)
        {
            properties.iter().for_each(|(key, value)| look(key, value));
        }
    });
}

/// Every name that a map of a schema may have.
fn each_name(schema: &Value, look: &mut dyn FnMut(&str)) {
    objects(schema, &mut |object| {
        let names = object.get("propertyNames").and_then(|names| names["enum"].as_array());
        names.into_iter().flatten().filter_map(Value::as_str).for_each(&mut *look);
    });
}

/// Every word of the lists of words in a schema.
fn each_word(schema: &Value, look: &mut dyn FnMut(&str)) {
    objects(schema, &mut |object| {
        let words = object.get("enum").and_then(Value::as_array);
        words.into_iter().flatten().filter_map(Value::as_str).for_each(&mut *look);
    });
}

/// What the first column of tables of keys names.
fn table_keys(section: &str) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let tables = section.split("\n\n").filter(|part| part.contains("| key |"));
    for row in tables.flat_map(str::lines).filter(|line| line.starts_with("| `")) {
        let cell = row.trim_start_matches("| ").split(" | ").next().unwrap();
        for name in cell.split('`').skip(1).step_by(2) {
            let parts = name.split('.').map(|part| part.trim_matches(['…', '[', ']']));
            keys.extend(parts.filter(|part| part.chars().any(char::is_lowercase)).map(str::to_owned));
        }
    }
    assert!(keys.len() > 4 || !section.contains("| key |"), "{keys:?}");
    keys
}

/// The texts in a function of a source file.
fn literals(file: &str, function: &str) -> BTreeSet<String> {
    let text = source(file);
    let (before, body) = text.split_once(function).unwrap_or_else(|| panic!("{file}: {function}"));
    let indent = before.len() - before.trim_end_matches(' ').len();
    let end = format!("\n{:indent$}}}", "");
    let body = body.split(&end).next().unwrap();
    body.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// How many variants an enum of a source file has.
fn variants(file: &str, name: &str) -> usize {
    let text = source(file);
    let body = text.split(&format!("pub enum {name} {{\n")).nth(1).unwrap_or_else(|| panic!("{file}: {name}"));
    let lines = body.split("\n}").next().unwrap().lines();
    lines.filter(|line| line.starts_with("    ") && line[4..].starts_with(|c: char| c.is_ascii_uppercase())).count()
}

fn source(file: &str) -> String {
    texts().into_iter().find(|(path, _)| path.to_str() == Some(file)).unwrap_or_else(|| panic!("{file}")).1
}

/// Every document there is to look at, with where it is from.
fn documents() -> Vec<(String, Value)> {
    let mut all = Vec::new();
    let mut take = |origin: &str, text: &str| {
        let lines = text.lines().take(LINES).chain(text.lines().skip(LINES).last());
        all.extend(lines.map(|line| (origin.to_owned(), serde_json::from_str(line).unwrap())));
    };
    for entry in fs::read_dir(tests().join("golden")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension.to_str().unwrap().ends_with("json")) {
            take(path.to_str().unwrap(), &fs::read_to_string(&path).unwrap());
        }
    }
    for name in FIXTURES {
        let path = fixture(name);
        for arguments in [
            &["trace", "--json"][..],
            &["trace", "--raw", "--json"],
            &["stat", "20", "--json"],
            &["stat", "--json", "--by", "pair,uid,cgroup,pod,pid,remote,remote-port,local-port,netns", "--top", "2"],
            &["ports", "10", "--json"],
        ] {
            let ran = run(arguments.iter().copied().chain(["--from", path.to_str().unwrap()]));
            assert_eq!(ran.code, Some(0), "{arguments:?} {name}: {}", ran.stderr);
            take(&format!("{name} {arguments:?}"), &ran.stdout);
        }
    }
    for (before, after) in [
        ("keepalive_off", "keepalive_on"),
        ("incident", "reasons"),
        ("nginx", "natural"),
        ("keepalive_off", "7.3-ends"),
    ] {
        let paths = [before, after].map(|name| fixture(name).to_str().unwrap().to_owned());
        let ran = run(["diff", "--json", &paths[0], &paths[1]]);
        assert_eq!(ran.code, Some(0), "{before} {after}: {}", ran.stderr);
        take(&format!("diff {before} {after}"), &ran.stdout);
    }
    take("longer connections", &calibration::longer_connections());
    for arguments in [&["trace", "--json"][..], &["stat", "--json", "--by", "pod"]] {
        take(&format!("pods {arguments:?}"), &pods::named(arguments));
    }
    let folder = tempfile::tempdir().unwrap();
    let cut = folder.path().join("cut");
    let whole = fs::read(fixture("natural")).unwrap();
    fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    for arguments in
        [&["trace", "--json"][..], &["trace", "--raw", "--json"], &["stat", "--json"], &["ports", "--json"]]
    {
        let ran = run(arguments.iter().copied().chain(["--from", cut.to_str().unwrap()]));
        take(&format!("cut {arguments:?}"), &ran.stdout);
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connect = || TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let held = connect();
    let _accepted = listener.accept().unwrap();
    // This one is in TIME_WAIT.
    drop(connect());
    let (mut other_end, _) = listener.accept().unwrap();
    assert_eq!(other_end.read(&mut [0]).unwrap(), 0, "the FIN has come");
    drop(other_end);
    let netns = std::process::id().to_string();
    for arguments in [
        &["states", "--json"][..],
        &["states", "--json", "--by", "service,process,uid", "--older-than", "1ms", "--netns", &netns],
        &["states", "--json", "--by", "pair,remote,remote-port,local-port,pid,cgroup,pod", "--netns", &netns],
        &["states", "--json", "--state", "LISTEN,ESTABLISHED", "--by", "pid,cgroup,netns,remote", "--top", "1"],
        &["ports", "--json", "--netns", &netns],
        &["doctor", "--json", "--seconds", "0.1"],
    ] {
        let ran = run(arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.stderr);
        take(&format!("{arguments:?}"), &ran.stdout);
    }
    drop((listener, held));
    for (origin, text) in made::documents() {
        take(origin, &text);
    }
    all
}
