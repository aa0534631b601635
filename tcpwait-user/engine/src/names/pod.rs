//! Pods of Kubernetes and their containers: what a cgroup's path tells of them, and what people call them.
//!
//! The kubelet puts each container below a directory `pod…UID` of the pod; how that is called depends on the driver (`GetPodContainerName`,
//! pkg/kubelet/cm/pod_container_manager_linux.go; `ToSystemd` and `ToCgroupfs`, cgroup_manager_linux.go). The runtime chooses what is below.

use std::{borrow::Cow, fmt};

/// Digits of a container's id that its runtime shows.
const SHORT_ID: usize = 12;

/// Where a dash stands in a UID of 36 characters.
const DASHES: [usize; 4] = [8, 13, 18, 23];

/// What a cgroup's path tells of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodPath<'a> {
    /// The pod's UID as the API has it, with dashes; of a pod from a file on the node 32 digits without.
    pub uid: Cow<'a, str>,
    /// The container's id, 64 digits; `None` where the path is of the pod itself, or was cut.
    pub container: Option<&'a str>,
}

impl<'a> PodPath<'a> {
    /// Of a path below the cgroup-v2 mount; `None` where that is of no pod. Of pods within pods it is the outer one, which is this machine's kubelet's.
    pub fn of(path: &'a str) -> Option<Self> {
        // A runtime that is not set to the kubelet's driver makes `SLICE:PREFIX:ID` one directory.
        let mut parts = path.split(['/', ':']);
        let uid = parts.find_map(pod_uid)?;
        Some(Self { uid, container: parts.find_map(container_id) })
    }

    /// The first digits of its container's id.
    pub fn short_container(&self) -> Option<&'a str> {
        self.container.and_then(|id| id.get(..SHORT_ID))
    }
}

/// `pod1b2c…` of the cgroupfs driver, `kubepods-burstable-pod1b2c….slice` of systemd's, which has `_` for `-`.
fn pod_uid(part: &str) -> Option<Cow<'_, str>> {
    let part = part.strip_suffix(".slice").unwrap_or(part);
    let (before, uid) = part.rsplit_once("pod")?;
    if !before.is_empty() && !before.ends_with('-') {
        return None;
    }
    let is_hex = |byte: u8| byte.is_ascii_hexdigit();
    let is_uuid = || {
        let mut bytes = uid.bytes().enumerate();
        uid.len() == 36
            && bytes.all(|(at, byte)| if DASHES.contains(&at) { b"-_".contains(&byte) } else { is_hex(byte) })
    };
    // `applyDefaults` of pkg/kubelet/config/common.go: a sum of the file's pod.
    let is_sum = || uid.len() == 32 && uid.bytes().all(is_hex);
    (is_uuid() || is_sum())
        .then(|| if uid.contains('_') { Cow::Owned(uid.replace('_', "-")) } else { Cow::Borrowed(uid) })
}

/// `cri-containerd-ID.scope`, `crio-ID.scope`, `docker-ID.scope`, or the id alone. CRI-O's monitor of a container has its id too, and is not in it.
fn container_id(part: &str) -> Option<&str> {
    let part = part.strip_suffix(".scope").unwrap_or(part);
    let (runtime, id) = part.rsplit_once('-').unwrap_or(("", part));
    (is_container_id(id) && !runtime.ends_with("conmon")).then_some(id)
}

/// Whether it is a container's id, as all runtimes that the kubelet works with make them.
pub fn is_container_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A container of a pod, as far as its names are known. Two cgroups of which the same is known are of the same container, or of one that was
/// started in its place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pod {
    /// The pod's namespace; `None` where no names are known.
    pub namespace: Option<String>,
    /// The pod's name; its UID where its name is not known.
    pub name: String,
    /// The container's name; the first 12 digits of its id where that is not known, `None` for what is in the pod and in none of its containers.
    pub container: Option<String>,
}

impl Pod {
    /// What a cgroup's path alone tells.
    pub fn of_path(path: &str) -> Option<Self> {
        let path = PodPath::of(path)?;
        let container = path.short_container().map(str::to_owned);
        Some(Self { namespace: None, name: path.uid.into_owned(), container })
    }

    /// The pod without its container: `NAMESPACE/NAME`, or the UID.
    pub fn full_name(&self) -> Cow<'_, str> {
        match &self.namespace {
            Some(namespace) => Cow::Owned(format!("{namespace}/{}", self.name)),
            None => Cow::Borrowed(&self.name),
        }
    }
}

