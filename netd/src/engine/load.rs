//! Reading what is desired from the store. Each record is judged by itself and with those that it names; one that is wrong is left
//! where it is, not used, and shown, and the rest lives.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use serde::de::DeserializeOwned;

use super::{belongings::Belongings, desired::Desired, quarantine::Quarantined};
use crate::{
    driver::Network,
    ipam::Cursors,
    model::{self, Endpoint, Sandbox},
    store::{Key, Record, Scope, Snapshot, Unread},
};

/// What a store holds.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    /// What is desired.
    pub desired: Desired,
    /// Records that cannot be used, by key, with the reason.
    pub quarantined: BTreeMap<String, String>,
    /// What can be read of those.
    pub quarantined_records: Vec<Quarantined>,
    /// Ids in those records, also of networks and endpoints whose interfaces must not be taken for left-over ones.
    pub quarantined_ids: BTreeSet<String>,
    /// Networks and sandboxes whose kernel state may not be what the store says.
    pub unfinished: BTreeSet<String>,
    /// netd's own names of namespaces that these had.
    pub namespaces: BTreeSet<String>,
    /// The number of the next network or endpoint.
    pub next_number: u32,
    /// Where each network's search for a free address goes on.
    pub cursors: BTreeMap<String, Cursors>,
}

/// The value of a record, as far as there is one.
fn value(record: &std::result::Result<Record, Unread>) -> Option<serde_json::Value> {
    match record {
        Ok(record) => record.read().ok(),
        Err(unread) => unread.value.clone(),
    }
}

struct Loading<'a> {
    snapshot: &'a Snapshot,
    loaded: Loaded,
}

impl Loading<'_> {
    fn quarantine(&mut self, key: &Key, reason: String) {
        let value = self.snapshot.records.get(key).and_then(value);
        let text = |field: &str| Some(value.as_ref()?.get(field)?.as_str()?.to_owned());
        let name = text("name");
        let mut reason = match &name {
            Some(name) => format!("{name:?}: {reason}"),
            None => reason,
        };
        if value.is_none() {
            reason.push_str("; nothing can be read of it, so nothing is held for it");
        }
        let owners = match &*key.kind {
            "endpoint" => ["network", "sandbox"].map(|field| text(field).unwrap_or_default()),
            _ => Default::default(),
        };
        let record = Quarantined {
            key: key.clone(),
            name: name.unwrap_or_default(),
            owners,
            belongings: value.as_ref().map(Belongings::of).unwrap_or_default(),
        };
        reason.push_str(&record.way_out());
        self.loaded.quarantined_records.push(record);
        self.loaded.quarantined_ids.insert(key.id.clone());
        self.loaded.quarantined.insert(key.to_string(), reason);
    }

    /// The records of a kind that can be read and whose value names the key's id.
    fn all<T: DeserializeOwned>(
        &mut self,
        scope: Scope,
        kind: &str,
        id: fn(&T) -> &str,
    ) -> Vec<(Key, T)> {
        let records = self.snapshot.records.iter();
        let of_kind = records.filter(|(key, _)| key.scope == scope && key.kind == kind);
        let mut found = Vec::new();
        for (key, record) in of_kind {
            let read = record
                .as_ref()
                .map_err(|unread| unread.reason.clone())
                .and_then(|r| r.read::<T>());
            match read {
                Ok(value) if id(&value) == key.id => found.push((key.clone(), value)),
                Ok(_) => self.quarantine(key, "its id is not that of its key".into()),
                Err(e) => self.quarantine(key, e),
            }
        }
        found
    }

    fn number(&self, id: &str) -> Option<u32> {
        let record = self.snapshot.records.get(&super::change::number_key(id))?;
        record.as_ref().ok()?.read().ok()
    }
}

/// A record of this host's beside the objects, if it is there and can be read.
pub(super) fn setting<T: DeserializeOwned>(snapshot: &Snapshot, key: &Key) -> Option<T> {
    let record = snapshot.records.get(key)?.as_ref().ok()?;
    record.read().ok()
}

/// What a purge needs of what is stored.
#[derive(Debug, Default)]
pub struct Stored {
    /// All sandboxes that can be read.
    pub sandboxes: Vec<Sandbox>,
    /// netd's own names of their namespaces.
    pub namespaces: BTreeSet<String>,
    /// The administrator's reserved ports, as they were before netd.
    pub reserved_ports: Option<String>,
}

