//! B19: what a request may hold. Every call of the API is tried with too much in each of its fields, by the descriptors that
//! its clients read: a field that is forgotten at the door is found here.

use anyhow::{Context, Result, ensure};
use netd_proto::v1::{
    CreateNetworkRequest, ExposedPort, ListSandboxesRequest, PortSpec, PublishRequest,
    network_service_client::NetworkServiceClient, port_service_client::PortServiceClient,
    sandbox_service_client::SandboxServiceClient,
};
use netd_tests::World;
use prost::{Message as _, bytes::BufMut as _};
use prost_reflect::{
    Cardinality, DescriptorPool, DynamicMessage, ExtensionDescriptor, FieldDescriptor, Kind,
    MapKey, MessageDescriptor, Value,
};
use tonic::{
    Code, Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Channel,
};
use tonic_types::StatusExt as _;

use crate::{Outcome, api::channel, refusals::state, show};

/// Requests as bytes; answers are not read.
#[derive(Default)]
struct Bytes;

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;
    fn encode(&mut self, item: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = ();
    type Error = Status;
    fn decode(&mut self, _: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        Ok(Some(()))
    }
}

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        Self
    }
    fn decoder(&mut self) -> Self {
        Self
    }
}

/// How much a field may hold: items, bytes, bytes of a key.
fn bound(field: &FieldDescriptor, option: &ExtensionDescriptor) -> [usize; 3] {
    let options = field.options();
    let value = options.get_extension(option);
    let number = |name: &str| {
        let bound = value.as_message()?;
        let number = bound.get_field_by_name(name)?.as_u32()?;
        usize::try_from(number).ok()
    };
    ["items", "bytes", "key_bytes"].map(|name| number(name).unwrap_or(0))
}

fn text(bytes: usize) -> Value {
    Value::String("x".repeat(bytes))
}

/// Values of a field that are one too much.
fn too_much(field: &FieldDescriptor, option: &ExtensionDescriptor) -> Vec<Value> {
    let [items, bytes, key_bytes] = bound(field, option);
    let pairs = |pairs: Vec<(String, Value)>| {
        Value::Map(
            pairs
                .into_iter()
                .map(|(k, v)| (MapKey::String(k), v))
                .collect(),
        )
    };
    match field.kind() {
        _ if field.is_map() => vec![
            pairs((0..=items).map(|n| (n.to_string(), text(0))).collect()),
            pairs(vec![("x".repeat(key_bytes + 1), text(0))]),
            pairs(vec![("x".to_owned(), text(bytes + 1))]),
        ],
        Kind::String if field.cardinality() == Cardinality::Repeated => vec![
            Value::List(vec![text(0); items + 1]),
            Value::List(vec![text(bytes + 1)]),
        ],
        Kind::String => vec![text(bytes + 1)],
        Kind::Message(inner) if inner.full_name() == "google.protobuf.FieldMask" => {
            let mut mask = DynamicMessage::new(inner);
            mask.set_field_by_name("paths", Value::List(vec![text(0); items + 1]));
            vec![Value::Message(mask)]
        }
        Kind::Message(inner) if field.cardinality() == Cardinality::Repeated => {
            let empty = Value::Message(DynamicMessage::new(inner));
            vec![Value::List(vec![empty; items + 1])]
        }
        Kind::Enum(_) if field.cardinality() == Cardinality::Repeated => {
            vec![Value::List(vec![Value::EnumNumber(1); items + 1])]
        }
        _ => Vec::new(),
    }
}

/// Messages with too much in one place each, and the name of that place.
fn excesses(
    message: &MessageDescriptor,
    option: &ExtensionDescriptor,
) -> Vec<(String, DynamicMessage)> {
    let mut all = Vec::new();
    for field in message.fields() {
        let mut add = |place: String, value: Value| {
            let mut whole = DynamicMessage::new(message.clone());
            whole.set_field(&field, value);
            all.push((place, whole));
        };
        for value in too_much(&field, option) {
            add(field.name().to_owned(), value);
        }
        if let (Kind::Message(inner), false) = (field.kind(), field.is_map())
            && inner.package_name() == "netd.v1"
        {
            for (place, part) in excesses(&inner, option) {
                let (value, place) = match field.cardinality() {
                    Cardinality::Repeated => (
                        Value::List(vec![Value::Message(part)]),
                        format!("{}[0].{place}", field.name()),
                    ),
                    _ => (Value::Message(part), format!("{}.{place}", field.name())),
                };
                add(place, value);
            }
        }
    }
    all
}

/// Reason, field by the metadata, fields by the violations.
fn said(status: &Status) -> (String, String, Vec<String>) {
    let details = status.get_error_details();
    let info = details.error_info();
    let field = info.and_then(|info| info.metadata.get("field"));
    let bad = details.bad_request().into_iter();
    let violations = bad.flat_map(|bad| bad.field_violations.iter());
    (
        info.map(|info| info.reason.clone()).unwrap_or_default(),
        field.cloned().unwrap_or_default(),
        violations.map(|v| v.field.clone()).collect(),
    )
}

/// Makes a call of these bytes.
pub async fn call(channel: &Channel, path: &str, request: Vec<u8>) -> Result<(), Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    let ready = client.ready().await;
    ready.map_err(|e| Status::unknown(e.to_string()))?;
    let path = path.parse().map_err(|_| Status::unknown("a path"))?;
    let request = tonic::Request::new(request);
    // A stream's refusal is the same.
    client.unary(request, path, Bytes).await.map(|_| ())
}

