//! Lists of values on the command line: `22,80`, or `!22,80` for all others.

use std::{net::IpAddr, ops::RangeInclusive};

use ipnet::IpNet;

use crate::{
    select::{Pick, steps::Word},
    tcp::State,
};

/// Reads a list. A `!` before it turns the whole of it round.
fn list<T>(text: &str, value: impl FnMut(&str) -> Result<T, String>) -> Result<Pick<T>, String> {
    let text = text.trim();
    let (not, rest) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
    Ok(Pick { values: rest.split(',').map(str::trim).map(value).collect::<Result<_, _>>()?, not })
}

/// Ports and ranges of ports.
pub fn ports(text: &str) -> Result<Pick<RangeInclusive<u16>>, String> {
    let port = |text: &str| text.trim().parse().ok().filter(|port: &u16| *port != 0);
    let range = |text: &str| match text.split_once('-') {
        Some((from, to)) => port(from).zip(port(to)).map(|(from, to)| from..=to).filter(|ports| !ports.is_empty()),
        None => port(text).map(|port| port..=port),
    };
    list(text, |text| {
        range(text).ok_or_else(|| {
            format!("{text:?} is not a port: expected numbers from 1 to 65535, e.g. 80,443 or 1024-2048")
        })
    })
}

/// Process ids.
pub fn pids(text: &str) -> Result<Pick<u32>, String> {
    let pid = |text: &str| text.parse().ok().filter(|pid| *pid != 0);
    list(text, |text| pid(text).ok_or_else(|| format!("{text:?} is not a PID")))
}

/// Addresses and networks.
pub fn networks(text: &str) -> Result<Pick<IpNet>, String> {
    list(text, |text| {
        let address = || text.parse::<IpAddr>().map(IpNet::from);
        text.parse::<IpNet>()
            .or_else(|_| address())
            .map_err(|_| format!("{text:?}: expected an address or a network, e.g. 10.0.0.1, 10.0.0.0/8 or fd00::/8"))
    })
}

/// States.
pub fn states(text: &str) -> Result<Pick<State>, String> {
    list(text, str::parse)
}

/// Reasons.
pub fn reasons(text: &str) -> Result<Pick<Word>, String> {
    list(text, Word::of)
}

/// Names and paths.
pub fn texts(text: &str) -> Result<Pick<String>, String> {
    let named = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    list(text, |text| named(text).ok_or_else(|| "a name is missing".to_owned()))
}

/// One list of all that were given for an option.
///
/// # Errors
/// Some were turned round and others not.
pub fn joined<T: Clone>(option: &str, lists: &[Pick<T>]) -> Result<Pick<T>, String> {
    let not = lists.iter().any(|list| list.not);
    if lists.iter().any(|list| list.not != not) {
        return Err(format!("{option} is given both with and without !: give one of them"));
    }
    Ok(Pick { values: lists.iter().flat_map(|list| list.values.clone()).collect(), not })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{joined, networks, pids, ports, reasons, states, texts};
    use crate::{select::Pick, tcp::State};

    #[test]
    fn lists_and_lists_turned_round() {
        assert_eq!(ports("22"), Ok(vec![22..=22].into()));
        assert_eq!(ports("22,80"), Ok(vec![22..=22, 80..=80].into()));
        assert_eq!(ports("!22, 1024 - 2048"), Ok(Pick::all_but(vec![22..=22, 1024..=2048])));
        assert_eq!(texts("!nginx"), Ok(Pick::all_but(vec!["nginx".to_owned()])));
        assert_eq!(states("!time-wait"), Ok(Pick::all_but(vec![State::TimeWait])));
        assert!(networks("10.0.0.1").unwrap().values.iter().all(|net| net.to_string() == "10.0.0.1/32"));
        assert!(networks("!fd00::/8").unwrap().not);
        for wrong in ["", "!", "22,", "0", "65536", "22,!80", "ssh", "9-8", "0-9", "1-", "-9", "1-2-3"] {
            assert!(ports(wrong).is_err(), "{wrong:?}");
        }
        assert!(pids("0").is_err() && texts("").is_err() && texts("!").is_err() && reasons("whatever").is_err());
    }

    #[test]
    fn one_list_of_many() {
        let of = |texts: &[&str]| joined("-L", &texts.iter().map(|text| ports(text).unwrap()).collect::<Vec<_>>());
        assert_eq!(of(&[]), Ok(Pick::default()));
        assert_eq!(of(&["!1", "!2,3"]), Ok(Pick::all_but(vec![1..=1, 2..=2, 3..=3])));
        assert!(of(&["1", "!2"]).is_err_and(|why| why.starts_with("-L")));
    }
}
