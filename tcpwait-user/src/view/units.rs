//! Numbers as people read them: durations with a unit, counts in groups of three, `-` for what is not known.

use jiff::{Timestamp, tz::TimeZone};

use crate::aggregate::age::AgeSummary;

/// A duration in three or four digits: `412ns`, `41.2us`, `3.07ms`, `61.02s`, `20.6m`, `3.1h`, `12d`.
pub fn duration(ns: Option<u64>) -> String {
    let Some(ns) = ns else { return "-".to_owned() };
    let value = ns as f64;
    match ns {
        0..1_000 => format!("{ns}ns"),
        1_000..1_000_000 => digits(value / 1e3, 3, "us"),
        1_000_000..1_000_000_000 => digits(value / 1e6, 3, "ms"),
        1_000_000_000..1_000_000_000_000 => digits(value / 1e9, 4, "s"),
        1_000_000_000_000..7_200_000_000_000 => digits(value / 60e9, 3, "m"),
        7_200_000_000_000..172_800_000_000_000 => digits(value / 3600e9, 3, "h"),
        _ => format!("{:.0}d", value / 86_400e9),
    }
}

/// A time that is known from below only: `>61.02s`, or `-`. (`+` would look like something cut.)
pub fn at_least(ns: Option<u64>) -> String {
    ns.map_or_else(|| duration(None), |ns| format!(">{}", duration(Some(ns))))
}

/// The oldest, the median and the 90 % of what is there.
pub fn age(age: &AgeSummary) -> [String; 3] {
    let text = if age.at_least > 0 { at_least } else { duration };
    [age.oldest_ns, age.p50_ns, age.p90_ns].map(text)
}

/// So many digits in all, and never more than were there: 999.96 is cut, not rounded to 1000.
fn digits(value: f64, all: usize, unit: &str) -> String {
    let before = if value >= 100.0 {
        3
    } else if value >= 10.0 {
        2
    } else {
        1
    };
    let after = all.saturating_sub(before);
    let scale = 10f64.powi(after.try_into().unwrap_or(0));
    format!("{:.after$}{unit}", (value * scale).floor() / scale)
}

/// `27,912`.
pub fn count(count: u64) -> String {
    let plain = count.to_string();
    let mut grouped = String::with_capacity(plain.len() * 4 / 3);
    for (index, digit) in plain.chars().enumerate() {
        if index > 0 && (plain.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1 socket`, `27,912 sockets`.
pub fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// `2026-11-26 04:50:18 UTC`: a time that may stand in a ticket.
pub fn date_time(time: Option<Timestamp>, zone: &TimeZone) -> String {
    let text = |time: Timestamp| time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string();
    time.map_or_else(|| "-".to_owned(), text)
}

/// `04:50:18`: a time of today.
pub fn time_of_day(time: Option<Timestamp>, zone: &TimeZone) -> String {
    time.map_or_else(|| "-".to_owned(), |time| time.to_zoned(zone.clone()).strftime("%H:%M:%S").to_string())
}

/// How large that is which one of these wrote, for those who sort by what they see; `None` of what is no number.
pub fn magnitude(text: &str) -> Option<f64> {
    let text = text.trim_start_matches(['>', '<', '=', '~', '+']);
    // A change.
    if let Some(less) = text.strip_prefix('-').filter(|less| less.starts_with(|c: char| c.is_ascii_digit())) {
        return magnitude(less).map(|number| -number);
    }
    // So many times as much, beside changes in percent.
    if let Some(times) = text.strip_prefix('x').filter(|times| times.starts_with(|c: char| c.is_ascii_digit())) {
        return magnitude(times).map(|times| (times - 1.0) * 100.0);
    }
    let plain: String = text.chars().filter(|c| *c != ',').collect();
    let end = plain.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(plain.len());
    let (number, unit) = plain.split_at_checked(end)?;
    let of_unit = match unit {
        "ns" | "" | "%" | "x" => 1.0,
        "us" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" => 60e9,
        "h" => 3600e9,
        "d" => 86_400e9,
        // `3+2?`
        unit if unit.starts_with('+') => 1.0,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * of_unit)
}

/// `27,912`, or `-` where it is not known.
pub fn known(number: Option<u64>) -> String {
    number.map_or_else(|| "-".to_owned(), count)
}

/// A rate a second: whole from 10 on, with one decimal below; `<0.1` is not nothing.
pub fn rate(per_s: Option<f64>) -> String {
    match per_s {
        None => "-".to_owned(),
        Some(0.0) => "0".to_owned(),
        Some(rate) if rate < 0.05 => "<0.1".to_owned(),
        Some(rate) if rate < 9.95 => format!("{rate:.1}"),
        Some(rate) => count(rate.round() as u64),
    }
}

/// A share of 1 in whole percent: 100 and 0 only where it is all or nothing.
pub fn percent(share: Option<f64>) -> String {
    match share {
        None => "-".to_owned(),
        Some(0.0) => "0%".to_owned(),
        Some(share) if share >= 1.0 => "100%".to_owned(),
        Some(share) if share < 0.01 => "<1%".to_owned(),
        Some(share) if share > 0.99 => ">99%".to_owned(),
        Some(share) => format!("{:.0}%", share * 100.0),
    }
}

#[cfg(test)]
mod tests {
    use super::{count, duration, magnitude, percent, rate};

    #[test]
    fn what_is_written_can_be_sorted() {
        let of = |texts: &[&str]| texts.iter().map(|text| magnitude(text)).collect::<Vec<_>>();
        assert_eq!(
            of(&["27,912", ">=5", "<1%", "3+2?", "-75%", "+20%", "x12", "-", "nginx", ""]),
            [Some(27_912.0), Some(5.0), Some(1.0), Some(3.0), Some(-75.0), Some(20.0), Some(1100.0), None, None, None]
        );
        let times = [999, 1_234, 41_299, 3_070_000, 1_300_259_000, 61_024_999_999, 1_240_000_000_000, 1 << 50];
        let shown: Vec<_> = times.iter().map(|ns| magnitude(&duration(Some(*ns)))).collect();
        assert!(shown.iter().all(Option::is_some) && shown.is_sorted(), "{shown:?}");
    }

    #[test]
    fn numbers_are_short_and_true() {
        let texts = [0, 999, 1_234, 41_299, 3_070_000, 999_999_999, 1_300_259_000, 61_024_999_999, 1_240_000_000_000];
        let texts: Vec<String> = texts.iter().map(|ns| duration(Some(*ns))).collect();
        assert_eq!(texts, ["0ns", "999ns", "1.23us", "41.2us", "3.07ms", "999ms", "1.300s", "61.02s", "20.6m"]);
        assert_eq!(duration(Some(86_400_000_000_000 * 12)), "12d");
        assert_eq!(duration(None), "-");
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.0, 0.01, 0.5, 9.99, 1239.6].map(|r| rate(Some(r))), ["0", "<0.1", "0.5", "10", "1,240"]);
        assert_eq!([0.0, 0.001, 0.5, 0.999, 1.0].map(|s| percent(Some(s))), ["0%", "<1%", "50%", ">99%", "100%"]);
    }
}
