//! An image for containers, in the layout of the Open Container Initiative: nothing in it but the program and the licences.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::tree::{Tree, gzipped};
use super::{VERSION, sha256, with};
use crate::arch::Arch;
use crate::release::Source;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// The image for one architecture: its blobs, and what an index says of it.
pub struct Image {
    blobs: Vec<Vec<u8>>,
    descriptor: Value,
}

impl Image {
    /// With these files.
    pub fn of(tree: &Tree, arch: Arch, source: &Source) -> Result<Self> {
        let tar = tree.tar("", source.epoch)?;
        let layer = gzipped(&tar)?;
        let labels = labels(source);
        let config = serde_json::to_vec(&json!({
            "created": source.timestamp(),
            "architecture": arch.debian(),
            "os": "linux",
            "config": {"User": "0", "Entrypoint": ["/tcpwait"], "WorkingDir": "/", "Labels": labels},
            "rootfs": {"type": "layers", "diff_ids": [digest(&tar)]},
            "history": [{"created": source.timestamp(), "created_by": "cargo xtask dist"}],
        }))?;
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(CONFIG, &config),
            "layers": [descriptor(LAYER, &layer)],
            "annotations": labels,
        }))?;
        let platform = json!({"architecture": arch.debian(), "os": "linux"});
        let described = with(descriptor(MANIFEST, &manifest), "platform", platform);
        Ok(Self { blobs: vec![layer, config, manifest], descriptor: described })
    }
}

/// All images in one file, which `podman load`, `docker load` and skopeo read: each machine finds its own in it.
pub fn archive(images: &[Image], source: &Source, to: &Path) -> Result<()> {
    let mut tree = Tree::default();
    let mut add = |bytes: &[u8]| tree.file(&format!("blobs/sha256/{}", sha256(bytes)), bytes);
    for image in images {
        image.blobs.iter().for_each(|blob| add(blob));
    }
    let of_each: Vec<&Value> = images.iter().map(|image| &image.descriptor).collect();
    let index = serde_json::to_vec(&json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": of_each}))?;
    add(&index);
    let names = json!({
        "org.opencontainers.image.ref.name": VERSION,
        "io.containerd.image.name": format!("localhost/tcpwait:{VERSION}"),
    });
    let named = with(descriptor(INDEX, &index), "annotations", names);
    let top = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [named]});
    tree.file("index.json", &serde_json::to_vec(&top)?);
    tree.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    fs::write(to, tree.tar("", source.epoch)?).with_context(|| format!("cannot write {}", to.display()))
}

fn labels(source: &Source) -> Value {
    json!({
        "org.opencontainers.image.title": "tcpwait",
        "org.opencontainers.image.description": "Sees what TCP connections really do on a Linux machine, above all in TIME_WAIT",
        "org.opencontainers.image.version": VERSION,
        "org.opencontainers.image.revision": source.commit.as_deref().unwrap_or("unknown"),
        "org.opencontainers.image.licenses": "MIT OR Apache-2.0",
    })
}

fn descriptor(kind: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()})
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", sha256(bytes))
}
