//! How names are looked up in a sandbox: between messages and model.

use std::net::IpAddr;

use netd_proto::v1;

use crate::{
    error::{Error, Result},
    model::NameOptions,
};

/// The word of `--add-host` that stands for the host's address.
const HOST_GATEWAY: &str = "host-gateway";

/// From the message; texts are checked where addresses are meant.
pub fn options(message: v1::NameOptions) -> Result<NameOptions> {
    let servers = message.dns.iter().map(|server| {
        server.parse().map_err(|_| {
            Error::invalid(format!("{server} is not an ip address"))
                .hint("a name server is given by its IPv4 or IPv6 address")
        })
    });
    Ok(NameOptions {
        domainname: message.domainname,
        servers: servers.collect::<Result<_>>()?,
        search: message.dns_search,
        options: message.dns_options,
        hosts: message
            .extra_hosts
            .iter()
            .map(|line| host(line))
            .collect::<Result<_>>()?,
    })
}

fn host(line: &str) -> Result<(String, Option<IpAddr>)> {
    let bad = || Error::invalid(format!("bad format for add-host: {line:?}"));
    let (name, address) = line.split_once(':').ok_or_else(|| {
        bad().hint("name:address, as in db.example.com:192.0.2.7, or name:host-gateway")
    })?;
    if name.is_empty() {
        return Err(bad().hint("the name is missing"));
    }
    if address == HOST_GATEWAY {
        return Ok((name.to_owned(), None));
    }
    let bare = address.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse().map_err(|_| {
        Error::invalid(format!("invalid IP address in add-host: {address:?}"))
            .hint("an IPv4 or IPv6 address, or host-gateway")
    })?;
    Ok((name.to_owned(), Some(address)))
}

/// To the message.
pub fn message(options: &NameOptions) -> v1::NameOptions {
    v1::NameOptions {
        domainname: options.domainname.clone(),
        dns: options.servers.iter().map(ToString::to_string).collect(),
        dns_search: options.search.clone(),
        dns_options: options.options.clone(),
        extra_hosts: options
            .hosts
            .iter()
            .map(|(name, address)| match address {
                Some(address) => format!("{name}:{address}"),
                None => format!("{name}:{HOST_GATEWAY}"),
            })
            .collect(),
    }
}
