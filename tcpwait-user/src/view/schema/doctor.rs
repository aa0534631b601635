//! `tcpwait doctor --json`.

use super::value::{Property, Schema, always, count, either, list, ns, object, schema_key, text, whether, word, words};
use crate::doctor::{FINDING_IDS, finding::Severity, settings};

/// What `tcpwait doctor --json` says.
pub fn doctor() -> Schema {
    object(
        "The kernel's settings and counters, and what to change.",
        [
            schema_key(super::DOCTOR),
            always(
                "verdict",
                word("worth-changing where `now` is above 0, else nothing-to-do.", ["worth-changing", "nothing-to-do"]),
            ),
            always("now", count("Findings that are measured now, and worth changing.")),
            always("before", count("Findings of what happened before, and not now.")),
            always("notes", count("Things worth knowing.")),
            always(
                "window_ns",
                ns("Time between the two readings of the counters; the shortest, where namespaces differ"),
            ),
            namespaces("The network namespaces that were read, as `net:[INODE] (WHERE FOUND)`."),
            always("findings", list("What was found, the most important first.", finding())),
            always("settings", list("The settings, each set of them once.", same_settings())),
            always("unread", count("Network namespaces that could not be read.")),
            always("unknown", list("What could not be read.", unknown())),
        ],
    )
}

fn namespaces(meaning: &'static str) -> Property {
    always("namespaces", list(meaning, text("")))
}

fn finding() -> Schema {
    let severity = words([Severity::Now, Severity::Before, Severity::Note]);
    let advice = object(
        "Something to change.",
        [always("change", text("What to change, in words.")), always("risk", text("What that risks, in words."))],
    );
    object(
        "Something that was found.",
        [
            always("id", word("Its name for programs.", FINDING_IDS)),
            always(
                "severity",
                word(
                    "now: measured now. before: it happened before, and not between the two readings. note: worth knowing.",
                    severity,
                ),
            ),
            always("what", text("In words. May change.")),
            always("evidence", list("What shows it.", evidence())),
            always("advice", list("What helps.", advice)),
            always("in_vain", list("What is often tried and would not help.", text("In words."))),
            namespaces("Where it was found; empty for a file of the machine."),
        ],
    )
}

fn evidence() -> Schema {
    let setting = || always("setting", text("The setting's name."));
    either(
        "A measured number, or a setting.",
        [
            object(
                "A counter of the kernel.",
                [
                    always("counter", text("Its name.")),
                    always(
                        "grown",
                        count("By how much it grew between the two readings; null where that is not known.").or_null(),
                    ),
                    always("window_ns", ns("Time between the two readings")),
                    always("total", count("What it stands at, since boot or since the namespace was made.")),
                ],
            ),
            object("A setting.", [setting(), always("value", text("What it is set to."))]),
            object(
                "What was there at the second reading.",
                [always("gauge", text("What was counted.")), always("now", count("How many."))],
            ),
            object(
                "How long something has lasted.",
                [always("age", text("What.")), always("at_least_ns", ns("How long, at least"))],
            ),
            object(
                "A line of a file of sysctl.d(5).",
                [
                    always("file", text("The file.")),
                    always("line", count("The line's number, from 1.")),
                    setting(),
                    always("value", text("What the line sets it to.")),
                ],
            ),
        ],
    )
}

fn same_settings() -> Schema {
    let setting = object(
        "A setting.",
        [
            always("name", word("Its name.", settings::explained_names())),
            always("value", text("What it is set to.")),
            always("default", text("The kernel's default on this machine; null where that is not known.").or_null()),
            always("here", text("What it does here, in words.")),
            always("fine", whether("Whether it is at its default and no finding is about it.")),
        ],
    );
    object(
        "Namespaces with the same settings.",
        [
            namespaces("Those namespaces."),
            always("settings", list("Their settings, explained for the first of them.", setting)),
        ],
    )
}

fn unknown() -> Schema {
    object("Something that could not be read.", [always("why", text("What, and why, in words.")), namespaces("Where.")])
}
