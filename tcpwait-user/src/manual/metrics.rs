//! tcpwait-metrics(7): every metric of `tcpwait export`.

use super::page::{Block, ManualPage};
use crate::metrics::table::ALL;

pub(super) fn page() -> ManualPage {
    let mut page = ManualPage::new("tcpwait-metrics", 7, "the metrics that tcpwait export serves");
    page.say(
        "DESCRIPTION",
        "Names are as Prometheus stores them, `_total` of counters and the unit among them. Counters are from the start of the exporter. What this kernel \
         cannot tell is absent: nothing that is unknown is 0.",
    );
    let metrics = ALL.iter().map(|metric| {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = if labels.is_empty() { String::new() } else { format!(" Labels: {}.", labels.join(", ")) };
        let absent = if metric.absent.is_empty() { String::new() } else { format!(" Absent {}.", metric.absent) };
        Block::Term(
            metric.exposed(),
            format!("{}. {}.{labels}{absent}", super::capital(metric.kind.name()), metric.help),
        )
    });
    page.add("METRICS", metrics.collect());
    page
}
