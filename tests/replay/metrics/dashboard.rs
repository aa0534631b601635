//! contrib/grafana/dashboard.json is made from this table of panels; `UPDATE_GOLDEN=1` writes it anew. Every metric in a query is one of
//! `metrics/table.rs`, by its name there.

use std::{env, fs};

use serde_json::{Value as Json, json};
use tcpwait::metrics::table::{self, Metric};

use crate::support::tests;

struct Panel {
    title: &'static str,
    kind: &'static str,
    unit: &'static str,
    width: u32,
    /// Query and legend; `$0`, `$1` are the metrics.
    queries: &'static [(&'static str, &'static str)],
    metrics: &'static [&'static Metric],
}

const TARGET: &str = "instance=~\"$instance\",job=~\"$job\"";

const fn panel(
    title: &'static str,
    kind: &'static str,
    unit: &'static str,
    width: u32,
    queries: &'static [(&'static str, &'static str)],
    metrics: &'static [&'static Metric],
) -> Panel {
    Panel { title, kind, unit, width, queries, metrics }
}

/// Rows and their panels; a row is 24 wide.
const ROWS: [(&str, &[Panel]); 6] = [
    (
        "Is anything wrong?",
        &[
            panel("Ports run out in", "stat", "s", 4, &[("min($0{@})", "")], &[&table::PORTS_SOONEST_FULL]),
            panel(
                "Failed calls in 5 min",
                "stat",
                "short",
                4,
                &[("sum(increase($0{@}[5m]))", "")],
                &[&table::FAILED_CALLS],
            ),
            panel(
                "SYNs and ACKs dropped by listeners in 5 min",
                "stat",
                "short",
                4,
                &[("sum(increase($0{@,counter=\"ListenDrops\"}[5m]))", "")],
                &[&table::LISTEN_EVENTS],
            ),
            panel("CLOSE_WAIT", "stat", "short", 4, &[("sum($0{@,state=\"close_wait\"})", "")], &[&table::SOCKETS]),
            panel("TIME_WAIT", "stat", "short", 4, &[("sum($0{@,state=\"time_wait\"})", "")], &[&table::SOCKETS]),
            panel(
                "Events lost in 5 min",
                "stat",
                "short",
                4,
                &[("sum(increase($0{@}[5m]))", "")],
                &[&table::EVENTS_LOST],
            ),
        ],
    ),
    (
        "TIME_WAIT",
        &[
            panel(
                "Entered a second",
                "timeseries",
                "cps",
                8,
                &[("rate($0{@}[$__rate_interval])", "{{instance}}")],
                &[&table::TIME_WAIT_ENTRIES],
            ),
            panel(
                "Left a second, by reason",
                "timeseries",
                "cps",
                8,
                &[("sum by (reason) (rate($0{@}[$__rate_interval]))", "{{reason}}")],
                &[&table::TIME_WAIT_EXITS],
            ),
            panel(
                "Sockets, and what the rate and the time expect (Little's law)",
                "timeseries",
                "short",
                8,
                &[
                    ("sum($0{@,state=\"time_wait\"})", "sockets"),
                    ("sum(rate($1{@}[5m])) * sum(rate($2_sum{@}[5m])) / sum(rate($2_count{@}[5m]))", "expected"),
                ],
                &[&table::SOCKETS, &table::TIME_WAIT_ENTRIES, &table::TIME_WAIT_TIMES],
            ),
            panel(
                "Time in TIME_WAIT",
                "heatmap",
                "s",
                12,
                &[("sum by (le) (increase($0_bucket{@}[$__rate_interval]))", "{{le}}")],
                &[&table::TIME_WAIT_TIMES],
            ),
            panel("Normal range", "timeseries", "s", 4, &[("$0{@}", "{{bound}}")], &[&table::TIME_WAIT_NORMAL]),
            panel(
                "Restarts, off time, overflows",
                "timeseries",
                "cps",
                8,
                &[
                    ("sum by (cause) (rate($0{@}[$__rate_interval]))", "restart: {{cause}}"),
                    ("sum by (when) (rate($1{@}[$__rate_interval]))", "{{when}}"),
                    ("sum(rate($2{@}[$__rate_interval]))", "overflow"),
                ],
                &[&table::TIME_WAIT_RESTARTS, &table::TIME_WAIT_OFF_TIME, &table::TIME_WAIT_OVERFLOWS],
            ),
        ],
    ),
    (
        "States and ends",
        &[
            panel(
                "Sockets by state",
                "timeseries",
                "short",
                8,
                &[("sum by (state) ($0{@})", "{{state}}")],
                &[&table::SOCKETS],
            ),
            panel(
                "Ends a second, by reason",
                "timeseries",
                "cps",
                8,
                &[("sum by (reason, detail) (rate($0{@}[$__rate_interval])) > 0", "{{reason}} {{detail}}")],
                &[&table::ENDS],
            ),
            panel(
                "Which side closed first",
                "timeseries",
                "cps",
                8,
                &[("sum by (first) (rate($0{@}[$__rate_interval]))", "{{first}}")],
                &[&table::CLOSED_FIRST],
            ),
            panel(
                "Transitions a second",
                "table",
                "cps",
                12,
                &[("sum by (from, to) (rate($0{@}[$__rate_interval])) > 0", "{{from}} to {{to}}")],
                &[&table::TRANSITIONS],
            ),
            panel(
                "Time in ESTABLISHED",
                "heatmap",
                "s",
                12,
                &[("sum by (le) (increase($0_bucket{@,state=\"established\"}[$__rate_interval]))", "{{le}}")],
                &[&table::STATE_TIMES],
            ),
        ],
    ),
    (
        "Opening",
        &[
            panel(
                "Handshake of connect(): P50 and P99",
                "timeseries",
                "s",
                8,
                &[
                    (
                        "histogram_quantile(0.5, sum by (le) (rate($0_bucket{@,state=\"syn_sent\"}[$__rate_interval])))",
                        "P50",
                    ),
                    (
                        "histogram_quantile(0.99, sum by (le) (rate($0_bucket{@,state=\"syn_sent\"}[$__rate_interval])))",
                        "P99",
                    ),
                ],
                &[&table::STATE_TIMES],
            ),
            panel(
                "SYNs sent again, SYN-ACKs sent again",
                "timeseries",
                "cps",
                8,
                &[
                    ("sum(rate($0{@}[$__rate_interval]))", "connects with a SYN sent again"),
                    ("sum(rate($1{@}[$__rate_interval]))", "SYN-ACKs"),
                ],
                &[&table::CONNECTS_RETRANSMITTED, &table::SYN_ACK_RETRANSMITS],
            ),
            panel(
                "SYN_RECV, by outcome",
                "timeseries",
                "cps",
                8,
                &[("sum by (outcome) (rate($0{@}[$__rate_interval]))", "{{outcome}}")],
                &[&table::SYN_RECV_EXITS],
            ),
            panel(
                "Failed calls",
                "timeseries",
                "cps",
                12,
                &[("sum by (call, why) (rate($0{@}[$__rate_interval])) > 0", "{{call}}: {{why}}")],
                &[&table::FAILED_CALLS],
            ),
            panel(
                "Queues of listeners (TcpExt)",
                "timeseries",
                "cps",
                12,
                &[("sum by (counter) (rate($0{@}[$__rate_interval]))", "{{counter}}")],
                &[&table::LISTEN_EVENTS],
            ),
        ],
    ),
    (
        "Ports of outgoing connections",
        &[
            panel(
                "Fullest destination",
                "timeseries",
                "short",
                8,
                &[("$0{@}", "in use {{instance}}"), ("$1{@}", "of {{instance}}")],
                &[&table::PORTS_FULLEST_USED, &table::PORTS_FULLEST_LIMIT],
            ),
            panel(
                "Time until ports run out",
                "timeseries",
                "s",
                8,
                &[("$0{@}", "{{instance}}")],
                &[&table::PORTS_SOONEST_FULL],
            ),
            panel(
                "Destinations, by ports taken",
                "timeseries",
                "short",
                8,
                &[("sum by (taken) ($0{@})", "{{taken}}")],
                &[&table::PORT_DESTINATIONS],
            ),
        ],
    ),
    (
        "tcpwait itself",
        &[
            panel(
                "Events lost",
                "timeseries",
                "cps",
                8,
                &[("sum by (cause) (rate($0{@}[$__rate_interval]))", "{{cause}}")],
                &[&table::EVENTS_LOST],
            ),
            panel(
                "Difference from the kernel's counters",
                "timeseries",
                "short",
                8,
                &[("$0{@}", "{{instance}} {{counter}}")],
                &[&table::AUDIT_DIFFERENCE],
            ),
            panel(
                "What this kernel does not tell",
                "table",
                "short",
                8,
                &[("$0{@} == 0", "{{instance}} {{what}}")],
                &[&table::OBSERVED],
            ),
            panel(
                "CPU",
                "timeseries",
                "percentunit",
                12,
                &[("rate($0{@}[$__rate_interval])", "{{instance}}")],
                &[&table::PROCESS_CPU],
            ),
            panel("Memory", "timeseries", "bytes", 12, &[("$0{@}", "{{instance}}")], &[&table::PROCESS_RESIDENT]),
        ],
    ),
];

