//! What is asked for, checked: a filter that no connection can match is refused, with the reason.

use anyhow::{Context, Result, bail};
use ipnet::IpNet;

use crate::{
    cli::{Filter, list},
    kernel::KernelFilter,
    output::say,
    plain,
    select::{Criteria, Family, Pick},
    system::{cgroup::Cgroups, netns, processes},
    tcp::State,
};

/// `TASK_COMM_LEN` less the final NUL.
const MAX_COMM: usize = 15;

/// A connection goes through many states, so that all but one say nothing; of a socket as it is now they do (`tcpwait states`).
pub(super) fn check_states(states: &[Pick<State>]) -> Result<()> {
    match states.iter().any(|list| list.not) {
        true => bail!(
            "--state '!...' would exclude nothing: every connection enters other states too; name the states to show"
        ),
        false => Ok(()),
    }
}

/// Checks a filter. `live`: against this machine too, on which a process or a cgroup must exist to be ever seen.
pub(super) fn criteria(filter: &Filter, live: bool) -> Result<Criteria> {
    let criteria = Criteria {
        lports: one("--lport", &filter.lport)?,
        rports: one("--rport", &filter.rport)?,
        laddrs: one("--laddr", &filter.laddr)?,
        raddrs: one("--raddr", &filter.raddr)?,
        pids: one("--pid", &filter.pid)?,
        comms: one("--comm", &filter.comm)?,
        cgroups: one("--cgroup", &filter.cgroup)?,
        pods: one("--pod", &filter.pod)?,
        netns: if live { inodes(&filter.netns)? } else { recorded_inodes(&filter.netns)? },
        family: match (filter.ipv4, filter.ipv6) {
            (true, _) => Some(Family::V4),
            (_, true) => Some(Family::V6),
            _ => None,
        },
        states: states(&one("--state", &filter.state)?),
    };
    check_families(&criteria)?;
    if let Some(name) = criteria.comms.values.iter().find(|name| name.len() > MAX_COMM) {
        bail!("no connection can match: the kernel keeps {MAX_COMM} bytes of a process's name, and {name} is longer");
    }
    if live {
        check_owners(&criteria)?;
    }
    Ok(criteria)
}

/// One list of those that were given for an option.
pub(super) fn one<T: Clone>(option: &str, lists: &[Pick<T>]) -> Result<Pick<T>> {
    list::joined(option, lists).map_err(anyhow::Error::msg)
}

/// Turned round, every state but these that a connection can be in.
fn states(pick: &Pick<State>) -> Vec<State> {
    let others = || State::ALL.into_iter().filter(|state| *state != State::Close && !pick.values.contains(state));
    if pick.not { others().collect() } else { pick.values.clone() }
}

fn check_families(criteria: &Criteria) -> Result<()> {
    let (laddrs, raddrs) = (&criteria.laddrs, &criteria.raddrs);
    let asked_for = [laddrs, raddrs].into_iter().filter(|nets| !nets.not);
    if let Some(family) = criteria.family {
        let is_other = |net: &&IpNet| net.addr().is_ipv4() != (family == Family::V4);
        if let Some(net) = asked_for.flat_map(|nets| &nets.values).find(is_other) {
            bail!("no connection can match {net}: -4 or -6 asks for the other address family");
        }
    }
    let has = |nets: &Pick<IpNet>, v4: bool| nets.not || nets.admits(|net| net.addr().is_ipv4() == v4);
    if ![true, false].into_iter().any(|v4| has(laddrs, v4) && has(raddrs, v4)) {
        bail!("no connection can match: --laddr and --raddr name addresses of different families");
    }
    Ok(())
}

/// What is to be left out need not be there.
fn check_owners(criteria: &Criteria) -> Result<()> {
    for pid in criteria.pids.values.iter().filter(|_| !criteria.pids.not) {
        if !std::path::Path::new(&format!("/proc/{pid}")).exists() {
            bail!("no connection can match: there is no process {pid}");
        }
    }
    for name in &criteria.comms.values {
        if let Some(sentence) = processes::only_an_executable(name) {
            say!("tcpwait: {sentence}");
        }
    }
    let cgroups = Cgroups::new();
    for path in criteria.cgroups.values.iter().filter(|_| !criteria.cgroups.not) {
        if cgroups.id_of(path).is_none() {
            bail!(
                "no connection can match: there is no cgroup {path} below the cgroup-v2 mount (`systemd-cgls` lists them)"
            );
        }
    }
    Ok(())
}

/// What the kernel side can leave out. Namespaces that it leaves out are not looked for again: it knows them from others that have got their
/// inode numbers.
pub(super) fn kernel_filter(criteria: &mut Criteria) -> KernelFilter {
    let filter = KernelFilter {
        netns: netns::identify(&criteria.netns),
        lports: criteria.lports.clone(),
        rports: criteria.rports.clone(),
    };
    if criteria.netns.not {
        criteria.netns = Pick::default();
    }
    filter
}

pub(super) fn inodes(specs: &[Pick<String>]) -> Result<Pick<u32>> {
    let specs = one("--netns", specs)?;
    if specs.is_empty() {
        return Ok(Pick::default());
    }
    let there = netns::all();
    let inode = |spec: &String| {
        let inode = netns::resolve(spec)?;
        if !specs.not && !there.iter().any(|ns| ns.inode == inode) {
            bail!(
                "no connection can match: no process, thread, mount or open file has network namespace {inode} (`lsns -t net` lists them); one that only a socket has cannot be entered"
            );
        }
        Ok(inode)
    };
    Ok(Pick { values: specs.values.iter().map(inode).collect::<Result<_>>()?, not: specs.not })
}

/// A recording knows namespaces by inode only.
fn recorded_inodes(specs: &[Pick<String>]) -> Result<Pick<u32>> {
    let specs = one("--netns", specs)?;
    let inode = |spec: &String| {
        let number = spec.trim_start_matches("net:[").trim_end_matches(']');
        number
            .parse()
            .ok()
            .with_context(|| {
                let spec = plain::escaped(spec);
                format!(
                    "--netns {spec} cannot match: a recording has network namespaces by inode, which is a number. If {spec} is one of this machine and \
                     the recording, too, `stat -Lc %i /run/netns/{spec}` prints it"
                )
            })
    };
    Ok(Pick { values: specs.values.iter().map(inode).collect::<Result<_>>()?, not: specs.not })
}
