//! apt, in two ways: as this machine has it, for what has to fit to this machine (QEMU), and with a configuration of its own below
//! `target/vm/apt`, which knows every suite of Debian that has kernels. The second has its own lists and its own cache, is
//! signed by Debian's keyring, and neither reads nor changes what this machine installs from.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::arch::Arch;
use crate::packages;
use crate::vm::place;

/// The suites that have kernels, oldest first.
const SUITES: [&str; 9] = [
    "bullseye",
    "bookworm",
    "bookworm-updates",
    "bookworm-backports",
    "trixie",
    "trixie-updates",
    "trixie-backports",
    "forky",
    "sid",
];
/// The one to take programs from on a machine that is not Debian's.
const RELEASE: &str = "trixie";
/// Those of the security archive.
const SECURITY_SUITES: [&str; 3] = ["bullseye-security", "bookworm-security", "trixie-security"];
/// Where they are if this machine has no Debian mirror among its own sources.
const ARCHIVE: &str = "http://deb.debian.org/debian";
const SECURITY_ARCHIVE: &str = "http://deb.debian.org/debian-security";
/// Debian's keys, by package debian-archive-keyring.
const KEYRINGS: [&str; 2] =
    ["/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp"];

/// What to ask for packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apt {
    /// What this machine installs from.
    Machine,
    /// All of Debian's suites, for one architecture.
    Debian(Arch),
    /// One release of Debian and its updates, likewise: what has to fit together.
    Release(Arch),
    /// The release of this name and its updates, likewise.
    Of(Arch, &'static str),
}

impl Apt {
    /// `apt-get` or `apt-cache`, with the right configuration.
    pub fn command(self, program: &str) -> Result<Command> {
        let mut command = Command::new(program);
        if let Self::Debian(arch) | Self::Release(arch) | Self::Of(arch, _) = self {
            command.arg("-c").arg(configured(arch)?);
        }
        let release = match self {
            Self::Machine | Self::Debian(_) => None,
            Self::Release(_) => Some(release()),
            Self::Of(_, release) => Some(release),
        };
        if let Some(release) = release {
            command.arg("-o").arg(format!("APT::Default-Release=/^{release}(-updates|-security|)$/"));
        }
        // As root it would download as a user who may not write here, and warn.
        command.args(["-o", "APT::Sandbox::User=root"]).env("LC_ALL", "C");
        Ok(command)
    }

    /// Fetches the lists of packages again. Suites that cannot be had are told of; what they have is not found later.
    pub fn update(self) -> Result<()> {
        let arch = match self {
            Self::Machine => return packages::update(),
            Self::Debian(arch) | Self::Release(arch) | Self::Of(arch, _) => arch,
        };
        eprintln!("fetching the lists of packages of Debian's suites for {arch} into {}", place("apt").display());
        let output = self.command("apt-get")?.args(["--quiet=2", "update"]).output().context("cannot run apt-get")?;
        let complaints = String::from_utf8_lossy(&output.stderr);
        complaints.lines().for_each(|line| eprintln!("apt-get: {line}"));
        Ok(())
    }

    /// The lines that apt-cache prints.
    pub fn ask(self, question: &[&str]) -> Result<String> {
        let output = self.command("apt-cache")?.args(question).output().context("cannot run apt-cache")?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// What packages depend on directly, before they are unpacked or after, without the alternatives after the first.
    pub fn depends(self, packages: &[&str]) -> Vec<String> {
        let text = self.ask(&[&["depends", "--important"], packages].concat()).unwrap_or_default();
        let needed = text
            .lines()
            .map(str::trim)
            .filter_map(|line| line.strip_prefix("Pre").unwrap_or(line).strip_prefix("Depends: "));
        needed.map(str::to_owned).collect()
    }
}

/// The release that programs are taken from: this machine's, so that they are what the tests use here, if it is Debian's.
fn release() -> &'static str {
    let about = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let here = about.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    SUITES.into_iter().find(|suite| Some(*suite) == here).unwrap_or(RELEASE)
}

