//! netd's own links in the host's namespace: network devices and container veths, recognised by their alias
//! `netd:<instance>:<net|peer|ep>:<id>`.

use std::{
    os::fd::AsRawFd as _,
    sync::{Arc, OnceLock},
};

use futures::{StreamExt as _, TryStreamExt as _};
use ipnetwork::IpNetwork;
use netd_common::addr::Mac;
use nix::libc;
use rtnetlink::{
    Handle, LinkMessageBuilder, LinkUnspec, LinkVeth,
    packet_route::{
        address::{AddressAttribute, AddressFlags},
        link::{
            AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoVeth, LinkAttribute,
            LinkMessage,
        },
    },
};
use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    Netns,
    host::{Ask, Counts},
    sysctl,
};
use crate::error::{Error, Kind, Result};

/// What a link of ours is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Carries a network's gateway addresses.
    Network,
    /// Inner end of that device's pair.
    Peer,
    /// Host end of a container's veth.
    Endpoint,
}

impl Role {
    const ALL: [Self; 3] = [Self::Network, Self::Peer, Self::Endpoint];

    const fn text(self) -> &'static str {
        match self {
            Self::Network => "net",
            Self::Peer => "peer",
            Self::Endpoint => "ep",
        }
    }
}

/// The alias by which a link is known as ours.
pub fn alias(instance: &str, role: Role, id: &str) -> String {
    format!("netd:{instance}:{}:{id}", role.text())
}

/// A link that belongs to an instance.
#[derive(Clone, Debug)]
pub struct OwnedLink {
    /// Its index.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Full id of its network or endpoint.
    pub id: String,
}

/// A network's device to be made.
#[derive(Clone, Debug)]
pub struct NetworkDeviceSpec {
    /// Name of the device that carries the addresses.
    pub name: String,
    /// Name of the inner end.
    pub peer_name: String,
    /// Alias of each.
    pub aliases: (String, String),
    /// Ethernet address of the device.
    pub mac: Mac,
    /// Bytes.
    pub mtu: u32,
    /// Gateway addresses with their prefix lengths.
    pub gateways: Vec<IpNetwork>,
}

/// A network's device pair.
#[derive(Clone, Copy, Debug)]
pub struct NetworkDevice {
    /// The device that carries the addresses.
    pub ifindex: u32,
    /// The inner end.
    pub peer_ifindex: u32,
}

/// A container's veth to be made.
#[derive(Clone, Debug)]
pub struct EndpointLinkSpec<'a> {
    /// Name of the end in the host.
    pub host_name: String,
    /// Its alias.
    pub alias: String,
    /// Where the other end goes.
    pub netns: &'a Netns,
    /// Name of the other end.
    pub name: String,
    /// Ethernet address of the other end.
    pub mac: Mac,
    /// Bytes.
    pub mtu: u32,
}

/// How often a listing is begun anew.
const LISTINGS: u32 = 20;

/// Lists again when the kernel says that what it listed changed meanwhile (NLM_F_DUMP_INTR, told as EBUSY).
pub(super) async fn retry<T, F>(list: impl Fn() -> F) -> std::result::Result<T, rtnetlink::Error>
where
    F: Future<Output = std::result::Result<T, rtnetlink::Error>>,
{
    let mut tries = 0;
    loop {
        tries += 1;
        match list().await {
            Err(rtnetlink::Error::NetlinkError(e))
                if e.raw_code() == -libc::EBUSY && tries < LISTINGS => {}
            other => return other,
        }
    }
}

/// A netlink socket in the namespace where it was opened.
#[derive(Clone)]
pub struct Netlink {
    pub(super) handle: Handle,
    /// Who keeps the host's state, once somebody does.
    pub(super) host: Arc<OnceLock<(mpsc::Sender<Ask>, Arc<Counts>)>>,
}

impl Netlink {
    /// Opens the socket in the calling thread's namespace. Must be called within a tokio runtime.
    pub fn new() -> Result<Self> {
        Self::open().map(|(netlink, _)| netlink)
    }

    /// As [`Netlink::new`], with the task that owns the socket: it ends, and closes it, after the last clone of this is dropped.
    pub(super) fn open() -> Result<(Self, JoinHandle<()>)> {
        let (connection, handle, _) = rtnetlink::new_connection()
            .map_err(|e| Error::internal("opening a netlink socket", e))?;
        let host = Arc::default();
        Ok((Self { handle, host }, tokio::spawn(connection)))
    }

