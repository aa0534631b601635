//! Kernels by what people call them: `7.3`, `6.12-rt`, `6.12:arm64`, and which of Debian's packages that is now.
//! Names of kernel packages change with every update, so they are looked up among all that there are.

use std::cmp::Ordering;
use std::fmt;
use std::process::Command;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail};

use crate::arch::Arch;
use crate::debs::apt::Apt;

/// A kernel of Debian's, as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// `6.12`, or more of it.
    version: String,
    /// `rt`, `cloud`, `16k`; `None` is whichever is smallest.
    flavour: Option<String>,
    pub arch: Arch,
}

impl FromStr for Series {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (text, arch) = match text.split_once(':') {
            Some((text, arch)) => (text, Arch::of(arch).ok_or_else(|| format!("`{arch}` is none of amd64 and arm64"))?),
            None => (text, Arch::Amd64),
        };
        let (version, flavour) = match text.split_once('-') {
            Some((version, flavour)) => (version, Some(flavour)),
            None => (text, None),
        };
        let is_version = version.contains('.') && version.chars().all(|c| c.is_ascii_digit() || c == '.');
        let is_word = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric());
        if !is_version || !flavour.is_none_or(is_word) {
            return Err("a kernel is a version, a flavour and an architecture: 7.3, 6.12-rt, 6.12:arm64".to_owned());
        }
        Ok(Self { version: version.to_owned(), flavour: flavour.map(str::to_owned), arch })
    }
}

/// Kernels by names that are known to be right.
pub fn series_of(names: &[&str]) -> Vec<Series> {
    names.iter().filter_map(|name| name.parse().ok()).collect()
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.version)?;
        if let Some(flavour) = &self.flavour {
            write!(f, "-{flavour}")?;
        }
        match self.arch {
            Arch::Amd64 => Ok(()),
            arch => write!(f, ":{arch}"),
        }
    }
}

impl Series {
    /// The newest kernel of this series in any suite, as the packages that it consists of.
    pub fn packages(&self) -> Result<Vec<String>> {
        let apt = Apt::Debian(self.arch);
        let mut newest = self.newest(apt)?;
        if newest.is_none() {
            // The lists may be missing, or older than the kernel.
            apt.update()?;
            newest = self.newest(apt)?;
        }
        let newest = newest.with_context(|| {
            format!(
                "none of Debian's suites has a kernel {self} (linux-image-{}…): `--kernel-deb` takes one from elsewhere",
                self.version
            )
        })?;
        parts(apt, newest)
    }

    fn newest(&self, apt: Apt) -> Result<Option<String>> {
        let names = apt.ask(&["pkgnames", &format!("linux-image-{}", self.version)])?;
        let names: Vec<&str> = names.lines().collect();
        // Those for cloud machines are the same kernel with fewer drivers; PREEMPT_RT has none of these.
        let flavours: &[&str] = match &self.flavour {
            Some(flavour) => &[flavour.as_str()],
            None => &["cloud", ""],
        };
        for flavour in flavours {
            let of_flavour: Vec<&str> = names.iter().copied().filter(|name| self.is_one(name, flavour)).collect();
            if let Some(newest) = latest(apt, &of_flavour)? {
                return Ok(Some(newest));
            }
        }
        Ok(None)
    }

    /// Whether a package is a kernel of this series and flavour: `linux-image-6.12.117+deb12-cloud-amd64`.
    fn is_one(&self, package: &str, flavour: &str) -> bool {
        let arch = self.arch.debian();
        let ends = match flavour {
            "" => vec![format!("-{arch}")],
            flavour => vec![format!("-{flavour}-{arch}"), format!("-{arch}-{flavour}")],
        };
        let Some(rest) = package.strip_prefix("linux-image-").and_then(|rest| rest.strip_prefix(self.version.as_str()))
        else {
            return false;
        };
        let Some(patch) = ends.iter().find_map(|end| rest.strip_suffix(end.as_str())) else {
            return false;
        };
        // A metapackage has no patch level, and 6.12 is not 6.1.
        let whole = if patch.is_empty() { self.version.matches('.').count() > 1 } else { !is_digit(patch) };
        // What is behind a dash is a number (6.1.0-56), or another flavour.
        whole && patch.split('-').skip(1).all(is_digit)
    }
}

