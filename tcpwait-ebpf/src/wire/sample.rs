//! Which connections are told of when the tool thins itself: one of so many, each for its whole life.
//!
//! The choice is made by the remote address and the two ports, which are all that a full socket, a request socket and a mini-socket of one connection have in
//! common on every kernel: a request socket has no cookie (`inet_reqsk_alloc`), and a mini-socket no more than it copied. The local address is left
//! out, since it may change under a connection that is being made (`inet_sk_reselect_saddr`).
//!
//! It spreads; it does not hide. Whoever chooses ports of a connection can have it told of or not.

/// The fewest that are told of: one of so many.
pub const MOST: u32 = 1024;

/// A number of a connection, which is the same on every hook for its whole life. `raddr`: the remote address as the kernel has it, in network byte order; of
/// IPv4, and of an IPv6 address that stands for one, the first word alone.
#[inline(always)]
pub const fn spread(raddr: [u32; 4], lport: u16, rport: u16) -> u32 {
    // Odd numbers without a pattern: the fractions of the golden ratio and of the square root of 2. Ports of a busy machine follow one another, and so the upper half is taken.
    const KEYS: (u64, u64) = (0x9e37_79b9_7f4a_7c15, 0x6a09_e667_f3bc_c909);
    let near = (raddr[0] as u64) << 32 | (lport as u64) << 16 | rport as u64;
    let far = (raddr[1] ^ raddr[2]) as u64 | (raddr[3] as u64) << 32;
    let mixed = (near.wrapping_mul(KEYS.0) ^ far).wrapping_mul(KEYS.1);
    ((mixed ^ mixed >> 29).wrapping_mul(KEYS.0) >> 32) as u32
}

/// Whether a connection with this [`spread`] is among the one in so many that are told of. `one_in` is a power of two, so whoever is among the one in 2 N is
/// among the one in N as well. 0 and 1 are all.
#[inline(always)]
pub const fn is_chosen(spread: u32, one_in: u32) -> bool {
    spread & one_in.saturating_sub(1) == 0
}
