//! The alerts that are shipped, with every duration a sixtieth of what it is: what takes minutes takes seconds. Nothing else is changed.

use super::server::shipped;

/// The label that tells an alert of these from the one that is shipped.
pub const TIME: &str = "sixtieth";

/// The rules.
pub fn alerts() -> String {
    let rules = shipped("contrib/prometheus/alerts.yml");
    assert!(!rules.contains("time:"), "the label is free");
    let labelled = rules.replace("labels: {", &format!("labels: {{time: {TIME}, "));
    assert_eq!(labelled.matches(TIME).count(), labelled.matches("- alert:").count(), "each alert has labels");
    of_a_minute_a_second(&labelled).replace("name: tcpwait", "name: tcpwait-sixtieth")
}

/// `5m` becomes `5s`, wherever it stands by itself.
fn of_a_minute_a_second(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_alphanumeric()) {
        let (before, word) = rest.split_at(at);
        let end = word.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(word.len());
        let (word, after) = word.split_at(end);
        let number = |unit| word.strip_suffix(unit).filter(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
        assert!(['h', 'd', 'w', 's'].into_iter().all(|unit| number(unit).is_none()), "{word} is no number of minutes");
        let made = number('m').map_or_else(|| word.to_owned(), |minutes| format!("{minutes}s"));
        out += before;
        out += &made;
        rest = after;
    }
    out + rest
}
