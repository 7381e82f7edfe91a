//! The driver `host`: the host's own namespace.

use std::collections::BTreeMap;

use super::{Company, NetworkDriver, Room};
use crate::{
    error::{Error, Kind, Reason, Result},
    model::NetworkRequest,
};

/// The host's own network. It has no options.
#[derive(Clone, Copy, Debug)]
pub struct Host;

impl Room for Host {
    const PREDEFINED: Option<&'static str> = Some("host");

    fn parse(_: &BTreeMap<String, String>) -> Result<Self> {
        Ok(Self)
    }
}

impl NetworkDriver for Host {
    fn check(&self, _: &NetworkRequest) -> Result<()> {
        let text = "only one instance of \"host\" network is allowed";
        Err(Error::new(Kind::Forbidden, text).because(Reason::Predefined))
    }

    fn company(&self) -> Company {
        Company::Host
    }
}
