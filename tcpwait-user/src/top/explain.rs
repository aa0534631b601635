//! What the columns mean, for `?` and for the details of a row.

use super::tab::Tab;

/// What a column of a tab means; `None` of one that nobody has explained, which a test does not let be.
pub fn column(tab: Tab, header: &str) -> Option<&'static str> {
    let own = match tab {
        Tab::Overview => overview(header),
        Tab::Connections => connections(header),
        Tab::TimeWait => time_wait(header),
        Tab::Ports => ports(header),
        Tab::Opening => opening(header),
    };
    own.or_else(|| everywhere(header))
}

fn overview(header: &str) -> Option<&'static str> {
    Some(match header {
        "NOW" => "sockets in the state at the end of the interval; of services: in TIME_WAIT",
        "ENTERED" => "sockets that entered the state in the interval; of services: TIME_WAIT. >= is at least",
        "LEFT" => "sockets that left it in the interval",
        "IN/s" => "sockets that entered TIME_WAIT a second",
        "LAST 60s" => "how NOW went in the last minute; the right end is now",
        "WHOLE RUN" => "how NOW went from the beginning to the end",
        "%" => "the share of all that entered TIME_WAIT",
        "CLOSED FIRST" => "the side that sent the first FIN, which gets TIME_WAIT",
        "ENDED BY" => "what ended most TIME_WAITs that left; expired is as it should be",
        _ => return None,
    })
}

fn connections(header: &str) -> Option<&'static str> {
    Some(match header {
        "TIME" => "when it happened",
        "LOCAL" => "the local address and port",
        "REMOTE" => "the remote address and port",
        "WHAT" => "the state that the connection ended in, or the call that failed",
        "LASTED" => "how long the connection was there, TIME_WAIT included; > is at least",
        "WHY" => "why it ended or failed",
        _ => return None,
    })
}

fn time_wait(header: &str) -> Option<&'static str> {
    Some(match header {
        "ENDED EARLY" => "why TIME_WAIT ended before its time",
        "BY" => "who did it: a process of this machine, or the peer",
        "COUNT" => "how many since tcpwait started",
        "AFTER" => "how long they had been in TIME_WAIT, in the mean",
        _ => return None,
    })
}

fn ports(header: &str) -> Option<&'static str> {
    Some(match header {
        "FROM" => "the source address",
        "TO" => "the destination: each has the whole range of ports, from each source address",
        "HOW FULL" => "the same as %",
        "USED" => "ports in use from the source address to the destination",
        "OF" => "ports that connect() may take there",
        "%" => "the share of OF that connect() cannot take now",
        "TIME_WAIT" => "of USED: held by TIME_WAIT",
        "FIN_WAIT2" => "of USED: held by FIN_WAIT2",
        "REUSE" => "TIME_WAITs whose port connect() may take now; 3+2? is 3 known, 2 uncertain",
        "IN/s" => "new connections a second, over the last 10 to 30 s",
        "HELD" => "how long a port was in use, of ports that became free",
        "FORECAST" => "what becomes of it at the present rate",
        "FAILED" => "connect() calls that found no port, since tcpwait started",
        "PROCESS" => "the process with the most of these ports",
        _ => return None,
    })
}

fn opening(header: &str) -> Option<&'static str> {
    Some(match header {
        "NOW" => "sockets in the state at the end of the interval",
        "ENTERED" => "sockets that entered the state in the interval",
        "LEFT" => "sockets that left it in the interval",
        "FAILED" => "the call that failed",
        "COUNT" => "how many in the interval",
        "ADDRESS" => "of connect() the remote end, else the local one",
        "WHY" => "why it failed",
        _ => return None,
    })
}

fn everywhere(header: &str) -> Option<&'static str> {
    Some(match header {
        "STATE" => "the TCP state; the rows below it: how it was left",
        "OLDEST" => "how long the oldest of NOW has been in it; > is at least",
        "AGE P50" => "how long half of NOW have been in it; > is at least",
        "/s" => "the same a second",
        "P50" => "half of those that left had been in it for so long at most",
        "P90" => "nine of ten of those that left had been in it for so long at most",
        "P99" => "99 % of those that left had been in it for so long at most",
        "MAX" => "the longest time in it, of those that left",
        "MEAN" => "the mean time in it, of those that left",
        "SERVICE" => "the end that was listened on: :80 is here, 10.0.0.1:80 is there",
        "PROCESS" => "the name of the process that the connection belongs to",
        "PID" => "the process that the connection belongs to",
        "REMOTE" => "the remote address",
        "REMOTE-PORT" => "the remote port",
        "LOCAL-PORT" => "the local port",
        "PAIR" => "remote address and port",
        "UID" => "the user of the process",
        "CGROUP" => "the cgroup of the process",
        "POD" => "the pod of the process in Kubernetes, and the container: NAMESPACE/POD/CONTAINER",
        "NETNS" => "the network namespace",
        _ => return None,
    })
}
