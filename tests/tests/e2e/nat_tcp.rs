//! RFC 5382 and 7857, C09: the states of connections, and segments that belong to none.
//!
//! What each asks is in `netd_tests::nat::probes`; the names are those of docs/nat.md.

crate::nat_tests! {
    nat_5382_2_simultaneous_open;
    nat_5382_4_silence_to_unsolicited_syn;
    nat_7857_2_1_state_is_followed;
    nat_7857_2_3_a_reset_ends_nothing_at_once;
    nat_c09_no_flags_leak_the_source;
    nat_c09_outside_the_window;
    nat_c09_forged_segments_end_nothing;
}