#[tokio::test]
async fn b19_each_field_of_each_call_has_its_bound() -> Outcome {
    let world = World::new()?;
    let before = state(&world)?;
    let channel = channel(&world).await?;
    let pool = DescriptorPool::decode(netd_proto::v1::FILE_DESCRIPTOR_SET)?;
    let option = pool
        .get_extension_by_name("netd.v1.bound")
        .context("no option")?;
    let (mut tried, mut wrong) = (0, Vec::new());
    let services = pool.services().filter(|s| s.package_name() == "netd.v1");
    for method in services.flat_map(|s| s.methods().collect::<Vec<_>>()) {
        let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
        for (place, request) in excesses(&method.input(), &option) {
            tried += 1;
            let refused = match call(&channel, &path, request.encode_to_vec()).await {
                Ok(()) => {
                    wrong.push(format!("{path} {place}: taken"));
                    continue;
                }
                Err(status) => status,
            };
            let (reason, named, violations) = said(&refused);
            let right = refused.code() == Code::InvalidArgument
                && reason == "TOO_MANY"
                && named.starts_with(&place)
                && violations == [named];
            if !right {
                wrong.push(format!("{path} {place}: {refused:?}"));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    ensure!(tried > 150, "only {tried} places were tried");
    ensure!(before == state(&world)?, "something changed");
    Ok(())
}

#[tokio::test]
async fn b19_what_is_just_within_is_taken() -> Outcome {
    let world = World::new()?;
    let channel = channel(&world).await?;
    let mut networks = NetworkServiceClient::new(channel.clone());
    let mut request = CreateNetworkRequest {
        name: "front".into(),
        labels: (0..256)
            .map(|n| (format!("k{n}"), "x".repeat(1024)))
            .collect(),
        ..Default::default()
    };
    networks.create_network(request.clone()).await?;
    // The same fields, and too long as a whole.
    request.name = "back".into();
    request
        .labels
        .values_mut()
        .for_each(|v| *v = "x".repeat(4096));
    let refused = networks.create_network(request).await;
    let status = refused.err().context("it was taken")?;
    ensure!(said(&status).0 == "TOO_MANY", "{status:?}");
    // Many ports are one row.
    show::run(&world, "web")?;
    let spec = PortSpec {
        host_port: Some(20_000),
        port: 20_000,
        count: 1_024,
        ..Default::default()
    };
    let request = PublishRequest {
        sandbox: "web".into(),
        specs: vec![spec.clone()],
        ..Default::default()
    };
    let made = PortServiceClient::new(channel).publish(request).await?;
    ensure!(
        made.get_ref().publications[0].spec
            == Some(PortSpec {
                protocol: 6,
                ..spec
            }),
        "{made:?}"
    );
    Ok(())
}

#[tokio::test]
async fn p01_lists_by_pages_and_filters() -> Outcome {
    let world = World::new()?;
    world.ctl("network create front")?;
    for n in 0..7 {
        let tier = ["web", "db"][n % 2];
        world.ctl(&format!(
            "sandbox create --stopped --label tier={tier} --network front --expose {} s{n}",
            80 + n
        ))?;
    }
    show::run(&world, "--label tier=web --network front running")?;
    let mut service = SandboxServiceClient::new(channel(&world).await?);
    let mut names = Vec::new();
    let mut request = ListSandboxesRequest {
        filter: "label.tier=\"web\" AND network=front AND NOT state=running".into(),
        page_size: 3,
        ..Default::default()
    };
    let mut sizes = Vec::new();
    loop {
        let page = service.list_sandboxes(request.clone()).await?.into_inner();
        sizes.push(page.sandboxes.len());
        ensure!(
            page.sandboxes.iter().all(|s| s
                .exposed
                .iter()
                .all(|e| matches!(e, ExposedPort { count: 1, .. }))),
            "{page:?}"
        );
        names.extend(page.sandboxes.into_iter().map(|s| s.name));
        if page.next_page_token.is_empty() {
            break;
        }
        // What comes between two pages is no reason to leave others out.
        world.ctl(&format!("sandbox create --stopped late{}", sizes.len()))?;
        request.page_token = page.next_page_token;
    }
    ensure!(names == ["s0", "s2", "s4", "s6"], "{names:?}");
    ensure!(sizes == [3, 1], "{sizes:?}");
    // A token is of one list.
    let token = {
        let request = ListSandboxesRequest {
            page_size: 1,
            ..Default::default()
        };
        service
            .list_sandboxes(request)
            .await?
            .into_inner()
            .next_page_token
    };
    ensure!(!token.is_empty(), "no second page");
    for (filter, page_token, field) in [
        ("state=running", token.as_str(), "page_token"),
        ("", "zzz", "page_token"),
        ("frob=1", "", "filter"),
    ] {
        let request = ListSandboxesRequest {
            filter: filter.into(),
            page_token: page_token.into(),
            ..Default::default()
        };
        let status = service
            .list_sandboxes(request)
            .await
            .err()
            .context("it was taken")?;
        ensure!(
            status.code() == Code::InvalidArgument && said(&status).2 == [field],
            "{status:?}"
        );
    }
    let shown = world.ctl("endpoint ls --filter network=front")?;
    ensure!(
        shown.contains("running") && !shown.contains("s0"),
        "{shown}"
    );
    let shown = world.ctl("endpoint inspect front running")?;
    ensure!(shown.contains("\"Sandbox\": \"running\""), "{shown}");
    Ok(())
}

#[test]
fn p01_a_field_that_is_wrong_is_named() -> Outcome {
    let world = World::new()?;
    let output = world.netctl(&[
        "--output",
        "json",
        "sandbox",
        "create",
        "--stopped",
        "--id",
        "7f",
        "n",
    ])?;
    ensure!(
        output.code == Some(1) && output.stderr.contains("INVALID_ARGUMENT"),
        "{}",
        output.text()
    );
    ensure!(!world.ctl("sandbox ls")?.contains(" n "), "it was made");
    Ok(())
}
