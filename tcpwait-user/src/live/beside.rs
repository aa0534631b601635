//! What is read beside the tracing, each by a thread of its own, so that neither holds up the other.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{Notify, oneshot};

use super::Live;
use crate::{
    aggregate::{audit::Reading, ports::settings::PortSettings},
    system::{
        clock::monotonic_ns,
        listeners, port_range,
        seed::{self, Seeded},
        snmp::{self, Besides},
    },
    tcp::NetnsId,
};

/// Records of the sockets that there are, once they have been read.
pub(super) type Listed = oneshot::Receiver<(Vec<u8>, Seeded)>;

/// Port settings by namespace, and how long it took to read them.
pub(super) type SettingsRead = (Vec<(NetnsId, PortSettings)>, Duration);

impl Live {
    /// Reads the kernel's own counters, of the namespaces that are `needed` and of others that are known. `anew`: of every namespace that there is by now,
    /// for which all processes are looked at.
    pub(super) fn read_counters(
        &self,
        needed: Vec<NetnsId>,
        anew: bool,
        besides: Besides,
    ) -> oneshot::Receiver<(Reading, Duration)> {
        let (send, receive) = oneshot::channel();
        let netns = self.settings.filter.netns.clone();
        let namespaces = Arc::clone(&self.namespaces);
        std::thread::spawn(move || {
            let begun = Instant::now();
            let inodes: Vec<u32> = needed.iter().map(|netns| netns.inode()).collect();
            let there = if anew { namespaces.anew() } else { namespaces.recent(&inodes) };
            let reading = snmp::read(&there, &netns, besides, monotonic_ns);
            let _ = send.send((reading, begun.elapsed()));
        });
        receive
    }

    /// Reads what decides which local ports connect() may take, in these namespaces.
    pub(super) fn read_settings(&self, wanted: Vec<NetnsId>) -> oneshot::Receiver<SettingsRead> {
        let (send, receive) = oneshot::channel();
        let namespaces = Arc::clone(&self.namespaces);
        std::thread::spawn(move || {
            let begun = Instant::now();
            let inodes: Vec<u32> = wanted.iter().map(|netns| netns.inode()).collect();
            let read = port_range::read_of(&namespaces.recent(&inodes), &wanted);
            let _ = send.send((read, begun.elapsed()));
        });
        receive
    }

    /// Looks up who holds these listeners.
    pub(super) fn read_heirs(&self, known: HashMap<u64, u32>) -> oneshot::Receiver<Vec<u8>> {
        let (send, receive) = oneshot::channel();
        let netns = self.settings.filter.netns.clone();
        std::thread::spawn(move || {
            let mut records = Vec::new();
            listeners::find(&known, &netns, monotonic_ns, |record| records.extend_from_slice(record));
            let _ = send.send(records);
        });
        receive
    }

    /// Reads sock_diag and `/proc`. `again`: after a loss.
    pub(super) fn read_seeds(&self, again: bool) -> Listed {
        let (send, receive) = oneshot::channel();
        let netns = self.settings.filter.netns.clone();
        std::thread::spawn(move || {
            let mut records = Vec::new();
            let sink = |record: &[u8]| records.extend_from_slice(record);
            let seeded = match again {
                false => seed::collect(&netns, monotonic_ns, sink),
                true => seed::collect_again(&netns, monotonic_ns, sink),
            };
            // The receiver is gone when tracing has ended meanwhile.
            let _ = send.send((records, seeded));
        });
        receive
    }
}

/// What a channel gives, if there is one; else it waits for ever.
pub(super) async fn maybe<T>(channel: &mut Option<oneshot::Receiver<T>>) -> Result<T, oneshot::error::RecvError> {
    match channel {
        Some(channel) => channel.await,
        None => std::future::pending().await,
    }
}

/// Somebody waits; without anybody who might, never.
pub(super) async fn woken(wake: Option<&Notify>) {
    match wake {
        Some(wake) => wake.notified().await,
        None => std::future::pending().await,
    }
}
