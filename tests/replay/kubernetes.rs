//! The manifests of contrib/kubernetes: they grant what the systemd unit does, say why, and name paths, ports and options that the exporter has. That the
//! API takes them was tried with its schemas.

use std::{collections::BTreeSet, env, fs, path::PathBuf};

use clap::Parser as _;
use serde_json::{Value, json};
use tcpwait::cli::{Cli, Command};

/// What a process that is root needs beside what the unit grants.
const OF_ROOT: [&str; 2] = ["SETGID", "SETUID"];

fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../contrib").join(file)
}

fn read(file: &str) -> String {
    let path = path(file);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn manifest(file: &str) -> Value {
    serde_saphyr::from_str(&read(&format!("kubernetes/{file}"))).unwrap_or_else(|e| panic!("{file}: {e}"))
}

fn container(daemonset: &Value) -> &Value {
    let containers = daemonset["spec"]["template"]["spec"]["containers"].as_array().unwrap();
    assert_eq!(containers.len(), 1);
    &containers[0]
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

#[test]
fn capabilities_are_those_of_the_unit_and_each_has_its_reason() {
    let daemonset = manifest("daemonset.yaml");
    let security = &container(&daemonset)["securityContext"];
    let granted: BTreeSet<&str> = texts(&security["capabilities"]["add"]).into_iter().collect();
    let unit = read("systemd/tcpwait-exporter.service");
    let unit = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).unwrap();
    let of_unit = unit.split(' ').map(|name| name.strip_prefix("CAP_").unwrap());
    assert_eq!(granted, of_unit.chain(OF_ROOT).collect());
    assert_eq!(security["capabilities"]["drop"], json!(["ALL"]));
    let text = read("kubernetes/daemonset.yaml");
    for capability in &granted {
        let line = text.lines().find(|line| line.trim_start().starts_with(&format!("- {capability} "))).unwrap();
        assert!(line.split_once(" # ").is_some_and(|(_, why)| why.len() > 10), "nothing says why: {line}");
    }
    assert!(granted.contains("SYS_PTRACE") && granted.len() == 9, "{granted:?}");
}

#[test]
fn nothing_more_is_granted() {
    let daemonset = manifest("daemonset.yaml");
    let (pod, container) = (&daemonset["spec"]["template"]["spec"], container(&daemonset));
    let security = &container["securityContext"];
    for (setting, value) in [
        (&security["privileged"], json!(false)),
        (&security["allowPrivilegeEscalation"], json!(false)),
        (&security["readOnlyRootFilesystem"], json!(true)),
        (&pod["hostPID"], json!(true)),
        (&pod["hostNetwork"], json!(false)),
        (&pod["automountServiceAccountToken"], json!(false)),
        (&pod["securityContext"]["seccompProfile"]["type"], json!("RuntimeDefault")),
        (&pod["tolerations"], json!([{"operator": "Exists"}])),
    ] {
        assert_eq!(*setting, value);
    }
    let mounts = container["volumeMounts"].as_array().unwrap();
    assert!(mounts.iter().all(|mount| mount["readOnly"] == true), "{mounts:?}");
    let netns = mounts.iter().find(|mount| mount["mountPath"] == "/run/netns").unwrap();
    assert_eq!(netns["mountPropagation"], "HostToContainer", "namespaces that are named later are to be found");
    for volume in pod["volumes"].as_array().unwrap() {
        let mount = mounts.iter().find(|mount| mount["name"] == volume["name"]).unwrap();
        assert_eq!(mount["mountPath"], volume["hostPath"]["path"], "it looks where the node has it");
    }
    for kind in ["requests", "limits"] {
        let resources = &container["resources"][kind];
        assert!(resources["cpu"].is_string() && resources["memory"].is_string(), "{kind}");
    }
}

#[test]
fn its_arguments_paths_and_ports_are_ones_that_the_exporter_has() {
    let (daemonset, with_password) = (manifest("daemonset.yaml"), manifest("web/daemonset.yaml"));
    let ports = &container(&daemonset)["ports"];
    let (port, name) = (&ports[0]["containerPort"], &ports[0]["name"]);
    for (manifest, is_open) in [(&daemonset, true), (&with_password, false)] {
        let arguments = texts(&container(manifest)["args"]);
        let cli = Cli::try_parse_from(["tcpwait"].into_iter().chain(arguments)).unwrap();
        let Command::Export(export) = cli.command else { panic!("it does not export") };
        let listens: Vec<u16> = export.listen.iter().map(|address| address.port()).collect();
        assert_eq!(json!(listens), json!([port]));
        assert_eq!((export.no_auth, export.web_config_file.is_none()), (is_open, is_open));
    }
    let web = container(&with_password)["volumeMounts"][0]["mountPath"].as_str().unwrap();
    assert!(read("kubernetes/web/daemonset.yaml").contains(&format!("--web.config.file={web}/web.yml")));
    let served = fs::read_to_string(path("../tcpwait-user/src/export/http.rs")).unwrap();
    let serves = |path: &Value| served.contains(&format!("        {path} => "));
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let asks = &container(&daemonset)[probe]["httpGet"];
        assert!(serves(&asks["path"]) && asks["port"] == *name, "{probe}: {asks}");
        let patched = &container(&with_password)[probe];
        assert_eq!(
            (&patched["httpGet"], &patched["tcpSocket"]["port"]),
            (&Value::Null, name),
            "all paths need the password"
        );
    }
    let endpoint = &manifest("podmonitor.yaml")["spec"]["podMetricsEndpoints"][0];
    assert!(serves(&endpoint["path"]) && endpoint["port"] == *name, "{endpoint}");
    let service = manifest("service.yaml");
    assert_eq!((&service["spec"]["clusterIP"], &service["spec"]["ports"][0]["targetPort"]), (&json!("None"), name));
    assert_eq!(service["spec"]["ports"][0]["port"], *port);
    assert_eq!(manifest("networkpolicy.yaml")["spec"]["ingress"][0]["ports"][0]["port"], *name);
}

