//! Any bytes as packets, one after the other, through the decisions: what must hold whatever they are. What the fuzzer
//! calls, and `mutated.rs`.

use std::net::IpAddr;

use crate::{
    got::Got,
    packet::{Icmp, L3, read, seen, sum, transport_sum},
    setup::{Endpoint, Setup, UPLINK, host, mac},
    subject::Subject,
};

/// Packets that one input is taken for at most.
const MOST: usize = 16;

/// An input is a row of packets, each with who sends it (the index of an endpoint, or more: from outside) and how long it is.
pub fn packets(data: &[u8]) -> Vec<(Option<usize>, &[u8])> {
    let (mut rest, mut all) = (data, Vec::new());
    while let [who, high, low, bytes @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(bytes.len());
        let (packet, others) = bytes.split_at(length);
        let endpoint = usize::from(*who);
        all.push(((endpoint < 16).then_some(endpoint), packet));
        rest = others;
        if all.len() == MOST {
            break;
        }
    }
    all
}

/// The reverse of [`packets`].
#[allow(dead_code, reason = "only who makes seeds needs it")]
pub fn input(packets: &[(Option<usize>, Vec<u8>)]) -> Vec<u8> {
    let mut all = Vec::new();
    for (from, packet) in packets {
        all.push(from.map_or(255, |i| u8::try_from(i).expect("few endpoints")));
        all.extend(
            u16::try_from(packet.len())
                .expect("no longer than a link takes")
                .to_be_bytes(),
        );
        all.extend(packet);
    }
    all
}

/// Judges an input; panics where something does not hold.
pub fn judge(data: &[u8]) {
    let setup = Setup::new();
    let mut subject = Subject::new(&setup);
    for (from, packet) in packets(data) {
        let got = subject.run_to_end(&setup, from, packet);
        check(&setup, from, packet, &got);
        subject.wait(1);
    }
}

fn check(setup: &Setup, from: Option<usize>, sent: &[u8], got: &Got) {
    let sender = from.map(|i| setup.endpoints[i]);
    if let Some(e) = sender {
        from_container(setup, &e, sent, got);
    }
    match got {
        Got::Deliver(_, came) | Got::ToHost(_, came) | Got::Out(_, _, came) => {
            assert_eq!(came.len(), sent.len(), "as long as it was");
            sums(sent, came);
        }
        Got::Back(_, came) => {
            let v4 = came[12..14] == [8, 0];
            let arp = came[12..14] == [8, 6];
            assert!(
                arp || came.len() <= 14 + if v4 { 576 } else { 1280 },
                "no longer than an error may be"
            );
        }
        Got::Pass | Got::Drop(_) | Got::Again | Got::Replicate(..) => {}
    }
    if let Got::Out(by, to, came) = got {
        assert_eq!(*by, UPLINK);
        leaves(setup, sender, *to, came);
    }
    if let (None, Got::Deliver(by, _)) = (from, got) {
        let target = setup
            .endpoints
            .iter()
            .find(|e| e.ifindex() == *by)
            .expect("somebody's interface");
        assert!(
            !setup.net(target.network).internal,
            "nothing enters an internal network"
        );
    }
}

fn from_container(setup: &Setup, e: &Endpoint, sent: &[u8], got: &Got) {
    if sent.get(6..12) != Some(&mac(e.network, e.last)) {
        assert!(
            matches!(got, Got::Drop(_)),
            "another one's Ethernet address: {got:?}"
        );
    }
    assert_ne!(*got, Got::Pass, "nothing passes from a container unseen");
    if setup.net(e.network).internal {
        let stays = match got {
            Got::Drop(_) | Got::Again | Got::Replicate(_, 0) => true,
            Got::Back(by, _) => *by == e.ifindex(),
            Got::Deliver(by, _) => {
                let to = setup.endpoints.iter().find(|e| e.ifindex() == *by);
                to.is_some_and(|to| to.network == e.network)
            }
            _ => false,
        };
        assert!(stays, "nothing leaves an internal network: {got:?}");
    }
}

/// C09: nothing leaves with a private source, in an ICMP error's quote neither.
fn leaves(setup: &Setup, sender: Option<Endpoint>, to: IpAddr, came: &[u8]) {
    let seen = seen(came).expect("what leaves can be read");
    assert!(!to.is_loopback() && !to.is_multicast() && !to.is_unspecified());
    let sender = sender.expect("nothing goes out but what containers send");
    let masquerades = setup.net(sender.network).masquerade;
    let private = |addr| setup.subnet(addr).is_some();
    // A port that is open at the endpoint's own address answers from there, whatever the network masquerades.
    let open =
        setup.publications.iter().any(|p| p.addr == seen.src) || setup.net(sender.network).trusted;
    assert!(
        !masquerades || open || seen.src == host(seen.v4),
        "private source {}",
        seen.src
    );
    assert!(masquerades || !private(seen.src) || sender.addresses().contains(&seen.src));
    if seen.icmp == Some(Icmp::Error)
        && let Some(inner) = read(came, seen.l4 + 8, seen.v4, true)
    {
        assert!(
            !masquerades || open || !private(inner.dst),
            "private address {} in a quote",
            inner.dst
        );
    }
}

/// What was right is right, what was wrong is wrong.
fn sums(sent: &[u8], came: &[u8]) {
    let (Some(before), Some(after)) = (seen(sent), seen(came)) else {
        return;
    };
    assert_eq!(
        (before.protocol, before.l4, before.later),
        (after.protocol, after.l4, after.later)
    );
    if before.v4 {
        let header = L3..before.l4.min(sent.len());
        assert_eq!(
            sum(&sent[header.clone()]),
            sum(&came[header]),
            "IPv4 header checksum"
        );
    }
    let Some(at) = before.sum_at().filter(|at| at + 2 <= sent.len()) else {
        return;
    };
    if before.protocol == 17 && sent[at..at + 2] == [0, 0] {
        assert_eq!(came[at..at + 2], [0, 0], "no checksum");
        return;
    }
    assert_eq!(
        transport_sum(sent, &before),
        transport_sum(came, &after),
        "checksum at {at}"
    );
}
