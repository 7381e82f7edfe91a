//! The desired state on disk: one table of JSON records in an embedded transactional store. Every record is decoded
//! as hostile input. It must not know what the records mean to the kernel.

use std::{
    path::Path,
    sync::{Arc, mpsc},
};

use redb::{Database, ReadableDatabase as _, TableDefinition};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::oneshot;

use crate::error::{Error, Kind, Result};

const RECORDS: TableDefinition<'_, &str, &str> = TableDefinition::new("records");

/// Version of the records' form.
const SCHEMA: &str = "1";

/// One change of a transaction.
pub enum Change {
    /// Writes a record.
    Put(String, String),
    /// Removes a record.
    Delete(String),
}

impl Change {
    /// Writes `value` as `kind/id`.
    pub fn put(kind: &str, id: &str, value: &impl Serialize) -> Result<Self> {
        let json = serde_json::to_string(value)
            .map_err(|e| Error::internal(format!("encoding {kind} {id}"), e))?;
        Ok(Self::Put(format!("{kind}/{id}"), json))
    }

    /// Removes `kind/id`.
    pub fn delete(kind: &str, id: &str) -> Self {
        Self::Delete(format!("{kind}/{id}"))
    }
}

/// The open store. One thread writes: changes that wait while a transaction is written share the next one, so that
/// many requests at once cost few writes to disk. They are written in the order in which they were submitted.
pub struct Store {
    database: Arc<Database>,
    path: String,
    writer: mpsc::Sender<Job>,
}

struct Job {
    changes: Vec<Change>,
    done: oneshot::Sender<Result<()>>,
}

/// Changes that are on their way to the disk.
#[must_use = "changes count only once they are on disk"]
pub struct Pending(oneshot::Receiver<Result<()>>);

impl Pending {
    /// Waits until they are there, or were refused.
    pub async fn written(self) -> Result<()> {
        self.0.await.unwrap_or_else(|_| Err(gone()))
    }
}

fn gone() -> Error {
    Error::internal("the store", "its writer has ended")
}

/// The store's file in the state directory.
const FILE: &str = "netd.redb";

impl Store {
    /// Whether the state directory has one.
    pub fn exists(state: &Path) -> bool {
        state.join(FILE).exists()
    }

    /// Opens or makes `netd.redb` in the state directory.
    pub fn open(state: &Path) -> Result<Self> {
        let path = state.join(FILE);
        let shown = path.display().to_string();
        let broken = |e: &dyn std::fmt::Display| {
            Error::new(Kind::Internal, format!("the store {shown} cannot be read: {e}"))
                .hint("move the file away to start anew, or restore it from a backup; netd --purge removes it with all networks")
        };
        // redb asserts where a file's head is damaged: that must not end the process without a message.
        let opened = std::panic::catch_unwind(|| Database::create(&path))
            .map_err(|_| broken(&"it is damaged"))?;
        let database = opened.map_err(|e| broken(&e))?;
        let database = Arc::new(database);
        let (writer, jobs) = mpsc::channel();
        let (for_writer, shown_there) = (Arc::clone(&database), shown.clone());
        std::thread::Builder::new()
            .name("store".into())
            .spawn(move || write_all(&for_writer, &shown_there, &jobs))
            .map_err(|e| Error::internal("starting the store's thread", e))?;
        let store = Self {
            database,
            path: shown.clone(),
            writer,
        };
        match store.get::<String>("meta/schema")? {
            None => write(
                &store.database,
                &shown,
                &[&[Change::put("meta", "schema", &SCHEMA)?]],
            )?,
            Some(version) if version == SCHEMA => {}
            Some(version) => {
                return Err(broken(&format!(
                    "it is of version {version}, this netd writes {SCHEMA}"
                )));
            }
        }
        Ok(store)
    }

    fn fail(&self, e: impl std::fmt::Display) -> Error {
        failed(&self.path, e)
    }

    /// Hands over changes that are written all or not at all, after all that were handed over before.
    pub fn submit(&self, changes: Vec<Change>) -> Pending {
        let (done, written) = oneshot::channel();
        if let Err(mpsc::SendError(job)) = self.writer.send(Job { changes, done }) {
            // Nobody receives only when the waiting request has gone.
            let _ = job.done.send(Err(gone()));
        }
        Pending(written)
    }

