//! Fetches the engines and clients that tests run, all at once, and says what came.

use std::{process::ExitCode, sync::Mutex, thread, time::Instant};

use anyhow::Result;
use netd_tests::engine::{Installed, Suite, clients::Set};

fn main() -> ExitCode {
    let start = Instant::now();
    let say = |what: &str| println!("engines: {:5.1} s  {what}", start.elapsed().as_secs_f32());
    let (came, failed) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let keep = |result: Result<String>| match result {
        Ok(text) => came.lock().map(|mut all| all.push(text)).ok(),
        Err(error) => failed
            .lock()
            .map(|mut all| all.push(format!("{error:#}")))
            .ok(),
    };
    thread::scope(|threads| {
        for suite in Suite::ALL {
            threads.spawn(move || {
                keep(
                    Installed::with(suite, &say)
                        .map(|it| format!("Docker {} ({suite})", it.version)),
                )
            });
        }
        for set in Set::ALL {
            threads.spawn(move || keep(set.with(&say).map(|_| format!("{set:?}"))));
        }
    });
    let (mut came, failed) = (
        came.into_inner().unwrap_or_default(),
        failed.into_inner().unwrap_or_default(),
    );
    for error in &failed {
        eprintln!("engines: {error}");
    }
    if !failed.is_empty() {
        return ExitCode::FAILURE;
    }
    came.sort();
    say(&format!("all there: {}", came.join(", ")));
    ExitCode::SUCCESS
}
