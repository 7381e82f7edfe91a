//! `POST /networks/create`.

use std::collections::HashMap;

use http::StatusCode;
use netd_proto::v1::{CreateNetworkRequest, Ipam, IpamPool};
use serde_json::json;

use super::{check, shape::EMPTY};
use crate::{
    adapter::Adapter,
    http::{Answer, Version, answer, body::Object},
    refusal::{Refusal, Result},
    request::Call,
};

/// Go's name of the body's type.
const KIND: &str = "CreateRequest";

/// Makes a network.
pub async fn create(adapter: &Adapter, mut call: Call) -> Result<Answer> {
    let bytes = call.bytes().await?;
    // Docker takes no body for an empty one.
    let object = if bytes.is_empty() {
        Object::new(json!({}), KIND, "")?
    } else {
        Object::parse(call.headers(), &bytes, KIND)?
    };
    let request = read(object, call.version)?;
    let made = adapter.netd.networks().create_network(request).await;
    let made = made.map_err(refusal)?.into_inner();
    let body = json!({ "Id": made.id, "Warning": "" });
    Ok(answer::json(StatusCode::CREATED, &body))
}

fn read(mut body: Object, version: Version) -> Result<CreateNetworkRequest> {
    let name = body.text("Name")?;
    let enable_ipv4 = body.boolean("EnableIPv4")?;
    let mut request = CreateNetworkRequest {
        driver: body.text("Driver")?,
        scope: body.text("Scope")?,
        enable_ipv4: enable_ipv4.filter(|_| version.since(48)),
        enable_ipv6: body.boolean("EnableIPv6")?.unwrap_or_default(),
        ipam: ipam(&mut body)?,
        internal: body.boolean("Internal")?.unwrap_or_default(),
        attachable: body.boolean("Attachable")?.unwrap_or_default(),
        ingress: body.boolean("Ingress")?.unwrap_or_default(),
        config_only: body.boolean("ConfigOnly")?.unwrap_or_default(),
        config_from: match body.object("ConfigFrom", "ConfigReference")? {
            Some(mut from) => from.text("Network")?,
            None => String::new(),
        },
        options: hash(body.map("Options")?),
        labels: hash(body.map("Labels")?),
        name: name.clone(),
        request_id: String::new(),
    };
    if !request.config_from.is_empty()
        && let Some(ipam) = &mut request.ipam
    {
        // The other network's are taken, and none may be given.
        ipam.options.remove(EMPTY);
    }
    if name.trim().is_empty() {
        return Err(Refusal::invalid("invalid name: name is empty"));
    }
    if super::shape::PREDEFINED.contains(&name.as_str()) || name == "default" {
        return Err(Refusal::forbidden(format!(
            "operation is not permitted on predefined {name} network "
        )));
    }
    if request.enable_ipv4 == Some(false) && !request.enable_ipv6 {
        return Err(Refusal::invalid("IPv4 or IPv6 must be enabled"));
    }
    check::pools(request.ipam.as_ref().map_or(&[], |ipam| &ipam.pools))?;
    Ok(request)
}

fn ipam(body: &mut Object) -> Result<Option<Ipam>> {
    let Some(mut ipam) = body.object("IPAM", "IPAM")? else {
        return Ok(None);
    };
    let driver = ipam.text("Driver")?;
    let options = ipam.map("Options")?;
    // Docker tells none from an empty list, netd does not.
    let empty = options.as_ref().is_some_and(Vec::is_empty);
    let mut options = hash(options);
    if empty {
        options.insert(EMPTY.to_owned(), String::new());
    }
    let configs = ipam.list("Config").map_err(|_| {
        Refusal::invalid("invalid JSON: json: cannot unmarshal object into Go struct field CreateRequest.IPAM.Config of type []network.IPAMConfig")
    })?;
    let pools = configs.into_iter().map(|config| {
        let mut config = Object::new(config, "IPAMConfig", "CreateRequest.IPAM.Config")?;
        Ok(IpamPool {
            subnet: config.text("Subnet")?,
            ip_range: config.text("IPRange")?,
            gateway: config.text("Gateway")?,
            aux_addresses: hash(config.map("AuxiliaryAddresses")?),
        })
    });
    Ok(Some(Ipam {
        driver,
        options,
        pools: pools.collect::<Result<_>>()?,
    }))
}

fn hash(pairs: Option<Vec<(String, String)>>) -> HashMap<String, String> {
    pairs.into_iter().flatten().collect()
}

/// Docker's words for what netd refuses.
fn refusal(status: tonic::Status) -> Refusal {
    let reason = crate::netd::reason(&status);
    let refusal = Refusal::from(status);
    match reason.as_deref() {
        Some("POOL_OVERLAP") => Refusal::forbidden(
            "invalid pool request: Pool overlaps with other one on this address space",
        ),
        // Engines know this driver, but make its networks in a swarm only.
        Some("UNKNOWN_DRIVER") if refusal.message() == "plugin \"overlay\" not found" => {
            Refusal::forbidden(
                "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.",
            )
        }
        _ => Refusal::new(refusal.status(), worded(refusal.message())),
    }
}

/// What netd says of options and pools, as Docker says it.
fn worded(said: &str) -> String {
    if said == "bridge driver doesn't support multiple subnets of one family" {
        return "bridge driver doesn't support multiple subnets".to_owned();
    }
    let mode = said.strip_prefix("unknown gateway mode ");
    if let Some((mode, key)) = mode.and_then(|rest| rest.split_once(" in ")) {
        return format!("failed to parse {key} value: {mode} (unknown gateway mode {mode})");
    }
    let value = said
        .split_once(" value: ")
        .and_then(|(_, rest)| rest.rsplit_once(" ("));
    let Some((value, why)) = value else {
        return said.to_owned();
    };
    let parser = match why {
        "not a number)" => "strconv.Atoi",
        "neither true nor false)" => "strconv.ParseBool",
        "not an address)" => return said.replace("(not an address)", "(nil ip)"),
        _ => return said.to_owned(),
    };
    let head = said.strip_suffix(why).unwrap_or(said);
    format!("{head}{parser}: parsing {value:?}: invalid syntax)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n09_options_are_refused_in_dockers_words() {
        let key = "com.docker.network.driver.mtu";
        assert_eq!(
            worded(&format!("failed to parse {key} value: x (not a number)")),
            format!("failed to parse {key} value: x (strconv.Atoi: parsing \"x\": invalid syntax)")
        );
        assert_eq!(
            worded("unknown gateway mode x in k"),
            "failed to parse k value: x (unknown gateway mode x)"
        );
        assert_eq!(
            worded("failed to parse k value: y (not an address)"),
            "failed to parse k value: y (nil ip)"
        );
        assert_eq!(worded("something else"), "something else");
    }
}