#[test]
fn all_mean_the_same_pods() {
    let daemonset = manifest("daemonset.yaml");
    let labels = &daemonset["spec"]["template"]["metadata"]["labels"];
    let selectors = [
        daemonset["spec"]["selector"]["matchLabels"].clone(),
        manifest("service.yaml")["spec"]["selector"].clone(),
        manifest("networkpolicy.yaml")["spec"]["podSelector"]["matchLabels"].clone(),
        manifest("podmonitor.yaml")["spec"]["selector"]["matchLabels"].clone(),
    ];
    assert!(labels.is_object() && selectors.iter().all(|selector| selector == labels), "{selectors:?}");
    let kustomization = manifest("kustomization.yaml");
    let named: BTreeSet<&str> = texts(&kustomization["resources"]).into_iter().collect();
    let files = fs::read_dir(path("kubernetes")).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let files: BTreeSet<String> =
        files.filter(|name| name.ends_with(".yaml") && name != "kustomization.yaml").collect();
    assert_eq!(named, files.iter().map(String::as_str).collect());
    assert_eq!(kustomization["images"][0]["name"], container(&daemonset)["image"]);
    assert_eq!(kustomization["namespace"], manifest("namespace.yaml")["metadata"]["name"]);
}

/// Labels of a target would say that what is counted without a pod is the exporter's own.
#[test]
fn the_labels_of_pods_are_not_the_exporters() {
    let relabelings = manifest("podmonitor.yaml")["spec"]["podMetricsEndpoints"][0]["relabelings"].clone();
    let relabelings = relabelings.as_array().unwrap();
    let drop = relabelings.iter().find(|rule| rule["action"] == "labeldrop").unwrap()["regex"].as_str().unwrap();
    let labels = tcpwait::metrics::table::GROUP_ENTRIES.labels;
    for label in drop.split('|') {
        assert!(labels.contains(&label), "the exporter has no {label}");
    }
    assert_eq!(drop.split('|').count(), 3);
    for label in ["node", "instance"] {
        let node = relabelings.iter().find(|rule| rule["targetLabel"] == label).unwrap();
        assert_eq!(node["sourceLabels"], json!(["__meta_kubernetes_pod_node_name"]));
    }
}

/// `UPDATE_GOLDEN=1` makes it anew.
#[test]
fn the_rules_are_those_of_prometheus() {
    let file = "kubernetes/prometheusrule.yaml";
    let written = read(file);
    let (begin, _) = written.split_once("\n  groups:\n").unwrap();
    let mut made = format!("{begin}\n  groups:\n");
    for rules in ["prometheus/alerts.yml", "prometheus/rules.yml"] {
        let text = read(rules);
        let (_, groups) = text.split_once("groups:\n").unwrap();
        for line in groups.lines() {
            made.push_str(if line.is_empty() { "" } else { "  " });
            made.push_str(line);
            made.push('\n');
        }
    }
    if env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") && made != written {
        fs::write(path(file), &made).unwrap();
    } else {
        assert!(made == written, "{file} is not what alerts.yml and rules.yml say: UPDATE_GOLDEN=1 makes it anew");
    }
    let groups: Value = serde_saphyr::from_str(&made).unwrap();
    let groups = groups["spec"]["groups"].as_array().unwrap();
    let groups_of = |file: &str| -> Vec<Value> {
        let rules: Value = serde_saphyr::from_str(&read(file)).unwrap();
        rules["groups"].as_array().unwrap().clone()
    };
    assert_eq!(*groups, [groups_of("prometheus/alerts.yml"), groups_of("prometheus/rules.yml")].concat());
}
