//! Tests on the running kernel: real sockets in network namespaces of their own, traced by the real program.
//!
//! They need root, and run side by side, as each TIME_WAIT takes its minute: `cargo xtask test` builds and runs them. Every
//! story is a file; what they share is in `netns` (places), `tracer` (the program), `traffic` (sockets), `packet` (forged
//! segments) and `actor` (other processes).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a test that meets what it did not expect has to stop, and its names say what it is"
)]

mod active_close;
mod actor;
mod exits;
mod fifty_thousand;
mod filters;
mod half_close;
mod netns;
mod older;
mod owners;
mod packet;
mod real_server;
mod reasons;
mod recordings;
mod restarts;
mod tracer;
mod traffic;

use std::process::ExitCode;

use libtest_mimic::Arguments;

use crate::netns::isolated;

const V4: &str = "127.0.0.1";
const V6: &str = "::1";

fn main() -> ExitCode {
    // The same executable plays the other processes.
    if std::env::args().nth(1).as_deref() == Some(actor::ROLE) {
        actor::play();
        return ExitCode::SUCCESS;
    }
    let mut arguments = Arguments::from_args();
    if !arguments.list && !nix::unistd::geteuid().is_root() {
        eprintln!("these tests trace the kernel: run them as root (`cargo xtask test` does)");
        return ExitCode::FAILURE;
    }
    netns::remember_home();
    let trials = vec![
        isolated("active_close::v4", || active_close::textbook(V4)),
        isolated("active_close::v6", || active_close::textbook(V6)),
        isolated("active_close::v4_mapped", active_close::v4_mapped),
        isolated("active_close::simultaneous", active_close::simultaneous),
        isolated("reasons::reused_auto_port_v4", || {
            reasons::reused_auto_port(V4)
        }),
        isolated("reasons::reused_auto_port_v6", || {
            reasons::reused_auto_port(V6)
        }),
        isolated("reasons::reused_bound_port_v4", || {
            reasons::reused_bound_port(V4)
        }),
        isolated("reasons::reused_bound_port_v6", || {
            reasons::reused_bound_port(V6)
        }),
        isolated("reasons::recycled_v4", || reasons::recycled(V4)),
        isolated("reasons::recycled_v6", || reasons::recycled(V6)),
        isolated("reasons::reset_v4", || reasons::reset(V4)),
        isolated("reasons::reset_v6", || reasons::reset(V6)),
        isolated("reasons::reset_sent_v4", || reasons::reset_sent(V4)),
        isolated("reasons::reset_sent_v6", || reasons::reset_sent(V6)),
        isolated("reasons::destroyed_v4", || reasons::destroyed(V4)),
        isolated("reasons::destroyed_v6", || reasons::destroyed(V6)),
        isolated("reasons::netns_is_gone", reasons::netns_is_gone),
        isolated("reasons::overflow_v4", || reasons::overflow(V4)),
        isolated("reasons::overflow_v6", || reasons::overflow(V6)),
        isolated("reasons::overflow_of_an_orphan", || {
            reasons::overflow_of_an_orphan(V4)
        }),
        isolated("reasons::overflow_at_close", || {
            reasons::overflow_at_close(V4)
        }),
        isolated("reasons::orphan_expires_v4", || reasons::orphan_expires(V4)),
        isolated("reasons::orphan_expires_v6", || reasons::orphan_expires(V6)),
        isolated("half_close::of_a_full_socket", half_close::of_a_full_socket),
        isolated("half_close::of_an_orphan", half_close::of_an_orphan),
        isolated("half_close::silent_fin", half_close::silent_fin),
        isolated("restarts::are_counted_v4", || restarts::are_counted(V4)),
        isolated("restarts::are_counted_v6", || restarts::are_counted(V6)),
    ];
    // They wait, mostly, each for its own minute.
    arguments.test_threads = Some(arguments.test_threads.unwrap_or(trials.len()));
    let conclusion = libtest_mimic::run(&arguments, trials);
    let sound = tracer::end_shared();
    if conclusion.has_failed() || !sound {
        ExitCode::from(101)
    } else {
        ExitCode::SUCCESS
    }
}
