//! The network drivers: each is one room, a type that holds its options and says what a network and an endpoint of its kind
//! need. It must not know requests, the store or other drivers.
//!
//! A new driver is a file of its own here and one line in [`drivers!`] below.

mod bridge;
mod context;
#[cfg(feature = "failpoints")]
mod example;
mod host;
mod null;

use std::{collections::BTreeMap, fmt::Debug, net::IpAddr, ops::Deref};

use async_trait::async_trait;
use ipnetwork::IpNetwork;

pub use bridge::GatewayMode;
pub use context::{Context, EndpointWork};

use crate::{
    dataplane::{HomeSpec, PublicationSpec},
    error::{Error, Reason, Result},
    model::{self, Endpoint, EndpointSpec, NetworkRequest, Pool, PortBinding},
};

/// Whom a network may stand beside in one sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Company {
    /// Others.
    Others,
    /// Nobody.
    Nobody,
    /// Nobody, and the sandbox's namespace is the host's own.
    Host,
}

/// What sandboxes of a network hear by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NamesPolicy {
    /// They know each other by name.
    pub resolves: bool,
    /// Questions about other names may go to the host's resolvers.
    pub forwards: bool,
    /// Links stand in the hosts file, and their targets must be there before them.
    pub links_in_hosts: bool,
}

/// The endpoints of a sandbox that hold its default routes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gateways<'a> {
    /// That of IPv4.
    pub v4: Option<&'a Endpoint>,
    /// That of IPv6.
    pub v6: Option<&'a Endpoint>,
}

impl<'a> Gateways<'a> {
    /// That of a family.
    pub fn of(&self, v4: bool) -> Option<&'a Endpoint> {
        if v4 { self.v4 } else { self.v6 }
    }
}

/// What a network and an endpoint of a driver need. What a driver does not say is as for a network without interfaces.
#[async_trait]
pub trait NetworkDriver: Debug + Send + Sync {
    /// Rules about what a user asks for, beyond the options.
    fn check(&self, _request: &NetworkRequest) -> Result<()> {
        Ok(())
    }

    /// Its networks have subnets.
    fn addressed(&self) -> bool {
        false
    }

    /// Rules about its subnets.
    fn check_pools(&self, _pools: &[Pool]) -> Result<()> {
        Ok(())
    }

    /// Fills in what a new network of it has in the host: its device and MTU.
    fn plan_network(&self, _network: &mut model::Network) {}

    /// Whom its networks may stand beside.
    fn company(&self) -> Company {
        Company::Others
    }

    /// Rules about an endpoint that a user asks for.
    fn check_endpoint(&self, _network: &model::Network, _spec: &EndpointSpec) -> Result<()> {
        Ok(())
    }

    /// What its interfaces in sandboxes are called, before a number; `None`: its endpoints have no interface.
    fn interface_prefix(&self) -> Option<&str> {
        None
    }

    /// The gateway that an endpoint's packets of a family leave by, if any do.
    fn gateway(&self, _network: &model::Network, _v4: bool) -> Option<IpAddr> {
        None
    }

    /// Of a network's gateway addresses, those that the host itself holds.
    fn host_addresses(&self, _network: &model::Network) -> Vec<IpNetwork> {
        Vec::new()
    }

    /// What its sandboxes hear by name.
    fn names(&self, _network: &model::Network) -> NamesPolicy {
        NamesPolicy::default()
    }

    /// The host address that ports are published on when none is given; `None`: all.
    fn default_binding(&self) -> Option<IpAddr> {
        None
    }

    /// Host interfaces from which published ports are reached at the endpoints' own addresses.
    fn trusted_interfaces(&self) -> &[String] {
        &[]
    }

    /// What an endpoint has published, of its sandbox's ports.
    fn publications(
        &self,
        _network: &model::Network,
        _endpoint: &Endpoint,
        _ports: &[PortBinding],
        _gateways: Gateways<'_>,
    ) -> Vec<PublicationSpec> {
        Vec::new()
    }

    /// The endpoint as the one that answers clients of its own network who ask by a published port of another endpoint of its
    /// sandbox.
    fn home(&self, _network: &model::Network, _endpoint: &Endpoint) -> Option<HomeSpec> {
        None
    }

    /// Makes what a network has in the host, or what is missing of it. Says how much was.
    async fn realize_network(
        &self,
        _context: &Context,
        _network: &model::Network,
    ) -> Result<usize> {
        Ok(0)
    }

    /// Takes it away; what is gone is fine.
    async fn unrealize_network(&self, _context: &Context, _network: &model::Network) -> Result<()> {
        Ok(())
    }

    /// What of a network is not as it should be, one sentence each; changes nothing.
    async fn observe_network(
        &self,
        _context: &Context,
        _network: &model::Network,
    ) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// Gives a network that follows the way out its MTU, with all of its endpoints that are there.
    async fn set_mtu(
        &self,
        _context: &Context,
        _network: &model::Network,
        _endpoints: &[Endpoint],
        _mtu: u32,
    ) -> Result<()> {
        Ok(())
    }

    /// Tells the data plane which of the host's interfaces are trusted now.
    fn follow_trusted(&self, _context: &Context, _network: &model::Network) -> Result<()> {
        Ok(())
    }

    /// Sets what the kernel must do on a network's device. Says how much of it was wrong.
    fn set_switches(&self, _network: &model::Network) -> Result<usize> {
        Ok(0)
    }

    /// Makes an endpoint, or what is missing of it. Says how much was.
    async fn realize_endpoint(&self, _context: &Context, _work: EndpointWork<'_>) -> Result<usize> {
        Ok(0)
    }

