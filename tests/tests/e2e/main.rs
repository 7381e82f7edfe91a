//! End-to-end tests: the shipped binaries in network namespaces, judged by the packets that arrive.
//!
//! Each test carries the id of the feature it shows.

/// Tests that ask netd what the probe of the same name asks, and want all of it.
macro_rules! nat_tests {
    ($($name:ident;)*) => {
        $(#[test]
        fn $name() -> $crate::Outcome {
            netd_tests::nat::meets(stringify!($name))
        })*
    };
}
pub(crate) use nat_tests;

mod access;
mod access_hostile;
mod addresses;
mod api;
mod api_bounds;
mod api_changes;
mod bad_input;
mod binding;
mod capacity;
mod changes;
mod directories;
mod docker_alone;
mod docker_cli;
mod docker_compose;
mod docker_engine;
mod docker_engines;
mod docker_lifecycle;
mod docker_others;
mod docker_py;
mod docker_stream;
mod docker_tutorial;
mod drivers;
mod drops;
mod edges;
mod egress;
mod events;
mod files_at_rest;
mod floods;
mod flows;
mod flows_api;
mod forged;
mod homing;
mod hooks;
mod host_sockets;
mod host_sockets_ended;
mod hostile;
mod identity;
mod identity_names;
mod legacy_links;
mod lifecycle;
mod load;
mod loopback;
mod modes;
mod name_files;
mod name_options;
mod names;
mod names_faults;
mod names_forward;
mod names_kept;
mod names_links;
mod names_policy;
mod names_raw;
mod names_streams;
mod names_survival;
mod nat_filtering;
mod nat_forms;
mod nat_fragments;
mod nat_hairpin;
mod nat_icmp;
mod nat_lifetimes;
mod nat_limits;
mod nat_linux;
mod nat_mapping;
mod nat_rules;
mod nat_tcp;
mod networks;
mod options;
mod other_programs;
mod outward;
mod overlaps;
mod package;
mod path;
mod pins;
mod pipes;
mod policy;
mod ports;
mod raw;
mod refusals;
mod review_bounds;
mod review_crash;
mod review_disk;
mod review_foreign;
mod review_handover;
mod review_mtu;
mod review_quarantine;
mod review_read_only;
mod review_records;
mod review_reserved;
mod review_start;
mod review_undo;
mod roaming;
mod service;
mod show;
mod socket;
mod source_port;
mod spoofing;
mod standing;
mod state;
mod stray_frames;
mod survival;
mod tutorial;
mod tutorial_names;
mod uplinks;

use std::net::IpAddr;

use anyhow::{Result, ensure};
use netd_tests::Sandbox;

/// Result of a test.
type Outcome = Result<()>;

/// Both protocols of a probe.
const PROTOCOLS: [&str; 2] = ["tcp", "udp"];

/// TCP, UDP and ICMP get through to this address, where a server listens.
fn reaches(from: &Sandbox, to: IpAddr, port: u16) -> Outcome {
    for protocol in PROTOCOLS {
        from.reach(protocol, to, port)?;
    }
    ensure!(from.ping(to)?, "{} gets no echo from {to}", from.name);
    Ok(())
}

/// Neither TCP nor UDP nor ICMP gets through to this address, where a server listens.
fn does_not_reach(from: &Sandbox, to: IpAddr, port: u16) -> Outcome {
    for protocol in PROTOCOLS {
        let reply = from.reach(protocol, to, port);
        ensure!(
            reply.is_err(),
            "{} reaches {to} by {protocol}: {reply:?}",
            from.name
        );
    }
    ensure!(!from.ping(to)?, "{} gets an echo from {to}", from.name);
    Ok(())
}
