//! Names for numbers that a record carries: cgroup paths by id, interfaces. Filled from the records themselves.

pub mod container;
pub mod pod;

use std::{borrow::Cow, net::IpAddr, num::NonZeroUsize, sync::Arc};

use lru::LruCache;

use self::pod::Pod;
use crate::{
    event::Task,
    tcp::{Interface, NetnsId},
};

/// Names of each kind that are kept: where containers come and go, there may be any number. Those that nothing was heard of for longest go first.
const MOST: NonZeroUsize = NonZeroUsize::MIN.saturating_add(16_383);

/// What is known of names.
#[derive(Clone, Debug)]
pub struct Names {
    cgroups: LruCache<u64, String>,
    /// Pods and containers by cgroup.
    pods: LruCache<u64, Arc<Pod>>,
    /// Of the cgroups of which the same is known, the one that stands for all.
    first: LruCache<Arc<Pod>, u64>,
    interfaces: LruCache<Interface, String>,
    namespaces: LruCache<NetnsId, Called>,
}

/// What people call a network namespace.
#[derive(Clone, Debug)]
struct Called {
    name: String,
    /// Of its first process, whose container says more than the process.
    cgroup: Option<u64>,
}

impl Default for Names {
    fn default() -> Self {
        // No room is taken before there are names.
        let (mut cgroups, mut interfaces, mut namespaces) =
            (LruCache::unbounded(), LruCache::unbounded(), LruCache::unbounded());
        let (mut pods, mut first) = (LruCache::unbounded(), LruCache::unbounded());
        pods.resize(MOST);
        first.resize(MOST);
        cgroups.resize(MOST);
        interfaces.resize(MOST);
        namespaces.resize(MOST);
        Self { cgroups, pods, first, interfaces, namespaces }
    }
}

impl Names {
    /// What people call the network namespaces that are known.
    pub fn namespaces(&self) -> impl Iterator<Item = (NetnsId, Cow<'_, str>)> {
        self.namespaces.iter().map(|(netns, _)| (*netns, self.netns(*netns)))
    }

    /// Remembers a cgroup's path, and what it tells of a pod.
    pub fn learn_cgroup(&mut self, id: u64, path: &str) {
        self.cgroups.put(id, path.to_owned());
        // A pod whose name is known keeps it: the path tells no more of it.
        let pod = self.pods.get(&id).cloned().or_else(|| Pod::of_path(path).map(Arc::new));
        if let Some(pod) = pod {
            self.place(id, pod);
        }
    }

    /// Remembers what Kubernetes calls the pod and the container that a cgroup is of. Where the container's name is not known, it stays what the cgroup's path
    /// told.
    pub fn learn_pod(&mut self, cgroup: u64, namespace: &str, name: &str, container: Option<&str>) {
        let container = container.map(str::to_owned).or_else(|| self.pods.peek(&cgroup)?.container.clone());
        let pod = Pod { namespace: Some(namespace.to_owned()), name: name.to_owned(), container };
        self.place(cgroup, Arc::new(pod));
    }

    fn place(&mut self, cgroup: u64, pod: Arc<Pod>) {
        // What stands for others is remembered as long as one of them is heard of.
        match self.first.get(&pod).copied().filter(|first| self.pods.get(first).is_some_and(|known| *known == pod)) {
            Some(_) => {}
            None => _ = self.first.put(pod.clone(), cgroup),
        }
        self.pods.put(cgroup, pod);
    }

    /// Remembers an interface's name.
    pub fn learn_interface(&mut self, interface: Interface, name: &str) {
        self.interfaces.put(interface, name.to_owned());
    }

    /// Remembers what people call a network namespace.
    pub fn learn_netns(&mut self, netns: NetnsId, name: &str) {
        self.namespaces.put(netns, Called { name: name.to_owned(), cgroup: None });
    }

    /// A process acts in a network namespace: one that has no name, since it is younger than the trace, gets that of the process's pod or container, or
    /// the process's.
    pub fn meet(&mut self, netns: NetnsId, task: &Task) {
        let first = || Called { name: format!("{}/{}", task.comm(), task.pid), cgroup: Some(task.cgroup) };
        self.namespaces.get_or_insert(netns, first);
    }

