//! The store's file: opened, given its form, read.

use std::path::Path;

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use crate::store::{Key, Record, Snapshot, record::FORMAT};

pub(super) const RECORDS: TableDefinition<'_, &str, &str> = TableDefinition::new("records");
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// Memory for pages of the file, bytes. Records are read at a start and compared at commits; the kernel caches the file as well.
const CACHE: usize = 1 << 20;

/// redb asserts where a file's head is damaged: that must not end the process without a message.
pub(super) fn open_file(path: &Path) -> std::result::Result<Database, String> {
    std::panic::catch_unwind(|| Database::builder().set_cache_size(CACHE).create(path))
        .map_err(|_| "it is damaged".to_owned())?
        .map_err(|e| e.to_string())
}

/// A new file gets its form and its tables. Returns the form.
pub(super) fn prepare(database: &mut Database) -> std::result::Result<u64, redb::Error> {
    let transaction = database.begin_write()?;
    let format = {
        let mut meta = match transaction.open_table(META) {
            // Before form 2 the table was not there, or of another type.
            Err(redb::TableError::TableTypeMismatch { .. }) => return Ok(1),
            other => other?,
        };
        let found = meta.get("format")?.map(|v| v.value());
        let old = transaction
            .list_tables()?
            .any(|t| redb::TableHandle::name(&t) == "records");
        match found {
            // A file that has its form is left as it is: its disk may be full.
            Some(found) => return Ok(found),
            None if old => 1,
            None => {
                meta.insert("format", u64::from(FORMAT))?;
                meta.insert("revision", 0)?;
                transaction.open_table(RECORDS)?;
                u64::from(FORMAT)
            }
        }
    };
    transaction.commit()?;
    Ok(format)
}

pub(super) fn read_revision(database: &Database) -> std::result::Result<u64, redb::Error> {
    let transaction = database.begin_read()?;
    let meta = transaction.open_table(META)?;
    Ok(meta.get("revision")?.map_or(0, |v| v.value()))
}

pub(super) fn read_all(database: &Database) -> std::result::Result<Snapshot, redb::Error> {
    let transaction = database.begin_read()?;
    let mut snapshot = Snapshot {
        revision: transaction
            .open_table(META)?
            .get("revision")?
            .map_or(0, |v| v.value()),
        ..Snapshot::default()
    };
    for entry in transaction.open_table(RECORDS)?.iter()? {
        let (key, value) = entry?;
        match Key::parse(key.value()) {
            Some(key) => drop(snapshot.records.insert(key, Record::decode(value.value()))),
            None => snapshot.strange.push(key.value().to_owned()),
        }
    }
    Ok(snapshot)
}
