//! The driver `null`: a namespace without any network.

use std::collections::BTreeMap;

use super::{Company, NetworkDriver, Room};
use crate::{
    error::{Error, Kind, Reason, Result},
    model::NetworkRequest,
};

/// No network. It has no options.
#[derive(Clone, Copy, Debug)]
pub struct Null;

impl Room for Null {
    const PREDEFINED: Option<&'static str> = Some("none");

    fn parse(_: &BTreeMap<String, String>) -> Result<Self> {
        Ok(Self)
    }
}

impl NetworkDriver for Null {
    fn check(&self, _: &NetworkRequest) -> Result<()> {
        let text = "only one instance of \"null\" network is allowed";
        Err(Error::new(Kind::Forbidden, text).because(Reason::Predefined))
    }

    fn company(&self) -> Company {
        Company::Nobody
    }
}