    pub(super) async fn dump(&self) -> Result<Vec<LinkMessage>> {
        retry(|| self.handle.link().get().execute().try_collect())
            .await
            .map_err(|e| Error::internal("listing links", e))
    }

    /// Every link of this instance in the host's namespace.
    pub async fn find_links(&self, instance: &str) -> Result<Vec<OwnedLink>> {
        let prefix = format!("netd:{instance}:");
        let mut found = Vec::new();
        for message in self.dump().await? {
            let (mut name, mut alias) = (String::new(), String::new());
            for attribute in &message.attributes {
                match attribute {
                    LinkAttribute::IfName(n) => name.clone_from(n),
                    LinkAttribute::IfAlias(a) => alias.clone_from(a),
                    _ => {}
                }
            }
            let Some((role, id)) = alias
                .strip_prefix(&prefix)
                .and_then(|rest| rest.split_once(':'))
            else {
                continue;
            };
            let Some(role) = Role::ALL.into_iter().find(|r| r.text() == role) else {
                continue;
            };
            found.push(OwnedLink {
                ifindex: message.header.index,
                name,
                role,
                id: id.to_owned(),
            });
        }
        Ok(found)
    }

    /// The index of a link by name.
    pub async fn index_of(&self, name: &str) -> Result<Option<u32>> {
        let mut found = self
            .handle
            .link()
            .get()
            .match_name(name.to_owned())
            .execute();
        match found.next().await {
            Some(Ok(message)) => Ok(Some(message.header.index)),
            Some(Err(rtnetlink::Error::NetlinkError(e))) if e.raw_code() == -libc::ENODEV => {
                Ok(None)
            }
            Some(Err(e)) => Err(Error::internal(format!("looking for interface {name}"), e)),
            None => Ok(None),
        }
    }

    async fn must_find(&self, name: &str) -> Result<u32> {
        self.index_of(name)
            .await?
            .ok_or_else(|| Error::internal(format!("interface {name}"), "gone as it was made"))
    }

    async fn add(&self, message: LinkMessage, name: &str) -> Result<()> {
        self.handle
            .link()
            .add(message)
            .execute()
            .await
            .map_err(|e| match e {
                rtnetlink::Error::NetlinkError(e) if e.raw_code() == -libc::EEXIST => Error::new(
                    Kind::Conflict,
                    format!("an interface named {name} (or its other end) exists already"),
                )
                .hint("remove it or choose another name"),
                e => Error::internal(format!("creating interface {name}"), e),
            })
    }

    /// Makes a network's device pair, both ends down, addresses set.
    pub async fn create_network_device(&self, spec: &NetworkDeviceSpec) -> Result<NetworkDevice> {
        let peer = LinkMessageBuilder::<LinkUnspec>::new()
            .name(spec.peer_name.clone())
            .mtu(spec.mtu)
            .arp(false)
            .build();
        let message = LinkMessageBuilder::<LinkVeth>::new(&spec.name, &spec.peer_name)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .address(spec.mac.to_vec())
            .mtu(spec.mtu)
            .arp(false)
            .build();
        self.add(message, &spec.name).await?;
        let made = self.finish_network_device(spec).await;
        if made.is_err() {
            let _ = self.delete_by_name(&spec.name).await;
        }
        made
    }

    async fn finish_network_device(&self, spec: &NetworkDeviceSpec) -> Result<NetworkDevice> {
        let ifindex = self.must_find(&spec.name).await?;
        let peer_ifindex = self.must_find(&spec.peer_name).await?;
        self.set_alias(ifindex, &spec.aliases.0).await?;
        self.set_alias(peer_ifindex, &spec.aliases.1).await?;
        sysctl::set_device("ipv6", &spec.peer_name, "disable_ipv6", "1")?;
        let v6 = spec.gateways.iter().any(IpNetwork::is_ipv6);
        sysctl::let_forward(&spec.name, v6)?;
        if v6 {
            sysctl::set_device("ipv6", &spec.name, "accept_ra", "0")?;
        } else {
            sysctl::set_device("ipv6", &spec.name, "disable_ipv6", "1")?;
        }
        for gateway in &spec.gateways {
            self.add_address(ifindex, *gateway).await?;
        }
        Ok(NetworkDevice {
            ifindex,
            peer_ifindex,
        })
    }

