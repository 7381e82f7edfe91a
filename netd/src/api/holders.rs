//! Whose an endpoint is, by its number: names copied from the model, so that its lock is held for a moment only.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use crate::engine::Engine;

/// Names and ids of an endpoint; all empty when it is gone.
#[derive(Debug, Default)]
pub struct Holder {
    pub sandbox_id: String,
    pub sandbox_name: String,
    pub network_id: String,
    pub network_name: String,
    pub endpoint_id: String,
    pub interface_name: String,
}

/// Those met so far. Numbers are never used again, so what is known stays right, also of endpoints that are gone.
#[derive(Debug, Default)]
pub struct Holders(HashMap<u32, Arc<Holder>>);

/// Holders kept; beyond, they are asked for anew.
const KEPT: usize = 16_384;

impl Holders {
    /// Of these endpoints.
    pub fn these(engine: &Engine, numbers: impl IntoIterator<Item = u32>) -> Self {
        let mut holders = Self::default();
        holders.learn(engine, numbers);
        holders
    }

    /// Asks for those of these endpoints that are not known.
    pub fn learn(&mut self, engine: &Engine, numbers: impl IntoIterator<Item = u32>) {
        let mut missing: HashSet<u32> = numbers.into_iter().filter(|n| *n != 0).collect();
        if self.0.len() + missing.len() > KEPT {
            self.0.clear();
        }
        missing.retain(|number| !self.0.contains_key(number));
        if missing.is_empty() {
            return;
        }
        // Also what is just being made, or was not taken back yet.
        let model = engine.state();
        let known: Vec<_> = missing
            .iter()
            .filter_map(|number| model.endpoint_numbered(*number).cloned())
            .collect();
        for e in known {
            missing.remove(&e.number);
            let sandbox = model.sandboxes().get(&e.sandbox);
            let network = model.networks().get(&e.network);
            let holder = Holder {
                sandbox_id: e.sandbox.clone(),
                sandbox_name: sandbox.map(|s| s.name.clone()).unwrap_or_default(),
                network_id: e.network.clone(),
                network_name: network.map(|n| n.name.clone()).unwrap_or_default(),
                endpoint_id: e.id.clone(),
                interface_name: e.interface.clone(),
            };
            self.0.insert(e.number, Arc::new(holder));
        }
        // An endpoint is in the model before it is in the data plane: the others are gone for good.
        let gone = missing.into_iter().map(|number| (number, Arc::default()));
        self.0.extend(gone);
    }

    /// Of the endpoint with this number, if it was asked for.
    pub fn of(&self, number: u32) -> Arc<Holder> {
        self.0.get(&number).cloned().unwrap_or_default()
    }
}
