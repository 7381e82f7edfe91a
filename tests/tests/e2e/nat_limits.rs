//! RFC 5508, 6888 and 7857, X04: ports and flows that are used up.
//!
//! What each asks is in `netd_tests::nat::probes`; the names are those of docs/nat.md.

crate::nat_tests! {
    nat_7857_3_a_full_pool_is_shared;
    nat_5508_8_no_port_left_is_told;
    nat_6888_4_limits_for_each_container;
    nat_6888_8_a_freed_port_rests;
    nat_x04_a_flood_evicts_nobody;
}
