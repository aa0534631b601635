//! The tests that `cargo xtask test` runs on kernels on which it does not run all of them: each reason, a loss, ports, a bind,
//! once. Only `xtask` reads this; a name that no test has is an error there.

/// Whole names of tests.
pub const TESTS: [&str; 21] = [
    "active_close::v4",
    "ends::reset_v4",
    "ends::by_its_own_process_v6",
    "ends::data_after_close_v4",
    "ends::destroyed_v6",
    "ends::by_timers_v4",
    "ends::listener_closed_v6",
    "ends::short_of_resources_v4",
    "reasons::reused_auto_port_v4",
    "reasons::reused_by_syn_v6",
    "reasons::reset_v4",
    "reasons::reset_sent_v6",
    "reasons::destroyed_v4",
    "reasons::netns_is_gone",
    "reasons::overflow_v6",
    "reasons::orphan_expires_v4",
    "syn_recv::timeout_v6",
    "failures::restarted_server_v4",
    "ports::listing",
    "stat::every_number",
    "exits::fail_on_loss",
];
