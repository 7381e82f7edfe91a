//! `network`: create, inspect, connect, disconnect, rm. `ls` and `prune` have files of their own.

use std::net::IpAddr;

use netd_proto::v1::{
    ConnectRequest, CreateNetworkRequest, DisconnectRequest, GetNetworkRequest, Ipam,
    ListNetworksRequest, RemoveNetworkRequest,
};
use serde_json::json;

use super::{answer, done, inspected, list, print, prune, wanted};
use crate::{
    cli::{
        Output,
        network::{Command, Connect, Create},
    },
    client::Client,
    failure::{Failure, Result},
    format::{docker, json},
    ipam,
};

/// Refuses what needs no daemon to be refused.
///
/// # Errors
/// Addresses without a subnet, unknown filters and templates.
pub fn check(command: &Command) -> Result<()> {
    match command {
        Command::Create(create) => pools(create).map(|_| ()),
        Command::Ls(flags) => list::check(flags),
        Command::Inspect {
            format: Some(format),
            ..
        } => wanted(Some(format.clone())).map(|_| ()),
        Command::Prune { filters, .. } => prune::request(filters).map(|_| ()),
        _ => Ok(()),
    }
}

/// Runs a command.
///
/// # Errors
/// The daemon's refusal.
pub async fn run(client: &Client, command: Command, output: Output) -> Result<()> {
    match command {
        Command::Create(flags) => create(client, *flags, output).await,
        Command::Ls(flags) => {
            let request = ListNetworksRequest {};
            let networks = client.networks().list_networks(request).await?.into_inner();
            print(&list::show(networks.networks, &flags, output)?)
        }
        Command::Inspect {
            format, networks, ..
        } => inspect(client, format, networks, output).await,
        Command::Connect(flags) => connect(client, flags, output).await,
        Command::Disconnect {
            force,
            network,
            sandbox,
        } => {
            let request = DisconnectRequest {
                network,
                sandbox,
                force,
            };
            let mut service = client.endpoints();
            let id = service.disconnect_sandbox(request).await?.into_inner();
            answer(
                output,
                String::new,
                || json!({"EndpointID": id.endpoint_id}),
            )
        }
        Command::Prune { force, filters } => prune::run(client, force, &filters, output).await,
        Command::Rm { force, networks } => {
            let mut service = client.networks();
            let mut outcomes = Vec::new();
            for network in networks {
                let request = RemoveNetworkRequest {
                    network: network.clone(),
                };
                let outcome = service.remove_network(request).await;
                outcomes.push((network, outcome.map(|_| ()).map_err(Failure::from)));
            }
            done(output, outcomes, force)
        }
    }
}

fn pools(create: &Create) -> Result<Vec<netd_proto::v1::IpamPool>> {
    // As Docker's client, an empty text is no value.
    let said = |texts: &[String]| -> Vec<String> {
        let texts = texts.iter().filter(|text| !text.is_empty());
        texts.cloned().collect()
    };
    let given = ipam::Given {
        subnets: &said(&create.subnets),
        ranges: &said(&create.ranges),
        gateways: &said(&create.gateways),
        aux: &create.aux,
    };
    ipam::pools(&given).map_err(Failure::new)
}

async fn create(client: &Client, create: Create, output: Output) -> Result<()> {
    let ipam = Ipam {
        pools: pools(&create)?,
        driver: create.ipam_driver,
        options: create.ipam_options.into_iter().collect(),
    };
    let request = CreateNetworkRequest {
        name: create.name,
        driver: create.driver,
        scope: create.scope.unwrap_or_default(),
        enable_ipv4: create.ipv4,
        enable_ipv6: create.ipv6.unwrap_or_default(),
        ipam: Some(ipam),
        internal: create.internal,
        attachable: create.attachable,
        ingress: create.ingress,
        config_only: create.config_only,
        config_from: create.config_from.unwrap_or_default(),
        options: create.options.into_iter().collect(),
        labels: create.labels.into_iter().collect(),
    };
    let network = client
        .networks()
        .create_network(request)
        .await?
        .into_inner();
    answer(
        output,
        || format!("{}\n", network.id),
        || docker::inspect(&network),
    )
}

async fn inspect(
    client: &Client,
    format: Option<String>,
    names: Vec<String>,
    output: Output,
) -> Result<()> {
    let template = wanted(format)?;
    let mut service = client.networks();
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for network in names {
        match service.get_network(GetNetworkRequest { network }).await {
            Ok(network) => found.push(docker::inspect(network.get_ref())),
            Err(status) => failures.push(Failure::from(status)),
        }
    }
    inspected(output, &found, &failures, template.as_ref())
}

async fn connect(client: &Client, flags: Connect, output: Output) -> Result<()> {
    let request = ConnectRequest {
        network: flags.network,
        sandbox: flags.sandbox,
        ipv4_address: flags.ip.map(|ip| ip.to_string()).unwrap_or_default(),
        ipv6_address: flags.ip6.map(|ip| ip.to_string()).unwrap_or_default(),
        mac_address: flags.mac_address.unwrap_or_default(),
        aliases: flags.aliases,
        driver_options: flags.driver_options.into_iter().collect(),
        gateway_priority: flags.gw_priority,
        links: flags.links,
        link_local_addresses: flags.link_local_ips.iter().map(IpAddr::to_string).collect(),
        interface_name: flags.interface.unwrap_or_default(),
    };
    let mut service = client.endpoints();
    let endpoint = service.connect_sandbox(request).await?.into_inner();
    answer(output, String::new, || json::endpoint(&endpoint))
}
