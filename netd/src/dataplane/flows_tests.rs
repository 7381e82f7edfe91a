//! Places and filters of flows.

use super::*;

fn addr(text: &str) -> Addr {
    text.parse::<IpAddr>().unwrap().into()
}

/// A masqueraded flow of endpoint 7.
fn outbound(flags: u32) -> (FlowKey, Flow) {
    let key = FlowKey {
        src: addr("172.18.0.2"),
        dst: addr("198.51.100.2"),
        sport: Be16::new(40000),
        dport: Be16::new(80),
        endpoint: 7,
        protocol: 6,
        pad: [0; 3],
    };
    let there = Flow {
        src: addr("198.51.100.1"),
        dst: key.dst,
        sport: Be16::new(49152),
        dport: key.dport,
        flags: flow_flags::INITIATOR | flags,
        begun: 5,
        ..Flow::default()
    };
    (key, there)
}

#[test]
fn p01_tokens_come_back() {
    let (key, there) = outbound(0);
    let place = Place::new(there.begun, &key);
    assert_eq!(Place::parse(&place.token()), Some(place));
    assert_eq!(place.key(), key);
    let too_long = place.token() + "-0";
    for bad in ["", "-", "zz", "1-2", too_long.as_str(), "1-+2"] {
        assert_eq!(Place::parse(bad), None, "{bad:?}");
    }
    // A port, an endpoint and a protocol that are none.
    let words = vec!["ffffffffffffffff"; 13].join("-");
    assert_eq!(Place::parse(&words), None);
}

#[test]
fn p01_older_flows_come_first() {
    let (key, _) = outbound(0);
    let other = FlowKey {
        sport: Be16::new(1),
        ..key
    };
    assert!(Place::new(1, &key) < Place::new(2, &other));
    assert!(Place::new(2, &other) < Place::new(2, &key));
}

#[test]
fn p01_filters() {
    let (key, there) = outbound(0);
    let passes = |change: fn(&mut FlowFilter)| {
        let mut filter = FlowFilter::default();
        change(&mut filter);
        filter.passes(&key, &there)
    };
    assert!(passes(|_| {}));
    assert!(passes(|f| f.ends = vec![HashSet::from([7, 9])]));
    assert!(!passes(
        |f| f.ends = vec![HashSet::from([7]), HashSet::from([8])]
    ));
    // 0 stands for outside and is no endpoint.
    assert!(!passes(|f| f.ends = vec![HashSet::from([0])]));
    assert!(!passes(|f| f.ends = vec![HashSet::new()]));
    assert!(passes(|f| f.protocol = Some(6)) && !passes(|f| f.protocol = Some(17)));
    assert!(!passes(|f| f.published = true));
    for (net, wanted) in [
        ("172.18.0.0/16", true),
        ("198.51.100.1", true),
        ("198.51.100.3", false),
        ("::/0", false),
    ] {
        let filter = FlowFilter {
            net: Some(net.parse().unwrap()),
            ..FlowFilter::default()
        };
        assert_eq!(filter.passes(&key, &there), wanted, "{net}");
    }
    for (port, wanted) in [(80, true), (49152, true), (40000, true), (81, false)] {
        let filter = FlowFilter {
            port: Some(port),
            ..FlowFilter::default()
        };
        assert_eq!(filter.passes(&key, &there), wanted, "{port}");
    }
    let (key, there) = outbound(flow_flags::PUBLISHED);
    let filter = FlowFilter {
        published: true,
        ..FlowFilter::default()
    };
    assert!(filter.passes(&key, &there));
}
