//! What this process itself costs, from `/proc/self` (proc(5)), and what it was started with.

use std::{env, fs};

use nix::{
    sys::resource::{Resource, getrlimit},
    unistd::{SysconfVar, sysconf},
};

use super::clock::realtime_ns;
use crate::metrics::source::OwnCost;

/// What it costs so far; `None` where that cannot be read.
pub fn read() -> Option<OwnCost> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name, which may be anything, is in the last parentheses.
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // The state, which follows, is the third field of the manual.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let ticks_per_s = u64::try_from(sysconf(SysconfVar::CLK_TCK).ok()??).ok().filter(|ticks| *ticks > 0)? as f64;
    let page = u64::try_from(sysconf(SysconfVar::PAGE_SIZE).ok()??).ok()?;
    let (max_fds, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let up_s: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    let age_s = up_s - field(22)? as f64 / ticks_per_s;
    Some(OwnCost {
        cpu_s: (field(14)? + field(15)?) as f64 / ticks_per_s,
        virtual_bytes: field(23)?,
        resident_bytes: field(24)? * page,
        open_fds: fs::read_dir("/proc/self/fd").ok()?.count() as u64,
        max_fds,
        start_s: realtime_ns() as f64 / 1e9 - age_s,
    })
}

/// The command line, as a shell would take it again.
pub fn command_line() -> String {
    let words: Vec<String> = env::args_os().map(|word| quoted(&word.to_string_lossy())).collect();
    words.join(" ")
}

/// A word as a POSIX shell takes it.
fn quoted(word: &str) -> String {
    let is_harmless = |c: char| c.is_ascii_alphanumeric() || "-_./:,=+@%".contains(c);
    if !word.is_empty() && word.chars().all(is_harmless) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_shell_takes_it_again() {
        let words = ["-o", "/tmp/a b", "", "it's", "!80", "10.0.0.0/8"].map(quoted);
        assert_eq!(words, ["-o", "'/tmp/a b'", "''", r"'it'\''s'", "'!80'", "10.0.0.0/8"]);
    }
}
