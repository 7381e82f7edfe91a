//! RFC 4787, 5382 and 6888: which outside port a flow gets.
//!
//! What each asks is in `netd_tests::nat::probes`; the names are those of docs/nat.md.

use anyhow::ensure;
use netd_tests::nat::{Kind, Verdict, probe};

crate::nat_tests! {
    nat_4787_1_mapping_is_endpoint_independent;
    nat_4787_2_one_outside_address_for_a_container;
    nat_4787_3_sources_do_not_share_a_port;
    nat_4787_3a_ports_stay_above_1023;
    nat_4787_10_payload_is_left_alone;
    nat_4787_11_others_change_nothing;
    nat_6888_15_ports_are_random;
    nat_4787_1_two_processors_one_mapping;
}

/// RFC 7857, 9 lifts the requirement: a port that is hard to guess (RFC 6888, REQ-15) has either parity.
#[test]
fn nat_4787_4_port_parity_is_not_kept() -> crate::Outcome {
    let verdict = probe("nat_4787_4_port_parity_is_not_kept")?.ask(Kind::Netd)?;
    ensure!(matches!(verdict, Verdict::Fails(_)), "{verdict}");
    Ok(())
}
