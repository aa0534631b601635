//! What is said where only some connections are followed.

use super::units::{count, counted};
use crate::{
    aggregate::sample::Sample,
    thinning::{Thinner, WhyThinned},
};

/// Above a report with estimates.
pub fn head(sample: Sample) -> Option<String> {
    let share = share(sample)?;
    Some(format!(
        "{share} of connections followed: numbers with ~ are estimates, and so are those in sentences, except of calls that failed; counts without ~ are of all"
    ))
}

/// `1/8`, or `1/8 (now 1/2)` where it changed.
pub fn share(sample: Sample) -> Option<String> {
    let Sample { one_in, most } = sample;
    let now = match one_in {
        1 => " (now all)".to_owned(),
        _ if one_in == most => String::new(),
        _ => format!(" (now 1/{one_in})"),
    };
    sample.is_thinned().then(|| format!("1/{most}{now}"))
}

/// That it changes: the number, what it means, what to do.
pub fn sentence(change: &Thinner) -> String {
    let then = format!(
        "1 connection in {} is followed from now on, and figures of connections are estimates",
        count(change.one_in.into())
    );
    match change.why {
        WhyThinned::Behind(full) => format!(
            "{} of the ring buffer was full twice in a row, as tcpwait cannot keep up: {then}; a larger --ring-buffer helps against bursts, a filter (--lport, --netns) always",
            percent(full)
        ),
        WhyThinned::Lost(lost) => format!(
            "{} did not fit into the ring buffer, as tcpwait cannot keep up: {then}; a larger --ring-buffer helps against bursts, a filter (--lport, --netns) always",
            counted(lost, "record", "records")
        ),
        WhyThinned::Cost(share, limit) => format!(
            "{} of the machine's CPU time went to tcpwait, where --max-cpu allows {}: {then}; a higher --max-cpu or a filter (--lport, --netns) lets it follow more",
            percent(share),
            percent(limit)
        ),
        WhyThinned::Calm if change.one_in == 1 => {
            "all connections are followed from now on: tcpwait keeps up again".to_owned()
        }
        WhyThinned::Asked => then,
        WhyThinned::Calm => format!("tcpwait keeps up again: {then}"),
    }
}

/// `12.3%`: what is allowed may be less than one.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent < 10.0 { format!("{:.2}%", percent) } else { format!("{percent:.0}%") }
}

#[cfg(test)]
mod tests {
    use super::{head, sentence, share};
    use crate::{
        aggregate::sample::Sample,
        thinning::{Thinner, WhyThinned},
    };

    #[test]
    fn a_change_says_why_and_what_to_do() {
        let said = |why, one_in| sentence(&Thinner { one_in, before: 1, why });
        assert!(said(WhyThinned::Behind(0.58), 2).starts_with("58% of the ring buffer was full"));
        assert!(said(WhyThinned::Lost(1), 2).starts_with("1 record did not fit"));
        let cost = said(WhyThinned::Cost(0.062, 0.05), 1024);
        assert!(
            cost.starts_with("6.20% of the machine's CPU time") && cost.contains("allows 5.00%: 1 connection in 1,024")
        );
        assert!(said(WhyThinned::Calm, 1).starts_with("all connections are followed"));
        assert!(said(WhyThinned::Calm, 2).contains("1 connection in 2 is followed"));
    }

    #[test]
    fn a_report_without_estimates_says_nothing() {
        assert_eq!(head(Sample { one_in: 1, most: 1 }), None);
        assert_eq!(share(Sample { one_in: 8, most: 8 }).as_deref(), Some("1/8"));
        assert_eq!(share(Sample { one_in: 1, most: 8 }).as_deref(), Some("1/8 (now all)"));
    }
}
