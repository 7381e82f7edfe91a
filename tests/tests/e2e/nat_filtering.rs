//! RFC 4787 and 5382: who may send to a mapping.
//!
//! What each asks is in `netd_tests::nat::probes`; the names are those of docs/nat.md.

crate::nat_tests! {
    nat_4787_8_strangers_are_filtered;
    nat_4787_8_strangers_enter_on_request;
}
