//! What is exposed and `stat --json` has too is the same number. Tests of recordings and of the running kernel share this.

use std::collections::HashMap;

use serde_json::Value as Json;

fn word(json: &str) -> String {
    json.to_ascii_lowercase().replace('-', "_")
}

/// Every number that both have, at one moment or at the end of one recording.
pub fn is_equal(name: &str, exposed: &HashMap<String, f64>, stat: &Json) {
    let is = |series: &str, number: &Json| {
        let found = exposed.get(series).unwrap_or_else(|| panic!("{name} has no {series}"));
        assert_eq!(*found, number.as_f64().unwrap(), "{name}: {series}");
    };
    for (state, row) in stat["states"].as_object().unwrap().iter().filter(|(state, _)| *state != "CLOSE") {
        is(&format!("tcpwait_sockets{{state=\"{}\"}}", word(state)), &row["now"]);
    }
    is("tcpwait_time_wait_entries_total", &stat["states"]["TIME_WAIT"]["entered"]);
    is("tcpwait_time_wait_overflows_total", &stat["time_wait"]["overflows"]);
    for row in stat["transitions"].as_array().unwrap() {
        let from = row["from"].as_str().map_or("unknown".to_owned(), word);
        let to = word(row["to"].as_str().unwrap());
        is(&format!("tcpwait_state_transitions_total{{from=\"{from}\",to=\"{to}\"}}"), &row["count"]);
    }
    for (reason, row) in stat["exits"].as_object().unwrap() {
        is(&format!("tcpwait_time_wait_exits_total{{reason=\"{}\"}}", word(reason)), &row["count"]);
    }
    for (side, count) in stat["time_wait"]["closed_first"].as_object().unwrap() {
        is(&format!("tcpwait_connections_closed_total{{first=\"{side}\"}}"), count);
    }
    for (cause, count) in stat["time_wait"]["restart_causes"].as_object().unwrap() {
        is(&format!("tcpwait_time_wait_restarts_total{{cause=\"{}\"}}", word(cause)), count);
    }
    for (outcome, row) in stat["syn_recv"]["outcomes"].as_object().unwrap() {
        is(&format!("tcpwait_syn_recv_exits_total{{outcome=\"{}\"}}", word(outcome)), &row["count"]);
    }
    let failed: f64 = exposed
        .iter()
        .filter(|(series, _)| series.starts_with("tcpwait_failed_calls_total"))
        .map(|(_, count)| count)
        .sum();
    assert_eq!(failed, stat["failures"]["total"].as_f64().unwrap(), "{name}: failed calls");
    is("tcpwait_connects_retransmitted_total", &stat["connects"]["retransmitted"]);
}
