//! One function for each requirement, and the list of them.

mod filtering;
mod forms;
mod fragments;
mod hairpin;
mod icmp;
mod lifetimes;
mod limits;
mod mapping;
mod parallel;
mod rules;
mod tcp;

use super::{Probe, Setup};

/// Nothing is set.
fn plain() -> Setup {
    Setup::default()
}

macro_rules! probes {
    ($($id:literal, $requirement:literal, $test:ident, $setup:expr, $run:path;)*) => {
        /// Every probe, in the document's order.
        pub fn all() -> Vec<Probe> {
            vec![$(Probe {
                id: $id,
                requirement: $requirement,
                test: stringify!($test),
                setup: $setup,
                run: $run,
            },)*]
        }
    };
}

probes! {
    "4787-1, 5382-1", "one inside address and port keeps one outside port for all destinations",
        nat_4787_1_mapping_is_endpoint_independent, plain, mapping::endpoint_independent;
    "4787-2", "one outside address for all flows of a container",
        nat_4787_2_one_outside_address_for_a_container, plain, mapping::paired;
    "4787-3, 5382-7", "no two inside sources share an outside port",
        nat_4787_3_sources_do_not_share_a_port, plain, mapping::exclusive;
    "7857-3", "ports used up: shared by flows whose destinations differ",
        nat_7857_3_a_full_pool_is_shared, limits::tiny_pool, limits::shared_pool;
    "4787-3a", "no source above 1023 appears below",
        nat_4787_3a_ports_stay_above_1023, plain, mapping::unprivileged;
    "4787-4", "port parity (lifted by 7857-9)",
        nat_4787_4_port_parity_is_not_kept, plain, mapping::parity;
    "4787-5", "UDP mapping lives at least 2 min, by default 5, as configured",
        nat_4787_5_udp_lives_as_configured, lifetimes::short, lifetimes::udp;
    "4787-5, port 53", "a question to a name server may live shorter",
        nat_4787_5_questions_for_names_live_shorter, lifetimes::short, lifetimes::names;
    "4787-6", "packets from inside refresh; from outside, those of a known peer alone",
        nat_4787_6_the_inside_refreshes, lifetimes::short, lifetimes::refresh;
    "4787-8, 5382-3", "filtering by address and port",
        nat_4787_8_strangers_are_filtered, plain, filtering::strict;
    "4787-8, on request", "endpoint-independent filtering",
        nat_4787_8_strangers_enter_on_request, filtering::open_setup, filtering::open;
    "4787-9, 9a, 5382-8", "hairpin between two containers, seen from the outside address",
        nat_4787_9_hairpin_between_containers, plain, hairpin::between_mappings;
    "4787-9, published", "hairpin to a published port, seen from the true source",
        nat_4787_9_hairpin_to_a_published_port, plain, hairpin::published;
    "4787-10, 5382-6", "payload is left alone",
        nat_4787_10_payload_is_left_alone, plain, mapping::payload;
    "4787-11", "deterministic: the same whatever others do",
        nat_4787_11_others_change_nothing, plain, mapping::deterministic;
    "4787-12, 5382-10", "an ICMP error ends no mapping",
        nat_4787_12_an_error_ends_no_mapping, plain, icmp::ends_nothing;
    "4787-13", "too big with DF: the true sender hears it",
        nat_4787_13_too_big_reaches_the_sender, plain, icmp::too_big;
    "4787-14", "fragments pass in order and out of order",
        nat_4787_14_fragments_in_any_order, plain, fragments::any_order;
    "4787-14, floods", "a flood of fragments harms no other datagram",
        nat_4787_14_a_flood_of_fragments, plain, fragments::flood;
    "5382-2", "TCP simultaneous open",
        nat_5382_2_simultaneous_open, plain, tcp::simultaneous_open;
    "5382-4", "an unsolicited SYN gets no answer for 6 s",
        nat_5382_4_silence_to_unsolicited_syn, plain, tcp::unsolicited;
    "5382-5, 7857-2.2", "TCP lives 2 h 4 min when established, 4 min when opening or closing",
        nat_5382_5_tcp_lives_by_its_state, lifetimes::tcp, lifetimes::by_state;
    "7857-2.1", "TCP state is followed: a silent connection lives, a closed one ends",
        nat_7857_2_1_state_is_followed, lifetimes::tcp, tcp::followed;
    "7857-2.3", "a RST is translated, and the mapping lives on for 4 min",
        nat_7857_2_3_a_reset_ends_nothing_at_once, plain, tcp::reset;
    "5382-9, 5508-4, 5508-5", "ICMP errors both ways, with right insides and checksums",
        nat_5508_4_errors_both_ways, plain, icmp::both_ways;
    "5508-1", "echo queries, several at once",
        nat_5508_1_echo_queries, plain, icmp::queries;
    "5508-2", "echo queries live 60 s, as configured",
        nat_5508_2_queries_live_as_configured, lifetimes::short, lifetimes::echo;
    "5508-3", "a wrong checksum does not enter; options and extensions do",
        nat_5508_3_checksums_options_extensions, plain, icmp::careful;
    "5508-6", "ICMP errors refresh nothing",
        nat_5508_6_errors_refresh_nothing, lifetimes::short, lifetimes::errors;
    "5508-7", "ICMP errors about hairpinned packets",
        nat_5508_7_errors_about_hairpinned_packets, plain, hairpin::errors;
    "5508-8, 6888-11", "no port left: ICMP error with code 13, counted",
        nat_5508_8_no_port_left_is_told, limits::one_port, limits::told;
    "6888-4, 6888-5", "one container's limit is not the others'",
        nat_6888_4_limits_for_each_container, limits::limited, limits::each;
    "6888-6", "no translation for listed destinations",
        nat_6888_6_exempt_destinations, rules::exempt_setup, rules::exempt;
    "6888-8", "a freed port rests while others are free",
        nat_6888_8_a_freed_port_rests, limits::small_pool, limits::rests;
    "6888-15", "outside ports are hard to guess",
        nat_6888_15_ports_are_random, plain, mapping::random;
    "C09, flags", "no TCP flags without a flow let a private source out",
        nat_c09_no_flags_leak_the_source, plain, tcp::flags;
    "C09, window", "a segment outside the window resets nothing",
        nat_c09_outside_the_window, plain, tcp::window;
    "C09, forged", "RST, FIN and SYN with guessed numbers end no connection",
        nat_c09_forged_segments_end_nothing, plain, tcp::forged;
    "C08", "a UDP flow older than the publication reaches the container",
        nat_c08_older_than_the_publication, plain, rules::older_flow;
    "X01", "flushed rules change nothing",
        nat_x01_flushed_rules, plain, rules::flushed;
    "one mapping", "two packets at once on two processors get one mapping",
        nat_4787_1_two_processors_one_mapping, plain, parallel::one_mapping;
    "X04", "a flood from one container ends nobody else's flows",
        nat_x04_a_flood_evicts_nobody, limits::flooded, limits::flood;
    "C12, ports", "host sockets and NAT never use one port",
        nat_c12_sockets_and_nat_use_different_ports, limits::two_ports, rules::sockets;
    "C12, older", "a host's connection older than the NAT goes on",
        nat_c12_older_connections_go_on, plain, rules::older_connection;
    "options", "IPv4 options and IPv6 extension headers",
        nat_options_and_extension_headers, plain, forms::options;
    "VLAN", "nothing tagged leaves",
        nat_tags_do_not_leave, plain, forms::tags;
    "UDP sum 0", "a datagram without a checksum stays so",
        nat_udp_without_checksum, plain, forms::no_checksum;
    "large", "unfinished checksums and packets above 64 KiB",
        nat_unfinished_checksums_and_large_packets, plain, forms::large;
}
