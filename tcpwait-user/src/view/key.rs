//! A group's key: as the columns of a table show it, and as an object for programs.

use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::{
    aggregate::by::{GroupBy, Value},
    names::{Names, pod::Pod},
    plain,
};

/// A value as a column shows it.
pub fn text(value: Value, names: &Names) -> String {
    match value {
        Value::Unknown => "-".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Local(port) => format!(":{port}"),
        Value::Remote(address, interface) => plain::column(&names.address(address, interface)),
        Value::Pair(address, port, interface) => plain::column(&names.endpoint(address, port, interface)),
        Value::Netns(netns) => plain::column(&names.netns(netns)),
        Value::Cgroup(id) => plain::column(names.cgroup(id).unwrap_or("-")),
        Value::Pod(cgroup) => names.pod(cgroup).map_or_else(|| "-".to_owned(), |pod| plain::column(&pod.to_string())),
        Value::Process(comm) => plain::column(&comm_of(comm)),
    }
}

/// A process's name without its padding.
pub fn comm_of(comm: [u8; 16]) -> String {
    String::from_utf8_lossy(comm.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

/// A whole key for programs: an object with a value for each thing that groups are by; null where it is not known.
pub struct Key<'a> {
    /// What groups are by.
    pub by: &'a [GroupBy],
    /// The values.
    pub values: &'a [Value],
    /// Names for numbers.
    pub names: &'a Names,
}

impl Serialize for Key<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.values.len()))?;
        for (by, value) in self.by.iter().zip(self.values) {
            if *by == GroupBy::Pod {
                let pod = if let Value::Pod(cgroup) = value { self.names.pod(*cgroup) } else { None };
                map.serialize_entry("pod", &pod.map(Pod::full_name))?;
                map.serialize_entry("container", &pod.and_then(|pod| pod.container.as_deref()))?;
                continue;
            }
            map.serialize_key(by)?;
            match value {
                Value::Unknown | Value::Pod(_) => map.serialize_value(&None::<u64>)?,
                Value::Number(number) => map.serialize_value(number)?,
                Value::Process(comm) => map.serialize_value(&comm_of(*comm))?,
                Value::Cgroup(id) => map.serialize_value(&self.names.cgroup(*id))?,
                Value::Remote(address, interface) => map.serialize_value(&self.names.address(*address, *interface))?,
                Value::Local(port) => map.serialize_value(&format!(":{port}"))?,
                Value::Pair(address, port, interface) => {
                    map.serialize_value(&self.names.endpoint(*address, *port, *interface))?;
                }
                Value::Netns(netns) => map.serialize_value(netns)?,
            }
        }
        map.end()
    }
}
