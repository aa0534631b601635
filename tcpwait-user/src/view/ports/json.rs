//! One JSON document a report, each on a line. The keys and their units are in docs/output.md; what is not known is `null`.

use std::{
    borrow::Cow,
    io::{self, Write},
    net::IpAddr,
};

use nix::errno::Errno;
use serde::Serialize;

use super::super::{
    PortsView, ViewContext,
    json::rfc3339,
    key::comm_of,
    stat::json::{LedgerJson, account},
};
use crate::{
    aggregate::ports::{
        advice::PortAdvice,
        failures::Failed,
        forecast::Forecast,
        pace::Rates,
        report::{self, Bound, Mean, Others, PortRow, PortsReport, Reusable},
        settings::PortSettings,
        states::PortStates,
    },
    lifecycle::{Call, Why},
    plain,
    tcp::{NetnsId, TIMEWAIT_LEN_NS},
    view::schema,
};

/// The JSON view.
#[derive(Debug, Default)]
pub struct PortsJson;

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    time: Option<String>,
    begin: Option<String>,
    #[serde(rename = "final")]
    is_final: bool,
    traced: bool,
    namespaces: Vec<NamespaceJson>,
    destinations: Vec<Destination<'a>>,
    others: &'a Others,
    bound: Option<Vec<Address<'a>>>,
    unknown: u64,
    bind_failures: Vec<Bind<'a>>,
    at_least: bool,
    ledger: Option<LedgerJson>,
}

#[derive(Serialize)]
struct NamespaceJson {
    netns: NetnsId,
    ip_local_port_range: Option<(u16, u16)>,
    ports: Option<u64>,
    tcp_tw_reuse: Option<u8>,
    tcp_tw_reuse_delay_ms: Option<u32>,
    tcp_timestamps: Option<u8>,
}

#[derive(Serialize)]
struct Destination<'a> {
    netns: NetnsId,
    #[serde(skip_serializing_if = "Option::is_none")]
    interface: Option<Cow<'a, str>>,
    laddr: IpAddr,
    raddr: IpAddr,
    rport: u16,
    in_use: u64,
    states: PortStates,
    outside_range: u64,
    bound_elsewhere: Option<u64>,
    ports: Option<u64>,
    share: Option<f64>,
    reusable: Reusable,
    rates: Option<PerSecond>,
    held: Mean,
    needed: Option<f64>,
    forecast: Option<Forecast>,
    reuse_unknown: bool,
    fails_early: bool,
    process: Option<Holder>,
    failures: Option<Vec<FailureJson>>,
    advice: Option<&'a PortAdvice>,
}

#[derive(Serialize)]
struct Address<'a> {
    netns: NetnsId,
    #[serde(skip_serializing_if = "Option::is_none")]
    interface: Option<Cow<'a, str>>,
    laddr: IpAddr,
    bound: u64,
    by_connect: u64,
    unknown: u64,
    in_use: u64,
    time_wait: u64,
    ports: Option<u64>,
    share: Option<f64>,
    rates: Option<PerSecond>,
    forecast: Option<Forecast>,
    process: Option<Holder>,
}

#[derive(Serialize)]
struct PerSecond {
    connects: f64,
    time_waits: f64,
    ended: f64,
    growth: Option<f64>,
    failed: f64,
    at_least: bool,
    over_ns: u64,
    time_wait_ns: u64,
}

#[derive(Serialize)]
struct Holder {
    comm: String,
    pid: Option<u32>,
    ports: u64,
    known: u64,
}

#[derive(Serialize)]
struct FailureJson {
    call: Call,
    why: Why,
    errno: Option<String>,
    count: u64,
    comm: Option<String>,
    pid: Option<u32>,
    first: Option<String>,
    last: Option<String>,
}

#[derive(Serialize)]
struct Bind<'a> {
    netns: NetnsId,
    #[serde(skip_serializing_if = "Option::is_none")]
    interface: Option<Cow<'a, str>>,
    laddr: IpAddr,
    lport: Option<u16>,
    #[serde(flatten)]
    failure: FailureJson,
}

