//! The contract between the kernel side and the user side: what the eBPF programs write ([`wire`]) and
//! what user space sets before it loads them ([`config`]).
//!
//! `no_std`, no dependency on either side; it knows nothing of what the facts mean.
#![no_std]

pub mod config;
pub mod wire;
