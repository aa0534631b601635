//! Numbers of the kernel that BTF does not give, each once, by the kernel's name and file. They are part of what user space may rely on, or have
//! been the same from 5.15 to 7.3.

// include/net/tcp_states.h
pub const TCP_ESTABLISHED: u8 = 1;
pub const TCP_SYN_SENT: u8 = 2;
pub const TCP_SYN_RECV: u8 = 3;
pub const TCP_FIN_WAIT1: u8 = 4;
pub const TCP_FIN_WAIT2: u8 = 5;
pub const TCP_TIME_WAIT: u8 = 6;
pub const TCP_CLOSE: u8 = 7;
pub const TCP_LAST_ACK: u8 = 9;
pub const TCP_LISTEN: u8 = 10;
pub const TCP_CLOSING: u8 = 11;

// include/linux/socket.h
pub const AF_INET: u16 = 2;
pub const AF_INET6: u16 = 10;

// include/uapi/linux/in.h
pub const IPPROTO_TCP: u16 = 6;
pub const IPPROTO_MPTCP: u16 = 262;

// include/net/inet_sock.h
pub const INET_FLAGS_DEFER_CONNECT: u64 = 19;

// include/net/sock.h (`enum sock_flags`)
pub const SOCK_DEAD: u64 = 0;

// include/net/tcp.h
pub const TFO_SERVER_ENABLE: i32 = 2;

// include/uapi/linux/errqueue.h
pub const SO_EE_ORIGIN_ICMP: u8 = 2;
pub const SO_EE_ORIGIN_ICMP6: u8 = 3;

// include/uapi/asm-generic/errno.h
pub const EADDRINUSE: i64 = 98;