fn expression(query: &str, metrics: &[&Metric]) -> String {
    let named = metrics
        .iter()
        .enumerate()
        .fold(query.to_owned(), |text, (index, metric)| text.replace(&format!("${index}"), &metric.exposed()));
    named.replace('@', TARGET)
}

fn dashboard() -> Json {
    let datasource = json!({"type": "prometheus", "uid": "${datasource}"});
    let mut panels = Vec::new();
    let mut y = 0;
    for (title, row) in ROWS {
        panels.push(json!({
            "type": "row", "title": title, "collapsed": false, "panels": [],
            "id": panels.len() + 1, "gridPos": {"h": 1, "w": 24, "x": 0, "y": y},
        }));
        y += 1;
        let (mut x, mut height) = (0, 0);
        for panel in row {
            if x + panel.width > 24 {
                (x, y) = (0, y + height);
            }
            height = if panel.kind == "stat" { 4 } else { 8 };
            let targets: Vec<Json> = panel
                .queries
                .iter()
                .zip('A'..)
                .map(|((query, legend), name)| {
                    json!({
                        "datasource": datasource, "expr": expression(query, panel.metrics), "legendFormat": legend,
                        "refId": name.to_string(), "instant": (panel.kind == "stat" || panel.kind == "table"),
                        "format": if panel.kind == "heatmap" { "heatmap" } else if panel.kind == "table" { "table" } else { "time_series" },
                    })
                })
                .collect();
            panels.push(json!({
                "type": panel.kind, "title": panel.title, "datasource": datasource, "targets": targets,
                "id": panels.len() + 1, "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
                "gridPos": {"h": height, "w": panel.width, "x": x, "y": y}, "options": {},
            }));
            x += panel.width;
        }
        y += height;
    }
    let of_targets = |name: &str| {
        json!({
            "name": name, "type": "query", "datasource": datasource, "multi": true, "includeAll": true, "refresh": 2,
            "query": format!("label_values({}, {name})", table::SOCKETS.exposed()),
            "current": {"text": "All", "value": "$__all"},
        })
    };
    json!({
        "uid": "tcpwait", "title": "tcpwait: TIME_WAIT, ports and ends of TCP connections", "schemaVersion": 39, "version": 1,
        "editable": true, "tags": ["tcp"], "time": {"from": "now-1h", "to": "now"}, "refresh": "30s",
        "templating": {"list": [
            {"name": "datasource", "type": "datasource", "query": "prometheus", "current": {}},
            of_targets("job"), of_targets("instance"),
        ]},
        "annotations": {"list": [{
            "name": "tcp_max_tw_buckets reached", "datasource": datasource, "enable": true, "iconColor": "red",
            "expr": expression("increase($0{@}[1m]) > 0", &[&table::TIME_WAIT_OVERFLOWS]),
        }]},
        "panels": panels,
    })
}

#[test]
fn the_dashboard_is_made_from_the_table() {
    let path = tests().join("../contrib/grafana/dashboard.json");
    let made = serde_json::to_string_pretty(&dashboard()).unwrap() + "\n";
    if env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        return fs::write(&path, made).unwrap();
    }
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        made,
        "contrib/grafana/dashboard.json (UPDATE_GOLDEN=1 writes it anew)"
    );
}

#[test]
fn queries_name_metrics_by_the_table_only() {
    for (_, row) in ROWS {
        for panel in row {
            for (query, _) in panel.queries {
                assert!(!query.contains("tcpwait_") && query.contains('@'), "{}: {query}", panel.title);
                let made = expression(query, panel.metrics);
                assert!(!made.contains("$0") && !made.contains("$1") && !made.contains("$2"), "{made}");
            }
        }
    }
}
