//! Records that cannot be used: the way out is the next version, which may be able to read them, or to remove them.

use super::{Engine, change::number_key, commit::unfinished_key, locked};
use crate::{
    error::{Error, Kind, Result},
    observed::ObjectId,
    store::{Key, Write},
};

impl Engine {
    /// Removes the record of a network or sandbox that cannot be used, by its name or id, with what hangs on it. `missing`: what is
    /// said if there is none. Returns its id.
    pub(super) async fn discard(&self, kind: &str, wanted: &str, missing: Error) -> Result<String> {
        if missing.kind != Kind::NotFound || wanted.is_empty() {
            return Err(missing);
        }
        let all = locked(&self.quarantined).clone();
        let mut meant = all.iter().filter(|record| record.key.kind == kind);
        let Some(found) = meant.find(|r| r.key.id == wanted || r.name == wanted) else {
            return Err(missing);
        };
        // With its endpoints, which can never be used again; those of others stay as they are.
        let id = &found.key.id;
        let gone = all
            .iter()
            .filter(|r| r.key == found.key || r.owners.contains(id));
        let gone: Vec<Key> = gone.map(|record| record.key.clone()).collect();
        let writes = gone.iter().flat_map(|key| {
            let others = [number_key(&key.id), unfinished_key(&key.id)];
            [Write::remove(key.clone())]
                .into_iter()
                .chain(others.map(Write::remove))
        });
        self.store.commit(writes.collect()).written().await?;
        locked(&self.quarantined).retain(|record| !gone.contains(&record.key));
        for key in &gone {
            self.forget_degraded(&ObjectId::Record(key.to_string()));
        }
        self.mend_known_links().await?;
        Ok(found.key.id.clone())
    }
}
