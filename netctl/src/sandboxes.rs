//! `netctl sandbox …` and `netctl port …`.

use netd_proto::v1::{
    ConnectRequest, CreateSandboxRequest, GetSandboxRequest, ListPublicationsRequest,
    ListSandboxesRequest, PortSpec, PublishRequest, RemoveSandboxRequest, UnpublishRequest,
    create_sandbox_request::Namespace, port_service_client::PortServiceClient,
    sandbox_service_client::SandboxServiceClient,
};
use serde_json::{Value, json};
use tonic::{Code, transport::Channel};

use crate::{
    Failure, Outcome,
    cli::{Output, Port, Sandbox},
    client, exec, pools, ports, print, show,
};

/// A spec that cannot be read is a mistake of usage.
fn specs(texts: &[String]) -> Result<Vec<PortSpec>, Failure> {
    texts
        .iter()
        .map(|t| ports::parse(t))
        .collect::<Result<_, _>>()
        .map_err(|e| Failure(1, e))
}

pub async fn run(channel: Channel, output: Output, command: Sandbox) -> Outcome {
    let mut client = SandboxServiceClient::new(channel);
    match command {
        Sandbox::Create {
            name,
            netns,
            pid,
            hostname,
            label,
            publish,
            network,
        } => {
            let path =
                |p: std::path::PathBuf| Namespace::NetnsPath(p.to_string_lossy().into_owned());
            let networks = network.into_iter().map(|network| ConnectRequest {
                network,
                ..Default::default()
            });
            let request = CreateSandboxRequest {
                name,
                namespace: netns.map(path).or(pid.map(Namespace::Pid)),
                hostname,
                labels: pools::pairs(&label),
                ports: specs(&publish)?,
                networks: networks.collect(),
            };
            let made = client.create_sandbox(request).await?.into_inner();
            print(output, &show::sandbox(&made), || made.id.clone());
            Ok(())
        }
        Sandbox::Ls => {
            let all = client
                .list_sandboxes(ListSandboxesRequest {})
                .await?
                .into_inner()
                .sandboxes;
            let value = Value::Array(all.iter().map(show::sandbox).collect());
            print(output, &value, || {
                let row = |s: &netd_proto::v1::Sandbox| {
                    let networks: Vec<&str> = s
                        .endpoints
                        .iter()
                        .map(|e| e.network_name.as_str())
                        .collect();
                    let state = if s.running { "running" } else { "stopped" };
                    vec![
                        s.id[..s.id.len().min(12)].to_owned(),
                        s.name.clone(),
                        state.into(),
                        networks.join(","),
                    ]
                };
                show::table(
                    &["SANDBOX ID", "NAME", "STATE", "NETWORKS"],
                    &all.iter().map(row).collect::<Vec<_>>(),
                )
            });
            Ok(())
        }
        Sandbox::Inspect { sandboxes } => {
            let (mut found, mut missing) = (Vec::new(), Vec::new());
            for sandbox in sandboxes {
                match client.get_sandbox(GetSandboxRequest { sandbox }).await {
                    Ok(answer) => found.push(show::sandbox(answer.get_ref())),
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
        Sandbox::Rm { force, sandboxes } => {
            let (mut removed, mut refused) = (Vec::new(), Vec::new());
            for sandbox in sandboxes {
                match client
                    .remove_sandbox(RemoveSandboxRequest {
                        sandbox: sandbox.clone(),
                    })
                    .await
                {
                    Ok(_) => removed.push(sandbox),
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
        Sandbox::Exec { sandbox, command } => {
            let found = client
                .get_sandbox(GetSandboxRequest { sandbox })
                .await?
                .into_inner();
            let (code, message) = exec::exec(&found.netns_path, &command);
            Err(Failure(code, message))
        }
    }
}

pub async fn ports(channel: Channel, output: Output, command: Port) -> Outcome {
    let mut client = PortServiceClient::new(channel);
    let all = match command {
        Port::Publish {
            sandbox,
            specs: texts,
        } => {
            client
                .publish(PublishRequest {
                    sandbox,
                    specs: specs(&texts)?,
                })
                .await?
                .into_inner()
                .publications
        }
        Port::Unpublish {
            sandbox,
            specs: texts,
        } => {
            client
                .unpublish(UnpublishRequest {
                    sandbox,
                    specs: specs(&texts)?,
                })
                .await?;
            print(output, &json!([]), String::new);
            return Ok(());
        }
        Port::Ls { sandbox } => {
            let request = ListPublicationsRequest {
                sandbox: sandbox.unwrap_or_default(),
            };
            client
                .list_publications(request)
                .await?
                .into_inner()
                .publications
        }
    };
    let value = Value::Array(all.iter().map(show::publication).collect());
    print(output, &value, || {
        let row = |p: &netd_proto::v1::Publication| {
            let spec = p.spec.clone().unwrap_or_default();
            let port = format!(
                "{}/{}",
                ports::show_range(spec.port_first, spec.port_last),
                ports::protocol(&spec)
            );
            let state = if p.active { "active" } else { "waiting" };
            vec![
                p.sandbox_name.clone(),
                port,
                ports::show_host(&spec),
                state.into(),
            ]
        };
        show::table(
            &["SANDBOX", "PORT", "HOST", "STATE"],
            &all.iter().map(row).collect::<Vec<_>>(),
        )
    });
    Ok(())
}
