//! Names for numbers that a record carries: cgroup paths by id. Filled from the records themselves.

use hashbrown::HashMap;

/// What is known of names.
#[derive(Debug, Default)]
pub struct Names {
    cgroups: HashMap<u64, String>,
}

impl Names {
    /// Remembers a cgroup's path.
    pub fn learn_cgroup(&mut self, id: u64, path: &str) {
        self.cgroups.insert(id, path.to_owned());
    }

    /// Path of a cgroup below the cgroup-v2 mount.
    pub fn cgroup(&self, id: u64) -> Option<&str> {
        self.cgroups.get(&id).map(String::as_str)
    }
}
