//! Tests of ports.

use super::*;

fn rows(value: Value) -> Vec<(u32, Option<u32>, u32, String)> {
    let specs = specs(Some(value)).unwrap();
    specs
        .into_iter()
        .map(|s| (s.port, s.host_port, s.count, s.host_ip))
        .collect()
}

#[test]
fn c01_bindings_become_rows() {
    assert_eq!(
        rows(json!({"80/tcp": [{"HostIp": "", "HostPort": "8080"}], "81": [{"HostPort": "8081"}]})),
        [(80, Some(8080), 2, String::new())]
    );
    assert_eq!(
        rows(json!({"80/tcp": [{"HostPort": ""}], "81/tcp": [{"HostPort": "0"}], "82/tcp": []})),
        [
            (80, None, 1, String::new()),
            (81, None, 1, String::new()),
            (82, None, 1, String::new())
        ]
    );
    assert_eq!(
        rows(
            json!({"80/tcp": [{"HostPort": "80"}, {"HostPort": "90"}], "81/tcp": [{"HostPort": "81"}, {"HostPort": "91"}]})
        ),
        [
            (80, Some(80), 2, String::new()),
            (80, Some(90), 2, String::new())
        ]
    );
    let choice = specs(Some(
        json!({"90/tcp": [{"HostPort": "9000-9010"}], "91/tcp": [{"HostPort": "9001"}]}),
    ));
    let choice: Vec<_> = choice
        .unwrap()
        .iter()
        .map(|s| (s.host_port, s.host_port_last))
        .collect();
    assert_eq!(choice, [(Some(9000), Some(9010)), (Some(9001), None)]);
    let many = (1000..61_000).map(|p| (format!("{p}/udp"), json!([{"HostPort": p.to_string()}])));
    let many = rows(Value::Object(many.collect()));
    assert_eq!(many, [(1000, Some(1000), 60_000, String::new())]);
}

#[test]
fn c01_what_is_no_port_is_refused() {
    for value in [
        json!({"x/tcp": [{"HostPort": "80"}]}),
        json!({"80/tcp": [{"HostPort": "x"}]}),
        json!({"80/tcp": [{"HostPort": "70000"}]}),
        json!({"80/tcp": [{"HostPort": "90-80"}]}),
        json!({"80/xtp": []}),
        json!({"0/tcp": []}),
        json!([]),
        json!({"80/tcp": 1}),
    ] {
        assert!(specs(Some(value.clone())).is_err(), "{value}");
    }
    assert!(specs(None).unwrap().is_empty());
}

fn published() -> Vec<Publication> {
    let spec = PortSpec {
        host_port: Some(8080),
        port: 80,
        count: 1,
        protocol: Protocol::Tcp.into(),
        ..Default::default()
    };
    vec![Publication {
        spec: Some(spec),
        active: true,
        ..Default::default()
    }]
}

#[test]
fn p05_ports_are_shown_as_docker_shows_them() {
    let open = exposed(Some(&json!({"80/tcp": {}, "53/udp": {}})));
    assert_eq!(
        inspected(&published(), &open),
        json!({"53/udp": null, "80/tcp": [
            {"HostIp": "0.0.0.0", "HostPort": "8080"}, {"HostIp": "::", "HostPort": "8080"}]})
    );
    assert_eq!(
        listed(&published(), &open),
        json!([{"PrivatePort": 53, "Type": "udp"},
            {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
            {"IP": "::", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"}])
    );
    let names = |texts: &[&str]| texts.iter().map(|&t| t.to_owned()).collect::<Vec<_>>();
    assert!(publishes(&published(), &names(&["8000-8100/tcp"])));
    assert!(!publishes(
        &published(),
        &names(&["9000", "8080/udp", "80"])
    ));
    let exposes = |text| exposes(open.iter(), &names(&[text]));
    assert!(exposes("80") && exposes("50-60/udp"));
    assert!(!exposes("8080") && !exposes("80/udp"));
    let row = exposed_specs(&exposed(Some(
        &json!({"80/tcp": {}, "81/tcp": {}, "81/udp": {}}),
    )));
    let row: Vec<_> = row.iter().map(|r| (r.port, r.count)).collect();
    assert_eq!(row, [(80, 2), (81, 1)]);
}
