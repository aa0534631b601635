//! What `tcpwait probes` says of the running kernel.

use std::sync::OnceLock;

use serde_json::Value;

use crate::{
    tracer::{START, Tracer, command},
    traffic,
};

/// What kernels said when docs/kernels.md was made.
const RECORDED: [&str; 7] = [
    include_str!("../fixtures/kernels/6.1/probes.json"),
    include_str!("../fixtures/kernels/6.12/probes.json"),
    include_str!("../fixtures/kernels/6.18/probes.json"),
    include_str!("../fixtures/kernels/7.3/probes.json"),
    include_str!("../fixtures/kernels/7.3-rt/probes.json"),
    include_str!("../fixtures/kernels/6.12-arm64/probes.json"),
    include_str!("../fixtures/kernels/7.3-arm64/probes.json"),
];

/// The report of the running kernel, asked for once.
fn report() -> &'static Value {
    static REPORT: OnceLock<Value> = OnceLock::new();
    REPORT.get_or_init(|| {
        let ended = Tracer::spawn(command(["probes", "--json"])).end(START);
        assert_eq!((ended.code, ended.stdout.len()), (Some(0), 1), "{ended:?}");
        serde_json::from_str(&ended.stdout[0]).unwrap()
    })
}

/// Whether `ss -K` ends a TIME_WAIT here.
pub fn destroy_ends_time_wait() -> bool {
    let behaviour = &report()["behaviour"];
    behaviour["destroy_ends_time_wait"].as_bool().unwrap_or_else(|| panic!("it could not be tried: {behaviour}"))
}

/// The same kernel as far as it matters: of a series, and of one maker.
fn kin(kernel: &Value) -> (String, String) {
    let release = kernel["kernel"].as_str().unwrap();
    let series = release.split('.').take(2).collect::<Vec<_>>().join(".");
    let maker = release.chars().map(|c| if c.is_ascii_alphabetic() { c } else { ' ' }).collect::<String>();
    (series, maker.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Else docs/kernels.md is not true any more.
pub fn are_as_recorded() {
    let found = report();
    assert_eq!(found["hooks"].as_array().unwrap().len(), tcpwait::kernel::HOOKS.len(), "{found}");
    // Where its configuration can be read, that is what it has to say.
    let hz = found["hz"].as_u64();
    assert!(hz.is_some() && traffic::hz().is_none_or(|configured| hz == Some(configured.into())), "{found}");
    let recorded = RECORDED.map(|text| serde_json::from_str::<Value>(text).unwrap());
    let Some(recorded) = recorded.iter().find(|recorded| kin(recorded) == kin(found)) else {
        println!("probes::are_as_recorded: nothing is recorded of a kernel like {}", found["kernel"]);
        return;
    };
    for (found, recorded) in found["hooks"].as_array().unwrap().iter().zip(recorded["hooks"].as_array().unwrap()) {
        for key in ["hook", "attached", "why"] {
            assert_eq!(found[key], recorded[key], "{found}; tests/fixtures/kernels/make.sh records it anew");
        }
    }
    assert_eq!(found["behaviour"], recorded["behaviour"], "tests/fixtures/kernels/make.sh records it anew");
}
