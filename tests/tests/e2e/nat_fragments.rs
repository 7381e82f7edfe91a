//! RFC 4787: fragments.
//!
//! What each asks is in `netd_tests::nat::probes`; the names are those of docs/nat.md.

use anyhow::ensure;
use netd_tests::nat::{Kind, Verdict, probe};

use crate::Outcome;

crate::nat_tests! {
    nat_4787_14_a_flood_of_fragments;
}

/// In order all arrive. One that comes before the first waits for it, but for a moment only: a sender that has to share
/// the processor with it may come too late.
#[test]
fn nat_4787_14_fragments_in_any_order() -> Outcome {
    match probe("nat_4787_14_fragments_in_any_order")?.ask(Kind::Netd)? {
        Verdict::Meets => {}
        Verdict::Partly(what) => ensure!(!what.contains("in order"), "{what}"),
        other => anyhow::bail!("{other}"),
    }
    Ok(())
}