/// Writes the configuration for an architecture, and returns where it is.
fn configured(arch: Arch) -> Result<PathBuf> {
    let home = place("apt").join(arch.debian());
    let file = home.join("apt.conf");
    let unusual = |path: &Path| path.to_string_lossy().contains(['"', '\n', '\\']);
    if unusual(&home) {
        bail!("apt cannot have its files in {}, for the characters in it", home.display());
    }
    let configuration = configuration(&home, arch);
    // The sources were written before it, from mirrors that take apt a moment to tell.
    if fs::read(&file).is_ok_and(|there| there == configuration.as_bytes()) {
        return Ok(file);
    }
    let keyring = KEYRINGS.into_iter().find(|keyring| Path::new(keyring).is_file());
    let keyring = keyring.context("Debian's keys are not here: install the package debian-archive-keyring")?;
    for folder in ["lists/partial", "cache/archives/partial", "sources"] {
        fs::create_dir_all(home.join(folder)).with_context(|| format!("cannot make folders in {}", home.display()))?;
    }
    let (archive, security) = mirrors();
    let source = |uri: &str, suites: &[&str]| {
        let suites = suites.join(" ");
        format!(
            "Types: deb\nURIs: {uri}\nSuites: {suites}\nComponents: main\nTargets: Packages\nSigned-By: {keyring}\n\n"
        )
    };
    let sources = source(&archive, &SUITES) + &source(&security, &SECURITY_SUITES);
    fs::write(home.join("sources/debian.sources"), sources)
        .and_then(|()| fs::write(home.join("status"), ""))
        .and_then(|()| fs::write(&file, configuration))
        .with_context(|| format!("cannot write to {}", home.display()))?;
    Ok(file)
}

/// What of this machine's configuration is replaced. The rest of it (a proxy, say, or who may log in to a mirror) holds.
fn configuration(home: &Path, arch: Arch) -> String {
    let home = home.display();
    format!(
        r##"// Written by `cargo xtask vm`.
APT::Architecture "{arch}";
#clear APT::Architectures;
APT::Architectures {{ "{arch}"; }};
// What this machine does after an update is about this machine's lists.
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Default-Release;
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
APT::Get::AllowUnauthenticated "false";
Acquire::Languages "none";
Acquire::GzipIndexes "true";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "{home}/sources";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "{home}";
Dir::State::lists "{home}/lists";
Dir::State::status "{home}/status";
Dir::Cache "{home}/cache";
Dir::Cache::archives "{home}/cache/archives";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "";
"##
    )
}

/// The mirrors of Debian and of its security archive that this machine uses, else the public ones.
pub fn mirrors() -> (String, String) {
    let mut list = Command::new("apt-get");
    list.args(["indextargets", "--format", "$(REPO_URI) $(RELEASE) $(ORIGIN)", "Created-By: Packages"]);
    let output = list.env("LC_ALL", "C").output().map(|output| output.stdout).unwrap_or_default();
    chosen(&String::from_utf8_lossy(&output))
}

fn chosen(targets: &str) -> (String, String) {
    let (mut archive, mut security) = (None, None);
    for target in targets.lines() {
        let mut words = target.split(' ');
        let (Some(uri), Some(release), Some(origin)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        // Where the lists were never fetched, apt does not know the origin, and prints its name.
        if origin != "Debian" && !origin.starts_with('$') {
            continue;
        }
        // Ubuntu's releases have other names.
        if SECURITY_SUITES.contains(&release) {
            security.get_or_insert_with(|| uri.to_owned());
        } else if SUITES.contains(&release) || ["stable", "oldstable", "testing", "unstable"].contains(&release) {
            archive.get_or_insert_with(|| uri.to_owned());
        }
    }
    (archive.unwrap_or_else(|| ARCHIVE.to_owned()), security.unwrap_or_else(|| SECURITY_ARCHIVE.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::{ARCHIVE, SECURITY_ARCHIVE, chosen};

    #[test]
    fn a_mirror_of_this_machine_is_used() {
        let mirror = ("https://mirror.example/debian/".to_owned(), "https://mirror.example/security/".to_owned());
        let lines = "https://mirror.example/debian/ bookworm Debian\n\
                     https://packages.example/ bookworm Example\n\
                     https://mirror.example/security/ bookworm-security $(ORIGIN)";
        assert_eq!(chosen(lines), mirror);
        let public = (ARCHIVE.to_owned(), SECURITY_ARCHIVE.to_owned());
        for none in ["", "http://archive.ubuntu.com/ubuntu/ noble Ubuntu", "http://packages.example/ bookworm Example"]
        {
            assert_eq!(chosen(none), public);
        }
    }
}
