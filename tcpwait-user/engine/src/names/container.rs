//! Containers and pods by the path of a cgroup, which is where their managers leave the name.

use super::pod::{PodPath, is_container_id};

/// Digits of a container's id that its manager shows.
const SHORT_ID: usize = 12;

/// Digits of a pod's uid that tell it from others on one machine.
const SHORT_UID: usize = 8;

/// The pod or container that the text of `/proc/PID/cgroup` names, as `pod:1b2c3d4e`, `docker:0123456789ab`, `lxc:web`.
pub fn of(cgroups: &str) -> Option<String> {
    paths(cgroups).find_map(of_path)
}

/// The paths in the text of `/proc/PID/cgroup`, but for those of the roots.
pub fn paths(cgroups: &str) -> impl Iterator<Item = &str> {
    // cgroups(7): hierarchy-ID:controller-list:cgroup-path. Version 2 is there last, or alone.
    let paths = cgroups.lines().rev().filter_map(|line| line.splitn(3, ':').nth(2));
    paths.filter(|path| *path != "/")
}

/// The same of one path.
pub fn of_path(path: &str) -> Option<String> {
    if let Some(pod) = PodPath::of(path) {
        return Some(format!("pod:{}", pod.uid.get(..SHORT_UID)?));
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    parts.iter().enumerate().rev().find_map(|(index, part)| {
        let part = part.strip_suffix(".scope").unwrap_or(part);
        if let Some(name) = part.strip_prefix("lxc.payload.") {
            return Some(format!("lxc:{name}"));
        }
        if let Some(name) = part.strip_prefix("machine-") {
            return Some(format!("machine:{name}"));
        }
        let (manager, id) = part.rsplit_once('-').unwrap_or(("", part));
        if !is_container_id(id) {
            return None;
        }
        let above = index.checked_sub(1).and_then(|above| parts.get(above)).copied();
        let manager = if manager.is_empty() { above.unwrap_or("container") } else { manager };
        Some(format!("{manager}:{}", id.get(..SHORT_ID)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroups_name_pods_and_containers() {
        let id = "0123456789abcdef".repeat(4);
        let named = |path: &str| of(&format!("12:cpu:/\n0::{path}\n"));
        let some = |name: &str| Some(name.to_owned());
        assert_eq!(named(&format!("/system.slice/docker-{id}.scope")), some("docker:0123456789ab"));
        assert_eq!(named(&format!("/docker/{id}")), some("docker:0123456789ab"));
        assert_eq!(named(&format!("/machine.slice/libpod-{id}.scope/container")), some("libpod:0123456789ab"));
        let uid = "1b2c3d4e-0000-1111-2222-333344445555";
        assert_eq!(named(&format!("/kubepods/burstable/pod{uid}/{id}")), some("pod:1b2c3d4e"));
        let slice = format!("kubepods-burstable-pod{}.slice", uid.replace('-', "_"));
        assert_eq!(named(&format!("/kubepods.slice/{slice}/cri-containerd-{id}.scope")), some("pod:1b2c3d4e"));
        assert_eq!(named("/lxc.payload.web/init.scope"), some("lxc:web"));
        assert_eq!(named("/machine.slice/machine-box.scope/payload"), some("machine:box"));
        for none in ["/", "/system.slice/nginx.service", "/user.slice/user-0.slice/session-1.scope", "/podman/x"] {
            assert_eq!(named(none), None, "{none}");
        }
        assert_eq!(of(&format!("0::/\n4:memory:/docker/{id}\n")), some("docker:0123456789ab"));
    }
}
