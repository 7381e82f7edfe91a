//! `POST /networks/create`.

use std::collections::HashMap;

use http::StatusCode;
use netd_proto::v1::{CreateNetworkRequest, Ipam, IpamPool};
use serde_json::json;

use super::check;
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
    let request = CreateNetworkRequest {
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
    let options = hash(ipam.map("Options")?);
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
        _ => refusal,
    }
}