    /// Takes an endpoint out of the data plane: from now on its addresses are nobody's.
    async fn withdraw_endpoint(&self, _context: &Context, _endpoint: &Endpoint) {}

    /// Takes its interface away, after it was withdrawn; what is gone is fine.
    async fn unrealize_endpoint(&self, _context: &Context, _endpoint: &Endpoint) -> Result<()> {
        Ok(())
    }

    /// Tells the data plane of an endpoint whose interface is there.
    fn tell_endpoint(
        &self,
        _context: &Context,
        _network: &model::Network,
        _endpoint: &Endpoint,
    ) -> Result<()> {
        Ok(())
    }

    /// What of an endpoint is not as it should be, one sentence each; changes nothing.
    async fn observe_endpoint(
        &self,
        _context: &Context,
        _work: EndpointWork<'_>,
    ) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}

/// How a driver is made from what the user, or a record, says.
trait Room: NetworkDriver + Sized {
    /// The network of its kind that exists from the first start.
    const PREDEFINED: Option<&'static str> = None;

    /// Reads its options. Errors name the key, the value and what would be right.
    fn parse(options: &BTreeMap<String, String>) -> Result<Self>;
}

macro_rules! drivers {
    ($($(#[$meta:meta])* $name:literal => $variant:ident($room:ty),)*) => {
        /// A driver with its options. Parsed once: where a request or a record comes in.
        #[derive(Clone, Debug)]
        pub enum Driver {
            $($(#[$meta])* #[doc = $name] $variant($room),)*
        }

        impl Driver {
            /// Names of the drivers.
            pub const NAMES: &[&str] = &[$($(#[$meta])* $name,)*];

            /// The driver of this name, with its options.
            pub fn parse(name: &str, options: &BTreeMap<String, String>) -> Result<Self> {
                match name {
                    $($(#[$meta])* $name => <$room as Room>::parse(options).map(Self::$variant),)*
                    other => Err(unknown(other)),
                }
            }

            /// Name and driver of the networks that exist from the first start.
            pub fn predefined() -> Vec<(&'static str, &'static str)> {
                let all = [$($(#[$meta])* (<$room as Room>::PREDEFINED, $name),)*];
                let named = all.into_iter().filter_map(|(network, driver)| Some((network?, driver)));
                named.collect()
            }

            fn room(&self) -> &dyn NetworkDriver {
                match self {
                    $($(#[$meta])* Self::$variant(room) => room,)*
                }
            }
        }
    };
}

drivers! {
    "bridge" => Bridge(bridge::Bridge),
    "host" => Host(host::Host),
    "null" => Null(null::Null),
    #[cfg(feature = "failpoints")]
    "example" => Example(example::Example),
}

fn unknown(name: &str) -> Error {
    Error::not_found(format!("plugin {name:?} not found"))
        .because(Reason::UnknownDriver)
        .about("driver", name)
        .hint(format!("the drivers are {}", Driver::NAMES.join(", ")))
}

/// A network with its driver: its record, judged and understood.
#[derive(Clone, Debug)]
pub struct Network {
    record: model::Network,
    room: Driver,
}

impl Deref for Network {
    type Target = model::Network;

    fn deref(&self) -> &model::Network {
        &self.record
    }
}

impl PartialEq for Network {
    fn eq(&self, other: &Self) -> bool {
        // The driver follows from the record.
        self.record == other.record && self.record.number == other.record.number
    }
}

impl Network {
    /// Judges a record and reads its driver's options.
    pub fn new(record: model::Network) -> Result<Self> {
        record.check()?;
        let room = Driver::parse(&record.driver, &record.options)?;
        Ok(Self { record, room })
    }

    /// Its record.
    pub fn record(&self) -> &model::Network {
        &self.record
    }

    /// The same network with another record, whose driver and options must be the same.
    pub fn with(&self, change: impl FnOnce(&mut model::Network)) -> Self {
        let mut next = self.clone();
        change(&mut next.record);
        next
    }

    /// Name of its driver.
    pub fn driver_name(&self) -> &str {
        &self.record.driver
    }

    /// Rules of its driver about what the user asked for; also for a network that only lends its configuration.
    pub fn check_request(&self, request: &NetworkRequest) -> Result<()> {
        self.room.room().check(request)
    }

    /// What its driver says. A network that only lends its configuration has nothing in the kernel.
    pub fn driver(&self) -> &dyn NetworkDriver {
        const LENDER: null::Null = null::Null;
        if self.record.config_only {
            return &LENDER;
        }
        self.room.room()
    }

    /// The gateway of a family that endpoints use, unless nothing of that family leaves the network.
    pub fn route_via(&self, v4: bool) -> Option<IpAddr> {
        self.driver().gateway(&self.record, v4)
    }

    /// Gateway addresses that the host holds.
    pub fn host_gateways(&self) -> Vec<IpNetwork> {
        self.driver().host_addresses(&self.record)
    }

    /// What its sandboxes hear by name.
    pub fn names(&self) -> NamesPolicy {
        self.driver().names(&self.record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n03_the_predefined_networks_have_drivers() {
        let names: Vec<&str> = Driver::predefined().iter().map(|(n, _)| *n).collect();
        assert_eq!(names, model::PREDEFINED);
    }

    #[test]
    fn an_unknown_driver_is_named_with_those_there_are() {
        let error = Driver::parse("weave", &BTreeMap::new()).unwrap_err();
        assert_eq!(error.reason, Reason::UnknownDriver);
        let hint = error.hint.unwrap();
        assert!(hint.contains("bridge, host, null"));
        // It is for tests only.
        assert_eq!(hint.contains("example"), cfg!(feature = "failpoints"));
    }
}