/// Whether a text begins with a digit.
fn is_digit(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_digit())
}

/// The package of the newest version.
fn latest(apt: Apt, names: &[&str]) -> Result<Option<String>> {
    if names.is_empty() {
        return Ok(None);
    }
    let shown = apt.ask(&[&["show", "--no-all-versions"], names].concat())?;
    let mut latest: Option<(String, String)> = None;
    for stanza in shown.split("\n\n") {
        let field = |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        let (Some(package), Some(version)) = (field("Package: "), field("Version: ")) else {
            continue;
        };
        if latest.as_ref().is_none_or(|(_, best)| compared(&version, best) == Ordering::Greater) {
            latest = Some((package, version));
        }
    }
    Ok(latest.map(|(package, _)| package))
}

/// Two versions of packages, as dpkg orders them.
fn compared(one: &str, other: &str) -> Ordering {
    let is_newer = |a: &str, b: &str| {
        let dpkg = Command::new("dpkg").args(["--compare-versions", a, "gt", b]).status();
        dpkg.is_ok_and(|status| status.success())
    };
    match (is_newer(one, other), is_newer(other, one)) {
        (true, _) => Ordering::Greater,
        (_, true) => Ordering::Less,
        _ => Ordering::Equal,
    }
}

/// A kernel's package and those with the rest of it. Up to 6.x that is one; then `linux-image-X` is empty, and needs
/// `linux-binary-X`, `linux-modules-X` and `linux-base-X`.
fn parts(apt: Apt, package: String) -> Result<Vec<String>> {
    let Some(release) = package.strip_prefix("linux-image-").map(|release| format!("-{release}")) else {
        bail!("{package} is no kernel's package");
    };
    let mut parts = vec![package];
    let mut at = 0;
    while let Some(part) = parts.get(at) {
        for needed in apt.depends(&[part]) {
            if needed.ends_with(&release) && !parts.contains(&needed) {
                parts.push(needed);
            }
        }
        at += 1;
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::Series;

    fn is_one(series: &str, package: &str, flavour: &str) -> bool {
        series.parse::<Series>().is_ok_and(|series| series.is_one(package, flavour))
    }

    #[test]
    fn kernels_are_told_apart() {
        for (series, flavour, package) in [
            ("6.1", "cloud", "linux-image-6.1.0-56-cloud-amd64"),
            ("6.1", "", "linux-image-6.1.0-0.deb11.51-amd64"),
            ("6.12", "rt", "linux-image-6.12.117+deb12-rt-amd64"),
            ("7.3:arm64", "cloud", "linux-image-7.3.4+deb13-cloud-arm64"),
            ("7.3.4", "", "linux-image-7.3.4+deb13-amd64"),
            ("6.12:arm64", "16k", "linux-image-6.12.117+deb13-arm64-16k"),
        ] {
            assert!(is_one(series, package, flavour), "{series} {flavour}: {package}");
        }
        for (series, flavour, package) in [
            ("6.1", "cloud", "linux-image-6.12.117+deb12-cloud-amd64"),
            ("6.12", "cloud", "linux-image-6.12-cloud-amd64"),
            ("6.12", "", "linux-image-6.12.117+deb12-cloud-amd64"),
            ("6.1", "", "linux-image-6.1.0-56-rt-amd64"),
            ("6.12", "", "linux-image-6.12.117+deb12-amd64-dbg"),
            ("6.12", "", "linux-image-6.12.117+deb12-amd64-unsigned"),
            ("6.12:arm64", "", "linux-image-6.12.117+deb12-amd64"),
        ] {
            assert!(!is_one(series, package, flavour), "{series} {flavour}: {package}");
        }
    }

    #[test]
    fn what_is_asked_for_is_read() {
        for text in ["6.1", "6.12-rt", "7.3:arm64", "6.12-16k:arm64"] {
            assert_eq!(text.parse::<Series>().map(|series| series.to_string()), Ok(text.to_owned()));
        }
        assert_eq!("6.1:amd64".parse::<Series>().map(|series| series.to_string()), Ok("6.1".to_owned()));
        for text in ["", "6", "rt", "6.12:mips", "6.12-", "../6.1", "6.1-a/b"] {
            assert!(text.parse::<Series>().is_err(), "{text}");
        }
    }
}
