//! One client socket that reaches one port of an endpoint by several ports or addresses of the host.

use netd_common::{drop_reason::DropReason, verdict::Verdict};

use crate::{memory::Bytes, world::*};

type Sent = Result<Verdict, DropReason>;

/// The client asks `ways`, one after the other; each answer must come from where it asked.
fn all_answer(
    world: &mut World,
    protocol: u8,
    client: End,
    ways: &[End],
    send: impl Fn(&mut World, &mut Bytes) -> Sent,
    back: &Sent,
) {
    let server = (inside(client.0.is_v4(), 1, 2), 80);
    let mut seen = Vec::new();
    for way in ways {
        let mut p = first(protocol, client, *way);
        assert_eq!(send(world, &mut p), peer(1, 2));
        let (from, to) = ends(&p);
        assert_eq!(
            (from.0, to),
            (client.0, server),
            "the client's address stays"
        );
        assert!(!seen.contains(&from), "told apart");
        seen.push(from);
    }
    assert_eq!(seen[0], client, "the first keeps its port");
    for (way, from) in ways.iter().zip(seen).rev() {
        let mut p = packet(protocol, server, from, SYN | ACK, b"");
        assert_eq!(&world.sends(1, 2, &mut p), back);
        assert_eq!(ends(&p), (*way, client));
        let mut p = packet(protocol, client, *way, ACK, b"more");
        assert_eq!(send(world, &mut p), peer(1, 2));
        assert_eq!(ends(&p), (from, server));
    }
}

#[test]
fn two_ports_of_the_host_lead_to_one() {
    for v4 in FAMILIES {
        for protocol in PROTOCOLS {
            let mut world = World::new();
            let mut ways = Vec::new();
            for port in 8080..8084 {
                world.publish(host(v4), protocol, port, (1, 2, 80));
                ways.push((host(v4), port));
            }
            let client = (lan(v4), 1000);
            let send = |w: &mut World, p: &mut Bytes| w.arrives(p);
            all_answer(&mut world, protocol, client, &ways, send, &outside(lan(v4)));
            let client = (inside(v4, 2, 2), 1000);
            let send = |w: &mut World, p: &mut Bytes| w.sends(2, 2, p);
            all_answer(&mut world, protocol, client, &ways, send, &peer(2, 2));
        }
    }
}

#[test]
fn sctp_keeps_its_ports_and_so_the_conflict() {
    for v4 in FAMILIES {
        let mut world = World::new();
        let sctp = 132;
        for (port, verdict) in [(8080, peer(1, 2)), (8081, Err(DropReason::FlowConflict))] {
            world.publish(host(v4), sctp, port, (1, 2, port));
            let data = world.maps.publications.values_mut();
            data.for_each(|p| p.target_port = p.first_port);
            let mut p = first(17, (lan(v4), 1000), (host(v4), port));
            p.0[if v4 { 23 } else { 20 }] = sctp;
            if port == 8081 {
                world
                    .maps
                    .publications
                    .values_mut()
                    .for_each(|p| p.target_port = 8080);
            }
            assert_eq!(world.arrives(&mut p), verdict);
        }
    }
}
