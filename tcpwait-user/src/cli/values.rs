//! Values on the command line, with a sentence for each that is none.

/// A number of seconds above 0.
pub fn seconds(text: &str) -> Result<std::time::Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number of seconds".to_owned())?;
    match std::time::Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("expected a number of seconds above 0".to_owned()),
    }
}

/// A time as people write it: `500ms`, `5m`, `1h30m`; a number alone is seconds.
pub fn time(text: &str) -> Result<std::time::Duration, String> {
    if text.parse::<f64>().is_ok() {
        return seconds(text);
    }
    let time = text.parse::<jiff::SignedDuration>().ok().and_then(|time| std::time::Duration::try_from(time).ok());
    time.filter(|time| !time.is_zero()).ok_or_else(|| "expected a time, e.g. 500ms, 90s, 5m or 1h30m".to_owned())
}

/// A whole number of 1 or more.
pub fn count(text: &str) -> Result<u64, String> {
    text.parse().ok().filter(|count| *count > 0).ok_or_else(|| "expected a whole number of 1 or more".to_owned())
}

/// A whole number from 1 to so many.
pub fn up_to<const MOST: u32>(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| (1..=MOST).contains(number));
    number.ok_or_else(|| match MOST {
        u32::MAX => "expected a whole number of 1 or more".to_owned(),
        _ => format!("expected a whole number from 1 to {MOST}"),
    })
}

/// A percentage above 0 and up to 100, as a share: `5%` or `5`.
pub fn percentage(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim_end().parse::<f64>().ok();
    let percent = number.filter(|percent| *percent > 0.0 && *percent <= 100.0);
    percent.map(|percent| percent / 100.0).ok_or_else(|| "expected a percentage above 0, e.g. 5%".to_owned())
}

/// A power of two up to 1024.
pub fn power_of_two(text: &str) -> Result<u32, String> {
    let number = text.parse::<u32>().ok().filter(|number| number.is_power_of_two() && *number <= 1024);
    number.ok_or_else(|| "expected a power of two from 1 to 1024".to_owned())
}

/// A number of MiB, in bytes.
pub fn mebibytes(text: &str) -> Result<u32, String> {
    let mib: u32 = text.parse().map_err(|_| "expected a number of MiB".to_owned())?;
    if mib.is_power_of_two() && mib <= 1024 {
        Ok(mib << 20)
    } else {
        Err("expected a power of two from 1 to 1024".to_owned())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn whole_numbers() {
        assert_eq!((super::count("3"), super::up_to::<10>("10")), (Ok(3), Ok(10)));
        for wrong in ["", "0", "-1", "1.5", "x", "11"] {
            assert_eq!(super::up_to::<10>(wrong), Err("expected a whole number from 1 to 10".to_owned()));
        }
        assert!(
            super::count("0").is_err()
                && super::up_to::<{ u32::MAX }>("x").is_err_and(|why| why.ends_with("1 or more"))
        );
    }

    #[test]
    fn percentages() {
        assert_eq!(
            ["5%", "5", "0.5 %", "100%"].map(|text| super::percentage(text).ok()),
            [0.05, 0.05, 0.005, 1.0].map(Some)
        );
        assert_eq!(["", "%", "0", "101", "-1", "x", "nan"].map(|text| super::percentage(text).ok()), [None; 7]);
    }

    #[test]
    fn times() {
        let ms = |text| super::time(text).map(|time| time.as_millis()).ok();
        assert_eq!(["500ms", "1.5", "90s", "5m", "1h30m"].map(ms), [500, 1_500, 90_000, 300_000, 5_400_000].map(Some));
        assert_eq!(["", "0", "0s", "-5m", "5 apples", "nan", "inf"].map(ms), [None; 7]);
    }
}
