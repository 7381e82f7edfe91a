//! The desired state on disk: one table of JSON records in an embedded transactional store. Every record is decoded
//! as hostile input. It must not know what the records mean to the kernel.

use std::path::Path;

use redb::{Database, ReadableDatabase as _, TableDefinition};
use serde::{Serialize, de::DeserializeOwned};

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

/// The open store.
pub struct Store {
    database: Database,
    path: String,
}

impl Store {
    /// Opens or makes `netd.redb` in the state directory.
    pub fn open(state: &Path) -> Result<Self> {
        let path = state.join("netd.redb");
        let shown = path.display().to_string();
        let broken = |e: &dyn std::fmt::Display| {
            Error::new(Kind::Internal, format!("the store {shown} cannot be read: {e}"))
                .hint("move the file away to start anew, or restore it from a backup; netd --purge removes it with all networks")
        };
        // redb asserts where a file's head is damaged: that must not end the process without a message.
        let opened = std::panic::catch_unwind(|| Database::create(&path))
            .map_err(|_| broken(&"it is damaged"))?;
        let database = opened.map_err(|e| broken(&e))?;
        let store = Self {
            database,
            path: shown.clone(),
        };
        match store.get::<String>("meta/schema")? {
            None => store.commit(&[Change::put("meta", "schema", &SCHEMA)?])?,
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
        Error::internal(format!("store {}", self.path), e)
    }

    /// Writes all changes or none.
    pub fn commit(&self, changes: &[Change]) -> Result<()> {
        let transaction = self.database.begin_write().map_err(|e| self.fail(e))?;
        {
            let mut table = transaction.open_table(RECORDS).map_err(|e| self.fail(e))?;
            for change in changes {
                match change {
                    Change::Put(key, value) => table.insert(key.as_str(), value.as_str()).map(drop),
                    Change::Delete(key) => table.remove(key.as_str()).map(drop),
                }
                .map_err(|e| self.fail(e))?;
            }
        }
        transaction.commit().map_err(|e| self.fail(e))
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

    fn decode<T: DeserializeOwned>(&self, key: &str, json: &str) -> Result<T> {
        serde_json::from_str(json).map_err(|e| {
            self.fail(format!("record {key}: {e}"))
                .hint("move the file away to start anew, or restore it from a backup")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_and_transactions_are_whole() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        store
            .commit(&[
                Change::put("network", "a", &1).unwrap(),
                Change::put("networks", "b", &2).unwrap(),
            ])
            .unwrap();
        drop(store);
        let store = Store::open(directory.path()).unwrap();
        assert_eq!(store.list::<u32>("network").unwrap(), [1]);
        store.commit(&[Change::delete("network", "a")]).unwrap();
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
