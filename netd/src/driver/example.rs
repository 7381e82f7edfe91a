//! A driver for tests only: proof that a driver is one file and one line. Its networks have subnets and addresses, but no
//! interfaces; what it is asked to do it notes in files below the directory that the option `example.notes` names.

use std::{collections::BTreeMap, fs, path::PathBuf};

use async_trait::async_trait;

use super::{Context, EndpointWork, NetworkDriver, Room};
use crate::{
    error::{Error, Result},
    model::{self, Endpoint},
};

/// Its options.
#[derive(Clone, Debug)]
pub struct Example {
    notes: PathBuf,
}

impl Room for Example {
    fn parse(options: &BTreeMap<String, String>) -> Result<Self> {
        let notes = options.get("example.notes").filter(|n| n.starts_with('/'));
        let notes = notes.ok_or_else(|| {
            Error::invalid("the driver example needs example.notes").hint("an absolute path")
        })?;
        Ok(Self {
            notes: notes.into(),
        })
    }
}

impl Example {
    fn note(&self, id: &str, there: bool) -> Result<usize> {
        let path = self.notes.join(id);
        let failed = |e| Error::internal(format!("noting {}", path.display()), e);
        match (there, path.exists()) {
            (true, false) => fs::write(&path, "").map(|()| 1).map_err(failed),
            (false, true) => fs::remove_file(&path).map(|()| 1).map_err(failed),
            _ => Ok(0),
        }
    }
}

#[async_trait]
impl NetworkDriver for Example {
    fn addressed(&self) -> bool {
        true
    }

    async fn realize_network(&self, _: &Context, network: &model::Network) -> Result<usize> {
        self.note(&network.id, true)
    }

    async fn unrealize_network(&self, _: &Context, network: &model::Network) -> Result<()> {
        self.note(&network.id, false).map(drop)
    }

    async fn realize_endpoint(&self, _: &Context, work: EndpointWork<'_>) -> Result<usize> {
        self.note(&work.endpoint.id, true)
    }

    async fn unrealize_endpoint(&self, _: &Context, endpoint: &Endpoint) -> Result<()> {
        self.note(&endpoint.id, false).map(drop)
    }
}
