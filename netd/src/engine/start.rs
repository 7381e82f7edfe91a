//! Starting: read what is desired, look at what is there, mend the difference.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::{Mutex, broadcast};

use super::{Engine, Model, NetworkRequest};
use crate::{
    config::{Config, Instance},
    dataplane::{Dataplane, DesiredState},
    error::Result,
    kernel::{Netlink, Netns, Role, sandbox},
    model::{Endpoint, Network, Sandbox},
    store::{Change, Store},
};

/// Events that a slow listener may lag behind.
const EVENT_BACKLOG: usize = 1024;

impl Engine {
    /// Opens the store, reconciles kernel and data plane with it, and begins to follow the host.
    pub async fn start(
        instance: Instance,
        config: Config,
        store: Store,
        dataplane: Arc<Dataplane>,
        netlink: Netlink,
    ) -> Result<Arc<Self>> {
        let mut model = read(&store)?;
        let engine = Arc::new(Self {
            instance,
            config,
            store,
            dataplane,
            netlink,
            model: Mutex::default(),
            events: broadcast::channel(EVENT_BACKLOG).0,
            warnings: std::sync::Mutex::default(),
        });
        engine.adopt(&mut model).await?;
        engine.refresh_host(&mut model).await?;
        engine.predefine(&mut model).await?;
        engine.reconcile(&mut model).await?;
        engine.reserve_ports(&model)?;
        *engine.model.lock().await = model;
        engine.follow()?;
        Ok(engine)
    }

    /// Finds the links that are there, removes those that nobody wants, opens the namespaces.
    async fn adopt(&self, model: &mut Model) -> Result<()> {
        let mut peers = BTreeMap::new();
        let mut devices = BTreeMap::new();
        for link in self.netlink.find_links(&self.instance.name).await? {
            match link.role {
                Role::Network if model.networks.contains_key(&link.id) => {
                    devices.insert(link.id, link.ifindex);
                }
                Role::Peer if model.networks.contains_key(&link.id) => {
                    peers.insert(link.id, link.ifindex);
                }
                Role::Endpoint if model.endpoints.contains_key(&link.id) => {
                    model.links.insert(link.id, link.ifindex);
                }
                _ => {
                    self.warn(format!("removed the left-over interface {}", link.name));
                    self.netlink.delete_link(link.ifindex).await?;
                }
            }
        }
        for (id, ifindex) in devices {
            match peers.get(&id) {
                Some(peer) => {
                    model.devices.insert(id, (ifindex, *peer));
                }
                None => self.netlink.delete_link(ifindex).await?,
            }
        }
        for sandbox in model.sandboxes.values() {
            let netns = match Netns::open(&sandbox.netns) {
                Ok(netns) => Some(netns),
                Err(_) if sandbox.owned => Some(self.remake(sandbox)?),
                Err(e) => {
                    self.warn(format!("sandbox {} is not running: {e}", sandbox.name));
                    None
                }
            };
            if let Some(netns) = netns {
                model.running.insert(sandbox.id.clone(), netns);
            }
        }
        Ok(())
    }

    /// A namespace that netd made is gone after a reboot: it is made anew.
    fn remake(&self, sandbox: &Sandbox) -> Result<Netns> {
        Netns::remove(&sandbox.netns)?;
        self.warn(format!(
            "made the namespace of sandbox {} anew",
            sandbox.name
        ));
        if sandbox.host {
            let host = Netns::current()?;
            host.link(&sandbox.netns)?;
            return Ok(host);
        }
        let netns = Netns::create(&sandbox.netns)?;
        sandbox::set_loopback_up(&netns)?;
        Ok(netns)
    }

    /// Makes the networks that always exist.
    async fn predefine(&self, model: &mut Model) -> Result<()> {
        for (name, driver) in [("bridge", "bridge"), ("host", "host"), ("none", "null")] {
            if model.networks.values().any(|n| n.name == name) {
                continue;
            }
            let mut changes = Vec::new();
            let request = NetworkRequest {
                name: name.into(),
                driver: driver.into(),
                enable_ipv4: true,
                ipam_driver: "default".into(),
                ..NetworkRequest::default()
            };
            let network = self.plan_network(model, request, &mut changes)?;
            changes.push(Change::put("network", &network.id, &network)?);
            self.commit(&changes)?;
            model.networks.insert(network.id.clone(), network);
        }
        Ok(())
    }

    async fn reconcile(&self, model: &mut Model) -> Result<()> {
        let desired = DesiredState {
            networks: model.networks.values().map(|n| n.number).collect(),
            endpoints: model.endpoints.values().map(|e| e.number).collect(),
        };
        for network in model.networks.values().cloned().collect::<Vec<_>>() {
            self.realize_network(model, &network).await?;
        }
        for endpoint in model.endpoints.values().cloned().collect::<Vec<_>>() {
            if let Err(e) = self.realize_endpoint(model, &endpoint).await {
                self.warn(format!("endpoint {}: {e}", endpoint.id));
            }
        }
        self.dataplane.retain(&desired);
        Ok(())
    }
}

fn read(store: &Store) -> Result<Model> {
    Ok(Model {
        networks: store
            .list::<Network>("network")?
            .into_iter()
            .map(|n| (n.id.clone(), n))
            .collect(),
        endpoints: store
            .list::<Endpoint>("endpoint")?
            .into_iter()
            .map(|e| (e.id.clone(), e))
            .collect(),
        sandboxes: store
            .list::<Sandbox>("sandbox")?
            .into_iter()
            .map(|s| (s.id.clone(), s))
            .collect(),
        next_number: store.get("meta/number")?.unwrap_or(1),
        ula: store.get("meta/ula")?,
        ..Model::default()
    })
}
