//! The maps, and the read-only switches user space sets before load. Nothing but declarations.

use aya_ebpf::{
    Global,
    macros::map,
    maps::{Array, HashMap, PerCpuArray, RingBuf},
};
use tcpwait_wire::{
    config::ABSENT,
    wire::{CpuCounts, SockStateTask},
};

/// Everything told to user space: see `config::RING_MAPS`. User space sets the real sizes before load.
#[map]
pub static RECORDS: RingBuf = RingBuf::with_byte_size(16 << 20, 0);
#[map]
pub static RECORDS_2: RingBuf = RingBuf::with_byte_size(4096, 0);
#[map]
pub static RECORDS_3: RingBuf = RingBuf::with_byte_size(4096, 0);
#[map]
pub static RECORDS_4: RingBuf = RingBuf::with_byte_size(4096, 0);
#[map]
pub static RECORDS_5: RingBuf = RingBuf::with_byte_size(4096, 0);
#[map]
pub static RECORDS_6: RingBuf = RingBuf::with_byte_size(4096, 0);
#[map]
pub static RECORDS_7: RingBuf = RingBuf::with_byte_size(4096, 0);
#[map]
pub static RECORDS_8: RingBuf = RingBuf::with_byte_size(4096, 0);

/// See `config::RINGS`.
#[unsafe(no_mangle)]
pub static RINGS: Global<u32> = Global::new(1);
/// See `config::RING_SHIFT`.
#[unsafe(no_mangle)]
pub static RING_SHIFT: Global<u32> = Global::new(31);

/// See `config::RUNNING_MAP`.
#[map]
pub static RUNNING: Array<u32> = Array::with_max_entries(1, 0);

/// See `config::HELD_MAP`. User space makes it as large as it needs: a socket is in it no longer than in SYN_SENT.
#[map]
pub static HELD: HashMap<u64, SockStateTask> = HashMap::with_max_entries(1, 0);

/// See `config::ASLEEP_MAP`.
#[map]
pub static ASLEEP: Array<u32> = Array::with_max_entries(1, 0);

/// Exact counts.
#[map]
pub static COUNTS: PerCpuArray<CpuCounts> = PerCpuArray::with_max_entries(1, 0);

/// How many [`SLOTS`] there are: a power of two.
pub const SLOTS_COUNT: u32 = 1 << 12;

/// What programs leave for each other: see `claim.rs` for who owns one.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Slot {
    /// How many want it; one has it.
    pub owners: u64,
    /// Whose it is; 0 while it is free.
    pub key: u64,
    /// When it was taken, in jiffies.
    pub since: u64,
    /// What the owner keeps here.
    pub words: [u64; 3],
}

/// Slots for events and threads under way, found by hash.
#[map]
pub static SLOTS: Array<Slot> = Array::with_max_entries(SLOTS_COUNT, 0);

/// A place whose address is known as a pointer and as a number.
#[map]
pub static HERE: Array<u64> = Array::with_max_entries(1, 0);

/// What the timer's hooks leave for the next event on the same CPU. They run with interrupts off inside one `__mod_timer` or
/// `tcp_time_wait`, on every kernel. What is read where interrupts are on, is compared before it is believed.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct CpuNotes {
    /// The mini-socket whose timer was cancelled last, if it can be started again.
    pub cancelled: u64,
    /// Its cookie: the memory may serve another mini-socket the moment the first is gone.
    pub cancelled_cookie: u64,
    /// When that was, in jiffies.
    pub cancelled_jiffies: u64,
    /// Cookie of the mini-socket that was armed last; 0 once its full socket has ended.
    pub armed_cookie: u64,
    /// The same, if it was told of.
    pub armed_told: u64,
    /// Bytes written since the reader was woken last, about.
    pub unread_bytes: u64,
}

/// One [`CpuNotes`] a CPU.
#[map]
pub static NOTES: PerCpuArray<CpuNotes> = PerCpuArray::with_max_entries(1, 0);

/// Slots of [`UNOWNED`]: a power of two.
const UNOWNED_SLOTS: u32 = 1 << 16;

