//! The default address manager: what is held, released, adopted and withheld.

use super::*;

fn manager() -> DefaultManager {
    let ula = "fd12:3456:789a::/48".parse().unwrap();
    DefaultManager::new(
        crate::config::Config::default().pools,
        ula,
        Observations::default(),
    )
}

fn request(n: u32, chosen: &str) -> PoolsRequest {
    let pool = |text: &str| Pool {
        chosen: true,
        ..automatic(text.parse().unwrap())
    };
    PoolsRequest {
        name: format!("n{n}"),
        network: format!("id{n}"),
        chosen: chosen.split_whitespace().map(pool).collect(),
        v4: true,
        v6: true,
    }
}

#[tokio::test]
async fn i01_subnets_are_held_until_they_are_released() {
    let manager = manager();
    let first = manager
        .request_pools(&request(1, "10.1.0.0/16"))
        .await
        .unwrap();
    for inside in ["10.1.2.0/24", "10.0.0.0/8", "10.1.0.0/16"] {
        let error = manager
            .request_pools(&request(2, inside))
            .await
            .unwrap_err();
        assert_eq!(error.reason, Reason::PoolOverlap);
        assert_eq!(error.about["holder"], "n1");
    }
    let other = manager.request_pools(&request(3, "")).await.unwrap();
    assert!(!overlap(&first[1].subnet, &other[1].subnet));
    manager.release_pools("id1").await;
    manager
        .request_pools(&request(4, "10.1.2.0/24"))
        .await
        .unwrap();
}

#[tokio::test]
async fn i03_an_address_is_held_from_its_request_to_its_release() {
    let manager = manager();
    let pools = manager
        .request_pools(&request(1, "10.1.0.0/30"))
        .await
        .unwrap();
    let network = Network {
        id: "id1".into(),
        enable_ipv4: true,
        pools,
        ..Network::default()
    };
    let ask = async |wanted| manager.request_address(&network, true, wanted, &[]).await;
    let only = ask(None).await.unwrap();
    assert_eq!(
        ask(None).await.unwrap_err().reason,
        Reason::AddressesExhausted
    );
    assert_eq!(
        ask(Some(only)).await.unwrap_err().reason,
        Reason::AddressInUse
    );
    manager.release_address("id1", only).await;
    assert_eq!(ask(Some(only)).await.unwrap(), only);
}

/// B15: the 65,536th network costs as much work as the first, and the next one is refused.
#[tokio::test]
async fn b15_ipv6_subnets_by_the_thousand() {
    let manager = manager();
    let mut last = None;
    for n in 0..4096 {
        let only_v6 = PoolsRequest {
            v4: false,
            ..request(n, "")
        };
        let pools = manager.request_pools(&only_v6).await.unwrap();
        assert!(last.is_none_or(|l: IpNetwork| !overlap(&l, &pools[0].subnet)));
        last = Some(pools[0].subnet);
    }
}

/// B18: what a record that cannot be used has is not given out, asked for or not, until it is withheld no more.
#[tokio::test]
async fn b18_what_is_withheld_is_nobody_elses() {
    let manager = manager();
    let pools = manager
        .request_pools(&request(1, "10.1.0.0/29"))
        .await
        .unwrap();
    let first = manager.request_pools(&request(2, "")).await.unwrap();
    manager.release_pools("id2").await;
    let address: IpAddr = "10.1.0.2".parse().unwrap();
    manager.withhold(&Withheld {
        subnets: first
            .iter()
            .map(|p| (p.subnet, "a record".into()))
            .collect(),
        addresses: vec![("id1".into(), address, "a record".into())],
    });
    let inside = first[0].subnet.to_string();
    let error = manager.request_pools(&request(3, &inside)).await;
    assert_eq!(error.unwrap_err().about["holder"], "a record");
    let second = manager.request_pools(&request(3, "")).await.unwrap();
    assert!(
        second
            .iter()
            .all(|p| first.iter().all(|f| !overlap(&f.subnet, &p.subnet)))
    );
    let network = Network {
        id: "id1".into(),
        enable_ipv4: true,
        pools,
        ..Network::default()
    };
    let ask = async |wanted, before: &[IpAddr]| {
        manager
            .request_address(&network, true, wanted, before)
            .await
    };
    let refused = ask(Some(address), &[]).await.unwrap_err();
    assert!(refused.reason == Reason::AddressInUse && refused.message.contains("a record"));
    assert_ne!(ask(None, &[address]).await.unwrap(), address);
    assert_ne!(ask(None, &[]).await.unwrap(), address);
    manager.withhold(&Withheld::default());
    assert_eq!(ask(None, &[address]).await.unwrap(), address);
}
