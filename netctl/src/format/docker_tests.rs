//! N03, N04: networks as Docker shows them.

use netd_proto::v1::Ipam;

use super::*;

fn front() -> Network {
    Network {
        id: "0123456789abcdef".repeat(4),
        name: "front".into(),
        created: Some(prost_types::Timestamp {
            seconds: 1_700_000_000,
            nanos: 500_000_000,
        }),
        driver: "bridge".into(),
        scope: "local".into(),
        enable_ipv4: true,
        ipam: Some(Ipam {
            driver: "default".into(),
            pools: vec![IpamPool {
                subnet: "10.0.0.0/24".into(),
                gateway: "10.0.0.1".into(),
                ..Default::default()
            }],
            ..Default::default()
        }),
        labels: HashMap::from([("tier".into(), "web".into()), ("a".into(), "1".into())]),
        endpoints: vec![Endpoint {
            id: "e".repeat(64),
            sandbox_id: "5".repeat(64),
            sandbox_name: "web".into(),
            mac_address: "02:42:0a:00:00:02".into(),
            ipv4_address: "10.0.0.2/24".into(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

#[test]
fn n04_field_order_and_indentation() {
    let (id, sandbox, endpoint) = ("0123456789abcdef".repeat(4), "5".repeat(64), "e".repeat(64));
    let wanted = format!(
        r#"[
    {{
        "Name": "front",
        "Id": "{id}",
        "Created": "2023-11-14T22:13:20.5Z",
        "Scope": "local",
        "Driver": "bridge",
        "EnableIPv4": true,
        "EnableIPv6": false,
        "IPAM": {{
            "Driver": "default",
            "Options": {{}},
            "Config": [
                {{
                    "Subnet": "10.0.0.0/24",
                    "Gateway": "10.0.0.1"
                }}
            ]
        }},
        "Internal": false,
        "Attachable": false,
        "Ingress": false,
        "ConfigFrom": {{
            "Network": ""
        }},
        "ConfigOnly": false,
        "Containers": {{
            "{sandbox}": {{
                "Name": "web",
                "EndpointID": "{endpoint}",
                "MacAddress": "02:42:0a:00:00:02",
                "IPv4Address": "10.0.0.2/24",
                "IPv6Address": ""
            }}
        }},
        "Options": {{}},
        "Labels": {{
            "a": "1",
            "tier": "web"
        }}
    }}
]
"#
    );
    let shown = crate::format::json::pretty(&Value::Array(vec![inspect(&front())]));
    assert_eq!(shown, wanted);
}

#[test]
fn n04_predefined_networks_have_no_ipam_options() {
    let mut network = front();
    network.name = "host".into();
    assert_eq!(inspect(&network)["IPAM"]["Options"], Value::Null);
}

#[test]
fn b06_a_degraded_network_says_why() {
    let mut network = front();
    assert!(inspect(&network).get("Degraded").is_none());
    network
        .degraded
        .push("an interface named foo0 is there".into());
    let shown = inspect(&network);
    assert_eq!(shown["Degraded"][0], "an interface named foo0 is there");
}

#[test]
fn n03_rows_are_text_in_the_order_of_the_columns() {
    let row = row(&front(), false);
    assert_eq!(
        row.to_string(),
        r#"{"CreatedAt":"2023-11-14 22:13:20.5 +0000 UTC","Driver":"bridge","ID":"0123456789ab","IPv4":"true","IPv6":"false","Internal":"false","Labels":"a=1,tier=web","Name":"front","Scope":"local"}"#
    );
    let keys: Vec<&str> = COLUMNS.iter().map(|(field, _)| *field).collect();
    let shown: Vec<&String> = row.as_object().unwrap().keys().collect();
    assert_eq!(shown, keys);
}

#[test]
fn n03_natural_order() {
    let mut names = ["net10", "net9", "bridge", "net", "net09", "a1b2", "a1b10"];
    names.sort_by(|a, b| natural(a, b));
    assert_eq!(
        names,
        ["a1b2", "a1b10", "bridge", "net", "net9", "net09", "net10"]
    );
}
