//! RFC 4787, 5382 and 5508: containers that meet at the outside address.
//!
//! What each asks is in `netd_tests::nat::probes`; the names are those of docs/nat.md.

crate::nat_tests! {
    nat_4787_9_hairpin_between_containers;
    nat_4787_9_hairpin_to_a_published_port;
    nat_5508_7_errors_about_hairpinned_packets;
}
