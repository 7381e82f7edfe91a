//! What is desired beside what is there, as it is at one moment.

use super::desired::Desired;
use crate::{model, observed::Observed};

/// What is desired beside what is there.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// What is desired.
    pub desired: Desired,
    /// What is there.
    pub observed: Observed,
}

impl std::ops::Deref for State {
    type Target = Desired;

    fn deref(&self) -> &Desired {
        &self.desired
    }
}

impl State {
    /// Bytes that an interface of this network takes.
    pub fn mtu(&self, network: &model::Network) -> u32 {
        self.observed.mtu(network)
    }
}
