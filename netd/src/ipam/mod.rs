//! Address management: which subnets a network has and which addresses its endpoints. In two phases, because an address
//! manager may have to be waited for: what is requested is held from then on; the endpoint that is made of it confirms it by
//! being stored, and whoever gives up releases it. What is removed is released once nothing leads there any more.

mod addresses;
mod default;
mod null;
mod withheld;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use async_trait::async_trait;
use ipnetwork::Ipv6Network;

pub use addresses::{first_usable, is_reserved, is_usable, overlap};
pub use default::Cursors;
pub use withheld::Withheld;

use crate::{
    config,
    error::{Error, Reason, Result},
    model::{Network, Pool},
    observed::Observations,
};
use default::DefaultManager;
use null::NullManager;

/// Subnets asked for.
#[derive(Clone, Debug, Default)]
pub struct PoolsRequest {
    /// Name of the network, for messages.
    pub name: String,
    /// Id of the network.
    pub network: String,
    /// Those that the user chose.
    pub chosen: Vec<Pool>,
    /// IPv4 is wanted.
    pub v4: bool,
    /// IPv6 is wanted.
    pub v6: bool,
}

/// Who gives out subnets and addresses.
#[async_trait]
pub trait AddressManager: Send + Sync {
    /// Gives a new network its subnets and holds them.
    async fn request_pools(&self, request: &PoolsRequest) -> Result<Vec<Pool>>;

    /// Lets go of a network's subnets; unknown ones are fine.
    async fn release_pools(&self, network: &str);

    /// Gives out an address of a network and holds it: the one that is wanted, or one of `before` that is free, or any.
    async fn request_address(
        &self,
        network: &Network,
        v4: bool,
        wanted: Option<IpAddr>,
        before: &[IpAddr],
    ) -> Result<IpAddr>;

    /// Lets go of an address; an unknown one is fine.
    async fn release_address(&self, network: &str, address: IpAddr);

    /// Takes note of a network that is there already.
    fn adopt_network(&self, network: &Network, cursors: Cursors);

    /// Takes note of an address that is held already.
    fn adopt_address(&self, network: &str, address: IpAddr);

    /// Takes note of what records that cannot be used have, in place of what was noted so before.
    fn withhold(&self, withheld: &Withheld);

    /// What must be stored beside a network's endpoints.
    fn cursors(&self, network: &str) -> Option<Cursors>;
}

/// The address managers by name.
#[derive(Clone)]
pub struct Ipam {
    managers: BTreeMap<&'static str, Arc<dyn AddressManager>>,
}

impl Ipam {
    /// Those that are built in. `ula`: the host's random /48.
    pub fn new(pools: Vec<config::Pool>, ula: Ipv6Network, host: Observations) -> Self {
        let default: Arc<dyn AddressManager> = Arc::new(DefaultManager::new(pools, ula, host));
        let null: Arc<dyn AddressManager> = Arc::new(NullManager);
        Self {
            managers: [("default", default), ("null", null)].into(),
        }
    }

    /// As [`AddressManager::withhold`], of all.
    pub fn withhold(&self, withheld: &Withheld) {
        let managers = self.managers.values();
        managers.for_each(|manager| manager.withhold(withheld));
    }

    /// The one of this name; empty: default.
    ///
    /// # Errors
    /// When there is none.
    pub fn manager(&self, name: &str) -> Result<&dyn AddressManager> {
        let name = if name.is_empty() { "default" } else { name };
        let found = self.managers.get(name).map(|manager| &**manager);
        found.ok_or_else(|| {
            let names: Vec<&str> = self.managers.keys().copied().collect();
            Error::not_found(format!("plugin {name:?} not found"))
                .because(Reason::UnknownDriver)
                .about("driver", name)
                .hint(format!("the IPAM drivers are {}", names.join(", ")))
        })
    }
}