    async fn set_alias(&self, ifindex: u32, alias: &str) -> Result<()> {
        let message = LinkMessageBuilder::<LinkUnspec>::new()
            .index(ifindex)
            .alias(alias)
            .build();
        self.set(
            message,
            &format!("marking interface {ifindex} with {alias}"),
        )
        .await
    }

    pub(super) async fn set(&self, message: LinkMessage, what: &str) -> Result<()> {
        self.handle
            .link()
            .set(message)
            .execute()
            .await
            .map_err(|e| Error::internal(what, e))
    }

    /// Adds an address without duplicate detection: nobody else gives out addresses there. Says whether it was missing.
    pub async fn add_address(&self, ifindex: u32, net: IpNetwork) -> Result<bool> {
        let mut request = self.handle.address().add(ifindex, net.ip(), net.prefix());
        if net.is_ipv6() {
            request
                .message_mut()
                .attributes
                .push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        match request.execute().await {
            Ok(()) => Ok(true),
            Err(rtnetlink::Error::NetlinkError(e)) if e.raw_code() == -libc::EEXIST => Ok(false),
            Err(e) => Err(Error::internal(format!("adding address {net}"), e)),
        }
    }

    /// Makes a container's veth, one end straight in its namespace, both down. Returns the host end's index.
    pub async fn create_endpoint(&self, spec: &EndpointLinkSpec<'_>) -> Result<u32> {
        let peer = LinkMessageBuilder::<LinkUnspec>::new()
            .name(spec.name.clone())
            .address(spec.mac.to_vec())
            .mtu(spec.mtu)
            .setns_by_fd(spec.netns.fd().as_raw_fd())
            .build();
        let message = LinkMessageBuilder::<LinkVeth>::new(&spec.host_name, &spec.name)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .mtu(spec.mtu)
            .build();
        self.add(message, &spec.host_name).await?;
        let finish = async {
            let ifindex = self.must_find(&spec.host_name).await?;
            self.set_alias(ifindex, &spec.alias).await?;
            self.set_no_own_ipv6(ifindex).await?;
            Ok(ifindex)
        };
        let made = finish.await;
        if made.is_err() {
            let _ = self.delete_by_name(&spec.host_name).await;
        }
        made
    }

    /// Brings a link up.
    pub async fn set_up(&self, ifindex: u32) -> Result<()> {
        let message = LinkMessageBuilder::<LinkUnspec>::new()
            .index(ifindex)
            .up()
            .build();
        self.set(message, &format!("bringing interface {ifindex} up"))
            .await
    }

    /// Lets the kernel give an interface no IPv6 address by itself (IN6_ADDR_GEN_MODE_NONE, Linux 3.17). A kernel without
    /// IPv6 gives none anyway.
    pub async fn set_no_own_ipv6(&self, ifindex: u32) -> Result<()> {
        let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
        let message = LinkMessageBuilder::<LinkUnspec>::new()
            .index(ifindex)
            .append_extra_attribute(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(
                vec![mode],
            )]))
            .build();
        match self.handle.link().set(message).execute().await {
            Err(rtnetlink::Error::NetlinkError(e)) if e.raw_code() == -libc::EAFNOSUPPORT => Ok(()),
            Err(e) => Err(Error::internal(
                format!("switching automatic IPv6 addresses of interface {ifindex} off"),
                e,
            )),
            Ok(()) => Ok(()),
        }
    }

    /// Sets a link's MTU, bytes.
    pub async fn set_mtu(&self, ifindex: u32, mtu: u32) -> Result<()> {
        let message = LinkMessageBuilder::<LinkUnspec>::new()
            .index(ifindex)
            .mtu(mtu)
            .build();
        self.set(
            message,
            &format!("setting the MTU of interface {ifindex} to {mtu}"),
        )
        .await
    }

    /// Removes a link and its other end; one that is gone is fine. See [`super::Reaper`] for many.
    pub async fn delete_link(&self, ifindex: u32) -> Result<()> {
        match self.handle.link().del(ifindex).execute().await {
            Err(rtnetlink::Error::NetlinkError(e)) if e.raw_code() == -libc::ENODEV => Ok(()),
            Err(e) => Err(Error::internal(format!("removing interface {ifindex}"), e)),
            Ok(()) => Ok(()),
        }
    }

    /// As [`Netlink::delete_link`], by name.
    pub async fn delete_by_name(&self, name: &str) -> Result<()> {
        match self.index_of(name).await? {
            Some(ifindex) => self.delete_link(ifindex).await,
            None => Ok(()),
        }
    }
}
