//! RFC 4787, 5382 and 5508: how long flows live.
//!
//! What each asks is in `netd_tests::nat::probes`; the names are those of docs/nat.md.

crate::nat_tests! {
    nat_4787_5_udp_lives_as_configured;
    nat_4787_5_questions_for_names_live_shorter;
    nat_4787_6_the_inside_refreshes;
    nat_5382_5_tcp_lives_by_its_state;
    nat_5508_2_queries_live_as_configured;
    nat_5508_6_errors_refresh_nothing;
}
