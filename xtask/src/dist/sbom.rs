//! The bill of materials, in CycloneDX 1.6.

use anyhow::Result;
use serde_json::{Value, json};

use super::components::{Components, Crate, Library};
use super::{VERSION, sha256, with};
use crate::arch::Arch;
use crate::release::Source;

/// What is in the program, as other programs read it.
pub fn document(components: &Components, arch: Arch, source: &Source, binary: &[u8]) -> Result<Vec<u8>> {
    let root = format!("pkg:generic/tcpwait@{VERSION}?arch={}", arch.kernel());
    let mut listed: Vec<Value> = components.crates.iter().filter(|one| one.checksum.is_some()).map(of_crate).collect();
    listed.extend(components.libraries.iter().map(of_library));
    let document = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": source.timestamp(),
            "component": {
                "type": "application",
                "bom-ref": root,
                "name": "tcpwait",
                "version": VERSION,
                "licenses": [{"expression": "MIT OR Apache-2.0"}],
                "purl": root,
                "hashes": [{"alg": "SHA-256", "content": sha256(binary)}],
                "properties": [
                    {"name": "tcpwait:commit", "value": source.commit.as_deref().unwrap_or("unknown")},
                    {"name": "tcpwait:target", "value": arch.rust()},
                ],
            },
        },
        "components": listed,
    });
    let mut bytes = serde_json::to_vec_pretty(&document)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn of_crate(one: &Crate) -> Value {
    let Crate { name, version, sides, licence, repository, checksum, folder: _ } = one;
    let purl = format!("pkg:cargo/{name}@{version}");
    let sides: Vec<&str> = sides.iter().map(|side| side.name()).collect();
    let mut component = json!({
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        "properties": [{"name": "tcpwait:side", "value": sides.join(",")}],
    });
    if let Some(licence) = licence {
        component = with(component, "licenses", json!([{"expression": licence}]));
    }
    if let Some(checksum) = checksum {
        component = with(component, "hashes", json!([{"alg": "SHA-256", "content": checksum}]));
    }
    if let Some(repository) = repository {
        component = with(component, "externalReferences", json!([{"type": "vcs", "url": repository}]));
    }
    component
}

fn of_library(library: &Library) -> Value {
    let Library { name, version, licence, about, home } = library;
    json!({
        "type": "library",
        "bom-ref": format!("pkg:generic/{name}@{version}"),
        "name": name,
        "version": version,
        "description": about,
        "licenses": [{"expression": licence}],
        "purl": format!("pkg:generic/{name}@{}", version.replace('+', "%2B")),
        "externalReferences": [{"type": "website", "url": home}],
    })
}
