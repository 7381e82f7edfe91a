//! RFC 6888, C08, C12, X01: exempt destinations, older flows, flushed rules, the host's sockets.
//!
//! What each asks is in `netd_tests::nat::probes`; the names are those of docs/nat.md.

crate::nat_tests! {
    nat_6888_6_exempt_destinations;
    nat_c08_older_than_the_publication;
    nat_x01_flushed_rules;
    nat_c12_sockets_and_nat_use_different_ports;
    nat_c12_older_connections_go_on;
}
