//! The address manager `null`: it gives out nothing.

use std::net::IpAddr;

use async_trait::async_trait;

use super::{AddressManager, Cursors, PoolsRequest, Withheld};
use crate::{
    error::{Error, Kind, Result},
    model::{Network, Pool},
};

/// Gives out nothing.
pub struct NullManager;

#[async_trait]
impl AddressManager for NullManager {
    async fn request_pools(&self, request: &PoolsRequest) -> Result<Vec<Pool>> {
        if request.chosen.is_empty() {
            return Ok(Vec::new());
        }
        Err(Error::invalid("the IPAM driver null has no subnets")
            .hint("leave --subnet out, or take the IPAM driver default"))
    }

    async fn release_pools(&self, _: &str) {}

    async fn request_address(
        &self,
        network: &Network,
        _: bool,
        _: Option<IpAddr>,
        _: &[IpAddr],
    ) -> Result<IpAddr> {
        Err(Error::new(
            Kind::Exhausted,
            format!(
                "network {} has no addresses (IPAM driver null)",
                network.name
            ),
        ))
    }

    async fn release_address(&self, _: &str, _: IpAddr) {}

    fn adopt_network(&self, _: &Network, _: Cursors) {}

    fn adopt_address(&self, _: &str, _: IpAddr) {}

    fn withhold(&self, _: &Withheld) {}

    fn cursors(&self, _: &str) -> Option<Cursors> {
        None
    }
}