    /// As [`Store::submit`], and waits.
    pub async fn commit(&self, changes: Vec<Change>) -> Result<()> {
        self.submit(changes).written().await
    }

    /// Reads one record.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let transaction = self.database.begin_read().map_err(|e| self.fail(e))?;
        let table = match transaction.open_table(RECORDS) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            other => other.map_err(|e| self.fail(e))?,
        };
        let Some(value) = table.get(key).map_err(|e| self.fail(e))? else {
            return Ok(None);
        };
        self.decode(key, value.value()).map(Some)
    }

    /// Reads all records of a kind.
    pub fn list<T: DeserializeOwned>(&self, kind: &str) -> Result<Vec<T>> {
        let transaction = self.database.begin_read().map_err(|e| self.fail(e))?;
        let table = transaction.open_table(RECORDS).map_err(|e| self.fail(e))?;
        let (from, to) = (format!("{kind}/"), format!("{kind}0"));
        let mut found = Vec::new();
        for entry in table
            .range(from.as_str()..to.as_str())
            .map_err(|e| self.fail(e))?
        {
            let (key, value) = entry.map_err(|e| self.fail(e))?;
            found.push(self.decode(key.value(), value.value())?);
        }
        Ok(found)
    }

    /// Ids of all records of a kind.
    pub fn keys(&self, kind: &str) -> Result<Vec<String>> {
        let transaction = self.database.begin_read().map_err(|e| self.fail(e))?;
        let table = transaction.open_table(RECORDS).map_err(|e| self.fail(e))?;
        let (from, to) = (format!("{kind}/"), format!("{kind}0"));
        let mut found = Vec::new();
        for entry in table
            .range(from.as_str()..to.as_str())
            .map_err(|e| self.fail(e))?
        {
            let (key, _) = entry.map_err(|e| self.fail(e))?;
            found.extend(key.value().strip_prefix(&from).map(str::to_owned));
        }
        Ok(found)
    }

    fn decode<T: DeserializeOwned>(&self, key: &str, json: &str) -> Result<T> {
        serde_json::from_str(json).map_err(|e| {
            self.fail(format!("record {key}: {e}"))
                .hint("move the file away to start anew, or restore it from a backup")
        })
    }
}

fn failed(path: &str, e: impl std::fmt::Display) -> Error {
    Error::internal(format!("store {path}"), e)
}

fn write_all(database: &Database, path: &str, jobs: &mpsc::Receiver<Job>) {
    while let Ok(first) = jobs.recv() {
        let mut batch = vec![first];
        batch.extend(jobs.try_iter());
        let changes: Vec<&[Change]> = batch.iter().map(|job| &*job.changes).collect();
        let done = write(database, path, &changes);
        for job in batch {
            // The request may have gone meanwhile.
            let _ = job.done.send(done.clone());
        }
    }
}

/// One transaction.
fn write(database: &Database, path: &str, batch: &[&[Change]]) -> Result<()> {
    let fail = |e: &dyn std::fmt::Display| failed(path, e);
    let transaction = database.begin_write().map_err(|e| fail(&e))?;
    {
        let mut table = transaction.open_table(RECORDS).map_err(|e| fail(&e))?;
        for change in batch.iter().copied().flatten() {
            match change {
                Change::Put(key, value) => table.insert(key.as_str(), value.as_str()).map(drop),
                Change::Delete(key) => table.remove(key.as_str()).map(drop),
            }
            .map_err(|e| fail(&e))?;
        }
    }
    transaction.commit().map_err(|e| fail(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn records_survive_and_transactions_are_whole() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        store
            .commit(vec![
                Change::put("network", "a", &1).unwrap(),
                Change::put("networks", "b", &2).unwrap(),
            ])
            .await
            .unwrap();
        assert_eq!(store.list::<u32>("network").unwrap(), [1]);
        let last = store.submit(vec![Change::put("network", "a", &3).unwrap()]);
        let gone = store.submit(vec![Change::delete("network", "a")]);
        last.written().await.unwrap();
        gone.written().await.unwrap();
        assert!(store.list::<u32>("network").unwrap().is_empty());
    }

    #[test]
    fn a_corrupt_store_is_named_with_the_way_out() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("netd.redb"), vec![0x5a; 65536]).unwrap();
        let error = Store::open(directory.path()).err().unwrap();
        assert!(
            error.message.contains("netd.redb")
                && error.hint.unwrap().contains("move the file away")
        );
    }
}