/// Reads what a purge needs.
pub fn stored(snapshot: &Snapshot, instance: &crate::config::Instance) -> Stored {
    let loaded = load(snapshot, &crate::directories::namespaces(&instance.run));
    let key = super::reserved::key();
    let sandboxes = loaded.desired.sandboxes().values();
    let mut stored = Stored {
        namespaces: loaded.namespaces,
        reserved_ports: setting(snapshot, &key),
        sandboxes: sandboxes.map(|s| Sandbox::clone(s)).collect(),
    };
    for sandbox in &stored.sandboxes {
        let names = [sandbox.name.clone(), sandbox.id.clone()];
        stored.namespaces.extend(names);
        // It may have another name by now than when it was started.
        let run = sandbox
            .run
            .as_ref()
            .and_then(|r| r.netns.file_name()?.to_str());
        stored.namespaces.extend(run.map(str::to_owned));
    }
    stored
}

/// Kinds of records that this version has; others are of a later one, or of nobody.
fn is_known(key: &Key) -> bool {
    let kinds: &[&str] = match key.scope {
        Scope::Shared => &["network", "endpoint"],
        Scope::Host => &["sandbox", "number", "setting", "cursors", "unfinished"],
    };
    kinds.contains(&&*key.kind)
}

/// `names`: the directory of netd's own names of namespaces.
pub(super) fn load(snapshot: &Snapshot, names: &Path) -> Loaded {
    let mut loading = Loading {
        snapshot,
        loaded: Loaded::default(),
    };
    for key in &snapshot.strange {
        let reason = "its key is of no known form".to_owned();
        loading.loaded.quarantined.insert(key.clone(), reason);
    }
    for (key, mut record) in loading.all(Scope::Shared, "network", |n: &model::Network| &n.id) {
        let Some(number) = loading.number(&record.id) else {
            loading.quarantine(&key, "it has no number on this host".into());
            continue;
        };
        record.number = number;
        let desired = &loading.loaded.desired;
        let doubled = desired.network_named(&record.name).is_some();
        match Network::new(record) {
            Ok(network) if !doubled => loading.loaded.desired.put_network(Arc::new(network)),
            Ok(network) => {
                loading.quarantine(&key, format!("another network is called {}", network.name))
            }
            Err(e) => loading.quarantine(&key, e.to_string()),
        }
    }
    for (key, sandbox) in loading.all(Scope::Host, "sandbox", |s: &Sandbox| &s.id) {
        let doubled = loading
            .loaded
            .desired
            .sandbox_named(&sandbox.name)
            .is_some();
        match sandbox.check(names) {
            Ok(()) if !doubled => loading.loaded.desired.put_sandbox(Arc::new(sandbox)),
            Ok(()) => {
                loading.quarantine(&key, format!("another sandbox is called {}", sandbox.name))
            }
            Err(e) => loading.quarantine(&key, e.to_string()),
        }
    }
    for key in snapshot.records.keys().filter(|key| !is_known(key)) {
        loading.quarantine(key, "its key is of no known kind".into());
    }
    let mut endpoints = Vec::new();
    for (key, mut endpoint) in loading.all(Scope::Shared, "endpoint", |e: &Endpoint| &e.id) {
        let desired = &loading.loaded.desired;
        let fault = match (
            endpoint.check(),
            desired.networks().contains_key(&endpoint.network),
            desired.sandboxes().contains_key(&endpoint.sandbox),
            loading.number(&endpoint.id),
        ) {
            (Err(e), ..) => e.to_string(),
            (_, false, ..) => "its network is not there".into(),
            (_, _, false, _) => "its sandbox is not there".into(),
            (.., None) => "it has no number on this host".into(),
            (Ok(()), true, true, Some(number)) => {
                endpoint.number = number;
                endpoints.push(endpoint);
                continue;
            }
        };
        loading.quarantine(&key, fault);
    }
    // Numbers grow: this is the order in which they were connected.
    endpoints.sort_by_key(|e| e.number);
    for endpoint in endpoints {
        loading.loaded.desired.put_endpoint(Arc::new(endpoint));
    }
    let mut loaded = loading.loaded;
    // Also of what cannot be used now: numbers are never used again.
    let numbers = snapshot
        .records
        .iter()
        .filter(|(key, _)| key.kind == "number");
    let read = |record| u32::try_from(value(record)?.as_u64()?).ok();
    let highest = numbers.filter_map(|(_, record)| read(record)).max();
    let highest = highest.unwrap_or(0);
    let next = snapshot.records.get(&Key::host("setting", "next_number"));
    loaded.next_number = next
        .and_then(read)
        .unwrap_or(1)
        .max(highest.saturating_add(1));
    for key in snapshot.records.keys().filter(|k| k.scope == Scope::Host) {
        match &*key.kind {
            // Of one that cannot be used nothing is done.
            "unfinished" if loaded.quarantined_ids.contains(&key.id) => {}
            "unfinished" => {
                loaded.unfinished.insert(key.id.clone());
                let names: Vec<String> =
                    setting(snapshot, &Key::host("unfinished", &key.id)).unwrap_or_default();
                loaded.namespaces.extend(names);
            }
            "cursors" => {
                let cursors = setting(snapshot, &Key::host("cursors", &key.id)).unwrap_or_default();
                loaded.cursors.insert(key.id.clone(), cursors);
            }
            _ => {}
        }
    }
    loaded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(value: serde_json::Value) -> std::result::Result<Record, Unread> {
        Ok(Record::of("a test", &value).unwrap())
    }

    fn network(id: &str, name: &str, options: serde_json::Value) -> serde_json::Value {
        serde_json::json!({
            "id": id, "name": name, "created": 1, "driver": "bridge", "scope": "local",
            "enable_ipv4": true, "enable_ipv6": false, "internal": false, "attachable": false,
            "ingress": false, "options": options, "labels": {}, "ipam_driver": "default",
            "ipam_options": {}, "pools": [], "device": "br-x", "mac": [2,0,0,0,0,1], "mtu": null,
            "of_a_later_version": [1, 2],
        })
    }

    #[test]
    fn b17_b18_one_bad_record_does_not_spoil_the_rest() {
        let ids: Vec<String> = (0..6).map(|n| format!("{n:064x}")).collect();
        let mut snapshot = Snapshot::default();
        let mut put = |n: usize, value| {
            let key = Key::shared("network", &ids[n]);
            snapshot.records.insert(key, value);
            snapshot.records.insert(
                Key::host("number", &ids[n]),
                record(serde_json::json!(n + 1)),
            );
        };
        put(0, record(network(&ids[0], "good", serde_json::json!({}))));
        // An option that this version does not understand: never run with the defaults in its place.
        let strict = serde_json::json!({"com.docker.network.bridge.enable_icc": "only-tuesdays"});
        put(1, record(network(&ids[1], "strict", strict)));
        put(
            2,
            record(network(&ids[0], "stolen-id", serde_json::json!({}))),
        );
        put(
            3,
            record(network(&ids[3], "../../etc", serde_json::json!({}))),
        );
        let later = Unread {
            reason: "it is of form 99".into(),
            value: None,
        };
        put(4, Err(later));
        put(5, record(network(&ids[5], "good", serde_json::json!({}))));
        let short = Key::shared("network", "abc");
        let value = record(network("abc", "short", serde_json::json!({})));
        snapshot.records.insert(short, value);
        let loaded = load(&snapshot, Path::new("/run/netd/netns"));
        let names: Vec<&str> = loaded
            .desired
            .networks()
            .values()
            .map(|n| n.name.as_str())
            .collect();
        assert_eq!(names, ["good"]);
        assert_eq!(loaded.quarantined.len(), 6, "{:#?}", loaded.quarantined);
        let reason = &loaded.quarantined[&format!("shared/network/{}", ids[1])];
        assert!(
            reason.contains("enable_icc") && reason.contains("only-tuesdays"),
            "{reason}"
        );
        assert_eq!(loaded.next_number, 7);
        let told = &loaded.quarantined[&format!("shared/network/{}", ids[4])];
        assert!(told.contains("nothing can be read") && told.contains("netctl network rm"));
        let good = loaded.desired.network_named("good").unwrap();
        assert!(good.extra.contains_key("of_a_later_version"));
    }

    /// Numbers that only a later version can read are not given out a second time.
    #[test]
    fn b18_numbers_of_a_later_form_are_not_used_again() {
        let mut snapshot = Snapshot::default();
        for (key, number) in [
            (Key::host("number", "a"), 7),
            (Key::host("setting", "next_number"), 5),
        ] {
            let later = Unread {
                reason: "it is of form 99".into(),
                value: Some(number.into()),
            };
            snapshot.records.insert(key, Err(later));
        }
        let names = Path::new("/run/netd/netns");
        assert_eq!(load(&snapshot, names).next_number, 8);
        let later = Unread {
            reason: "it is of form 99".into(),
            value: Some(12.into()),
        };
        let key = Key::host("setting", "next_number");
        snapshot.records.insert(key, Err(later));
        assert_eq!(load(&snapshot, names).next_number, 12);
    }

    #[test]
    fn b18_a_namespace_outside_netds_own_directory_is_refused() {
        let id = "b".repeat(64);
        let mut snapshot = Snapshot::default();
        let value = serde_json::json!({
            "id": id, "name": "s", "created": 1, "hostname": "s", "labels": {},
            "run": {"netns": "/run/netns/of-others", "origin": "made"}, "ports": [],
        });
        snapshot
            .records
            .insert(Key::host("sandbox", &id), record(value));
        let loaded = load(&snapshot, Path::new("/run/netd/netns"));
        assert!(loaded.desired.sandboxes().is_empty());
        assert!(loaded.quarantined.values().any(|r| r.contains("run.netns")));
    }
}
