//! `network`: create, inspect, update, connect, disconnect, rm. `ls` and `prune` have files of their own.

use std::net::IpAddr;

use netd_proto::v1::{
    ConnectSandboxRequest, CreateNetworkRequest, DisconnectSandboxRequest, EndpointSpec,
    GetNetworkRequest, Ipam, ListNetworksRequest, NetworkUpdate, NetworkView, RemoveNetworkRequest,
    UpdateNetworkRequest,
};
use serde_json::json;

use super::{answer, each, inspected, list, mask, pages, print, prune, wanted};
use crate::{
    cli::{
        Labels, Output,
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
            // As JSON a network is shown with what stands on it.
            let view = match output {
                Output::Text => NetworkView::Basic,
                Output::Json => NetworkView::Full,
            };
            let networks = pages(|page_token| async {
                let request = ListNetworksRequest {
                    page_token,
                    view: view.into(),
                    ..Default::default()
                };
                let page = client.networks().list_networks(request).await?.into_inner();
                Ok((page.networks, page.next_page_token))
            });
            print(&list::show(networks.await?, &flags, output)?)
        }
        Command::Update { labels, network } => update(client, network, labels, output).await,
        Command::Inspect {
            format, networks, ..
        } => inspect(client, format, networks, output).await,
        Command::Connect(flags) => connect(client, flags, output).await,
        Command::Disconnect {
            // Without it netd clears as much.
            force: _,
            network,
            sandbox,
        } => {
            let request = DisconnectSandboxRequest {
                network,
                sandbox,
                allow_missing: false,
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
            each(output, networks, force, async |network| {
                let request = RemoveNetworkRequest {
                    network,
                    allow_missing: false,
                };
                let mut service = client.networks();
                service.remove_network(request).await.map(drop)
            })
            .await
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
        request_id: String::new(),
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
        let view = NetworkView::Full.into();
        match service
            .get_network(GetNetworkRequest { network, view })
            .await
        {
            Ok(network) => found.push(docker::inspect(network.get_ref())),
            Err(status) => failures.push(Failure::from(status)),
        }
    }
    inspected(output, &found, &failures, template.as_ref())
}

/// Reads the labels and writes them back changed, unless somebody else has changed the network meanwhile.
async fn update(client: &Client, network: String, labels: Labels, output: Output) -> Result<()> {
    if labels.is_empty() {
        return Err(Failure::new("nothing is to change").hint("--label or --label-rm"));
    }
    let mut service = client.networks();
    let view = NetworkView::Basic.into();
    let request = GetNetworkRequest { network, view };
    let found = service.get_network(request).await?.into_inner();
    let request = UpdateNetworkRequest {
        network: found.id,
        update: Some(NetworkUpdate {
            labels: labels.applied(found.labels),
        }),
        update_mask: mask(&["labels"]),
        expected_revision: found.revision,
    };
    let network = service.update_network(request).await?.into_inner();
    answer(
        output,
        || format!("{}\n", network.name),
        || docker::inspect(&network),
    )
}

async fn connect(client: &Client, flags: Connect, output: Output) -> Result<()> {
    let spec = EndpointSpec {
        network: flags.network,
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
    let request = ConnectSandboxRequest {
        sandbox: flags.sandbox,
        spec: Some(spec),
        request_id: String::new(),
    };
    let mut service = client.endpoints();
    let endpoint = service.connect_sandbox(request).await?.into_inner();
    answer(output, String::new, || json::endpoint(&endpoint))
}
