//! Everything at once, for minutes: connections of all kinds, floods, published ports, sandboxes and networks that come
//! and go, a daemon that is killed, addresses and routes that change. A ledger holds every connection attempted; what
//! failed is explained by a change that was meant to end it, or makes the run fail.

mod attacks;
mod changes;
mod control;
mod ledger;
mod report;
mod roaming;
mod traffic;

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::Parser;
use netd_tests::World;

use crate::{control::Control, ledger::Ledger, traffic::Traffic};

/// Connections, floods and changes of all kinds at once, with an account of all that failed.
#[derive(Debug, Parser)]
#[command(name = "soak")]
struct Words {
    /// How long.
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// Writes the ledger to this file, as JSON.
    #[arg(long)]
    output: Option<PathBuf>,
    /// Nothing changes: what fails then is the load's own fault.
    #[arg(long)]
    calm: bool,
}

/// Changes of one kind, until the run is over.
type Part = fn(&Soak) -> Result<()>;

/// What all threads share.
struct Soak {
    control: Control,
    ledger: Ledger,
    /// Ends the changes.
    over: AtomicBool,
}

impl Soak {
    fn over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Lets traffic run between two changes; shorter at the end of the run.
    fn pause(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end && !self.over() {
            thread::sleep(
                Duration::from_millis(20).min(end.saturating_duration_since(Instant::now())),
            );
        }
    }
}

fn main() -> ExitCode {
    match run(&Words::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether nothing remained unexplained.
fn run(words: &Words) -> Result<bool> {
    let time = Duration::try_from_secs_f64(words.minutes * 60.0).context("--minutes")?;
    let world = World::new()?;
    let failures = world.directory().join("failures");
    std::fs::create_dir(&failures)?;
    let soak = Soak {
        control: Control::new(world),
        ledger: Ledger::new(failures),
        over: AtomicBool::new(false),
    };
    let traffic = Traffic::start(&soak)?;
    if words.calm {
        progress(&soak, time);
    } else {
        thread::scope(|scope| {
            let parts: [(&str, Part); 8] = [
                ("ports", changes::ports),
                ("guests", changes::guests),
                ("a second network", changes::second_network),
                ("the daemon", control::kills),
                ("IPv4 addresses", roaming::addresses_v4),
                ("IPv6 addresses", roaming::addresses_v6),
                ("routes", roaming::routes),
                ("floods", attacks::floods),
            ];
            for (name, part) in parts {
                let soak = &soak;
                scope.spawn(move || {
                    if let Err(error) = part(soak) {
                        soak.ledger.trouble(&format!("{name}: {error:#}"));
                    }
                });
            }
            progress(&soak, time);
            soak.over.store(true, Ordering::Relaxed);
        });
    }
    traffic.end(&soak)?;
    let Soak {
        control, ledger, ..
    } = soak;
    let mut world = control.into_world();
    let report = report::judge(&ledger)?;
    // The log tells more about what was not explained, and goes with the world.
    if !report.clean() {
        eprintln!("--- netd's log\n{}---", world.log());
    }
    let closed = world.close();
    report.print();
    if let Some(path) = &words.output {
        let text = serde_json::to_string_pretty(&report.json())?;
        std::fs::write(path, text).with_context(|| path.display().to_string())?;
    }
    if let Err(error) = &closed {
        println!("UNEXPLAINED: {error:#}");
    }
    Ok(report.clean() && closed.is_ok())
}

/// Says every ten seconds how it goes, until the time is over.
fn progress(soak: &Soak, time: Duration) {
    let begun = Instant::now();
    let mut next = Duration::from_secs(10);
    while begun.elapsed() < time && !soak.ledger.in_trouble() {
        soak.pause(Duration::from_millis(200));
        if begun.elapsed() >= next {
            println!(
                "soak: {} of {} s: {} changes, {} failures so far",
                next.as_secs(),
                time.as_secs(),
                soak.ledger.changes(),
                soak.ledger.failures_so_far()
            );
            next += Duration::from_secs(10);
        }
    }
}
