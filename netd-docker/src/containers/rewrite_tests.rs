//! Tests of the rewriting of new containers.

use http::header::CONTENT_TYPE;

use super::*;

fn read(body: &Value, minor: u16) -> Result<Rewritten> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, "application/json".parse().unwrap());
    rewrite(
        &headers,
        body.to_string().as_bytes(),
        Version::new(1, minor),
    )
}

fn ours(body: &Value, minor: u16) -> (Asked, Value) {
    match read(body, minor).unwrap() {
        Rewritten::Ours(asked, body) => (*asked, body),
        Rewritten::Untouched => panic!("untouched: {body}"),
    }
}

#[test]
fn p05_the_engine_gets_a_container_without_networks() {
    let body = json!({
        "Image": "busybox", "Hostname": "h", "ExposedPorts": {"80/tcp": {}},
        "HostConfig": {"NetworkMode": "front", "PortBindings": {"80/tcp": [{"HostPort": "8080"}]},
            "Dns": ["9.9.9.9"], "ExtraHosts": ["a:1.2.3.4", "b=host-gateway"], "Memory": 9007199254740993_i64},
        "NetworkingConfig": {"EndpointsConfig": {
            "back": {}, "front": {"Aliases": ["x"], "IPAMConfig": {"IPv4Address": "10.1.0.9"}}}},
    });
    let (asked, sent) = ours(&body, 51);
    assert_eq!(asked.mode, "front");
    let names: Vec<_> = asked.networks.iter().map(|(n, _)| n.as_str()).collect();
    assert_eq!(names, ["front", "back"]);
    assert_eq!(asked.networks[0].1.spec.aliases, ["x"]);
    assert_eq!(asked.ports.len(), 1);
    assert_eq!(asked.names.dns, ["9.9.9.9"]);
    assert_eq!(asked.names.extra_hosts.len(), 2);
    assert_eq!(
        sent,
        json!({
            "Image": "busybox", "Hostname": "h", "ExposedPorts": {"80/tcp": {}},
            "HostConfig": {"NetworkMode": "none", "Runtime": "netd", "PortBindings": {"80/tcp": [{"HostPort": "8080"}]},
                "Dns": ["9.9.9.9"], "ExtraHosts": ["a:1.2.3.4", "b=host-gateway"], "Memory": 9007199254740993_i64,
                "Annotations": {"io.netd.network": "front"}},
        })
    );
    let (_, old) = ours(
        &body
            .as_object()
            .map(|b| {
                let mut b = b.clone();
                b.remove("NetworkingConfig");
                Value::from(b)
            })
            .unwrap(),
        41,
    );
    assert!(old["HostConfig"].get("Annotations").is_none());
}

#[test]
fn p05_what_is_not_netds_is_untouched() {
    let off = json!({"networkdisabled": true, "HostConfig": {"NetworkMode": "front"}});
    assert_eq!(read(&off, 51).unwrap(), Rewritten::Untouched);
    let (_, on) = ours(&json!({"NetworkDisabled": false}), 51);
    assert_eq!(on["NetworkDisabled"], false);
    for mode in ["none", "host", "container:x"] {
        let body = json!({"HostConfig": {"NetworkMode": mode}});
        assert_eq!(read(&body, 51).unwrap(), Rewritten::Untouched);
        // Go finds fields whatever their case.
        let body = json!({"hostconfig": {"NETWORKMODE": mode}});
        assert_eq!(read(&body, 51).unwrap(), Rewritten::Untouched);
    }
}

#[test]
fn p05_the_judged_body_is_the_forwarded_one() {
    let body = json!({"hostconfig": {"networkmode": "host", "NetworkMode": "front", "runtime": "runc"}, "image": "b"});
    let (asked, sent) = ours(&body, 51);
    assert_eq!(asked.mode, "front");
    assert_eq!(
        sent,
        json!({"image": "b", "HostConfig": {"NetworkMode": "none", "Runtime": "netd",
            "Annotations": {"io.netd.network": "front"}}})
    );
}

#[test]
fn p05_the_default_network_is_bridge() {
    for body in [
        json!({}),
        json!({"HostConfig": null}),
        json!({"HostConfig": {"NetworkMode": "default"}}),
        json!({"NetworkingConfig": {"EndpointsConfig": {"default": {}}}}),
    ] {
        let (asked, _) = ours(&body, 44);
        assert_eq!(asked.mode, "bridge");
        assert_eq!(asked.networks.len(), 1);
        assert_eq!(asked.networks[0].0, "bridge");
    }
}

#[test]
fn p05_refusals_are_dockers() {
    let said = |body: Value, minor| read(&body, minor).unwrap_err().message().to_owned();
    let two = json!({"HostConfig": {"NetworkMode": "a"}, "NetworkingConfig": {"EndpointsConfig": {"a": {}, "b": {}}}});
    assert_eq!(
        said(two.clone(), 43),
        "Container cannot be created with multiple network endpoints: a, b"
    );
    assert!(read(&two, 44).is_ok());
    assert_eq!(
        said(json!({"HostConfig": {"ExtraHosts": ["x"]}}), 51),
        "bad format for add-host: \"x\""
    );
    assert_eq!(
        said(
            json!({"MacAddress": "zz", "HostConfig": {"NetworkMode": "n1"}}),
            43
        ),
        "invalid config for network n1: invalid MAC address zz"
    );
    assert!(said(json!({"HostConfig": {"Runtime": "runsc"}}), 51).contains("runsc"));
}

#[test]
fn s02_links_of_the_container_are_the_first_networks() {
    let body = json!({"HostConfig": {"Links": ["/web:/me/peer"]}});
    let (asked, sent) = ours(&body, 51);
    assert_eq!(asked.networks[0].1.spec.links[0].alias, "peer");
    assert_eq!(sent["HostConfig"]["Links"], json!(["/web:/me/peer"]));
    let body = json!({"HostConfig": {"NetworkMode": "front", "Links": ["web:peer"]}});
    let (asked, sent) = ours(&body, 51);
    assert_eq!(asked.networks[0].1.spec.links[0].target, "web");
    assert!(sent["HostConfig"].get("Links").is_none());
}
