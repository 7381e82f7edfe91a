//! RFC 4787, 5382 and 5508: ICMP errors and queries.
//!
//! What each asks is in `netd_tests::nat::probes`; the names are those of docs/nat.md.

crate::nat_tests! {
    nat_4787_12_an_error_ends_no_mapping;
    nat_4787_13_too_big_reaches_the_sender;
    nat_5508_4_errors_both_ways;
    nat_5508_1_echo_queries;
    nat_5508_3_checksums_options_extensions;
}
