//! Records that cannot be used: the way out is the next version, which may be able to read them, or to remove them.

use super::{Engine, change::number_key, locked};
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
        let meant =
            |key: &Key, name: &str| key.kind == kind && (key.id == wanted || name == wanted);
        let all = locked(&self.quarantined).clone();
        let Some((found, _)) = all.iter().find(|(key, name)| meant(key, name)) else {
            return Err(missing);
        };
        // Endpoints of it can never be used again.
        let gone = all
            .iter()
            .filter(|(key, _)| key == found || key.kind == "endpoint");
        let gone: Vec<Key> = gone.map(|(key, _)| key.clone()).collect();
        let writes = gone.iter().flat_map(|key| {
            [
                Write::remove(key.clone()),
                Write::remove(number_key(&key.id)),
            ]
        });
        self.store.commit(writes.collect()).written().await?;
        locked(&self.quarantined).retain(|(key, _)| !gone.contains(key));
        for key in &gone {
            self.forget_degraded(&ObjectId::Record(key.to_string()));
        }
        self.mend_known_links().await?;
        Ok(found.id.clone())
    }
}
