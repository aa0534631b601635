//! What a recording is told beside the kernel's events: the settings of namespaces, each again when it has changed, and the kernel's own counters.

use std::{collections::HashMap, io};

use tcpwait_wire::wire::{self, Kind};
use zerocopy::IntoBytes;

use crate::{
    aggregate::audit::{Reading, reading_begins},
    tcp::NetnsId,
};

const RANGE: &str = "net.ipv4.ip_local_port_range";
const RESERVED: &str = "net.ipv4.ip_local_reserved_ports";

/// Tells what has been read.
#[derive(Default)]
pub struct Circumstances {
    told: HashMap<(NetnsId, String), String>,
}

impl Circumstances {
    /// The counters are going to be read, at this time in nanoseconds of `CLOCK_MONOTONIC`.
    ///
    /// # Errors
    /// Those of `record`, which takes the records.
    pub fn begin(time_ns: u64, mut record: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        record(reading_begins(time_ns).as_bytes())
    }

    /// They have been read.
    ///
    /// # Errors
    /// Those of `record`, which takes the records.
    pub fn end(
        &mut self,
        reading: &Reading,
        time_ns: u64,
        mut record: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        for (netns, settings) in &reading.settings {
            let no_room = settings.get(RESERVED).is_some_and(|value| value.len() > wire::MAX_SETTING);
            for (name, value) in settings {
                // Without what is reserved in it, nothing is known of the range.
                let value = if no_room && [RANGE, RESERVED].contains(&name.as_str()) { "" } else { value };
                let key = (*netns, name.clone());
                if self.told.get(&key).is_none_or(|told| told != value) {
                    self.told.insert(key, value.to_owned());
                    setting(*netns, name, value, time_ns).as_deref().map_or(Ok(()), &mut record)?;
                }
            }
        }
        // Those of namespaces that are gone, unless they could not be read this once.
        if reading.unreadable == 0 && !reading.settings.is_empty() {
            self.told.retain(|(netns, _), _| reading.settings.iter().any(|(there, _)| there == netns));
        }
        reading.counts(time_ns).try_for_each(|counts| record(counts.as_bytes()))?;
        record(reading.end(time_ns).as_bytes())
    }
}

/// The record of a setting; none if it is too long for one.
fn setting(netns: NetnsId, name: &str, value: &str, time_ns: u64) -> Option<Vec<u8>> {
    if value.len() > wire::MAX_SETTING {
        return None;
    }
    let padded = value.len().next_multiple_of(8);
    let len = u16::try_from(size_of::<wire::Setting>() + padded).ok()?;
    let head = wire::Head { time_ns, len, kind: Kind::Setting as u8, flags: 0, cpu: 0, thread: 0 };
    let mut record =
        wire::Setting { head, netns: netns.inode(), generation: netns.generation(), reserved: 0, name: [0; 64] };
    record.name.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
    let mut bytes = record.as_bytes().to_vec();
    bytes.extend_from_slice(value.as_bytes());
    bytes.resize(len.into(), 0);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::event::{Fact, decode};

    fn told(circumstances: &mut Circumstances, reading: &Reading) -> Vec<Fact> {
        let mut facts = Vec::new();
        let record = |bytes: &[u8]| {
            facts.push(decode(bytes).unwrap().fact);
            Ok(())
        };
        circumstances.end(reading, 7, record).unwrap();
        facts
    }

    #[test]
    fn a_setting_is_told_once_and_again_when_it_changes() {
        let netns = NetnsId::new(4_026_531_840, 7);
        let with = |reuse: &str, reserved: &str| Reading {
            settings: vec![(
                netns,
                [("net.ipv4.tcp_tw_reuse", reuse), ("net.ipv4.ip_local_reserved_ports", reserved)]
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .into(),
            )],
            ..Reading::default()
        };
        let setting = |name: &str, value: &str| Fact::Setting { netns, name: name.to_owned(), value: value.to_owned() };
        let end = || Fact::ReadingEnds { unreadable: 0, entered: None };
        let mut circumstances = Circumstances::default();
        let long = "1-2,".repeat(4000);
        assert_eq!(
            told(&mut circumstances, &with("2", &long)),
            [setting("net.ipv4.ip_local_reserved_ports", &long), setting("net.ipv4.tcp_tw_reuse", "2"), end()]
        );
        assert_eq!(told(&mut circumstances, &with("2", &long)), [end()]);
        assert_eq!(told(&mut circumstances, &with("1", &long)), [setting("net.ipv4.tcp_tw_reuse", "1"), end()]);
        assert_eq!(
            told(&mut circumstances, &with("1", "")),
            [setting("net.ipv4.ip_local_reserved_ports", ""), end()],
            "nothing is reserved any more"
        );
    }

    #[test]
    fn a_range_is_unknown_where_what_is_reserved_is_too_long_to_be_told() {
        let netns = NetnsId::new(4_026_531_840, 7);
        let settings = [(RANGE, "1024 65535".to_owned()), (RESERVED, "1-2,".repeat(10_000))];
        let settings = settings.map(|(name, value)| (name.to_owned(), value)).into();
        let facts =
            told(&mut Circumstances::default(), &Reading { settings: vec![(netns, settings)], ..Reading::default() });
        let unknown = |name: &str| Fact::Setting { netns, name: name.to_owned(), value: String::new() };
        assert_eq!(facts, [unknown(RANGE), unknown(RESERVED), Fact::ReadingEnds { unreadable: 0, entered: None }]);
    }
}