    /// What people call a network namespace; its inode number where nothing is known, as of one in which no process was seen to act.
    pub fn netns(&self, netns: NetnsId) -> Cow<'_, str> {
        let Some(called) = self.namespaces.peek(&netns) else { return Cow::Owned(netns.to_string()) };
        let pod = called.cgroup.and_then(|cgroup| self.pod(cgroup)).filter(|pod| pod.namespace.is_some());
        if let Some(pod) = pod {
            return pod.full_name();
        }
        // A cgroup's path comes later than its id.
        let path = called.cgroup.and_then(|cgroup| self.cgroups.peek(&cgroup));
        path.and_then(|path| container::of_path(path)).map_or(Cow::Borrowed(called.name.as_str()), Cow::Owned)
    }

    /// An interface's name; `if7` where only its number is known, as ip(8) has it.
    pub fn interface(&self, interface: Interface) -> Cow<'_, str> {
        match self.interfaces.peek(&interface) {
            Some(name) => Cow::Borrowed(name),
            None => Cow::Owned(format!("if{}", interface.index)),
        }
    }

    /// An address and the interface that its socket is bound to, as ss(8) has them: `10.0.0.1`, `fe80::1%eth0`.
    pub fn address(&self, address: IpAddr, interface: Option<Interface>) -> String {
        match interface {
            Some(interface) => format!("{address}%{}", self.interface(interface)),
            None => address.to_string(),
        }
    }

    /// The same with a port: `10.0.0.1:80`, `[fe80::1]%eth0:80`.
    pub fn endpoint(&self, address: IpAddr, port: u16, interface: Option<Interface>) -> String {
        match (address, interface) {
            (IpAddr::V6(address), Some(interface)) => format!("[{address}]%{}:{port}", self.interface(interface)),
            (IpAddr::V4(address), Some(interface)) => format!("{address}%{}:{port}", self.interface(interface)),
            (address, None) => std::net::SocketAddr::new(address, port).to_string(),
        }
    }

    /// The pod and the container that a cgroup is of; `None` where it is of none, or was not named yet.
    pub fn pod(&self, cgroup: u64) -> Option<&Pod> {
        self.pods.peek(&cgroup).map(Arc::as_ref)
    }

    /// The cgroup that stands for all those of its pod and container: a container that is started anew has a new one.
    pub fn pod_cgroup(&self, cgroup: u64) -> Option<u64> {
        let pod = self.pods.peek(&cgroup)?;
        Some(self.first.peek(pod).copied().unwrap_or(cgroup))
    }

    /// Path of a cgroup below the cgroup-v2 mount.
    pub fn cgroup(&self, id: u64) -> Option<&str> {
        self.cgroups.peek(&id).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/kubepods/pod1b2c3d4e-0000-1111-2222-333344445555";

    fn in_container(digit: &str) -> String {
        format!("{PATH}/{}", digit.repeat(64))
    }

    #[test]
    fn cgroups_of_the_same_container_are_one() {
        let mut names = Names::default();
        for (cgroup, digit) in [(7, "a"), (8, "b"), (9, "a")] {
            names.learn_cgroup(cgroup, &in_container(digit));
        }
        names.learn_cgroup(10, "/system.slice/other.service");
        assert_eq!([7, 8, 9, 10, 11].map(|cgroup| names.pod_cgroup(cgroup)), [Some(7), Some(8), Some(7), None, None]);
        // One container that was started anew, and one that is another.
        names.learn_pod(7, "shop", "cart", Some("web"));
        names.learn_pod(8, "shop", "cart", Some("web"));
        names.learn_pod(9, "shop", "cart", Some("db"));
        assert_eq!([7, 8, 9].map(|cgroup| names.pod_cgroup(cgroup)), [Some(7), Some(7), Some(9)]);
    }

    #[test]
    fn a_name_is_not_lost_to_the_path() {
        let mut names = Names::default();
        let shown = |names: &Names| names.pod(7).map(Pod::to_string);
        names.learn_cgroup(7, &in_container("a"));
        assert_eq!(shown(&names).as_deref(), Some("1b2c3d4e-0000-1111-2222-333344445555/aaaaaaaaaaaa"));
        names.learn_pod(7, "shop", "cart", None);
        assert_eq!(shown(&names).as_deref(), Some("shop/cart/aaaaaaaaaaaa"), "the container has no name yet");
        names.learn_pod(7, "shop", "cart", Some("web"));
        names.learn_cgroup(7, &in_container("a"));
        assert_eq!(shown(&names).as_deref(), Some("shop/cart/web"));
    }

    /// What is still heard of is not forgotten for what is new.
    #[test]
    fn who_is_at_work_keeps_its_name() {
        let mut names = Names::default();
        names.learn_cgroup(1, &in_container("a"));
        for other in 2..3 * MOST.get() as u64 {
            names.learn_cgroup(other, &format!("{PATH}/{other:064x}"));
            if other % 1_000 == 0 {
                // It is started anew.
                names.learn_cgroup(1 << 40 | other, &in_container("a"));
            }
        }
        assert_eq!(names.pod_cgroup(1 << 40 | 49_000), Some(1));
        assert!(names.pod(1).is_some());
        assert!(names.pods.len() <= MOST.get() && names.first.len() <= MOST.get());
    }
}
