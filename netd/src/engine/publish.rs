//! Keeping the data plane's publications as what is desired says.

use super::Engine;
use crate::{
    dataplane::{EndpointPublications, HomeSpec},
    error::Result,
};

impl Engine {
    /// Publications follow the endpoints that are the sandbox's gateways now.
    pub(super) async fn refresh_publications(&self, sandbox: &str) -> Result<()> {
        let state = self.state();
        let Some(sandbox) = state.sandboxes().get(sandbox) else {
            return Ok(());
        };
        let gateways = state.gateways(&sandbox.id);
        let mut wanted: Vec<EndpointPublications> = Vec::new();
        let mut homes: Vec<HomeSpec> = Vec::new();
        for endpoint in state.endpoints_of(&sandbox.id) {
            let linked = state.observed.links.contains_key(&endpoint.id);
            let Some(network) = state.networks().get(&endpoint.network).filter(|_| linked) else {
                continue;
            };
            let (driver, record) = (network.driver(), network.record());
            wanted.push(EndpointPublications {
                endpoint: endpoint.number,
                specs: driver.publications(record, endpoint, &sandbox.ports, gateways),
                ..EndpointPublications::default()
            });
            homes.extend(driver.home(record, endpoint));
        }
        if homes.len() > 1 && wanted.iter().any(|p| !p.specs.is_empty()) {
            for publications in &mut wanted {
                let own = publications.endpoint;
                publications.is_home = homes.iter().any(|h| h.endpoint == own);
                if !publications.specs.is_empty() {
                    let others = homes.iter().filter(|h| h.endpoint != own);
                    publications.homes = others.cloned().collect();
                }
            }
        }
        // First take away, then give: the new holder's entries must not go with the old one's.
        wanted.sort_by_key(|publications| !publications.specs.is_empty());
        for publications in wanted {
            self.dataplane.set_publications(&publications).await?;
        }
        Ok(())
    }
}
