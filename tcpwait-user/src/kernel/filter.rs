//! What is filtered in the kernel: the maps that say what is wanted, each as large as its filter.

use std::{collections::BTreeSet, ops::RangeInclusive};

use anyhow::{Context, Result};
use aya::{Ebpf, maps::HashMap};
use tcpwait_wire::config;

use super::netns::Identity;
use crate::select::Pick;

/// What is filtered in the kernel.
#[derive(Clone, Debug, Default)]
pub struct KernelFilter {
    /// Network namespaces.
    pub netns: Pick<Identity>,
    /// Local ports.
    pub lports: Pick<RangeInclusive<u16>>,
    /// Remote ports.
    pub rports: Pick<RangeInclusive<u16>>,
}

/// How a filter selects, as its global has it.
pub(super) fn mode<T>(pick: &Pick<T>) -> u8 {
    match pick {
        _ if pick.is_empty() => config::FILTER_OFF,
        Pick { not: true, .. } => config::FILTER_NOT,
        Pick { not: false, .. } => config::FILTER_ONLY,
    }
}

/// Ports, as a filter map has them.
/// Each port of these ranges, once.
pub(super) fn present(ports: &[RangeInclusive<u16>]) -> Vec<(u16, u8)> {
    let ports: BTreeSet<u16> = ports.iter().cloned().flatten().collect();
    ports.into_iter().map(|port| (port, 1)).collect()
}

/// A map has room for one at least.
pub(super) fn room_for<T>(entries: &[T]) -> u32 {
    u32::try_from(entries.len()).unwrap_or(u32::MAX).max(1)
}

pub(super) fn fill<K: aya::Pod, V: aya::Pod>(ebpf: &mut Ebpf, name: &str, entries: &[(K, V)]) -> Result<()> {
    let map = ebpf.map_mut(name).with_context(|| format!("the eBPF object has no map {name}"))?;
    let mut map: HashMap<_, K, V> = HashMap::try_from(map).with_context(|| format!("map {name} is of another type"))?;
    for (key, value) in entries {
        map.insert(key, value, 0)
            .with_context(|| format!("filling filter map {name} with {} entries", entries.len()))?;
    }
    Ok(())
}
