//! Tests of how containers are shown.

use netd_proto::v1::Link;

use super::*;

fn sandbox(state: State) -> Sandbox {
    let asked = EndpointSpec {
        network: "n1".into(),
        ipv4_address: "10.50.0.77".into(),
        aliases: vec!["al1".into()],
        links: vec![Link {
            target: "kn1".into(),
            alias: "peer".into(),
        }],
        ..Default::default()
    };
    let there = Endpoint {
        id: "e1".into(),
        network_id: "n1id".into(),
        network_name: "n1".into(),
        mac_address: "02:42:0a:32:00:4d".into(),
        ipv4_address: "10.50.0.77/24".into(),
        ipv4_gateway: "10.50.0.1".into(),
        ..Default::default()
    };
    Sandbox {
        id: "914eba621c6a3b6b".into(),
        name: "web".into(),
        hostname: "914eba621c6a".into(),
        state: state.into(),
        netns_path: "/run/netd/netns/web".into(),
        attachments: vec![asked],
        endpoints: vec![there],
        ..Default::default()
    }
}

fn shown(state: State, minor: u16) -> Value {
    let ids = |_: &str| "n1id".to_owned();
    networks(
        &sandbox(state),
        &ids,
        Version::new(1, minor),
        Place::Inspect,
    )
}

#[test]
fn p05_endpoints_are_shown_as_docker_shows_them() {
    // Engine 28.5.2 (API 1.51) answers this of such a container.
    assert_eq!(
        shown(State::Running, 51),
        json!({"n1": {
            "IPAMConfig": {"IPv4Address": "10.50.0.77"}, "Links": ["kn1:peer"], "Aliases": ["al1"],
            "MacAddress": "02:42:0a:32:00:4d", "DriverOpts": null, "GwPriority": 0,
            "NetworkID": "n1id", "EndpointID": "e1", "Gateway": "10.50.0.1",
            "IPAddress": "10.50.0.77", "IPPrefixLen": 24, "IPv6Gateway": "",
            "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0,
            "DNSNames": ["web", "al1", "914eba621c6a"]}})
    );
    let old = shown(State::Running, 43);
    assert_eq!(old["n1"]["Aliases"], json!(["al1", "914eba621c6a"]));
    assert!(old["n1"].get("DNSNames").is_none());
    assert!(old["n1"].get("GwPriority").is_none());
    let stopped = shown(State::Stopped, 51);
    assert_eq!(stopped["n1"]["IPAddress"], "");
    assert_eq!(stopped["n1"]["NetworkID"], "n1id");
    assert_eq!(stopped["n1"]["IPAMConfig"]["IPv4Address"], "10.50.0.77");
}

#[test]
fn p05_network_settings_keep_the_engines_keys() {
    let mut fields = json!({"Bridge": "", "SandboxID": "x", "IPAddress": "", "IPPrefixLen": 0});
    let fields = fields.as_object_mut().unwrap();
    let mut on_bridge = sandbox(State::Running);
    on_bridge.attachments[0].network = "bridge".into();
    on_bridge.endpoints[0].network_name = "bridge".into();
    let ids = |_: &str| String::new();
    let none = BTreeSet::new();
    fill(fields, &on_bridge, &none, &ids, Version::new(1, 51));
    assert_eq!(fields["IPAddress"], "10.50.0.77");
    assert_eq!(fields["IPPrefixLen"], 24);
    assert_eq!(fields["SandboxKey"], "/run/netd/netns/web");
    assert_eq!(fields["Networks"]["bridge"]["DNSNames"], Value::Null);
    assert!(fields.get("Gateway").is_none());
    on_bridge.state = State::Stopped.into();
    fill(fields, &on_bridge, &none, &ids, Version::new(1, 51));
    assert_eq!(fields["IPAddress"], "");
    assert_eq!(fields["SandboxKey"], "");
}
