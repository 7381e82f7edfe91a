//! What the netd daemon and its eBPF programs share: the layout of the maps, packet parsing, the decisions about
//! packets and their translation.
//!
//! Everything here is a pure function of its arguments: this crate must not do I/O, open a map or know aya's
//! program side. The same code runs inside the kernel, under `cargo test` and in a fuzzer.
#![cfg_attr(not(test), no_std)]

pub mod abi;
pub mod addr;
pub mod checksum;
pub mod conntrack;
pub mod container;
pub mod drop_reason;
pub mod forward;
pub mod fragment;
pub mod host;
pub mod icmp;
pub mod loopback;
pub mod mss;
pub mod nat;
pub mod neighbour;
pub mod packet;
pub mod peer;
pub mod publication;
pub mod rate;
pub mod resolver;
pub mod socket;
pub mod subprograms;
pub mod tables;
pub mod uplink;
pub mod verdict;
pub mod work;
