//! What Kubernetes calls the pods and containers of this machine, without asking anybody: the kubelet names directories and links in `/var/log` after them.
//! Only those names are read, and no file is opened.
//!
//! * `/var/log/pods/NAMESPACE_POD_UID/` (`BuildPodLogsDirectory`, pkg/kubelet/kuberuntime/helpers.go), made before the pod's first container;
//! * `/var/log/containers/POD_NAMESPACE_CONTAINER-ID.log` (`logSymlink`, legacy.go), made when the container has started; of a name that would be longer than
//!   255 bytes the end is missing, and with it the id.
//!
//! A UID and an id belong to one pod and one container for ever, so that what a dead one has left behind names no other.

use std::{
    collections::HashMap,
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use crate::names::pod::{PodPath, is_container_id};

/// Between two readings of the directories: a machine has some hundred entries there.
const PAUSE: Duration = Duration::from_secs(1);
/// Entries that are read at most, of either directory.
const MANY: usize = 65_536;
/// The longest names that Kubernetes allows: DNS labels, and DNS subdomains for pods.
const LABEL: usize = 63;
const SUBDOMAIN: usize = 253;

/// A container by the names that people know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownPod {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The container's name, where it is known.
    pub container: Option<String>,
}

/// The names, as they were read last.
#[derive(Debug)]
pub struct Pods {
    pods_in: PathBuf,
    containers_in: PathBuf,
    /// Namespace and name by UID; `None` where two have it.
    pods: HashMap<String, Option<[String; 2]>>,
    /// Namespace, pod and container by container id.
    containers: HashMap<String, [String; 3]>,
    read: Option<Instant>,
}

impl Default for Pods {
    fn default() -> Self {
        Self::at("/var/log/pods".into(), "/var/log/containers".into())
    }
}

impl Pods {
    /// With the directories of pods and of containers there.
    pub fn at(pods_in: PathBuf, containers_in: PathBuf) -> Self {
        Self { pods_in, containers_in, pods: HashMap::new(), containers: HashMap::new(), read: None }
    }

    /// The names that there are now.
    pub fn read() -> Self {
        let mut pods = Self::default();
        pods.read_at(Instant::now());
        pods
    }

    /// Whether the kubelet names pods on this machine, as far as was read.
    pub fn are_named(&self) -> bool {
        !self.pods.is_empty()
    }

    /// The names of a pod and its container. What is not known makes it read the directories anew, at most once a second: `None`, and a container without a
    /// name, may turn into one later.
    pub fn find(&mut self, path: &PodPath<'_>) -> Option<KnownPod> {
        self.find_at(path, Instant::now())
    }

    fn find_at(&mut self, path: &PodPath<'_>, now: Instant) -> Option<KnownPod> {
        let is_whole = |found: &Option<KnownPod>| {
            found.as_ref().is_some_and(|pod| pod.container.is_some() || path.container.is_none())
        };
        let found = self.known(path);
        if is_whole(&found) || self.read.is_some_and(|read| now.saturating_duration_since(read) < PAUSE) {
            return found;
        }
        self.read_at(now);
        self.known(path)
    }

    /// The same, of what was read last.
    pub fn known(&self, path: &PodPath<'_>) -> Option<KnownPod> {
        let [namespace, name] = self.pods.get(&*path.uid)?.clone()?;
        let container = path.container.and_then(|id| self.containers.get(id));
        // A link that speaks of another pod is not the kubelet's.
        let container = container.filter(|[its, pod, _]| *its == namespace && *pod == name);
        Some(KnownPod { namespace, name, container: container.map(|[_, _, container]| container.clone()) })
    }

    fn read_at(&mut self, now: Instant) {
        self.read = Some(now);
        self.pods.clear();
        self.containers.clear();
        for (uid, names) in entries(&self.pods_in).filter_map(|entry| pod(&entry)) {
            self.pods.entry(uid).and_modify(|known| *known = None).or_insert(Some(names));
        }
        self.containers.extend(entries(&self.containers_in).filter_map(|entry| container(&entry)));
    }
}

/// Names that are no text are none of the kubelet's.
fn entries(directory: &PathBuf) -> impl Iterator<Item = String> + use<> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.take(MANY).filter_map(|entry| entry.file_name().into_string().ok())
}

/// `NAMESPACE_POD_UID`: no name has an underscore.
fn pod(entry: &str) -> Option<(String, [String; 2])> {
    let [namespace, name, uid] = parts(entry)?;
    let is_right = is_name(namespace, LABEL) && is_name(name, SUBDOMAIN) && !uid.is_empty();
    is_right.then(|| (uid.to_owned(), [namespace.to_owned(), name.to_owned()]))
}

/// `POD_NAMESPACE_CONTAINER-ID.log`.
fn container(entry: &str) -> Option<(String, [String; 3])> {
    let [name, namespace, container] = parts(entry.strip_suffix(".log")?)?;
    let (container, id) = container.rsplit_once('-')?;
    let is_right =
        is_name(namespace, LABEL) && is_name(name, SUBDOMAIN) && is_name(container, LABEL) && is_container_id(id);
    is_right.then(|| (id.to_owned(), [namespace, name, container].map(str::to_owned)))
}