impl fmt::Display for Pod {
    /// `NAMESPACE/NAME/CONTAINER`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.full_name())?;
        self.container.as_ref().map_or(Ok(()), |container| write!(f, "/{container}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "1b2c3d4e-0000-1111-2222-333344445555";

    /// Every way in which a kubelet and a runtime write them.
    #[test]
    fn paths_of_all_drivers() {
        let id = "0123456789abcdef".repeat(4);
        let slice = UID.replace('-', "_");
        let sum = "00112233445566778899aabbccddeeff";
        let other = "f".repeat(64);
        let kind = format!("/system.slice/docker-{other}.scope/kubelet.slice/kubelet-kubepods.slice");
        let paths = [
            // systemd's driver: containerd, guaranteed, burstable, best effort; CRI-O, with what it has below; cri-dockerd.
            (format!("/kubepods.slice/kubepods-pod{slice}.slice/cri-containerd-{id}.scope"), UID, true),
            (
                format!(
                    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{slice}.slice/cri-containerd-{id}.scope"
                ),
                UID,
                true,
            ),
            (
                format!(
                    "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{slice}.slice/crio-{id}.scope"
                ),
                UID,
                true,
            ),
            (format!("/kubepods.slice/kubepods-pod{slice}.slice/crio-{id}.scope/container"), UID, true),
            (format!("/kubepods.slice/kubepods-pod{slice}.slice/docker-{id}.scope"), UID, true),
            // cgroupfs; k3s has the same.
            (format!("/kubepods/pod{UID}/{id}"), UID, true),
            (format!("/kubepods/burstable/pod{UID}/{id}"), UID, true),
            (format!("/kubepods/besteffort/pod{UID}/crio-{id}"), UID, true),
            // A pod from a file of the node.
            (format!("/kubepods/burstable/pod{sum}/{id}"), sum, true),
            (
                format!(
                    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{sum}.slice/cri-containerd-{id}.scope"
                ),
                sum,
                true,
            ),
            // kind, from the machine below it, and from within; a container that has cgroups of its own, or containers.
            (
                format!(
                    "{kind}/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod{slice}.slice/cri-containerd-{id}.scope"
                ),
                UID,
                true,
            ),
            (
                format!(
                    "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{slice}.slice/cri-containerd-{id}.scope"
                ),
                UID,
                true,
            ),
            (format!("/kubelet/kubepods/pod{UID}/{id}/init.scope"), UID, true),
            (format!("/kubepods/pod{UID}/{id}/docker/{other}"), UID, true),
            (format!("/kubepods/pod{UID}/{id}/kubepods/pod{sum}/{other}"), UID, true),
            // containerd that does not use systemd below a kubelet that does.
            (
                format!("/system.slice/containerd.service/kubepods-burstable-pod{slice}.slice:cri-containerd:{id}"),
                UID,
                true,
            ),
            // From another cgroup namespace.
            (format!("/../../kubepods-besteffort-pod{slice}.slice/cri-containerd-{id}.scope"), UID, true),
            // The pod itself; CRI-O's monitor; a path that was cut.
            (format!("/kubepods/pod{UID}"), UID, false),
            (format!("/kubepods.slice/kubepods-pod{slice}.slice/crio-conmon-{id}.scope"), UID, false),
            (format!("/kubepods/pod{UID}/{}", &id[..40]), UID, false),
        ];
        for (path, uid, has_container) in paths {
            let container = has_container.then_some(id.as_str());
            assert_eq!(PodPath::of(&path), Some(PodPath { uid: uid.into(), container }), "{path}");
        }
    }

    #[test]
    fn other_paths_are_of_no_pod() {
        let id = "0123456789abcdef".repeat(4);
        let none = [
            "/".to_owned(),
            "/system.slice/kubelet.service".to_owned(),
            format!("/system.slice/docker-{id}.scope"),
            format!("/machine.slice/libpod-{id}.scope"),
            format!("/user.slice/tripod{UID}/{id}"),
            // One digit more, or less: a path that was cut is of no other pod.
            format!("/kubepods/pod{UID}0/{id}"),
            format!("/kubepods/pod{}", &UID[..35]),
            format!("/kubepods/pod{}", &UID[..32]),
            format!("/kubepods/pod{}", UID.replace('3', "g")),
            format!("/kubepods/pod{}", "0".repeat(36)),
        ];
        for path in none {
            assert_eq!(PodPath::of(&path), None, "{path}");
        }
    }

    #[test]
    fn what_is_not_known_is_no_name() {
        let path = format!("/kubepods/pod{UID}/{}", "0123456789abcdef".repeat(4));
        assert_eq!(Pod::of_path(&path).map(|pod| pod.to_string()), Some(format!("{UID}/0123456789ab")));
        assert_eq!(Pod::of_path(&format!("/kubepods/pod{UID}")).map(|pod| pod.to_string()), Some(UID.to_owned()));
        let named =
            Pod { namespace: Some("shop".to_owned()), name: "cart-0".to_owned(), container: Some("web".to_owned()) };
        assert_eq!((named.to_string().as_str(), &*named.full_name()), ("shop/cart-0/web", "shop/cart-0"));
    }
}
