//! What the netd daemon and its eBPF programs share: the layout of the maps, packet parsing, the decisions about
//! packets and their translation.
//!
//! Everything here is a pure function of its arguments: this crate must not do I/O, open a map or know aya's
//! program side. The same code runs inside the kernel, under `cargo test` and in a fuzzer.
#![cfg_attr(not(test), no_std)]

pub mod abi;
pub mod addr;
pub mod begin;
pub mod checksum;
pub mod clock;
pub mod container;
pub mod drop_reason;
pub mod flow;
pub mod forward;
pub mod fragment;
pub mod hairpin;
pub mod host;
pub mod icmp;
pub mod insert;
pub mod lifetime;
pub mod loopback;
pub mod mapping;
pub mod mss;
pub mod neighbour;
pub mod packet;
pub mod peer;
pub mod pool;
pub mod port_range;
pub mod publication;
pub mod rate;
pub mod resolver;
pub mod socket;
pub mod subprograms;
pub mod tables;
pub mod translate;
pub mod uplink;
pub mod verdict;
pub mod work;
