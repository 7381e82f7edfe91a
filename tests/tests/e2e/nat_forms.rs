//! D05, C09: forms of packets that are easily got wrong.
//!
//! What each asks is in `netd_tests::nat::probes`; the names are those of docs/nat.md.

crate::nat_tests! {
    nat_options_and_extension_headers;
    nat_tags_do_not_leave;
    nat_udp_without_checksum;
    nat_unfinished_checksums_and_large_packets;
}
