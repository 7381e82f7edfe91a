//! The records that netd keeps on disk, edited while it does not run: what an older or newer version, or a damaged disk,
//! would leave. The form of the records is known in this file only.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, TableError};

use crate::World;

const FILE: &str = "netd.redb";
const TABLE: &str = "records";
const TEXTS: TableDefinition<'_, &str, &str> = TableDefinition::new(TABLE);
const BYTES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new(TABLE);

/// The open store of a daemon that does not run.
#[derive(Debug)]
pub struct Records {
    database: Database,
    texts: bool,
}

impl Records {
    /// Opens the store in this state directory.
    ///
    /// # Errors
    /// When there is none, or a daemon has it.
    pub fn open(state: &Path) -> Result<Self> {
        let database = Database::open(state.join(FILE)).context("the store")?;
        let texts = match database.begin_read()?.open_table(TEXTS) {
            Ok(_) => true,
            Err(TableError::TableTypeMismatch { .. }) => false,
            Err(e) => return Err(e.into()),
        };
        Ok(Self { database, texts })
    }

    /// All records: keys, and values as text.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn all(&self) -> Result<Vec<(String, String)>> {
        let read = self.database.begin_read()?;
        let mut found = Vec::new();
        if self.texts {
            for entry in read.open_table(TEXTS)?.iter()? {
                let (key, value) = entry?;
                found.push((key.value().to_owned(), value.value().to_owned()));
            }
        } else {
            for entry in read.open_table(BYTES)?.iter()? {
                let (key, value) = entry?;
                let text = String::from_utf8_lossy(value.value()).into_owned();
                found.push((key.value().to_owned(), text));
            }
        }
        Ok(found)
    }

    /// Writes a record as it is given.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put(&self, key: &str, value: &str) -> Result<()> {
        let write = self.database.begin_write()?;
        if self.texts {
            write.open_table(TEXTS)?.insert(key, value)?;
        } else {
            write.open_table(BYTES)?.insert(key, value.as_bytes())?;
        }
        Ok(write.commit()?)
    }

    /// The one record of a kind whose text holds `mark`.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn find(&self, kind: &str, mark: &str) -> Result<(String, String)> {
        let of_kind = |key: &str| key.split('/').any(|part| part == kind);
        let mut found = self.all()?;
        found.retain(|(key, text)| of_kind(key) && text.contains(mark));
        let count = found.len();
        ensure!(count == 1, "{count} records of kind {kind} hold {mark}");
        found.pop().context("none")
    }

    /// Replaces `from` by `to` in the record of a kind that holds `mark`.
    ///
    /// # Errors
    /// When there is no such record, or nothing to replace in it.
    pub fn replace(&self, kind: &str, mark: &str, from: &str, to: &str) -> Result<()> {
        let (key, text) = self.find(kind, mark)?;
        ensure!(text.contains(from), "{from} is not in {key}: {text}");
        self.put(&key, &text.replace(from, to))
    }

    /// Writes a copy of that record in which each of `changes` is made, in its key, too.
    ///
    /// # Errors
    /// As [`Records::replace`].
    pub fn copy(&self, kind: &str, mark: &str, changes: &[(&str, &str)]) -> Result<()> {
        let (mut key, mut text) = self.find(kind, mark)?;
        for (from, to) in changes {
            ensure!(text.contains(from), "{from} is not in {key}: {text}");
            key = key.replace(from, to);
            text = text.replace(from, to);
        }
        self.put(&key, &text)
    }
}

impl World {
    /// What the daemon, which must not run, has on disk.
    ///
    /// # Errors
    /// As [`Records::open`].
    pub fn records(&self) -> Result<Records> {
        Records::open(&self.state_directory())
    }
}
