//! How names are looked up in a sandbox: between messages and model.

use std::net::IpAddr;

use netd_proto::v1::{self, extra_host::Target};

use crate::{
    error::{Error, Result},
    model::NameOptions,
};

/// From the message in the field of that name; texts are checked where addresses are meant.
pub fn options(field: &str, message: v1::NameOptions) -> Result<NameOptions> {
    let server = |(at, server): (usize, &String)| {
        server.parse().map_err(|_| {
            Error::invalid(format!("{server} is not an ip address"))
                .hint("a name server is given by its IPv4 or IPv6 address")
                .about("field", format!("{field}.dns[{at}]"))
        })
    };
    let host = |(at, line): (usize, v1::ExtraHost)| {
        host(line).map_err(|e| e.about("field", format!("{field}.extra_hosts[{at}]")))
    };
    Ok(NameOptions {
        domainname: message.domainname,
        servers: message
            .dns
            .iter()
            .enumerate()
            .map(server)
            .collect::<Result<_>>()?,
        search: message.dns_search,
        options: message.dns_options,
        hosts: message
            .extra_hosts
            .into_iter()
            .enumerate()
            .map(host)
            .collect::<Result<_>>()?,
    })
}

fn host(line: v1::ExtraHost) -> Result<(String, Option<IpAddr>)> {
    let bad =
        |why: &str| Error::invalid(format!("bad format for add-host: {:?}: {why}", line.name));
    let hint = "a name, and an IPv4 or IPv6 address or host_gateway";
    if line.name.is_empty() {
        return Err(bad("the name is missing").hint(hint));
    }
    match line.target {
        Some(Target::HostGateway(true)) => Ok((line.name, None)),
        Some(Target::Address(text)) => {
            let address = text.parse().map_err(|_| {
                Error::invalid(format!("invalid IP address in add-host: {text:?}")).hint(hint)
            })?;
            Ok((line.name, Some(address)))
        }
        Some(Target::HostGateway(false)) | None => Err(bad("the address is missing").hint(hint)),
    }
}

/// To the message.
pub fn message(options: &NameOptions) -> v1::NameOptions {
    let host = |(name, address): &(String, Option<IpAddr>)| v1::ExtraHost {
        name: name.clone(),
        target: Some(match address {
            Some(address) => Target::Address(address.to_string()),
            None => Target::HostGateway(true),
        }),
    };
    v1::NameOptions {
        domainname: options.domainname.clone(),
        dns: options.servers.iter().map(ToString::to_string).collect(),
        dns_search: options.search.clone(),
        dns_options: options.options.clone(),
        extra_hosts: options.hosts.iter().map(host).collect(),
    }
}