impl PortsView for PortsJson {
    fn report(&mut self, report: &PortsReport, context: ViewContext<'_>, out: &mut dyn Write) -> io::Result<()> {
        let document = Document {
            schema: schema::PORTS,
            time: rfc3339(context, report.end_ns),
            begin: report.traced.then(|| rfc3339(context, report.begin_ns)).flatten(),
            is_final: report.is_final,
            traced: report.traced,
            namespaces: report.namespaces.iter().map(namespace).collect(),
            destinations: report.rows.iter().map(|row| destination(row, report.traced, context)).collect(),
            others: &report.others,
            bound: report.bound.as_ref().map(|rows| rows.iter().map(|row| address(row, context)).collect()),
            unknown: report.unknown,
            bind_failures: report
                .binds
                .iter()
                .map(|bind| Bind {
                    netns: bind.netns,
                    interface: bind.interface.map(|interface| context.names.interface(interface)),
                    laddr: bind.laddr,
                    lport: bind.lport,
                    failure: failure(&bind.failed, context),
                })
                .collect(),
            at_least: report.at_least,
            ledger: report.traced.then(|| account(&report.ledger)),
        };
        plain::json(&mut *out, &document)?;
        out.write_all(b"\n")
    }
}

fn namespace((netns, settings): &(NetnsId, Option<PortSettings>)) -> NamespaceJson {
    let settings = settings.as_ref();
    NamespaceJson {
        netns: *netns,
        ip_local_port_range: settings
            .and_then(|settings| settings.range.as_ref())
            .map(|range| (*range.start(), *range.end())),
        ports: settings.and_then(PortSettings::size),
        tcp_tw_reuse: settings.and_then(|settings| settings.tw_reuse),
        tcp_tw_reuse_delay_ms: settings.and_then(|settings| settings.tw_reuse_delay_ms),
        tcp_timestamps: settings.and_then(|settings| settings.timestamps),
    }
}

fn destination<'a>(row: &'a PortRow, traced: bool, context: ViewContext<'a>) -> Destination<'a> {
    Destination {
        netns: row.destination.netns,
        interface: row.destination.interface().map(|interface| context.names.interface(interface)),
        laddr: row.destination.laddr,
        raddr: row.destination.raddr,
        rport: row.destination.rport,
        in_use: row.in_use,
        states: row.states,
        outside_range: row.outside,
        bound_elsewhere: row.bound_elsewhere,
        ports: row.size,
        share: row.share,
        reusable: row.reusable,
        rates: row.rates.map(|rates| per_second(rates, row.wait_ns)),
        held: row.held,
        needed: row.needed,
        forecast: row.forecast,
        reuse_unknown: row.reuse_unknown,
        fails_early: row.fails_early,
        process: row.holder.as_ref().map(holder_of),
        failures: traced.then(|| row.failures.iter().map(|failed| failure(failed, context)).collect()),
        advice: row.advice.as_ref(),
    }
}

fn address<'a>(row: &Bound, context: ViewContext<'a>) -> Address<'a> {
    Address {
        netns: row.source.netns,
        interface: row.source.interface().map(|interface| context.names.interface(interface)),
        laddr: row.source.laddr,
        bound: row.bound,
        by_connect: row.by_connect,
        unknown: row.unknown,
        in_use: row.in_use,
        time_wait: row.time_wait,
        ports: row.size,
        share: row.share,
        rates: row.rates.map(|rates| per_second(rates, TIMEWAIT_LEN_NS)),
        forecast: row.forecast,
        process: row.holder.as_ref().map(holder_of),
    }
}

fn holder_of(holder: &report::TopHolder) -> Holder {
    Holder { comm: comm_of(holder.process.comm), pid: holder.process.pid, ports: holder.ports, known: holder.known }
}

fn per_second(rates: Rates, time_wait_ns: u64) -> PerSecond {
    PerSecond {
        connects: rates.taken_per_s,
        time_waits: rates.waits_per_s,
        ended: rates.ended_per_s,
        growth: (!rates.at_least).then_some(rates.growth_per_s),
        failed: rates.failed_per_s,
        at_least: rates.at_least,
        over_ns: rates.window_ns,
        time_wait_ns,
    }
}

fn failure(failed: &Failed, context: ViewContext<'_>) -> FailureJson {
    FailureJson {
        call: failed.call,
        why: failed.why,
        errno: (failed.errno != 0).then(|| format!("{:?}", Errno::from_raw(failed.errno.into()))),
        count: failed.count,
        comm: failed.process.map(|process| comm_of(process.comm)),
        pid: failed.process.and_then(|process| process.pid),
        first: rfc3339(context, failed.first_ns),
        last: rfc3339(context, failed.last_ns),
    }
}
