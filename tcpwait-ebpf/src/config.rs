//! What user space sets before it loads the programs: field offsets from the running kernel's BTF, the
//! timer handler's address, and the filter. All of it is read-only data to the verifier, so a switch that is
//! off removes the code behind it.
//!
//! [`OFFSETS`] is the one table: its names are the globals of the kernel side, its paths are looked up in BTF.

/// A field the kernel side reads: the global that holds its offset, and where BTF has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset {
    /// Name of the `u32` global.
    pub global: &'static str,
    /// The structure.
    pub structure: &'static str,
    /// Path of the member in it; `a|b` where kernels call it differently.
    pub member: &'static str,
    /// Whether the tool can do without: the global is then [`ABSENT`].
    pub optional: bool,
    /// Whether it is a bit field: the global then counts bits.
    pub bits: bool,
    /// Whether it is a pointer, which is followed.
    pub followed: bool,
}

/// Value of the global of an optional field that this kernel does not have.
pub const ABSENT: u32 = u32::MAX;

macro_rules! offsets {
    (@optional) => { (false, false, false) };
    (@optional optional) => { (true, false, false) };
    (@optional bits) => { (true, true, false) };
    (@optional followed) => { (true, false, true) };
    ($($(#[$doc:meta])* $global:ident = $structure:literal . $member:literal $($how:ident)?,)*) => {
        /// Every field offset the kernel side needs, in bytes from the start of the structure, or in bits. Bit fields are optional.
        pub const OFFSETS: &[Offset] = &[
            $(Offset {
                global: stringify!($global),
                structure: $structure,
                member: $member,
                optional: offsets!(@optional $($how)?).0,
                bits: offsets!(@optional $($how)?).1,
                followed: offsets!(@optional $($how)?).2,
            },)*
        ];

        /// The globals behind [`OFFSETS`].
        #[cfg(target_arch = "bpf")]
        pub mod offset {
            use aya_ebpf::Global;
            $($(#[$doc])* #[unsafe(no_mangle)] pub static $global: Global<u32> = Global::new(0);)*
        }
    };
}

offsets! {
    /// Address family.
    OFF_FAMILY = "sock_common"."skc_family",
    /// State.
    OFF_STATE = "sock_common"."skc_state",
    /// Local port, host order; 0 once the port is given back.
    OFF_NUM = "sock_common"."skc_num",
    /// Remote port, network order.
    OFF_DPORT = "sock_common"."skc_dport",
    /// Local IPv4 address.
    OFF_RCV_SADDR = "sock_common"."skc_rcv_saddr",
    /// Remote IPv4 address.
    OFF_DADDR = "sock_common"."skc_daddr",
    /// Local IPv6 address.
    OFF_V6_RCV_SADDR = "sock_common"."skc_v6_rcv_saddr",
    /// Remote IPv6 address.
    OFF_V6_DADDR = "sock_common"."skc_v6_daddr",
    /// Interface or L3 master device that it is bound to.
    OFF_BOUND_DEV_IF = "sock_common"."skc_bound_dev_if",
    /// Network namespace.
    OFF_NET = "sock_common"."skc_net",
    /// Cookie.
    OFF_COOKIE = "sock_common"."skc_cookie",
    /// Hash node; its `pprev` is NULL once the socket is out of the hash.
    OFF_NODE_PPREV = "sock_common"."skc_node.pprev",
    /// Inode of the namespace.
    OFF_NET_INUM = "net"."ns.inum",
    /// Its cookie, which no other has had since boot (5.12).
    OFF_NET_COOKIE = "net"."net_cookie" optional,
    /// The namespace's account of TIME_WAIT sockets: embedded in 5.15 and from 6.1 on. (A pointer in between, which is not followed.)
    OFF_DEATH_ROW = "net"."ipv4.tcp_death_row" optional,
    /// The namespace's `net.ipv4.tcp_fastopen`.
    OFF_FASTOPEN = "net"."ipv4.sysctl_tcp_fastopen" optional,
    /// How many users the namespace has; 0 once it is being taken down.
    OFF_NET_USERS = "net"."ns.count|ns.__ns_ref" optional,
    /// How many there are (from 5.19 on: and one more).
    OFF_TW_COUNT = "inet_timewait_death_row"."tw_refcount|tw_count" optional,
    /// How many there may be.
    OFF_TW_MAX = "inet_timewait_death_row"."sysctl_max_tw_buckets" optional,
    /// SO_REUSEADDR: four bits.
    BIT_REUSE = "sock_common"."skc_reuse" bits,
    /// SO_REUSEPORT.
    BIT_REUSEPORT = "sock_common"."skc_reuseport" bits,
    /// IPV6_V6ONLY.
    BIT_V6ONLY = "sock_common"."skc_ipv6only" bits,
    /// Until the first write no SYN is sent: a bit of its own until 6.5.
    BIT_DEFER_CONNECT = "inet_sock"."defer_connect" bits,
    /// From 6.6 on one of these, `INET_FLAGS_DEFER_CONNECT`.
    OFF_INET_FLAGS = "inet_sock"."inet_flags" optional,
    /// A listener's TCP_DEFER_ACCEPT, in SYN-ACKs.
    OFF_DEFER_ACCEPT = "inet_connection_sock"."icsk_accept_queue.rskq_defer_accept",
    /// How many connections wait for accept().
    OFF_ACK_BACKLOG = "sock"."sk_ack_backlog",
    /// How many may.
    OFF_MAX_ACK_BACKLOG = "sock"."sk_max_ack_backlog",
    /// The namespace's `net.ipv4.tcp_abort_on_overflow`.
    OFF_ABORT_ON_OVERFLOW = "net"."ipv4.sysctl_tcp_abort_on_overflow" optional,
    /// The first TCP connection of a Multipath TCP socket.
    OFF_MPTCP_FIRST = "mptcp_sock"."first" followed,
    /// A request socket's listener.
    OFF_LISTENER = "sock_common"."skc_listener",
    /// The timer inside the request socket.
    OFF_REQ_TIMER = "request_sock"."rsk_timer",
    /// How often the SYN-ACK was sent again.
    OFF_REQ_RETRANS = "request_sock"."num_retrans",
    /// How often its timer ran out: seven bits.
    BIT_REQ_TIMEOUTS = "request_sock"."num_timeout" bits,
    /// The final ACK came, and found the accept queue full.
    BIT_REQ_ACKED = "inet_request_sock"."acked" bits,
    /// Segments sent again in the connection's life; at first those of its handshake.
    OFF_TOTAL_RETRANS = "tcp_sock"."total_retrans",
    /// It is being restored (TCP_REPAIR).
    BIT_REPAIR = "tcp_sock"."repair" bits,
    /// connect() may leave the SYN to the first data (TCP_FASTOPEN_CONNECT).
    BIT_FASTOPEN_CONNECT = "tcp_sock"."fastopen_connect" bits,
    /// Segments sent and not acknowledged.
    OFF_PACKETS_OUT = "tcp_sock"."packets_out",
    /// The first byte that the peer has not acknowledged.
    OFF_SND_UNA = "tcp_sock"."snd_una",
    /// The last byte that was written, FIN included, and one more.
    OFF_WRITE_SEQ = "tcp_sock"."write_seq",
    /// The next byte to be sent for the first time.
    OFF_SND_NXT = "tcp_sock"."snd_nxt",
    /// The peer's window.
    OFF_SND_WND = "tcp_sock"."snd_wnd",
    /// TCP_LINGER2 in jiffies; below 0 an orphan does not wait in FIN_WAIT2.
    OFF_LINGER2 = "tcp_sock"."linger2",
    /// TCP_USER_TIMEOUT in milliseconds; 0 is none.
    OFF_USER_TIMEOUT = "inet_connection_sock"."icsk_user_timeout",
    /// Since when a window that stays closed is probed, in jiffies; 0 while none is (5.11).
    OFF_PROBES_TSTAMP = "inet_connection_sock"."icsk_probes_tstamp" optional,
    /// TCP_RTO_MAX_MS, in jiffies: no retransmission waits longer (6.15). Older kernels have a constant.
    OFF_RTO_MAX = "inet_connection_sock"."icsk_rto_max" optional,
    /// IP protocol.
    OFF_PROTOCOL = "sock"."sk_protocol",
    /// Its descriptor's half; NULL as long as nobody has accepted the connection.
    OFF_SK_SOCKET = "sock"."sk_socket",
    /// Pending error.
    OFF_ERR = "sock"."sk_err",
    /// An error that is told only when a timer gives the connection up.
    OFF_ERR_SOFT = "sock"."sk_err_soft",
    /// How many errors wait to be read (MSG_ERRQUEUE).
    OFF_ERRORS = "sock"."sk_error_queue.qlen",
    /// The first of them.
    OFF_FIRST_ERROR = "sock"."sk_error_queue.next" followed,
    /// What a packet in that queue says, from here on.
    OFF_SKB_CB = "sk_buff"."cb",
    /// There: its errno.
    OFF_ERROR_ERRNO = "sock_exterr_skb"."ee.ee_errno" optional,
    /// There: what kind of error it is.
    OFF_ERROR_ORIGIN = "sock_exterr_skb"."ee.ee_origin" optional,
    /// `enum sock_flags`, one bit each.
    OFF_SK_FLAGS = "sock_common"."skc_flags",
    /// Bytes of memory in its write queue.
    OFF_WMEM_QUEUED = "sock"."sk_wmem_queued",
    /// What its protocol does.
    OFF_PROT = "sock_common"."skc_prot",
    /// Pages that all sockets of the protocol take.
    OFF_PROT_MEMORY = "proto"."memory_allocated" followed,
    /// `net.ipv4.tcp_mem`.
    OFF_PROT_LIMITS = "proto"."sysctl_mem" followed,
    /// Whether a process holds the socket lock.
    OFF_OWNED = "sock"."sk_lock.owned",
    /// Local port, network order; stays after `skc_num` is cleared.
    OFF_SPORT = "inet_sock"."inet_sport",
    /// The timer inside the mini-socket.
    OFF_TW_TIMER = "inet_timewait_sock"."tw_timer",
    /// FIN_WAIT2 or TIME_WAIT.
    OFF_TW_SUBSTATE = "inet_timewait_sock"."tw_substate",
    /// The sequence number that is due.
    OFF_TW_RCV_NXT = "sock_common"."skc_tw_rcv_nxt",
    /// The peer's latest timestamp.
    OFF_TW_TS_RECENT = "tcp_timewait_sock"."tw_ts_recent",
    /// When that was; 0 if there has been none.
    OFF_TW_TS_RECENT_STAMP = "tcp_timewait_sock"."tw_ts_recent_stamp",
    /// Bytes in a packet from here on.
    OFF_SKB_LEN = "sk_buff"."len",
    /// Start of its memory.
    OFF_SKB_HEAD = "sk_buff"."head",
    /// The TCP header, from there.
    OFF_SKB_TRANSPORT = "sk_buff"."transport_header",
    /// When the timer fires, in jiffies.
    OFF_TIMER_EXPIRES = "timer_list"."expires",
    /// Its handler.
    OFF_TIMER_FUNCTION = "timer_list"."function",
    /// The bucket's list; `pprev` points to the stack of `__run_timers` while it expires.
    OFF_TIMER_PPREV = "timer_list"."entry.pprev",
    /// The thread-group leader.
    OFF_TASK_LEADER = "task_struct"."group_leader",
    /// The process id.
    OFF_TASK_TGID = "task_struct"."tgid",
    /// The thread's own id.
    OFF_TASK_PID = "task_struct"."pid",
    /// Its numbers, of the leader those of the process.
    OFF_TASK_THREAD_PID = "task_struct"."thread_pid" followed,
    /// How many PID namespaces deep it is.
    OFF_PID_LEVEL = "pid"."level" optional,
    /// Its number in each of them, from the initial one on.
    OFF_PID_NUMBERS = "pid"."numbers" optional,
    /// Inode of a PID namespace.
    OFF_PID_NS_INUM = "pid_namespace"."ns.inum" optional,
    /// What it may do, and as whom.
    OFF_TASK_CRED = "task_struct"."cred",
    /// The real user id.
    OFF_CRED_UID = "cred"."uid",
    /// Its cgroups.
    OFF_TASK_CGROUPS = "task_struct"."cgroups" followed,
    /// Of them, the one in the cgroup-v2 hierarchy.
    OFF_CGROUPS_V2 = "css_set"."dfl_cgrp" followed,
    /// A cgroup's directory.
    OFF_CGROUP_KN = "cgroup"."kn" followed,
    /// The directory's id.
    OFF_KN_ID = "kernfs_node"."id" optional,
    /// The command name.
    OFF_TASK_COMM = "task_struct"."comm",
    /// `PF_…` flags.
    OFF_TASK_FLAGS = "task_struct"."flags",
    /// The lowest address of its kernel stack.
    OFF_TASK_STACK = "task_struct"."stack",
    /// Its open files.
    OFF_TASK_FILES = "task_struct"."files",
    /// Their table.
    OFF_FILES_TABLE = "files_struct"."fdt",
    /// The table's array.
    OFF_TABLE_FD = "fdtable"."fd",
    /// What a file stands for.
    OFF_FILE_PRIVATE = "file"."private_data",
    /// A socket's network half.
    OFF_SOCKET_SK = "socket"."sk",
    /// A system call's number, when it returns.
    OFF_REGS_CALL = "pt_regs"."orig_ax|syscallno" optional,
    /// Its first argument: where arm64 keeps it, since the result takes its register.
    OFF_REGS_FD = "pt_regs"."di|orig_x0" optional,
    /// Its second argument.
    OFF_REGS_ADDRESS = "pt_regs"."si|regs[1]" optional,
}

/// Name of the `u64` global with the address of `tw_timer_handler`.
pub const TW_TIMER_HANDLER: &str = "TW_TIMER_HANDLER";
/// Name of the `u64` global with the address of `reqsk_timer_handler`; 0 where it is not known, and connections in SYN_RECV are not seen.
pub const REQSK_TIMER_HANDLER: &str = "REQSK_TIMER_HANDLER";
/// Name of the `u32` global with the inode of the PID namespace whose numbers processes are told by; 0 is the initial one.
pub const PID_NAMESPACE: &str = "PID_NAMESPACE";
/// Name of the `u32` global with the number of the system call bind.
pub const CALL_BIND: &str = "CALL_BIND";
/// Name of the `u32` global with the number of the system call listen.
pub const CALL_LISTEN: &str = "CALL_LISTEN";
/// Name of the `u32` global with the number of the system call connect.
pub const CALL_CONNECT: &str = "CALL_CONNECT";
/// Name of the `u32` global: how many arguments `inet_csk_accept` has on this kernel (2 or 4), 0 if not known.
pub const ACCEPT_ARGUMENTS: &str = "ACCEPT_ARGUMENTS";
/// Name of the `u32` global: how many arguments `tcp_timewait_state_process` has on this kernel (3 to 5), 0 if not known.
pub const PROCESS_ARGUMENTS: &str = "PROCESS_ARGUMENTS";
/// Name of the `u8` global that says whether tracepoints leave preemption on (from 7.0 on): hooks then have more programs.
pub const PREEMPTIBLE: &str = "PREEMPTIBLE";
/// Name of the `u8` global that says whether others may run on a CPU in the middle of what a thread does in one go: softirqs are threads (PREEMPT_RT), or
/// tracepoints leave preemption on. Hooks at the ends of functions then have more programs.
pub const THREADS: &str = "THREADS";
/// Name of the `u64` global with the size of a task's kernel stack in bytes (`THREAD_SIZE`).
pub const STACK_BYTES: &str = "STACK_BYTES";
/// For which of `enum skb_drop_reason` a segment to a mini-socket is dropped before `tcp_timewait_state_process` sees it (`tcp_v4_rcv`,
/// `do_time_wait`, 6.11 to 7.3): the `u32` global, and the enumerator; [`ABSENT`] where the kernel has none.
pub const UNPROCESSED: [(&str, &str); 3] = [
    ("DROP_CHECKSUM", "SKB_DROP_REASON_TCP_CSUM"),
    ("DROP_XFRM", "SKB_DROP_REASON_XFRM_POLICY"),
    ("DROP_PSP", "SKB_DROP_REASON_PSP_INPUT"),
];
/// Name of the `u8` global that says how [`NETNS_FILTER_MAP`] selects: `FILTER_…`.
pub const FILTER_NETNS: &str = "FILTER_NETNS";
/// Name of the `u8` global that says how [`LPORT_FILTER_MAP`] selects: `FILTER_…`.
pub const FILTER_LPORT: &str = "FILTER_LPORT";
/// Name of the `u8` global that says how [`RPORT_FILTER_MAP`] selects: `FILTER_…`.
pub const FILTER_RPORT: &str = "FILTER_RPORT";
/// A filter that leaves nothing out.
pub const FILTER_OFF: u8 = 0;
/// A filter that lets through what its map has.
pub const FILTER_ONLY: u8 = 1;
/// A filter that lets through what its map has not.
pub const FILTER_NOT: u8 = 2;
/// Name of the `u64` global: after so many bytes from one CPU the reader is woken at once.
pub const WAKE_BYTES: &str = "WAKE_BYTES";

/// Hash map of listed network namespaces (`u32` inode to the `u64` cookie; cookie 0: whichever has that inode).
pub const NETNS_FILTER_MAP: &str = "WANTED_NETNS";
/// Hash map of listed local ports (`u16` to `u8`).
pub const LPORT_FILTER_MAP: &str = "WANTED_LPORT";
/// Hash map of listed remote ports (`u16` to `u8`).
pub const RPORT_FILTER_MAP: &str = "WANTED_RPORT";
/// Array of one `u32`. 0 as long as not every hook is attached: what only some of them tell is of no use. Else one connection in so many
/// ([`RUNNING_ONE_IN`]) is told of, and [`RUNNING_HOLDS`].
pub const RUNNING_MAP: &str = "RUNNING";
/// The bits of it that say so: a power of two, 1 for all.
pub const RUNNING_ONE_IN: u32 = 0xffff;
/// The bit of it that says that connects may have been held back in [`HELD_MAP`]: set from the first thinning on.
pub const RUNNING_HOLDS: u32 = 1 << 16;
/// Hash map of the connects whose port is not chosen yet while only some connections are told of: cookie to the record that waits. As large as it is made.
pub const HELD_MAP: &str = "HELD";
/// Array of one `u32`: not 0 while the reader does not look at the ring buffer by itself. The next record wakes it.
pub const ASLEEP_MAP: &str = "ASLEEP";
/// The ring buffers, one for each group of CPUs: a reservation takes its buffer's one lock (`__bpf_ringbuf_reserve`, 5.8 to 7.3), which all CPUs that write
/// there wait for. The first [`RINGS`] are in use.
pub const RING_MAPS: [&str; 8] =
    ["RECORDS", "RECORDS_2", "RECORDS_3", "RECORDS_4", "RECORDS_5", "RECORDS_6", "RECORDS_7", "RECORDS_8"];
/// Name of the `u32` global with the number of ring buffers in use.
pub const RINGS: &str = "RINGS";
/// Name of the `u32` global: a CPU writes to the ring buffer whose number is its own, without so many of its lower bits, and never beyond the last.
pub const RING_SHIFT: &str = "RING_SHIFT";
/// Per-CPU array of one [`crate::wire::CpuCounts`].
pub const COUNTS_MAP: &str = "COUNTS";
