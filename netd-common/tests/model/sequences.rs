//! The sequences.

use std::env;

use proptest::{
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{Config, RngAlgorithm, RngSeed, TestRng, TestRunner},
};

use crate::{
    generator::{Event, Step},
    run::Run,
    setup::Setup,
    strategies,
};

fn number(name: &str, default: u32) -> u32 {
    env::var(name)
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(default)
}

fn event((number, step): (usize, Step)) -> Event {
    Event {
        number,
        step,
        refers: None,
    }
}

/// Nothing, or all that happened and what should not have.
fn play(steps: &[Event]) -> Result<(), String> {
    let mut run = Run::new(Setup::new());
    for step in &mut steps.to_vec() {
        if let Err(why) = run.step(step) {
            let log: Vec<_> = run
                .log
                .iter()
                .enumerate()
                .map(|(i, line)| format!("{i:3} {line}"))
                .collect();
            return Err(format!("{}\nThe last packet {why}", log.join("\n")));
        }
    }
    Ok(())
}

/// Takes out of a sequence what it fails without.
fn shrink(mut steps: Vec<Event>) -> String {
    let mut failure = String::new();
    let mut size = steps.len();
    while size > 0 {
        let mut at = 0;
        while at < steps.len() {
            let mut fewer = steps.clone();
            fewer.drain(at..(at + size).min(steps.len()));
            match play(&fewer) {
                Err(why) => (steps, failure) = (fewer, why),
                Ok(()) => at += size,
            }
        }
        size /= 2;
    }
    failure
}

proptest! {
    #![proptest_config(Config {
        cases: number("NETD_CASES", 1000),
        max_shrink_iters: 20_000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(number("NETD_SEED", 7).into()),
        ..Config::default()
    })]

    /// Short ones, which shrink to what matters.
    #[test]
    fn sequences_become_what_the_model_says(steps in prop::collection::vec(strategies::step(), 1..60)) {
        let steps: Vec<_> = steps.into_iter().enumerate().map(event).collect();
        if let Err(why) = play(&steps) {
            return Err(TestCaseError::fail(format!("\n{why}\n")));
        }
    }
}

/// Long ones, in which everything meets everything; the same at each run, unless NETD_SEED says which. With
/// NETD_FAILURES, that many failures are shown before the test fails.
#[test]
fn long_sequences_become_what_the_model_says() {
    let packets = number("NETD_PACKETS", 50_000) as usize;
    let seed = number("NETD_SEED", 7).to_le_bytes();
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed.repeat(8));
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let (mut judged, mut failures) = (0, 0);
    while judged < packets && failures < number("NETD_FAILURES", 1) {
        let mut run = Run::new(Setup::new());
        let mut steps = Vec::new();
        while steps.len() < 2000 && judged + run.packets < packets {
            let step = strategies::step()
                .new_tree(&mut runner)
                .expect("a step")
                .current();
            let number = steps.len();
            steps.push(event((number, step)));
            if run.step(&mut steps[number]).is_err() {
                println!("{}\n", shrink(std::mem::take(&mut steps)));
                failures += 1;
                break;
            }
            run.log.clear();
        }
        judged += run.packets;
    }
    assert_eq!(failures, 0, "failures in {judged} packets");
}
