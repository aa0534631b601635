//! `tcpwait probes --json`.

use super::value::{Schema, always, count, list, object, schema_key, text, whether};

/// What `tcpwait probes --json` says.
pub fn probes() -> Schema {
    let hook = object(
        "A hook.",
        [
            always("hook", text("The tracepoint or function.")),
            always("attached", whether("Whether tcpwait is attached to it.")),
            always("required", whether("Whether tcpwait does not work without it.")),
            always(
                "missed",
                whether(
                    "Whether something is unknown for want of it: it is not attached, and no other hook does its work.",
                ),
            ),
            always("why", text("Why it is not attached, in words; null where it is.").or_null()),
            always("without", text("What is not known without it, in words.")),
        ],
    );
    let untold = object(
        "A function that is not on this kernel's stacks.",
        [
            always("function", text("The function.")),
            always("unknown", text("The ends of connections that are unknown without it, in words.")),
        ],
    );
    let behaviour = object(
        "What the kernel does, as it was tried; null where it was not tried.",
        [
            always("destroy_ends_time_wait", whether("Whether `ss -K` ends a TIME_WAIT.").or_null()),
            always(
                "tw_counts_beginnings",
                whether("Whether the counter TcpExtTW counts TIME_WAITs when they begin; false: when they end.")
                    .or_null(),
            ),
            always("untried", text("Why something was not tried, in words.").or_null()),
        ],
    );
    object(
        "What this kernel has.",
        [
            schema_key(super::PROBES),
            always("kernel", text("The kernel's release, as `uname -r` prints it.")),
            always("hooks", list("Every hook.", hook)),
            always("ends_untold", list("What does not tell why connections end.", untold)),
            always("behaviour", behaviour),
            always("hz", count("The kernel's ticks per second; null where it does not say.").or_null()),
        ],
    )
}