/// Cookies of passive connections whose first reader is still to come, each in its [`unowned_slot`]. One that loses its slot to another
/// only means that the owner is learnt later, at the close; a hash map that evicts would cost ten times as much.
#[map]
pub static UNOWNED: Array<u64> = Array::with_max_entries(UNOWNED_SLOTS, 0);

/// Where [`UNOWNED`] has a cookie. CPUs take cookies from ranges of their own (`gen_cookie_next`), so the number is spread
/// first (Fibonacci hashing).
#[inline(always)]
pub fn unowned_slot(cookie: u64) -> u32 {
    (cookie.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - UNOWNED_SLOTS.trailing_zeros())) as u32
}

/// The network namespaces that `FILTER_NETNS` is about. Like the next two it is made as large as its filter.
#[map]
pub static WANTED_NETNS: HashMap<u32, u64> = HashMap::with_max_entries(1, 0);
/// The local ports that `FILTER_LPORT` is about.
#[map]
pub static WANTED_LPORT: HashMap<u16, u8> = HashMap::with_max_entries(1, 0);
/// The remote ports that `FILTER_RPORT` is about.
#[map]
pub static WANTED_RPORT: HashMap<u16, u8> = HashMap::with_max_entries(1, 0);

/// See `config::FILTER_NETNS`.
#[unsafe(no_mangle)]
pub static FILTER_NETNS: Global<u8> = Global::new(0);
/// See `config::FILTER_LPORT`.
#[unsafe(no_mangle)]
pub static FILTER_LPORT: Global<u8> = Global::new(0);
/// See `config::FILTER_RPORT`.
#[unsafe(no_mangle)]
pub static FILTER_RPORT: Global<u8> = Global::new(0);
/// See `config::TW_TIMER_HANDLER`.
#[unsafe(no_mangle)]
pub static TW_TIMER_HANDLER: Global<u64> = Global::new(0);
/// See `config::REQSK_TIMER_HANDLER`.
#[unsafe(no_mangle)]
pub static REQSK_TIMER_HANDLER: Global<u64> = Global::new(0);
/// See `config::CALL_BIND`.
#[unsafe(no_mangle)]
pub static CALL_BIND: Global<u32> = Global::new(0);
/// See `config::CALL_LISTEN`.
#[unsafe(no_mangle)]
pub static CALL_LISTEN: Global<u32> = Global::new(0);
/// See `config::PID_NAMESPACE`.
#[unsafe(no_mangle)]
pub static PID_NAMESPACE: Global<u32> = Global::new(0);
/// See `config::CALL_CONNECT`.
#[unsafe(no_mangle)]
pub static CALL_CONNECT: Global<u32> = Global::new(0);
/// See `config::ACCEPT_ARGUMENTS`.
#[unsafe(no_mangle)]
pub static ACCEPT_ARGUMENTS: Global<u32> = Global::new(0);
/// See `config::PROCESS_ARGUMENTS`.
#[unsafe(no_mangle)]
pub static PROCESS_ARGUMENTS: Global<u32> = Global::new(0);
/// See `config::PREEMPTIBLE`.
#[unsafe(no_mangle)]
pub static PREEMPTIBLE: Global<u8> = Global::new(0);
/// See `config::THREADS`.
#[unsafe(no_mangle)]
pub static THREADS: Global<u8> = Global::new(0);
/// See `config::STACK_BYTES`.
#[unsafe(no_mangle)]
pub static STACK_BYTES: Global<u64> = Global::new(16384);
/// See `config::UNPROCESSED`.
#[unsafe(no_mangle)]
pub static DROP_CHECKSUM: Global<u32> = Global::new(ABSENT);
/// See `config::UNPROCESSED`.
#[unsafe(no_mangle)]
pub static DROP_XFRM: Global<u32> = Global::new(ABSENT);
/// See `config::UNPROCESSED`.
#[unsafe(no_mangle)]
pub static DROP_PSP: Global<u32> = Global::new(ABSENT);
/// See `config::WAKE_BYTES`.
#[unsafe(no_mangle)]
pub static WAKE_BYTES: Global<u64> = Global::new(4 << 20);
