//! The output in README.md and docs/ is what the tool prints now. A comment in front of each `console` block says of what and which lines:
//!
//! ```text
//! <!-- nginx: TIME_WAIT; SERVICE +2 -->
//! ```
//! is a recording of `tests/fixtures`, and of the report on it the first line that contains `TIME_WAIT` with the lines that continue it, and then the next
//! one that contains `SERVICE` with the two lines behind it; `NOW to gone.` ends with the word `gone.`; without a list it is everything. What is left out becomes a line `…`. What no recording can show
//! is made by the test (`Stage`). Forms are compared: numbers, addresses, ports and times may differ, and where lines break. `UPDATE_GOLDEN=1` writes
//! the blocks anew whose form differs.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    env, fs,
    io::Read,
    net::{TcpListener, TcpStream},
    ops::Range,
    path::{Path, PathBuf},
    process, thread,
    time::Duration,
};

use serde_json::Value;

use super::{
    form::form,
    support::{self, Ran},
};

/// So many blocks there are at least: one that nobody finds is not compared.
const BLOCKS: usize = 20;

/// The lines of README.md in which a person in a hurry finds all verbs.
const SCREEN: usize = 65;

/// Connections of a stage.
const CONNECTIONS: usize = 12;

/// What needs root to be made: a test of tests/kernel compares it.
const IN_ANOTHER_TEST: &str = "filling";

/// Ages are shown less a jiffy of 10 ms: younger sockets have none.
const HAVE_AN_AGE: Duration = Duration::from_millis(30);

/// The port, the process and the recording of the text, which are others in a test.
const PORT: &str = "8443";
const PROCESS: &str = "orders-api";
const RECORDING: &str = "incident.tcpwait";
const TWO: [(&str, &str); 2] = [("keepalive_off.tcpwait", "before.tcpwait"), ("keepalive_on.tcpwait", "after.tcpwait")];

#[test]
fn show_what_the_tool_prints() {
    let update = env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1");
    let (mut differences, mut impossible) = (Vec::new(), Vec::new());
    let mut printed = HashMap::new();
    let mut count = 0;
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        let mut renewed = text.clone();
        // From the end, so that places stay.
        for block in blocks(&text).into_iter().rev() {
            let written = &text[block.output.clone()];
            if block.comment == IN_ANOTHER_TEST {
                continue;
            }
            count += 1;
            let place = format!("{}: {} # {}", path.display(), block.comment, block.command);
            let printed = match block.print(&mut printed) {
                Ok(printed) => printed,
                Err(why) => {
                    impossible.push(format!("{place}\n{why}"));
                    continue;
                }
            };
            if form(written) != form(&printed) {
                renewed.replace_range(block.output.clone(), &printed);
                differences.push(format!("{place}\n--- written\n{written}--- printed\n{printed}"));
            }
        }
        if update && renewed != text {
            fs::write(&path, renewed).unwrap();
        }
    }
    assert!(count >= BLOCKS, "{count} blocks");
    assert!(impossible.is_empty(), "{}", impossible.join("\n\n"));
    assert!(update || differences.is_empty(), "UPDATE_GOLDEN=1 writes them anew:\n{}", differences.join("\n\n"));
}

#[test]
fn show_output_in_blocks_that_are_compared() {
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        let fences: Vec<&str> = text.lines().filter(|line| line.starts_with("```")).collect();
        assert!(fences.chunks(2).all(|pair| pair.last() == Some(&"```")), "{}: {fences:?}", path.display());
        let languages = fences.iter().step_by(2);
        for fence in languages.clone() {
            assert!(["```console", "```sh", "```text"].contains(fence), "{}: {fence}", path.display());
        }
        assert_eq!(
            languages.filter(|fence| **fence == "```console").count(),
            blocks(&text).len(),
            "{}",
            path.display()
        );
        let not_compared = text.split("```text\n").skip(1).filter(|block| block.starts_with("# tcpwait"));
        assert_eq!(not_compared.count(), 0, "{}: output in a block that is not compared", path.display());
    }
}

#[test]
fn answer_on_the_first_screen() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let screen: Vec<&str> = readme.lines().take(SCREEN).collect();
    for verb in ["trace", "stat", "ports", "states", "doctor"] {
        let command = format!("# tcpwait {verb}");
        assert!(screen.iter().any(|line| line.starts_with(&command)), "{command}");
    }
}

