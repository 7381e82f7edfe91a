//! A client: threads that attempt again and again, count, and write down what failed.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _, stdin},
    path::PathBuf,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::{
    attempts::{Attempts, Held, Kind},
    now,
    tally::{Failure, Recorder, Tally},
};

/// How long a client goes on for the sake of its least number of attempts.
const LONGEST: Duration = Duration::from_secs(90);

/// How much, how long, how fast.
#[derive(Clone, Debug)]
pub struct Extent {
    pub threads: u64,
    /// None: until the input ends.
    pub time: Option<Duration>,
    /// Goes on after its time until so many attempts were made.
    pub least: u64,
    /// Attempts per second of each thread; none: as fast as it can.
    pub rate: Option<f64>,
    /// Where failures are written down, a JSON object on each line.
    pub failures: Option<PathBuf>,
}

/// What the threads of a client share.
struct Shared<'a> {
    attempts: &'a Attempts,
    extent: &'a Extent,
    begun: Instant,
    made: AtomicU64,
    ended: AtomicBool,
    sum: Mutex<Recorder>,
    failures: Option<Mutex<File>>,
    started: AtomicU64,
}

/// Runs it; prints `begun` when each thread's first attempt is over.
///
/// # Errors
/// When the file for failures cannot be opened.
pub fn run(attempts: &Attempts, extent: &Extent) -> Result<Tally> {
    let open = |path: &PathBuf| {
        let file = OpenOptions::new().create(true).append(true).open(path);
        file.with_context(|| path.display().to_string())
    };
    let shared = Shared {
        attempts,
        extent,
        begun: Instant::now(),
        made: AtomicU64::new(0),
        ended: AtomicBool::new(false),
        sum: Mutex::new(Recorder::default()),
        failures: extent
            .failures
            .as_ref()
            .map(open)
            .transpose()?
            .map(Mutex::new),
        started: AtomicU64::new(0),
    };
    thread::scope(|scope| {
        for thread in 0..extent.threads {
            let shared = &shared;
            scope.spawn(move || shared.work(thread));
        }
        if extent.time.is_none() {
            // Any end of input, also an error, ends the attempts.
            let _ = stdin().read_to_end(&mut Vec::new());
            shared.ended.store(true, Ordering::Relaxed);
        }
    });
    let seconds = shared.begun.elapsed().as_secs_f64();
    let sum = shared.sum.into_inner();
    Ok(sum.unwrap_or_else(PoisonError::into_inner).tally(seconds))
}

impl Shared<'_> {
    fn over(&self) -> bool {
        let Some(time) = self.extent.time else {
            return self.ended.load(Ordering::Relaxed);
        };
        let spent = self.begun.elapsed();
        let enough = self.made.load(Ordering::Relaxed) >= self.extent.least;
        spent >= time && (enough || spent >= LONGEST)
    }

    fn work(&self, thread: u64) {
        let mut recorder = Recorder::default();
        let mut held = Held::default();
        let mut last_good = None;
        let mut made = now();
        let mut number = thread;
        let mut due = Instant::now();
        let long = matches!(self.attempts.kind, Kind::Hold(_));
        while !self.over() {
            let to = self.attempts.target(if long { thread } else { number });
            let begun = now();
            if !held.is_open() {
                made = begun;
            }
            match self.attempts.attempt(number, to, &mut held) {
                Ok(retried) => {
                    recorder.ok(now() - begun, retried);
                    last_good = Some(begun);
                }
                Err(broken) => {
                    recorder.failed(&broken.error);
                    self.write(&Failure {
                        begun: last_good.take().filter(|_| long).unwrap_or(begun),
                        made,
                        ended: now(),
                        error: broken.error,
                        to: to.to_string(),
                        from: broken.from,
                    });
                }
            }
            if number == thread
                && self.started.fetch_add(1, Ordering::Relaxed) + 1 == self.extent.threads
            {
                println!("begun");
            }
            self.made.fetch_add(1, Ordering::Relaxed);
            number += self.extent.threads;
            if let Some(rate) = self.extent.rate {
                due += Duration::from_secs_f64(1.0 / rate);
                // After a long wait it does not make up for what it missed.
                due = due.max(Instant::now());
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        }
        lock(&self.sum).merge(recorder);
    }

    fn write(&self, failure: &Failure) {
        let (Some(file), Ok(line)) = (&self.failures, serde_json::to_string(failure)) else {
            return;
        };
        if let Err(error) = writeln!(lock(file), "{line}") {
            eprintln!("a failure could not be written down: {error}: {line}");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
