//! A package for Debian, Ubuntu and their relatives. The program needs nothing, so it depends on nothing, and one file is for all their releases.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::tree::Tree;
use super::{VERSION, printed, read};
use crate::arch::Arch;
use crate::compile;
use crate::packages;
use crate::release::Source;

/// Whose it is, and since when.
const OWNER: &str = "2026 the tcpwait developers";

/// Who answers for it.
const MAINTAINER: &str = "tcpwait maintainers <maintainers@tcpwait.example>";

/// The package's own number behind the version of what is in it.
const REVISION: &str = "1";

const DESCRIPTION: &str = "\
trace TCP connection states, above all TIME_WAIT
 tcpwait shows what TCP connections do on this machine: every state transition
 and how long each state lasted, who puts connections into TIME_WAIT and what
 ends them, why connect() and bind() fail, who resets or does not close a
 connection, and when the local ports run out. It reads the kernel with eBPF,
 serves metrics to Prometheus, and changes nothing.
 .
 Its exporter comes as a service, which is not enabled:
 systemctl enable --now tcpwait-exporter.socket";

/// The exporter's units. They are stopped before their files go; what enabled them goes with the package's settings.
const UNITS: &str = "tcpwait-exporter.socket tcpwait-exporter.service";

/// Why what lintian(1) has against it is so.
const OVERRIDES: &str = "\
# It is copied to machines in trouble, and runs on any: it depends on no library.
tcpwait: statically-linked-binary [usr/bin/tcpwait]
# It is a program, and not a library: it is linked statically and can be loaded anywhere (static-pie).
tcpwait: shared-library-lacks-prerequisites [usr/bin/tcpwait]
# It is no package of Debian's, so no bug report of Debian's asks for it.
tcpwait: initial-upload-closes-no-bugs [usr/share/doc/tcpwait/changelog.Debian.gz:1]
";

/// Writes the package into `out`.
pub fn package(files: &Tree, arch: Arch, source: &Source, out: &Path) -> Result<()> {
    if packages::program("dpkg-deb").is_none() {
        bail!("a package for Debian is made by dpkg-deb, which is not here: install dpkg");
    }
    let stage = compile::target_dir().join("deb").join(arch.debian());
    if stage.exists() {
        fs::remove_dir_all(&stage).with_context(|| format!("cannot empty {}", stage.display()))?;
    }
    let mut own = Tree::default();
    own.file("usr/share/doc/tcpwait/copyright", copyright()?.as_bytes());
    own.file_gz("usr/share/doc/tcpwait/changelog.Debian.gz", changelog(source)?.as_bytes())?;
    own.file("usr/share/lintian/overrides/tcpwait", OVERRIDES.as_bytes());
    files.write_to(&stage)?;
    own.write_to(&stage)?;
    let mut control = Tree::default();
    control.file("DEBIAN/control", control_file(arch, files.bytes() + own.bytes()).as_bytes());
    control.file("DEBIAN/md5sums", md5sums(&stage)?.as_bytes());
    for (name, script) in scripts() {
        control.program(&format!("DEBIAN/{name}"), script.as_bytes());
    }
    control.write_to(&stage)?;
    let file = out.join(format!("tcpwait_{VERSION}-{REVISION}_{arch}.deb"));
    let mut build = Command::new("dpkg-deb");
    build.args(["--root-owner-group", "-Zxz", "--build"]).arg(&stage).arg(&file);
    build.env("SOURCE_DATE_EPOCH", source.epoch.to_string());
    printed(&mut build)?;
    Ok(())
}

fn control_file(arch: Arch, bytes: u64) -> String {
    format!(
        "Package: tcpwait\nVersion: {VERSION}-{REVISION}\nArchitecture: {arch}\nMaintainer: {MAINTAINER}\nInstalled-Size: {}\n\
         Suggests: prometheus\nSection: net\nPriority: optional\nDescription: {DESCRIPTION}\n",
        bytes.div_ceil(1024)
    )
}

/// As md5sum(1) writes and dpkg(1) checks them.
fn md5sums(stage: &Path) -> Result<String> {
    let script = "find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum";
    printed(Command::new("sh").args(["-c", script]).current_dir(stage))
}

/// In the form of Debian's policy: what changed is in the changelog of tcpwait itself.
fn changelog(source: &Source) -> Result<String> {
    Ok(format!(
        "tcpwait ({VERSION}-{REVISION}) unstable; urgency=medium\n\n  * tcpwait {VERSION}: changelog.gz says what is new.\n\n -- {MAINTAINER}  {}\n",
        source.mail_date()?
    ))
}

/// In the form of DEP 5.
pub fn copyright() -> Result<String> {
    let mit = String::from_utf8(read("LICENSE-MIT")?)?;
    let text: String = mit
        .lines()
        .skip_while(|line| !line.starts_with("Permission"))
        .map(|line| if line.trim().is_empty() { " .\n".to_owned() } else { format!(" {}\n", line.trim()) })
        .collect();
    Ok(format!(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: tcpwait\n\
         Comment:\n usr/bin/tcpwait is linked statically. Who wrote what is in it, and the licences\n of that, is in THIRD-PARTY.\n\n\
         Files: *\nCopyright: {OWNER}\nLicense: Expat or Apache-2.0\n\n\
         License: Expat\n{text}\n\
         License: Apache-2.0\n On Debian systems the text is in /usr/share/common-licenses/Apache-2.0.\n"
    ))
}

/// What dpkg runs. Each may be run again after it has failed.
fn scripts() -> [(&'static str, String); 3] {
    let postinst = format!(
        "#!/bin/sh\nset -e\n# Installed, and not enabled: a tracer starts when somebody wants it. One that runs goes on with the new program.\n\
         if [ \"$1\" = configure ] && [ -d /run/systemd/system ]; then\n    systemctl --system daemon-reload >/dev/null || true\n    \
         if [ -n \"$2\" ]; then\n        deb-systemd-invoke try-restart {UNITS} >/dev/null || true\n    fi\nfi\n"
    );
    let prerm = format!(
        "#!/bin/sh\nset -e\nif [ \"$1\" = remove ] && [ -d /run/systemd/system ]; then\n    deb-systemd-invoke stop {UNITS} >/dev/null || true\nfi\n"
    );
    let postrm = format!(
        "#!/bin/sh\nset -e\nif [ \"$1\" = remove ] || [ \"$1\" = purge ]; then\n    # What `systemctl enable` has made.\n    for unit in {UNITS}; do\n        \
         for link in /etc/systemd/system/*.wants/\"$unit\"; do\n            if [ -L \"$link\" ]; then\n                rm -f \"$link\"\n                \
         rmdir --ignore-fail-on-non-empty \"$(dirname \"$link\")\"\n            fi\n        done\n    done\nfi\n\
         if [ -d /run/systemd/system ]; then\n    systemctl --system daemon-reload >/dev/null || true\nfi\n"
    );
    [("postinst", postinst), ("prerm", prerm), ("postrm", postrm)]
}
