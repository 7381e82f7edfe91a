//! The embedded store: whole commits, comparisons, damaged files and records.

use super::*;
use crate::store::{Expect, Key, Record};

fn put(kind: &'static str, id: &str, value: u32) -> Write {
    Write::put(Key::shared(kind, id), Record::of("a test", &value).unwrap())
}

fn values(store: &RedbStore, kind: &str) -> Vec<u32> {
    let snapshot = store.snapshot().unwrap();
    let of_kind = snapshot.records.iter().filter(|(k, _)| k.kind == kind);
    of_kind
        .map(|(_, r)| r.as_ref().unwrap().read().unwrap())
        .collect()
}

#[tokio::test]
async fn records_survive_and_commits_are_whole() {
    let directory = tempfile::tempdir().unwrap();
    let store = RedbStore::open(directory.path()).unwrap();
    let both = vec![put("network", "a", 1), put("networks", "b", 2)];
    let first = store.commit(both).written().await.unwrap();
    assert_eq!(values(&store, "network"), [1]);
    let last = store.commit(vec![put("network", "a", 3)]);
    let gone = store.commit(vec![Write::remove(Key::shared("network", "a"))]);
    assert!(last.written().await.unwrap() > first);
    gone.written().await.unwrap();
    assert!(values(&store, "network").is_empty());
    assert_eq!(values(&store, "networks"), [2]);
}

#[tokio::test]
async fn a_commit_compares_and_others_beside_it_are_made() {
    let directory = tempfile::tempdir().unwrap();
    let store = RedbStore::open(directory.path()).unwrap();
    let mut watch = store.watch();
    let absent = |id: &str, value| Write {
        expect: Expect::Absent,
        ..put("network", id, value)
    };
    let revision = store.commit(vec![absent("a", 1)]).written().await.unwrap();
    let second = store.commit(vec![absent("b", 1), absent("a", 2)]);
    let third = store.commit(vec![absent("c", 3)]);
    let refused = second.written().await.unwrap_err();
    assert_eq!(refused.reason, Reason::RevisionMismatch);
    third.written().await.unwrap();
    assert_eq!(values(&store, "network"), [1, 3]);
    let at = |revision| Write {
        expect: Expect::Revision(revision),
        ..put("network", "a", 9)
    };
    store.commit(vec![at(revision)]).written().await.unwrap();
    assert!(store.commit(vec![at(revision)]).written().await.is_err());
    assert_eq!(*watch.recv().await.unwrap().writes, [absent("a", 1)]);
    assert_eq!(*watch.recv().await.unwrap().writes, [absent("c", 3)]);
}

#[tokio::test]
async fn deferred_writes_go_with_others_or_follow() {
    let directory = tempfile::tempdir().unwrap();
    let store = RedbStore::open(directory.path()).unwrap();
    let first = store.commit(vec![put("mark", "a", 1)]);
    let first = first.written().await.unwrap();
    store.defer(vec![Write::remove(Key::shared("mark", "a"))]);
    let with = store.commit(vec![put("network", "b", 2)]);
    assert_eq!(with.written().await.unwrap(), first + 1, "one transaction");
    assert!(values(&store, "mark").is_empty());
    // One that is made again meanwhile stays.
    store.defer(vec![Write::remove(Key::shared("mark", "c"))]);
    let again = store.commit(vec![put("mark", "c", 3)]);
    again.written().await.unwrap();
    assert_eq!(values(&store, "mark"), [3]);
    // Also where a commit that is refused is beside it.
    store.defer(vec![Write::remove(Key::shared("mark", "c"))]);
    let absent = |id: &str, value| Write {
        expect: Expect::Absent,
        ..put("network", id, value)
    };
    let refused = store.commit(vec![absent("b", 4)]);
    let again = store.commit(vec![put("mark", "c", 5)]);
    assert!(refused.written().await.is_err());
    again.written().await.unwrap();
    assert_eq!(values(&store, "mark"), [5]);
    tokio::time::sleep(2 * writer::IDLE).await;
    assert_eq!(values(&store, "mark"), [5]);
    // A commit that is refused takes none along.
    store.defer(vec![Write::remove(Key::shared("mark", "c"))]);
    let refused = store.commit(vec![absent("b", 4)]);
    assert!(refused.written().await.is_err());
    let mut commits = store.watch();
    while !values(&store, "mark").is_empty() {
        commits.recv().await.unwrap();
    }
}

#[test]
fn a_corrupt_store_is_named_with_the_way_out() {
    let directory = tempfile::tempdir().unwrap();
    for bytes in [vec![0x5a; 65536], Vec::new()] {
        std::fs::write(directory.path().join("netd.redb"), bytes).unwrap();
        let error = RedbStore::open(directory.path()).err().unwrap();
        assert!(
            error.message.contains("netd.redb")
                && error.hint.unwrap().contains("move the file away")
        );
    }
}

#[tokio::test]
async fn b18_a_record_that_cannot_be_read_is_told_and_the_rest_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let store = RedbStore::open(directory.path()).unwrap();
    store
        .commit(vec![put("network", "a", 1)])
        .written()
        .await
        .unwrap();
    {
        let database = store.database.lock().unwrap();
        let transaction = database.as_ref().unwrap().begin_write().unwrap();
        {
            let mut table = transaction.open_table(file::RECORDS).unwrap();
            table.insert("shared/network/b", "{garbage").unwrap();
            table.insert("nothing", "{}").unwrap();
        }
        transaction.commit().unwrap();
    }
    let snapshot = store.snapshot().unwrap();
    assert_eq!(snapshot.strange, ["nothing"]);
    let bad = &snapshot.records[&Key::shared("network", "b")];
    assert!(bad.is_err() && snapshot.records[&Key::shared("network", "a")].is_ok());
}