#[test]
fn are_found_from_their_way_in() {
    let index = fs::read_to_string(root().join("docs/README.md")).unwrap();
    for path in documents() {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(name == "README.md" || index.contains(&format!("]({name})")), "docs/README.md lacks {name}");
        let text = fs::read_to_string(&path).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            let is_elsewhere = link.contains("://") || file.is_empty();
            assert!(is_elsewhere || path.parent().unwrap().join(file).exists(), "{}: {link}", path.display());
        }
    }
}

/// A blank line in the middle makes its other half text.
#[test]
fn have_tables_in_one_piece() {
    let mut tables = 0;
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        for table in text.split("\n\n").filter(|part| part.lines().any(|line| line.starts_with("| "))) {
            let rows: Vec<&str> = table.lines().skip_while(|line| !line.starts_with("| ")).collect();
            let is_ruled = rows.get(1).is_some_and(|rule| rule.starts_with("| ---"));
            assert!(is_ruled, "{}: {:?} has no head", path.display(), rows.first());
            let columns = rows[1].matches("---").count();
            // A bar in `code` is written as it is nowhere.
            let rows = rows.iter().take_while(|row| row.starts_with("| "));
            rows.for_each(|row| assert_eq!(row.matches('|').count(), columns + 1, "{}: {row}", path.display()));
            tables += 1;
        }
    }
    assert!(tables > 20, "{tables}");
}

/// `tcpwait … --json` has no key that docs/output.md lacks.
#[test]
fn have_every_key_of_the_json() {
    let text = fs::read_to_string(root().join("docs/output.md")).unwrap();
    let words: HashSet<&str> = text.split(|c: char| !(c.is_alphanumeric() || c == '_')).collect();
    let mut keys = HashSet::new();
    for (verb, recording) in ["trace", "stat", "ports"]
        .into_iter()
        .flat_map(|verb| ["handshakes", "reasons", "ends", "predates"].map(|recording| (verb, recording)))
    {
        let path = support::fixture(recording);
        let ran = support::run([verb, "--from", path.to_str().unwrap(), "--json"]);
        ran.stdout.lines().for_each(|line| collect_keys(&serde_json::from_str(line).unwrap(), &mut keys));
    }
    let stage = Stage::new("unclosed");
    for command in ["states --json --by netns", "doctor --json --seconds 1"] {
        collect_keys(&serde_json::from_str(stage.run(command).stdout.trim_end()).unwrap(), &mut keys);
    }
    assert!(keys.len() > 150, "{keys:?}");
    // The numbers of network namespaces are keys, too.
    keys.retain(|key| !key.bytes().all(|byte| byte.is_ascii_digit()));
    let mut missing: Vec<&String> =
        keys.iter().filter(|key| !key.split('-').all(|part| words.contains(part))).collect();
    missing.sort();
    assert!(missing.is_empty(), "{missing:?}");
}

/// What docs/ARCHITECTURE.md and docs/decisions.md name is there.
#[test]
fn name_files_that_there_are() {
    let mut files = Vec::new();
    for folder in ["tcpwait-user", "tcpwait-ebpf", "xtask", "tests"] {
        collect_files(&root().join(folder), &mut files);
    }
    let mut named = 0;
    for document in ["docs/ARCHITECTURE.md", "docs/decisions.md"] {
        let text = fs::read_to_string(root().join(document)).unwrap();
        for name in text.split('`').skip(1).step_by(2).filter(|name| name.ends_with(".rs") || name.ends_with('/')) {
            named += 1;
            let wanted = format!("/{name}");
            let is_there = files.iter().any(|file| match name.ends_with('/') {
                true => file.contains(&wanted),
                false => file.ends_with(&wanted),
            });
            assert!(is_there, "{document}: {name}");
        }
    }
    assert!(named > 20, "{named}");
}

fn collect_keys(value: &Value, keys: &mut HashSet<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                keys.insert(key.clone());
                collect_keys(value, keys);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect_keys(value, keys)),
        _ => {}
    }
}

fn collect_files(folder: &Path, files: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => collect_files(&path, files),
            false => files.push(path.to_str().unwrap().to_owned()),
        }
    }
}

