//! connect() that an ICMP error met while the call held the socket: the kernel notes it, and nothing ends (`sk_err_soft` of `tcp_v4_err`).

use super::story;

fn closed(end: &str, heard: &str) {
    for stack in ["__tcp_close", "tcp_disconnect"] {
        story(
            &format!(
                "0 seeded\n10 state CLOSE SYN_SENT by=curl {}\n200 state SYN_SENT CLOSE by=curl stack={stack} {end}",
                if end.contains("old-soft") { "old-soft" } else { "" }
            ),
            &format!("10 #1 CLOSE -> SYN_SENT - of curl\n{heard}"),
        );
    }
}

#[test]
fn who_does_not_ask_is_not_told() {
    closed(
        "soft=113",
        "200 #1 SYN_SENT -> CLOSE 190 of curl closed (soft-error EHOSTUNREACH)
         200 Connect failed: SoftError",
    );
}

#[test]
fn who_asks_is_told() {
    for (errno, why) in [(111, "Refused"), (113, "Unreachable"), (13, "Unreachable")] {
        let name = ["ECONNREFUSED", "EHOSTUNREACH", "EACCES"][[111, 113, 13].iter().position(|n| *n == errno).unwrap()];
        closed(
            &format!("soft={errno} asked"),
            &format!("200 #1 SYN_SENT -> CLOSE 190 of curl closed (soft-error {name})\n200 Connect failed: {why}"),
        );
    }
}

/// Nothing takes it from a socket that is connected again.
#[test]
fn what_is_old_or_not_known_is_not_told() {
    for end in ["soft=113 old-soft", "soft=111 asked old-soft", "soft=0"] {
        closed(
            end,
            "200 #1 SYN_SENT -> CLOSE 190 of curl closed (given-up)
             200 Connect failed: GivenUp",
        );
    }
}
