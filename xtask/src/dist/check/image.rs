//! The image: its layout is what other programs expect, and a runtime runs it.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::arch::Arch;
use crate::compile;
use crate::dist::{VERSION, printed};
use crate::packages;
use crate::root;

/// Asks skopeo, which reads every blob, for each of these architectures; and podman, where it is.
pub fn check(out: &Path, arches: &[Arch]) -> Result<()> {
    let archive = out.join(format!("tcpwait-{VERSION}-oci.tar"));
    for arch in arches {
        let mut inspect = Command::new("skopeo");
        inspect.args(["--override-arch", arch.debian(), "inspect"]).arg(format!("oci-archive:{}", archive.display()));
        let text = printed(&mut inspect)?;
        let told: Value = serde_json::from_str(&text).context("skopeo prints no JSON")?;
        let layers = told.get("Layers").and_then(Value::as_array).map_or(0, Vec::len);
        let is = |key: &str, wanted: &str| told.get(key).and_then(Value::as_str) == Some(wanted);
        if layers != 1 || !is("Os", "linux") || !is("Architecture", arch.debian()) {
            bail!("the image is not what it should be: {text}");
        }
        println!("{}: skopeo reads it, for {}", archive.display(), arch.debian());
    }
    if !arches.iter().any(|arch| arch.is_here()) {
        println!("it is for none like this machine: the image was not run");
        return Ok(());
    }
    if !root::available() {
        println!("only root can run it: the image was not run");
        return Ok(());
    }
    let said = alone(&archive)?;
    if said.trim() != format!("tcpwait {VERSION}") {
        bail!("with nothing but what is in the image it says {said}");
    }
    println!("{}: what is in it needs nothing else", archive.display());
    in_a_container(&archive)
}

/// Has the program of the image run where there is nothing but the image's files.
fn alone(archive: &Path) -> Result<String> {
    let folder = compile::target_dir().join("image");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    let (layout, files) = (folder.join("layout"), folder.join("files"));
    let copy = format!("dir:{}", layout.display());
    fs::create_dir_all(&files).with_context(|| format!("cannot make {}", files.display()))?;
    printed(Command::new("skopeo").arg("copy").arg(format!("oci-archive:{}", archive.display())).arg(copy))?;
    let manifest = fs::read(layout.join("manifest.json")).context("skopeo left no manifest")?;
    let manifest: Value = serde_json::from_slice(&manifest).context("the manifest is no JSON")?;
    let digest = manifest.pointer("/layers/0/digest").and_then(Value::as_str).context("the manifest names no layer")?;
    let layer = layout.join(digest.trim_start_matches("sha256:"));
    printed(Command::new("tar").arg("-xzf").arg(&layer).arg("-C").arg(&files))?;
    printed(&mut root::command("chroot", &[files.as_os_str(), "/tcpwait".as_ref(), "version".as_ref()])?)
}

/// podman runs it, where it is and can run anything.
fn in_a_container(archive: &Path) -> Result<()> {
    if packages::program("podman").is_none() {
        println!("podman is not here: the image was not run in a container");
        return Ok(());
    }
    printed(&mut root::command("podman", &["load".as_ref(), "--input".as_ref(), archive.as_os_str()])?)?;
    let name = format!("localhost/tcpwait:{VERSION}");
    match printed(&mut root::command("podman", &["run", "--rm", &name, "version"])?) {
        Ok(said) if said.trim() == format!("tcpwait {VERSION}") => {
            println!("{}: podman runs it", archive.display());
            Ok(())
        }
        Ok(said) => bail!("in a container it says {said}"),
        Err(why) => {
            println!("podman runs no containers on this machine, so the image was not run in one: {why:#}");
            Ok(())
        }
    }
}