/// The comparison can fail.
#[test]
fn differ_when_words_or_columns_do() {
    let written = "3 connect()s failed: probe to 127.0.0.1:8080, in all 60.95s\n:8080  nginx  >99%  1,200\n";
    assert_eq!(form(written), form("12 connect()s failed:\n  probe to 10.0.0.1:80, in all 417ms\n:1 nginx 3% 7"));
    for other in [
        "3 connect()s failed: probe to 127.0.0.1:8080, altogether 60.95s\n:8080  nginx  >99%  1,200\n",
        "3 connect()s failed: probe to 127.0.0.1:8080, in all 60.95s\n:8080  nginx  >99%\n",
        "3 connect()s failed: probe to 127.0.0.1:8080, in all 60.95s\n:8080  -  >99%  1,200\n",
        "3 connect()s failed: probe to 127.0.0.1:8080, in all -\n:8080  nginx  >99%  1,200\n",
    ] {
        assert_ne!(form(written), form(other), "{other}");
    }
    let shown = pick("a\nb\n  c\nd\ne\n", "b; e").unwrap();
    assert_eq!(shown, "…\nb\n  c\n…\ne\n");
    assert_eq!(pick("a\nb\nc\nd\n", "a +1").unwrap(), "a\nb\n…\n");
    assert_eq!(pick("a b\n  c d\n  e\nf\n", "a to c").unwrap(), "a b\n  c …\n…\n");
    assert!(pick("a b\n  c d\n", "a to e").is_err(), "another end");
    assert!(pick("a\nb\n", "b; a").is_err(), "in another order");
    assert!(pick("a\nb\n", "b +1").is_err(), "too few lines");
}

fn root() -> PathBuf {
    support::tests().join("..")
}

fn documents() -> Vec<PathBuf> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<PathBuf> = docs.chain([root().join("README.md")]).collect();
    all.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    all.sort();
    all
}

/// A command and what it prints, as a document has them.
struct Block<'a> {
    /// Of what, and which lines.
    comment: &'a str,
    command: &'a str,
    output: Range<usize>,
}

/// The `console` blocks that have a comment.
fn blocks(text: &str) -> Vec<Block<'_>> {
    let block = |(at, mark): (usize, &str)| {
        let comment = text[..at].rsplit_once("<!-- ")?.1;
        let begin = at + mark.len();
        let command = text[begin..].lines().next()?;
        let output = begin + command.len() + 1;
        // The end of the command's line may be that of the last line.
        let end = output - 1 + text[output - 1..].find("\n```\n")? + 1;
        Some(Block { comment, command, output: output..end })
    };
    text.match_indices(" -->\n```console\n# ").filter_map(block).collect()
}

impl Block<'_> {
    /// What the command prints now, of it the lines that the comment asks for.
    fn print(&self, before: &mut HashMap<(String, String), String>) -> Result<String, String> {
        let (source, lines) = self.comment.split_once(": ").unwrap_or((self.comment, ""));
        let (command, filter) = self.command.split_once(" | grep ").unwrap_or((self.command, ""));
        let (command, stderr) = match command.strip_suffix(" >/dev/null") {
            Some(command) => (command, true),
            None => (command, false),
        };
        let printed = match before.entry((source.to_owned(), self.command.to_owned())) {
            Entry::Occupied(printed) => printed.into_mut(),
            Entry::Vacant(place) => {
                let Some(command) = command.strip_prefix("tcpwait ") else { return Err("no tcpwait".into()) };
                let stage = Stage::new(source);
                let ran = stage.run(command);
                let printed = if stderr { &ran.stderr } else { &ran.stdout };
                if printed.is_empty() {
                    return Err(format!("it prints nothing: {}", ran.stderr));
                }
                place.insert(stage.in_words_of_the_text(printed))
            }
        };
        let lines_with = |line: &&str| filter.is_empty() || line.contains(filter);
        let kept: String = printed.lines().filter(lines_with).flat_map(|line| [line.trim_end(), "\n"]).collect();
        pick(&kept, lines)
    }
}

/// What a command needs to have something to show.
enum Stage {
    Recording(PathBuf),
    /// Half of a recording.
    Cut {
        path: PathBuf,
        _folder: tempfile::TempDir,
    },
    /// Two recordings, the one before and the one after.
    Two([PathBuf; 2]),
    /// Twelve connections; `unclosed`: their clients have closed them, and the server has not.
    Sockets {
        port: u16,
        _held: Vec<TcpStream>,
        _listener: TcpListener,
    },
}

impl Stage {
    fn new(source: &str) -> Self {
        match source {
            "unclosed" | "connected" => {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let address = listener.local_addr().unwrap();
                let mut held = Vec::new();
                for _ in 0..CONNECTIONS {
                    let client = TcpStream::connect(address).unwrap();
                    let (mut server, _) = listener.accept().unwrap();
                    if source == "connected" {
                        held.push(client);
                    } else {
                        drop(client);
                        assert_eq!(server.read(&mut [0]).unwrap(), 0, "the FIN has come");
                    }
                    held.push(server);
                }
                thread::sleep(HAVE_AN_AGE);
                Self::Sockets { port: address.port(), _held: held, _listener: listener }
            }
            "cut" => {
                let whole = fs::read(support::fixture("nginx")).unwrap();
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join(RECORDING);
                fs::write(&path, &whole[..whole.len() / 2]).unwrap();
                Self::Cut { path, _folder: folder }
            }
            "keepalive" => Self::Two(["keepalive_off", "keepalive_on"].map(support::fixture)),
            name => Self::Recording(support::fixture(name)),
        }
    }

