//! `netctl network …`.

use netd_proto::v1::{
    ConnectRequest, CreateNetworkRequest, DisconnectRequest, GetNetworkRequest, Ipam,
    ListNetworksRequest, RemoveNetworkRequest, endpoint_service_client::EndpointServiceClient,
    network_service_client::NetworkServiceClient,
};
use serde_json::{Value, json};
use tonic::{Code, transport::Channel};

use crate::{
    Failure, Outcome,
    cli::{Network, NetworkConnect, NetworkCreate, Output},
    client, pools, print, show,
};

pub async fn run(channel: Channel, output: Output, command: Network) -> Outcome {
    match command {
        Network::Create(create) => self::create(channel, output, *create).await,
        Network::Ls { quiet, no_trunc } => list(channel, output, quiet, no_trunc).await,
        Network::Inspect { networks } => inspect(channel, &networks).await,
        Network::Connect(connect) => self::connect(channel, output, connect).await,
        Network::Disconnect {
            force,
            network,
            sandbox,
        } => {
            let request = DisconnectRequest {
                network,
                sandbox,
                force,
            };
            let answer = EndpointServiceClient::new(channel)
                .disconnect_sandbox(request)
                .await?
                .into_inner();
            print(
                output,
                &json!({ "EndpointID": answer.endpoint_id }),
                String::new,
            );
            Ok(())
        }
        Network::Rm { force, networks } => remove(channel, output, force, networks).await,
    }
}

async fn create(channel: Channel, output: Output, c: NetworkCreate) -> Outcome {
    let request = CreateNetworkRequest {
        name: c.name,
        driver: c.driver,
        scope: c.scope,
        enable_ipv4: Some(c.ipv4),
        enable_ipv6: c.ipv6,
        ipam: Some(Ipam {
            driver: c.ipam_driver,
            options: pools::pairs(&c.ipam_opt),
            pools: pools::pools(&c.subnet, &c.ip_range, &c.gateway, &c.aux_address)?,
        }),
        internal: c.internal,
        attachable: c.attachable,
        ingress: c.ingress,
        config_only: c.config_only,
        config_from: c.config_from,
        options: pools::pairs(&c.options),
        labels: pools::pairs(&c.label),
    };
    let made = NetworkServiceClient::new(channel)
        .create_network(request)
        .await?
        .into_inner();
    print(output, &show::network(&made), || made.id.clone());
    Ok(())
}

async fn list(channel: Channel, output: Output, quiet: bool, no_trunc: bool) -> Outcome {
    let answer = NetworkServiceClient::new(channel)
        .list_networks(ListNetworksRequest {})
        .await?
        .into_inner();
    let mut networks = answer.networks;
    networks.sort_by(|a, b| a.name.cmp(&b.name));
    let value = Value::Array(networks.iter().map(show::network).collect());
    print(output, &value, || {
        let id = |id: &str| {
            if no_trunc {
                id.to_owned()
            } else {
                id[..id.len().min(12)].to_owned()
            }
        };
        if quiet {
            return networks
                .iter()
                .map(|n| id(&n.id))
                .collect::<Vec<_>>()
                .join("\n");
        }
        let row = |n: &netd_proto::v1::Network| {
            vec![id(&n.id), n.name.clone(), n.driver.clone(), n.scope.clone()]
        };
        show::table(
            &["NETWORK ID", "NAME", "DRIVER", "SCOPE"],
            &networks.iter().map(row).collect::<Vec<_>>(),
        )
    });
    Ok(())
}

/// Prints what there is, then complains of what there is not, as Docker does.
async fn inspect(channel: Channel, wanted: &[String]) -> Outcome {
    let mut client = NetworkServiceClient::new(channel);
    let mut found = Vec::new();
    let mut missing = Vec::new();
    for network in wanted {
        match client
            .get_network(GetNetworkRequest {
                network: network.clone(),
            })
            .await
        {
            Ok(answer) => found.push(show::network(answer.get_ref())),
            Err(status) => missing.push(client::refusal(&status)),
        }
    }
    print(Output::Json, &Value::Array(found), String::new);
    if missing.is_empty() {
        Ok(())
    } else {
        Err(Failure(1, missing.join("\nError: ")))
    }
}

async fn connect(channel: Channel, output: Output, c: NetworkConnect) -> Outcome {
    let request = ConnectRequest {
        network: c.network,
        sandbox: c.sandbox,
        ipv4_address: c.ip,
        ipv6_address: c.ip6,
        mac_address: c.mac_address,
        aliases: c.alias,
        driver_options: pools::pairs(&c.driver_opt),
        gateway_priority: c.gw_priority,
    };
    let made = EndpointServiceClient::new(channel)
        .connect_sandbox(request)
        .await?
        .into_inner();
    print(output, &show::endpoint(&made), String::new);
    Ok(())
}

async fn remove(channel: Channel, output: Output, force: bool, networks: Vec<String>) -> Outcome {
    let mut client = NetworkServiceClient::new(channel);
    let mut removed = Vec::new();
    let mut refused = Vec::new();
    for network in networks {
        match client
            .remove_network(RemoveNetworkRequest {
                network: network.clone(),
            })
            .await
        {
            Ok(_) => removed.push(network),
            Err(status) if force && status.code() == Code::NotFound => {}
            Err(status) => refused.push(client::refusal(&status)),
        }
    }
    print(output, &json!(removed), || removed.join("\n"));
    if refused.is_empty() {
        Ok(())
    } else {
        Err(Failure(1, refused.join("\nError: ")))
    }
}
