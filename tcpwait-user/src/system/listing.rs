//! Lists the sockets of every network namespace there is, one after the other, for a tally of them.
//! What is counted, and how it is shown, is decided elsewhere.

use std::fs;

use tcpwait_wire::wire;

use super::{
    counters,
    netns::{self, Netns, name::Named},
    sock_diag::{self, DiagQuery, DiagSocket, Dump},
};
use crate::{
    aggregate::by::GroupBy,
    names::Names,
    select::{Criteria, Family},
    states::{ListedSocket, StatesTally, report::Extent},
    tcp::{DIAG_TIMER_TIME_WAIT, Flow, Interface, NetnsId, State},
};

/// Reads the wanted network namespaces into the tally, and says how far that went.
///
/// Needs no privilege for the namespace this process is in, and `CAP_SYS_ADMIN` for the others. What was read of a namespace counts
/// even if its end was not reached.
pub fn read(tally: &mut StatesTally, names: &mut Names) -> Extent {
    let mut extent = Extent::default();
    let criteria = tally.wanted().criteria.clone();
    let netns::NetnsSurvey { mut namespaces, unseen } = netns::survey();
    if criteria.netns.is_empty() {
        extent.unseen = unseen;
        if let Err(error) = fs::metadata(netns::OWN) {
            extent.cannot(format!("this process's own network namespace: {}: {error}; mount /proc", netns::OWN));
        }
    } else {
        namespaces.retain(|ns| criteria.netns.admits(|inode| *inode == ns.inode));
        extent.unseen = unseen && criteria.netns.not;
        let asked_for = if criteria.netns.not { &[][..] } else { &criteria.netns.values };
        for inode in asked_for.iter().filter(|inode| !namespaces.iter().any(|ns| ns.inode == **inode)) {
            extent.cannot(format!(
                "network namespace net:[{inode}]: no process or thread is in it, and no mount or open file keeps it"
            ));
        }
    }
    let named = Named::read();
    for ns in &namespaces {
        match list(ns, &criteria, tally, (names, &named), &mut extent) {
            Ok(dump) => {
                extent.namespaces += 1;
                extent.inconsistent += u32::from(dump.inconsistent);
            }
            Err(reason) => extent.cannot(format!("network namespace {ns}: {reason}")),
        }
    }
    extent
}

fn list(
    ns: &Netns,
    criteria: &Criteria,
    tally: &mut StatesTally,
    (names, named): (&mut Names, &Named),
    extent: &mut Extent,
) -> Result<Dump, String> {
    let inside = || {
        let netns = netns::here(ns.inode).id();
        if let Some(name) = named.of(ns.inode, ns.first_process) {
            names.learn_netns(netns, &name);
        }
        let own_length = sock_diag::time_wait_has_own_length();
        // A listing takes milliseconds, as the tables it goes through are those of the whole machine; these take microseconds.
        if counters::tell_of_no_segment(&counters::read()) {
            return Ok(Dump::default());
        }
        if tally.wanted().needs_listeners() {
            let listening = DiagQuery { states: bit(State::Listen), ..DiagQuery::EVERYTHING };
            sock_diag::tcp_sockets_of(listening, |socket| {
                if let Some(listener) = of(&socket, netns, own_length) {
                    tally.listener(&listener.flow);
                }
            })?;
        }
        if tally.wanted().by.iter().any(|by| matches!(by, GroupBy::Service | GroupBy::Pair | GroupBy::Remote)) {
            for (index, name) in netns::interfaces() {
                names.learn_interface(Interface { netns, index }, &name);
            }
        }
        sock_diag::tcp_sockets_of(asked(criteria), |socket| match of(&socket, netns, own_length) {
            // It was none of those listed when the kernel looked for them: it has been closed since.
            Some(ListedSocket { state: State::Close, .. }) => {}
            Some(socket) => tally.socket(&socket),
            None => extent.odd += 1,
        })
    };
    match netns::inside(ns, inside) {
        Ok(read) => read.map_err(|error| error.to_string()),
        Err(error) => Err(format!("cannot enter it: {error}; run as root (CAP_SYS_ADMIN)")),
    }
}

/// What the kernel can leave out by itself.
fn asked(criteria: &Criteria) -> DiagQuery {
    DiagQuery {
        v4: criteria.family != Some(Family::V6),
        // Sockets of AF_INET6 may have IPv4 connections.
        v6: true,
        info: true,
        states: match criteria.states.is_empty() {
            true => DiagQuery::EVERYTHING.states,
            false => criteria.states.iter().fold(0, |states, state| states | bit(*state)),
        },
    }
}

fn bit(state: State) -> u32 {
    1 << state as u8
}

/// `None` for a family or a state that is not known.
fn of(socket: &DiagSocket, netns: NetnsId, own_length: bool) -> Option<ListedSocket> {
    let flow = Flow::from_wire(&wire::Flow {
        laddr: socket.laddr,
        raddr: socket.raddr,
        netns: netns.inode(),
        lport: socket.lport,
        rport: socket.rport,
        family: socket.family.into(),
        generation: netns.generation(),
        bound_dev_if: socket.ifindex,
    })?;
    let inode = (socket.inode != 0).then_some(socket.inode);
    Some(ListedSocket {
        cookie: socket.cookie,
        flow,
        state: State::from_kernel(socket.state)?,
        at_least_ms: socket.at_least_ms(own_length),
        mini_left_ms: (socket.timer == DIAG_TIMER_TIME_WAIT).then_some(socket.expires_ms),
        // Without a file the kernel says 0, which would be root.
        uid: inode.map(|_| socket.uid),
        inode,
    })
}