fn parts(entry: &str) -> Option<[&str; 3]> {
    entry.split('_').collect::<Vec<_>>().try_into().ok()
}

/// As the API lets them be (RFC 1123).
fn is_name(text: &str, longest: usize) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
    (1..=longest).contains(&text.len()) && text.bytes().all(is_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::symlink;

    use super::*;

    const UID: &str = "1b2c3d4e-0000-1111-2222-333344445555";
    const SUM: &str = "00112233445566778899aabbccddeeff";

    fn id(digit: &str) -> String {
        digit.repeat(64)
    }

    /// As a kubelet leaves it: the links lead to where no log is.
    fn tree() -> (tempfile::TempDir, Pods) {
        let tree = tempfile::tempdir().unwrap();
        let [pods, containers] = ["pods", "containers"].map(|name| tree.path().join(name));
        let directories = [
            format!("shop_cart-7d9f_{UID}"),
            format!("kube-system_etcd-node1.example_{SUM}"),
            // Not the kubelet's, or of one before 1.14.
            "lost+found".to_owned(),
            UID.to_owned(),
            format!("a_b_c_{}", UID.replace('1', "2")),
            format!("shop_\u{1b}[2J_{}", UID.replace('1', "3")),
            format!("Shop_cart_{}", UID.replace('1', "4")),
            format!("shop_{}_{}", "x".repeat(150), UID.replace('1', "5")),
            format!("one_pod_{}", UID.replace('1', "6")),
            format!("two_pod_{}", UID.replace('1', "6")),
        ];
        for directory in directories {
            fs::create_dir_all(pods.join(directory)).unwrap();
        }
        fs::create_dir(&containers).unwrap();
        let links = [
            format!("cart-7d9f_shop_web-{}.log", id("a")),
            format!("cart-7d9f_shop_side-car-{}.log", id("b")),
            format!("other_shop_web-{}.log", id("c")),
            format!("cart-7d9f_shop_web-{}.log", &id("d")[..40]),
            format!("cart-7d9f_shop_web-{}", id("e")),
            format!("cart-7d9f_shop_-{}.log", id("f")),
        ];
        for link in links {
            symlink("nowhere", containers.join(link)).unwrap();
        }
        let pods = Pods::at(pods, containers);
        (tree, pods)
    }

    fn known(pods: &mut Pods, uid: &str, container: Option<&str>) -> Option<(String, Option<String>)> {
        let found = pods.find(&PodPath { uid: uid.to_owned().into(), container })?;
        Some((format!("{}/{}", found.namespace, found.name), found.container))
    }

    #[test]
    fn names_by_uid_and_id() {
        let (_tree, mut pods) = tree();
        let cart = |container: Option<&str>| Some(("shop/cart-7d9f".to_owned(), container.map(str::to_owned)));
        assert_eq!(known(&mut pods, UID, Some(&id("a"))), cart(Some("web")));
        assert_eq!(known(&mut pods, UID, Some(&id("b"))), cart(Some("side-car")));
        assert_eq!(known(&mut pods, UID, None), cart(None));
        assert_eq!(known(&mut pods, SUM, None), Some(("kube-system/etcd-node1.example".to_owned(), None)));
        assert!(pods.are_named());
        for other in ["c", "d", "e", "f", "0"] {
            assert_eq!(known(&mut pods, UID, Some(&id(other))), cart(None), "{other} is no container of this pod");
        }
    }

    #[test]
    fn what_is_no_name_names_nothing() {
        let (_tree, mut pods) = tree();
        for digit in ["2", "3", "4", "6", "7"] {
            assert_eq!(known(&mut pods, &UID.replace('1', digit), None), None, "{digit}");
        }
        assert!(known(&mut pods, &UID.replace('1', "5"), None).is_some(), "a long name is one");
        assert!(!is_name(&"x".repeat(LABEL + 1), LABEL) && !is_name("", LABEL));
        let mut nowhere = Pods::at("/nonexistent/pods".into(), "/nonexistent/containers".into());
        assert_eq!((known(&mut nowhere, UID, None), nowhere.are_named()), (None, false));
    }

    #[test]
    fn a_pod_that_comes_later_is_found_within_a_second() {
        let (tree, mut pods) = tree();
        let (uid, id) = (UID.replace('1', "9"), id("9"));
        let path = PodPath { uid: uid.as_str().into(), container: Some(&id) };
        let start = Instant::now();
        assert_eq!(pods.find_at(&path, start), None);
        fs::create_dir(tree.path().join(format!("pods/shop_late_{uid}"))).unwrap();
        assert_eq!(pods.find_at(&path, start + PAUSE / 2), None, "the directories are not read for each miss");
        assert_eq!(
            pods.find_at(&path, start + PAUSE).map(|pod| (pod.name, pod.container)),
            Some(("late".to_owned(), None))
        );
        symlink("nowhere", tree.path().join(format!("containers/late_shop_web-{id}.log"))).unwrap();
        let later = pods.find_at(&path, start + PAUSE * 2).and_then(|pod| pod.container);
        assert_eq!(later.as_deref(), Some("web"));
    }
}
