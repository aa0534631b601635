//! What this kernel gives: the table of hooks, and what is not known where one is missing; and what the kernel does, as tried.

use std::io::{self, Write};

use serde::Serialize;

use crate::{plain, view::schema};

/// What a program reads.
#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    #[serde(flatten)]
    report: &'a ProbesReport,
}

/// All of it.
#[derive(Clone, Debug, Serialize)]
pub struct ProbesReport {
    /// The kernel's release, as `uname -r` prints it.
    pub kernel: String,
    /// One row a hook, in the order of attachment.
    pub hooks: Vec<ProbeRow>,
    /// Functions that tell why connections end and cannot be found on a kernel stack here.
    pub ends_untold: Vec<Untold>,
    /// What the kernel does.
    pub behaviour: BehaviourRow,
    /// Its ticks per second (HZ), as it says itself; `None` where it does not.
    pub hz: Option<u64>,
}

/// One row.
#[derive(Clone, Debug, Serialize)]
pub struct ProbeRow {
    /// The tracepoint or function.
    pub hook: &'static str,
    /// Whether the tool is attached to it.
    pub attached: bool,
    /// Whether the tool can do without.
    pub required: bool,
    /// Whether something is unknown for want of it: it is not attached, and no other hook does its work.
    pub missed: bool,
    /// Why it is not attached.
    pub why: Option<String>,
    /// What is not known without it.
    pub without: &'static str,
}

/// A function that cannot be found on a kernel stack.
#[derive(Clone, Debug, Serialize)]
pub struct Untold {
    /// The function.
    pub function: &'static str,
    /// The ends of connections whose reason is `unknown` without it.
    pub unknown: &'static str,
}

/// What the kernel does; `None` is not known.
#[derive(Clone, Debug, Serialize)]
pub struct BehaviourRow {
    /// Whether `ss -K` ends a TIME_WAIT.
    pub destroy_ends_time_wait: Option<bool>,
    /// Whether `TcpExtTW` counts mini-sockets when they begin, and not when they end.
    pub tw_counts_beginnings: Option<bool>,
    /// Why something is not known.
    pub untried: Option<String>,
}

/// Writes the tables, or a JSON object.
///
/// # Errors
/// The output cannot be written.
pub fn write(report: &ProbesReport, json: bool, out: &mut dyn Write) -> io::Result<()> {
    if json {
        plain::json(&mut *out, &Document { schema: schema::PROBES, report })?;
        return writeln!(out);
    }
    writeln!(out, "{:<26} {:<9} WITHOUT IT", "HOOK", "ATTACHED")?;
    for row in &report.hooks {
        writeln!(out, "{:<26} {:<9} {}", row.hook, if row.attached { "yes" } else { "no" }, row.without)?;
        if let Some(why) = &row.why {
            writeln!(out, "{:<26} {:<9} not attached: {}", "", "", plain::column(why))?;
        }
    }
    writeln!(out, "\nWHY CONNECTIONS END")?;
    if report.ends_untold.is_empty() {
        writeln!(out, "{:<36} from the kernel stack of each end", "known")?;
    }
    for Untold { function, unknown } in &report.ends_untold {
        writeln!(out, "{:<36} the kernel's stacks do not show {function}: unknown for {unknown}", "unknown for some")?;
    }
    let BehaviourRow { destroy_ends_time_wait, tw_counts_beginnings, untried } = &report.behaviour;
    writeln!(out, "\nWHAT THIS KERNEL DOES")?;
    let unknown = "not known";
    let said = |answer: &Option<bool>, yes, no| answer.map_or(unknown, |answer| if answer { yes } else { no });
    let destroyed = said(destroy_ends_time_wait, "yes", "no: only full sockets can be destroyed");
    writeln!(out, "{:<36} {destroyed}", "ss -K ends a TIME_WAIT")?;
    let counted = said(tw_counts_beginnings, "when they begin", "when they end");
    writeln!(out, "{:<36} {counted}", "TcpExtTW counts TIME_WAITs")?;
    if destroy_ends_time_wait.is_some() || tw_counts_beginnings.is_some() {
        writeln!(out, "{:<36} tried on a connection in a network namespace of its own", "")?;
    }
    if let Some(why) = untried {
        writeln!(out, "{:<36} {}", "unknown:", plain::column(why))?;
    }
    let (hz, from) = match report.hz {
        Some(hz) => (hz.to_string(), "the resolution of CLOCK_MONOTONIC_COARSE, which is a tick"),
        None => (unknown.to_owned(), "from the first TIME_WAIT's timer, which is set to 60s; before, from the clocks"),
    };
    writeln!(out, "{:<36} {hz}", "ticks per second (HZ)")?;
    writeln!(out, "{:<36} {from}", "")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn written(behaviour: BehaviourRow, json: bool) -> String {
        let row = |hook, why: Option<&str>| ProbeRow {
            hook,
            attached: why.is_none(),
            required: false,
            missed: why.is_some(),
            why: why.map(str::to_owned),
            without: "nothing is known",
        };
        let hooks = vec![row("one", None), row("other", Some("refused\u{1b}"))];
        let mut out = Vec::new();
        let ends_untold = vec![Untold { function: "tcp_abort", unknown: "ss -K" }];
        let report = ProbesReport { kernel: "6.1".to_owned(), hooks, ends_untold, behaviour, hz: Some(300) };
        write(&report, json, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn unknown_is_not_no() {
        let old =
            BehaviourRow { destroy_ends_time_wait: Some(false), tw_counts_beginnings: Some(false), untried: None };
        let text = written(old.clone(), false);
        assert!(text.contains("ss -K ends a TIME_WAIT               no: "), "{text}");
        assert!(text.contains("when they end\n") && !text.contains("not known"), "{text}");
        assert!(text.contains("not attached: refused?\n"), "{text}");
        assert!(text.contains("the kernel's stacks do not show tcp_abort: unknown for ss -K\n"), "{text}");
        assert!(text.contains("ticks per second (HZ)                300\n"), "{text}");
        let none = BehaviourRow {
            destroy_ends_time_wait: None,
            tw_counts_beginnings: None,
            untried: Some("no right".to_owned()),
        };
        let text = written(none.clone(), false);
        assert_eq!(text.matches("not known").count(), 2, "{text}");
        assert!(text.contains("no right\n") && !text.contains("tried on a connection"), "{text}");
        assert!(written(none, true).contains(r#""destroy_ends_time_wait":null"#));
        let json = written(old, true);
        assert!(
            json.contains(r#""destroy_ends_time_wait":false"#) && json.contains(r#""why":"refused\u001b""#),
            "{json}"
        );
    }
}
