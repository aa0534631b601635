//! The image: its layout is what other programs expect, and a runtime runs it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::dist::{VERSION, printed};
use crate::packages;
use crate::root;

/// Asks skopeo, which reads every blob, and podman, where it is.
pub fn check(out: &Path) -> Result<()> {
    let archive = out.join(format!("tcpwait-{VERSION}-oci.tar"));
    let mut inspect = Command::new("skopeo");
    inspect.arg("inspect").arg(format!("oci-archive:{}", archive.display()));
    let text = printed(&mut inspect)?;
    let told: Value = serde_json::from_str(&text).context("skopeo prints no JSON")?;
    let layers = told.get("Layers").and_then(Value::as_array).map_or(0, Vec::len);
    if layers != 1 || told.get("Os").and_then(Value::as_str) != Some("linux") {
        bail!("the image is not what it should be: {text}");
    }
    println!("{}: skopeo reads it", archive.display());
    if packages::program("podman").is_none() || !root::available() {
        println!("podman is not here: the image was not run");
        return Ok(());
    }
    printed(&mut root::command("podman", &["load".into(), "--input".into(), archive.clone().into_os_string()])?)?;
    let name = format!("localhost/tcpwait:{VERSION}");
    let flags = ["run", "--rm", "--network=host", "--cgroups=disabled", &name, "version"];
    let said = printed(&mut root::command("podman", &flags)?)?;
    if said.trim() != format!("tcpwait {VERSION}") {
        bail!("in a container it says {said}");
    }
    println!("{}: podman runs it", archive.display());
    Ok(())
}
