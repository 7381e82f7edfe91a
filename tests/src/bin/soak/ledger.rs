//! The ledger: what was attempted, what failed, and the changes that explain failures.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context, Result};
use netd_tests::load::{Failure, Sent, Tally, now};

/// What may end a connection of a class: a word that classes and changes have in common.
pub type Tag = &'static str;

/// A change of the world and the connections that it is meant to end.
#[derive(Clone, Debug)]
pub struct Change {
    /// As the table shows it.
    pub what: String,
    /// Classes with one of these tags are concerned.
    pub ends: Vec<Tag>,
    /// From its first moment; attempts that were under way are concerned.
    pub begun: u64,
    /// Attempts that begin later are not,
    pub ended: u64,
    /// unless on a connection that was made before: the daemon has until then to hear of it.
    pub followed: u64,
}

/// Connections of one kind.
#[derive(Clone, Debug, Default)]
pub struct Class {
    /// What may end them.
    pub tags: Vec<Tag>,
    /// The sums of all clients.
    pub tallies: Vec<Tally>,
}

/// See the module.
pub struct Ledger {
    directory: PathBuf,
    begun: u64,
    book: Mutex<Book>,
    troubled: AtomicBool,
}

/// What is written in it.
#[derive(Clone, Debug, Default)]
pub struct Book {
    pub classes: BTreeMap<String, Class>,
    pub changes: Vec<Change>,
    /// How often each kind of change was made.
    pub counts: BTreeMap<String, u64>,
    /// Requests that the daemon refused or did not answer without being killed meanwhile.
    pub troubles: Vec<String>,
    /// Floods with what was sent.
    pub floods: BTreeMap<String, Vec<Sent>>,
}

impl Ledger {
    pub fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            begun: now(),
            book: Mutex::default(),
            troubled: AtomicBool::new(false),
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When it was opened.
    pub fn begun(&self) -> u64 {
        self.begun
    }

    /// Where a class' clients write down what failed.
    pub fn file(&self, class: &str) -> PathBuf {
        self.directory.join(class.replace(['/', ' '], "-"))
    }

    /// A class, with what may end its connections.
    pub fn class(&self, name: &str, tags: &[Tag]) {
        self.book().classes.entry(name.to_owned()).or_default().tags = tags.to_vec();
    }

    /// What a client of a class counted.
    pub fn tally(&self, class: &str, tally: Tally) {
        let mut book = self.book();
        let class = book.classes.entry(class.to_owned()).or_default();
        class.tallies.push(tally);
    }

    /// Makes a change that ends connections with these tags.
    pub fn change<T>(
        &self,
        what: &str,
        ends: &[Tag],
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let begun = now();
        let done = work().with_context(|| what.to_owned());
        let ended = now();
        self.interval(what, ends, (begun, ended), ended);
        done
    }

    /// A change that lasted from and to these moments, and was followed by the last one.
    pub fn interval(&self, what: &str, ends: &[Tag], (begun, ended): (u64, u64), followed: u64) {
        let mut book = self.book();
        *book.counts.entry(what.to_owned()).or_default() += 1;
        book.changes.push(Change {
            what: what.to_owned(),
            ends: ends.to_vec(),
            begun,
            ended,
            followed,
        });
    }

    /// Something that should not happen and is no connection.
    pub fn trouble(&self, what: &str) {
        println!("soak: {what}");
        self.book().troubles.push(what.to_owned());
        self.troubled.store(true, Ordering::Relaxed);
    }

    /// Whether to end early.
    pub fn in_trouble(&self) -> bool {
        self.troubled.load(Ordering::Relaxed)
    }

    /// What a flood sent.
    pub fn flood(&self, what: &str, sent: Sent) {
        let mut book = self.book();
        book.floods.entry(what.to_owned()).or_default().push(sent);
    }

    /// How many changes were made.
    pub fn changes(&self) -> u64 {
        self.book().counts.values().sum()
    }

    /// How many failures the clients wrote down, explained or not.
    pub fn failures_so_far(&self) -> usize {
        let files = fs::read_dir(&self.directory)
            .into_iter()
            .flatten()
            .flatten();
        files
            .filter_map(|file| fs::read_to_string(file.path()).ok())
            .map(|text| text.lines().count())
            .sum()
    }

    /// All of it.
    pub fn read(&self) -> Book {
        self.book().clone()
    }

    /// What failed in a class.
    pub fn failures(&self, class: &str) -> Result<Vec<Failure>> {
        let path = self.file(class);
        let Ok(text) = fs::read_to_string(&path) else {
            // The file is made by the first client.
            return Ok(Vec::new());
        };
        text.lines()
            .map(|line| serde_json::from_str(line).with_context(|| path.display().to_string()))
            .collect()
    }
}

impl Change {
    /// Whether it was meant to end this attempt of a class.
    pub fn explains(&self, class: &Class, failure: &Failure) -> bool {
        let concerned = self.ends.iter().any(|tag| class.tags.contains(tag));
        let under_way = failure.begun <= self.ended
            || (failure.made <= self.ended && failure.begun <= self.followed);
        concerned && under_way && failure.ended >= self.begun
    }
}
