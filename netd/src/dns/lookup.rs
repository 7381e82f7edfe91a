//! What a sandbox's resolver would answer, without a question on the wire.

use std::net::IpAddr;

use hickory_proto::{
    op::{Query, ResponseCode},
    rr::{Name, Record, RecordType},
};

use super::{Resolver, message, table::KnownName};
use crate::error::{Error, Kind, Reason, Result};

/// What would be answered.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// These records; none: the name has none of the type.
    Answered(Vec<Record>),
    /// The name is known not to exist.
    NoSuchName,
    /// These servers are asked.
    Forwarded(Vec<IpAddr>),
    /// Nobody may be asked.
    NotForwarded,
}

fn stopped(sandbox: &str) -> Error {
    Error::new(Kind::Conflict, format!("sandbox {sandbox} does not run"))
        .because(Reason::NotRunning)
        .about("sandbox", sandbox)
        .hint("start it first")
}

fn query(name: &str, kind: &str) -> Result<Query> {
    let kind = if kind.is_empty() { "A" } else { kind };
    let of = kind
        .to_ascii_uppercase()
        .parse::<RecordType>()
        .map_err(|_| {
            Error::invalid(format!("unknown type of records {kind:?}"))
                .about("field", "type")
                .hint("A, AAAA, PTR, ...")
        })?;
    let parsed = match (of, name.parse::<IpAddr>()) {
        (RecordType::PTR, Ok(address)) => Ok(Name::from(address)),
        _ => Name::from_ascii(name),
    };
    let mut asked = parsed.map_err(|e| {
        Error::invalid(format!("{name:?} is not a name: {e}"))
            .about("field", "name")
            .hint("a host name, or an address for PTR")
    })?;
    asked.set_fqdn(true);
    Ok(Query::query(asked, of))
}

impl Resolver {
    /// What a sandbox, given by id, is answered.
    ///
    /// # Errors
    /// `Invalid`: not a name, or not a type. `Conflict`: the sandbox does not run.
    pub fn lookup(&self, sandbox: &str, name: &str, kind: &str) -> Result<Lookup> {
        let query = query(name, kind)?;
        let table = self.shared.table.load();
        let view = table.view(sandbox).ok_or_else(|| stopped(sandbox))?;
        match message::local(&table, view, &query, self.shared.config.ttl) {
            Some((ResponseCode::NXDomain, _)) => Ok(Lookup::NoSuchName),
            Some((_, records)) => Ok(Lookup::Answered(records)),
            None if !view.servers.is_empty() => Ok(Lookup::Forwarded(view.servers.clone())),
            None if view.forwards => {
                let servers = self.shared.host.servers().addresses();
                Ok(Lookup::Forwarded(servers))
            }
            None => Ok(Lookup::NotForwarded),
        }
    }

    /// Every name that a sandbox's resolver knows by itself, in order.
    ///
    /// # Errors
    /// `Conflict`: the sandbox does not run.
    pub fn known_names(&self, sandbox: &str) -> Result<Vec<KnownName>> {
        let table = self.shared.table.load();
        let view = table.view(sandbox).ok_or_else(|| stopped(sandbox))?;
        Ok(table.names(view))
    }
}