    fn run(&self, command: &str) -> Ran {
        let mut words: Vec<String> =
            command.split_whitespace().map(|word| word.trim_matches('\'').to_owned()).collect();
        match self {
            Self::Recording(path) | Self::Cut { path, .. } => {
                let path = path.to_str().unwrap();
                match words.iter_mut().find(|word| *word == RECORDING) {
                    Some(word) => path.clone_into(word),
                    None => words.extend(["--from", path].map(str::to_owned)),
                }
            }
            Self::Two(paths) => {
                for (word, path) in words.iter_mut().filter(|word| word.ends_with(".tcpwait")).zip(paths) {
                    path.to_str().unwrap().clone_into(word);
                }
            }
            Self::Sockets { port, .. } => {
                words.iter_mut().filter(|word| *word == PORT).for_each(|word| *word = port.to_string());
                // Other tests have namespaces of their own.
                words.extend(["--netns".to_owned(), process::id().to_string()]);
            }
        }
        support::finish(support::tcpwait().env("COLUMNS", self.width().to_string()).env("LINES", "24").args(words))
    }

    /// As wide as the text; where this process is named, as if its name were the text's and its number of five digits: which columns there is room for
    /// is not to depend on them.
    fn width(&self) -> usize {
        const TEXT: usize = 80;
        match self {
            Self::Recording(_) | Self::Cut { .. } | Self::Two(_) => TEXT,
            Self::Sockets { .. } => {
                let here = comm().len() + process::id().to_string().len();
                TEXT + here - (PROCESS.len() + 5)
            }
        }
    }

    fn in_words_of_the_text(&self, printed: &str) -> String {
        match self {
            Self::Recording(path) | Self::Cut { path, .. } => printed.replace(path.to_str().unwrap(), RECORDING),
            Self::Two(_) => TWO.iter().fold(printed.to_owned(), |text, (file, name)| text.replace(file, name)),
            Self::Sockets { port, .. } => {
                printed.replace(&comm(), PROCESS).replace(&format!(":{port}"), &format!(":{PORT}"))
            }
        }
    }
}

/// As ps(1) calls this process.
fn comm() -> String {
    fs::read_to_string("/proc/self/comm").unwrap().trim_end().to_owned()
}

/// The lines that a comment names, and `…` for those between.
fn pick(printed: &str, wanted: &str) -> Result<String, String> {
    if wanted.is_empty() {
        return Ok(printed.to_owned());
    }
    let lines: Vec<&str> = printed.lines().collect();
    let (mut shown, mut next) = (String::new(), 0);
    for item in wanted.split("; ") {
        let (text, last) = item.rsplit_once(" to ").map_or((item, None), |(text, word)| (text, Some(word)));
        let (text, more) = match text.rsplit_once(" +") {
            Some((text, more)) => (text, Some(more.parse::<usize>().map_err(|e| format!("{item}: {e}"))?)),
            None => (text, None),
        };
        let rest = &lines[next..];
        let begin =
            next + rest.iter().position(|line| line.contains(text)).ok_or(format!("no {text:?} in\n{printed}"))?;
        let behind = &lines[begin + 1..];
        let more = more.unwrap_or_else(|| behind.iter().take_while(|line| line.starts_with(' ')).count());
        let end = begin + 1 + more;
        let picked = lines.get(begin..end).ok_or(format!("{item}: too few lines in\n{printed}"))?;
        if begin > next {
            shown.push_str("…\n");
        }
        let Some(last) = last else {
            picked.iter().for_each(|line| shown.extend([line, "\n"]));
            next = end;
            continue;
        };
        let until = picked.iter().position(|line| line.split(' ').any(|word| word == last));
        let until = until.ok_or(format!("no {last:?} in\n{}", picked.join("\n")))?;
        picked[..until].iter().for_each(|line| shown.extend([line, "\n"]));
        let (head, _) = picked[until].split_once(last).unwrap_or_default();
        shown.extend([head, last, " …\n"]);
        next = begin + until + 1;
    }
    if next < lines.len() {
        shown.push_str("…\n");
    }
    Ok(shown)
}
