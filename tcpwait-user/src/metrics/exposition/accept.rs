//! Which format a request's Accept likes best (RFC 9110, 12.5.1). Knows nothing of what is in it.

use super::Format;

/// What is understood, by its type; of equals the first in the request.
const TYPES: [(&str, Format); 3] = [
    ("application/openmetrics-text", Format::OpenMetrics),
    ("application/vnd.google.protobuf", Format::Protobuf),
    ("text/plain", Format::Text),
];

/// The one that it likes best; `None` if it names none of them.
pub(super) fn preferred(header: &str) -> Option<Format> {
    let mut best: Option<(Format, f64)> = None;
    for range in header.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let Some((_, format)) = TYPES.into_iter().find(|(known, _)| *known == name) else { continue };
        let parameters: Vec<(String, String)> = parts
            .filter_map(|part| part.split_once('='))
            .map(|(name, value)| {
                (name.trim().to_ascii_lowercase(), value.trim().trim_matches('"').to_ascii_lowercase())
            })
            .collect();
        let value = |wanted: &str| parameters.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        // Other messages, and other ways to tell where one ends, are not spoken.
        let is_spoken = format != Format::Protobuf
            || (value("proto").is_none_or(|proto| proto == "io.prometheus.client.metricfamily")
                && value("encoding").is_none_or(|encoding| encoding == "delimited"));
        let weight = value("q").map_or(1.0, |q| q.parse().unwrap_or(0.0));
        if is_spoken && weight > 0.0 && best.is_none_or(|(_, most)| weight > most) {
            best = Some((format, weight));
        }
    }
    best.map(|(format, _)| format)
}

#[cfg(test)]
mod tests {
    use super::{Format, preferred};

    #[test]
    fn the_best_is_taken() {
        let native = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,\
                      application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(preferred(native), Some(Format::Protobuf), "Prometheus with native histograms");
        let usual = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
                     text/plain;version=1.0.0;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        assert_eq!(preferred(usual), Some(Format::OpenMetrics), "Prometheus");
        for (header, format) in [
            ("text/plain", Some(Format::Text)),
            ("application/vnd.google.protobuf;encoding=text", None),
            ("application/vnd.google.protobuf;q=0", None),
            ("text/plain;q=0.9, application/openmetrics-text;q=0.90001", Some(Format::OpenMetrics)),
            ("text/html,*/*;q=0.8", None),
            ("", None),
        ] {
            assert_eq!(preferred(header), format, "{header}");
        }
    }
}
