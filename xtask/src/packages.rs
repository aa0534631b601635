//! The distribution's packages: what apt knows, installing, and what installing must not leave behind.
//! Only Debian and its relatives are installed on; elsewhere the caller says what is needed.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::root;

/// What this machine runs, from `/etc/os-release`.
pub struct Distribution {
    pub name: String,
    /// Whether it has apt and Debian's package names.
    pub debian: bool,
}

/// What this machine runs.
pub fn distribution() -> Distribution {
    parse(&fs::read_to_string("/etc/os-release").unwrap_or_default())
}

fn parse(os_release: &str) -> Distribution {
    let field = |name: &str| {
        os_release
            .lines()
            .filter_map(|line| line.split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.trim().trim_matches(['"', '\'']))
    };
    let families = [field("ID"), field("ID_LIKE")];
    let debian = families
        .into_iter()
        .flatten()
        .flat_map(str::split_whitespace)
        .any(|family| family == "debian" || family == "ubuntu");
    Distribution { name: field("PRETTY_NAME").or(field("ID")).unwrap_or("this system").to_owned(), debian }
}

/// Where a program is. Debian leaves the sbin folders out of the `PATH` of users who are not root.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// The version that apt would install, if it knows the package.
pub fn candidate(package: &str) -> Option<String> {
    let policy = Command::new("apt-cache").args(["policy", package]).env("LC_ALL", "C").output().ok()?;
    String::from_utf8_lossy(&policy.stdout)
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate: "))
        .filter(|version| *version != "(none)")
        .map(str::to_owned)
}

/// Fetches apt's lists again.
pub fn update() -> Result<()> {
    println!("apt's lists of packages do not have what is needed, or not new enough");
    root::announced(root::command("apt-get", &["update"])?)
}

/// Installs packages. Nothing is removed for them: apt-get then fails and says what is in the way.
pub fn install(packages: &[&str]) -> Result<()> {
    let mut arguments =
        vec!["DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "--yes", "--no-remove", "--no-install-recommends"];
    arguments.extend(packages);
    root::announced(root::command("env", &arguments)?)
        .with_context(|| format!("could not install {}", packages.join(" ")))
}

/// Programs whose packages start them as a service at once and at every boot.
const SERVICES: [&str; 2] = ["nginx", "prometheus"];

/// Installs packages for the tests, which start their own servers: the machine did not ask for the services of those that are new.
pub fn install_without_services(packages: &[&str]) -> Result<()> {
    let new: Vec<&str> = SERVICES.into_iter().filter(|name| program(name).is_none()).collect();
    let before: Vec<&str> = new.iter().copied().filter(|name| runs(name)).collect();
    install(packages)?;
    for name in new.into_iter().filter(|name| program(name).is_some()) {
        if Path::new("/run/systemd/system").exists() {
            println!("{name} is only for the tests here: its service must not run");
            root::announced(root::command("systemctl", &["disable", "--now", &format!("{name}.service")])?)?;
        } else if runs(name) && !before.contains(&name) {
            println!("{name} is only for the tests here: the one its package started must stop");
            root::announced(root::command("service", &[name, "stop"])?)?;
        }
    }
    Ok(())
}

fn runs(name: &str) -> bool {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|process| fs::read_to_string(process.path().join("comm")).ok())
        .any(|comm| comm.trim_end() == name)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn relatives_of_debian_are_known() {
        assert!(parse("PRETTY_NAME=\"Debian 12\"\nID=debian\n").debian);
        assert!(parse("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n").debian);
        let other = parse("NAME=Fedora\nID=fedora\nPRETTY_NAME='Fedora 42'\n");
        assert!(!other.debian);
        assert_eq!(other.name, "Fedora 42");
        assert_eq!(parse("").name, "this system");
    }
}
