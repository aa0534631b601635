//! TPROXY and connection tracking without anybody's program: nf_tables told by netlink to hand what arrives to a transparent
//! socket, or to look at the state of connections.
//! The numbers are those of include/uapi/linux/netfilter/nf_tables.h, nfnetlink.h and netfilter.h.

use std::{io, net::SocketAddr};

use netlink_sys::{Socket, protocols::NETLINK_NETFILTER};
use nix::libc;

use crate::traffic::set_option;

const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_CREATE: u16 = 0x400;
const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;
const NFNL_SUBSYS_NFTABLES: u16 = 10;

const NFT_MSG_NEWTABLE: u16 = 0;
const NFT_MSG_NEWCHAIN: u16 = 3;
const NFT_MSG_NEWRULE: u16 = 6;

/// `NFT_REG_1`.
const REGISTER: u32 = 1;

/// Has every segment that arrives at this thread's namespace, and is of no connection, offered to the listener, which has to be
/// transparent: `table ip tproxy { chain prerouting { type filter hook prerouting priority mangle; tproxy to :PORT } }`.
pub fn to(listener: SocketAddr) {
    const PRE_ROUTING: u32 = 0;
    const MANGLE: i32 = -150;
    let family = u8::try_from(if listener.is_ipv4() { libc::NFPROTO_IPV4 } else { libc::NFPROTO_IPV6 }).unwrap();
    let hook = [number(1, PRE_ROUTING), number(2, MANGLE.cast_unsigned())].concat();
    let port =
        expression("immediate", &[number(1, REGISTER), nested(2, &attribute(1, &listener.port().to_be_bytes()))]);
    let tproxy = expression("tproxy", &[number(1, family.into()), number(3, REGISTER)]);
    add(family, "tproxy", &hook, &[port, tproxy].concat())
        .unwrap_or_else(|e| panic!("nf_tables refuses it: {e}; does this kernel have nft_tproxy?"));
}

/// Has connections tracked in this thread's namespace from now on, as any rule that asks for their state has:
/// `table ip track { chain output { type filter hook output priority filter; ct state … } }`.
pub fn track() -> io::Result<()> {
    const LOCAL_OUT: u32 = 3;
    const NFT_CT_STATE: u32 = 0;
    let hook = [number(1, LOCAL_OUT), number(2, 0)].concat();
    let state = expression("ct", &[number(1, REGISTER), number(2, NFT_CT_STATE)]);
    add(u8::try_from(libc::NFPROTO_IPV4).unwrap(), "track", &hook, &state)
}

/// Adds a table with a chain with a rule, all of one name.
fn add(family: u8, name: &str, hook: &[u8], expressions: &[u8]) -> io::Result<()> {
    let name = [name.as_bytes(), &[0]].concat();
    let table = attribute(1, &name);
    let chain = [attribute(1, &name), attribute(3, &name), nested(4, hook), attribute(7, b"filter\0")].concat();
    let rule = [attribute(1, &name), attribute(2, &name), nested(4, expressions)].concat();
    let messages = [(NFT_MSG_NEWTABLE, table), (NFT_MSG_NEWCHAIN, chain), (NFT_MSG_NEWRULE, rule)];

    let mut batch = message(NFNL_MSG_BATCH_BEGIN, 0, 0, NFNL_SUBSYS_NFTABLES, &[]);
    for (kind, attributes) in &messages {
        let kind = NFNL_SUBSYS_NFTABLES << 8 | kind;
        batch.extend(message(kind, NLM_F_CREATE | NLM_F_ACK, family, 0, attributes));
    }
    batch.extend(message(NFNL_MSG_BATCH_END, 0, 0, NFNL_SUBSYS_NFTABLES, &[]));
    let socket = Socket::new(NETLINK_NETFILTER)?;
    socket.send(&batch, 0)?;
    for _ in &messages {
        let (answer, _) = socket.recv_from_full()?;
        let field = |at: usize| answer[at..at + 4].try_into().unwrap();
        assert_eq!(u16::from_ne_bytes(answer[4..6].try_into().unwrap()), NLMSG_ERROR, "{answer:?}");
        let error = io::Error::from_raw_os_error(-i32::from_ne_bytes(field(16)));
        if error.raw_os_error() != Some(0) {
            return Err(error);
        }
    }
    Ok(())
}

/// Lets a socket take connections to any address.
pub fn make_transparent(socket: &socket2::Socket, of: SocketAddr) {
    if of.is_ipv4() {
        set_option(socket, libc::IPPROTO_IP, libc::IP_TRANSPARENT, 1);
    } else {
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_TRANSPARENT, 1);
    }
}

/// An expression of a rule: a list element with a name and data.
fn expression(name: &str, data: &[Vec<u8>]) -> Vec<u8> {
    let name = [name.as_bytes(), &[0]].concat();
    nested(1, &[attribute(1, &name), nested(2, &data.concat())].concat())
}

fn number(kind: u16, value: u32) -> Vec<u8> {
    attribute(kind, &value.to_be_bytes())
}

fn nested(kind: u16, content: &[u8]) -> Vec<u8> {
    const NLA_F_NESTED: u16 = 1 << 15;
    attribute(kind | NLA_F_NESTED, content)
}

fn attribute(kind: u16, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + content.len()).unwrap();
    let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), content].concat();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// `struct nlmsghdr`, `struct nfgenmsg` and attributes.
fn message(kind: u16, flags: u16, family: u8, resource: u16, attributes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(20 + attributes.len()).unwrap();
    let flags = NLM_F_REQUEST | flags;
    let head = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &flags.to_ne_bytes(), &[0; 8]].concat();
    [&head[..], &[family, 0], &resource.to_be_bytes(), attributes].concat()
}
