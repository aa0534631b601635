//! `tcpwait version --json`.

use super::value::{Schema, always, count, list, object, schema_key, text, whether};

/// What `tcpwait version --json` says.
pub fn version() -> Schema {
    let probed = object(
        "What the hooks of the running kernel tell; null where they were not tried.",
        [
            always("attached", count("Hooks that were attached.")),
            always("unknown", list("What is unknown for want of others.", text("One of these, in words."))),
        ],
    );
    object(
        "Which version this is, what it was built from, and what this kernel gives.",
        [
            schema_key(super::VERSION),
            always("version", text("The version of tcpwait.")),
            always(
                "commit",
                text("The source's commit, with a + where files differed from it; null where git was not asked.")
                    .or_null(),
            ),
            always("date", text("The day of that commit; null where git was not asked.").or_null()),
            always("target", text("The machines it is for, as rustc calls them.")),
            always("is_static", whether("Whether it needs no library of the machine.")),
            always("compiler", text("The compiler of the user side.")),
            always("bpf_compiler", text("The compiler and the linker of the kernel side.")),
            always("bpf_bytes", count("Size of the kernel side's object file in bytes.")),
            always("recording_written", count("The version of recordings that it writes.")),
            always("recording_oldest", count("The oldest version of recordings that it reads.")),
            always("schemas", list("What its JSON documents call themselves.", text("One of these."))),
            always("kernel", text("The running kernel's release, as `uname -r` prints it.")),
            always("machine", text("Its machine, as `uname -m` prints it.")),
            always("probes", probed.or_null()),
            always("untried", text("Why the hooks were not tried, in words; null where they were.").or_null()),
        ],
    )
}
