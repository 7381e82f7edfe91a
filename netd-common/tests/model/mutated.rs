//! The fuzzer's seeds, changed at random, for a fixed time: what a fuzzer does where there is none.

use std::{
    env, fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use proptest::{
    strategy::{Strategy as _, ValueTree as _},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use crate::{
    generator::{Event, Step},
    invariants::{input, judge},
    run::Run,
    setup::Setup,
    strategies,
};

fn seeds() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/packet")
}

/// xorshift64* (Marsaglia 2003).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d);
        ((u128::from(number) * limit as u128) >> 64) as usize
    }
}

fn mutate(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    for _ in 0..=random.below(4) {
        if bytes.is_empty() {
            return;
        }
        let at = random.below(bytes.len());
        match random.below(8) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.below(256) as u8,
            2 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
            3 => bytes.truncate(at),
            4 => drop(bytes.remove(at)),
            5 => bytes.insert(at, random.below(256) as u8),
            6 => {
                let from = random.below(other.len());
                let size = random.below(other.len() - from).min(bytes.len() - at);
                bytes[at..at + size].copy_from_slice(&other[from..from + size]);
            }
            _ => bytes.extend_from_slice(&other[random.below(other.len())..]),
        }
    }
}

/// Ten seconds, or as many as NETD_FUZZ_SECONDS says.
#[test]
fn mutated_packets_break_nothing() {
    let mut all: Vec<_> = fs::read_dir(seeds())
        .expect("there are seeds")
        .map(|e| e.expect("an entry").path())
        .collect();
    all.sort();
    let all: Vec<_> = all
        .iter()
        .map(|path| fs::read(path).expect("a seed"))
        .filter(|s| !s.is_empty())
        .collect();
    all.iter().for_each(|seed| judge(seed));
    let seconds = env::var("NETD_FUZZ_SECONDS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(10);
    let (end, mut random, mut runs) = (Instant::now() + Duration::from_secs(seconds), Random(7), 0);
    while Instant::now() < end {
        let mut bytes = all[random.below(all.len())].clone();
        mutate(&mut bytes, &all[random.below(all.len())], &mut random);
        let result = std::panic::catch_unwind(|| judge(&bytes));
        assert!(result.is_ok(), "run {runs}: {bytes:02x?}");
        runs += 1;
    }
    println!("{runs} inputs");
}

/// Writes the seeds anew: conversations of a few packets.
#[test]
#[ignore = "writes into the source tree"]
fn write_seeds() {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    fs::create_dir_all(seeds()).expect("a directory");
    for seed in 0..48 {
        let mut run = Run::new(Setup::new());
        let mut sent = Vec::new();
        let mut number = 0;
        while sent.len() < 8 {
            let send = strategies::send()
                .new_tree(&mut runner)
                .expect("a packet")
                .current();
            let mut event = Event {
                number,
                step: Step::Send(send),
                refers: None,
            };
            let _ = run.step(&mut event);
            number += 1;
            // What went on, so that the packets belong together.
            sent = run.sent();
        }
        fs::write(seeds().join(format!("{seed:02}")), input(&sent)).expect("a file");
    }
}
