//! Records that cannot be used: the way out is the next version, which may be able to read them, or to remove them.

use super::{Engine, belongings::Belongings, change::number_key, commit::unfinished_key, locked};
use crate::{
    directories,
    error::{Error, Kind, Result},
    kernel::Netns,
    model,
    observed::ObjectId,
    store::{Key, Write},
};

/// A record that cannot be used.
#[derive(Clone, Debug)]
pub(super) struct Quarantined {
    /// Its key.
    pub key: Key,
    /// Its name, if it has one.
    pub name: String,
    /// Of an endpoint, the ids of its network and its sandbox.
    pub owners: [String; 2],
    /// What can be read of what it has.
    pub belongings: Belongings,
}

impl Quarantined {
    /// As messages name it; what stands in it is anybody's text.
    pub fn describe(&self) -> String {
        let (kind, id) = (&self.key.kind, &self.key.id);
        let [network, sandbox] = &self.owners;
        let owner = match (&**kind, sandbox.as_str(), network.as_str()) {
            ("endpoint", "", "") | ("network" | "sandbox", ..) => String::new(),
            (_, "", network) => format!(" on network {}", network.escape_debug()),
            (_, sandbox, _) => format!(" of sandbox {}", sandbox.escape_debug()),
        };
        match self.name.as_str() {
            "" => format!("{kind} {id}{owner}, whose record cannot be used"),
            name => format!("{kind} {name:?} ({id}), whose record cannot be used"),
        }
    }

    /// How to be rid of it.
    pub fn way_out(&self) -> String {
        let remove =
            |kind: &str, id: &str| format!("; netctl {kind} rm {} removes it", id.escape_debug());
        let [network, sandbox] = &self.owners;
        match &*self.key.kind {
            kind @ ("network" | "sandbox") => remove(kind, &self.key.id),
            "endpoint" if !sandbox.is_empty() => remove("sandbox", sandbox),
            "endpoint" if !network.is_empty() => remove("network", network),
            _ => String::new(),
        }
    }

    /// Whether it is an endpoint of this network or sandbox.
    fn hangs_on(&self, kind: &str, id: &str) -> bool {
        let [network, sandbox] = &self.owners;
        match kind {
            "network" => network == id,
            _ => sandbox == id,
        }
    }
}

impl Engine {
    /// Removes the record of a network or sandbox that cannot be used, by its name or id, with what hangs on it. `missing`: what is
    /// said if there is none. Returns its id.
    pub(super) async fn discard(&self, kind: &str, wanted: &str, missing: Error) -> Result<String> {
        if missing.kind != Kind::NotFound || wanted.is_empty() {
            return Err(missing);
        }
        let all = locked(&self.quarantined).clone();
        let mut meant = all.iter().filter(|record| record.key.kind == kind);
        let found = meant.find(|r| r.key.id == wanted || r.name == wanted);
        // Of one whose own record is lost its endpoints may be left.
        let id = found.map_or(wanted, |found| &found.key.id);
        if found.is_none() && !all.iter().any(|r| r.hangs_on(kind, id)) {
            return Err(missing);
        }
        self.discard_with(kind, id).await?;
        Ok(id.to_owned())
    }

    /// Removes the records that cannot be used of a network or sandbox: its own, and those of its endpoints, which can never be
    /// used again. Those of others stay as they are.
    pub(super) async fn discard_with(&self, kind: &str, id: &str) -> Result<()> {
        let records: Vec<Quarantined> = {
            let all = locked(&self.quarantined);
            let own = |r: &&Quarantined| r.key.kind == kind && r.key.id == id;
            let gone = all.iter().filter(|r| own(r) || r.hangs_on(kind, id));
            gone.cloned().collect()
        };
        if records.is_empty() {
            return Ok(());
        }
        let gone: Vec<&Key> = records.iter().map(|record| &record.key).collect();
        let writes = gone.iter().flat_map(|key| {
            let others = [number_key(&key.id), unfinished_key(&key.id)];
            [Write::remove(Key::clone(key))]
                .into_iter()
                .chain(others.map(Write::remove))
        });
        self.store.commit(writes.collect()).written().await?;
        locked(&self.quarantined).retain(|record| !gone.contains(&&record.key));
        for record in &records {
            self.forget_degraded(&ObjectId::Record(record.key.to_string()));
            self.clean_up_after(record);
        }
        self.mend_known_links().await?;
        // Nobody gets what they had before their interfaces are gone.
        self.withhold();
        Ok(())
    }

    /// Removes what a sandbox that could not be used has in netd's own directories.
    fn clean_up_after(&self, record: &Quarantined) {
        if record.key.kind != "sandbox" || self.desired().sandboxes().contains_key(&record.key.id) {
            return;
        }
        let own = directories::namespaces(&self.instance.run);
        // The record may lie: only what lies there, and is no other's.
        let netns = record.belongings.netns.as_ref().filter(|path| {
            let desired = self.desired();
            let mut running = desired.sandboxes().values().filter_map(|s| s.run.as_ref());
            let name = path.file_name().and_then(|name| name.to_str());
            path.parent() == Some(&own)
                && name.is_some_and(|name| model::check_name("namespace", name).is_ok())
                && !running.any(|run| run.netns == **path)
        });
        let removed = netns.map_or(Ok(()), |path| Netns::remove(path));
        let files = match directories::is_id(&record.key.id) {
            true => directories::remove_files(&self.files_directory(), &record.key.id),
            false => Ok(()),
        };
        for e in [removed, files].into_iter().filter_map(Result::err) {
            self.warn(e.to_string());
        }
    }
}
