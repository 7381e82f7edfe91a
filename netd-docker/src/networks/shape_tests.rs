//! Tests of how networks are shown.

use super::*;

fn example() -> Network {
    let pool = |subnet: &str, gateway: &str| IpamPool {
        subnet: subnet.into(),
        gateway: gateway.into(),
        ..Default::default()
    };
    let endpoint = Endpoint {
        id: "e1".into(),
        sandbox_id: "s1".into(),
        sandbox_name: "web".into(),
        ipv4_address: "10.50.0.2/24".into(),
        ..Default::default()
    };
    Network {
        id: "n1".into(),
        name: "front".into(),
        driver: "bridge".into(),
        scope: "local".into(),
        enable_ipv4: true,
        ipam: Some(Ipam {
            driver: "default".into(),
            pools: vec![
                pool("10.50.0.0/24", "10.50.0.1"),
                pool("fd00::/64", "fd00::1"),
            ],
            ..Default::default()
        }),
        ipam_requested: Some(Ipam {
            pools: vec![pool("10.50.0.0/24", "")],
            ..Default::default()
        }),
        endpoints: vec![endpoint],
        ..Default::default()
    }
}

#[test]
fn n04_pools_are_shown_as_they_were_asked_for() {
    let shown = network(&example(), Version::new(1, 51), Place::Inspect);
    assert_eq!(
        shown["IPAM"],
        json!({"Driver": "default", "Options": null, "Config": [
            {"Subnet": "10.50.0.0/24"}, {"Subnet": "fd00::/64", "Gateway": "fd00::1"}]})
    );
    assert_eq!(shown["Containers"]["s1"]["IPv4Address"], "10.50.0.2/24");
    assert!(shown.get("Status").is_none());
}

#[test]
fn p04_the_shape_follows_the_version() {
    let list = |minor| network(&example(), Version::new(1, minor), Place::List);
    assert_eq!(list(24)["Containers"]["s1"]["Name"], "web");
    assert_eq!(list(51)["Containers"], json!({}));
    assert!(list(52).get("Containers").is_none());
    let newest = network(&example(), Version::new(1, 52), Place::Inspect);
    assert_eq!(
        newest["Status"]["IPAM"]["Subnets"]["10.50.0.0/24"],
        json!({"IPsInUse": 4, "DynamicIPsAvailable": 252})
    );
    let free = &newest["Status"]["IPAM"]["Subnets"]["fd00::/64"]["DynamicIPsAvailable"];
    assert_eq!(free.as_u64(), Some(u64::MAX - 1));
}
