//! C07, D02, D09, X07: frames and packets that are meant for others, or pretend to be something else.

use std::net::IpAddr;

use anyhow::{Context, ensure};
use netd_tests::{
    Station, World,
    nat::{
        Kind, Packet, Setup, Site, Transport,
        errors::Trouble,
        exchange::mark,
        packet::{Body, protocol, sum},
    },
    probe::probe,
};

use crate::Outcome;

fn site() -> anyhow::Result<Site> {
    Site::new(Kind::Netd, &Setup::default())
}

/// A frame for another machine's Ethernet address, or for all: a host does not take the packet in it, nor does netd.
#[test]
fn x07_frames_for_others_do_not_enter() -> Outcome {
    let site = site()?;
    site.publish("a", "udp", 8081, 20_007)?;
    let host = site.world.host.ip("-j link show dev uplink")?;
    let host: serde_json::Value = serde_json::from_str(&host)?;
    let host: Vec<u8> = host[0]["address"]
        .as_str()
        .context("no address")?
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16))
        .collect::<Result<_, _>>()?;
    let host = <[u8; 6]>::try_from(host.as_slice())?;
    for ends in site.ends() {
        let outside = site.map(
            Transport::Udp,
            &site.a,
            (ends.a, 20_001),
            (ends.lan, 20_100),
        )?;
        for to in [(ends.host, 8081), outside] {
            for (mac, meant) in [
                (host, true),
                ([2, 0, 0, 0, 0, 0x99], false),
                ([0xff; 6], false),
                ([0x33, 0x33, 0, 0, 0, 1], false),
                ([1, 0, 0x5e, 0, 0, 1], false),
            ] {
                let packet = site.packet(Transport::Udp, (ends.lan, 20_100), to);
                site.lan.send_to(mac, &packet.bytes())?;
                site.fence(&site.a)?;
                let entered = site.a.find(|seen| mark(seen) == mark(&packet))?.is_some();
                ensure!(
                    entered == meant,
                    "to {to:?} by {mac:x?}: entered: {entered}"
                );
            }
        }
    }
    Ok(())
}

/// What a DHCP client listens to comes from no container, whatever port it is sent from.
#[test]
fn x07_containers_are_no_dhcp_servers() -> Outcome {
    let site = site()?;
    for ends in site.ends() {
        let (client, other) = if ends.a.is_ipv4() {
            (68, 69)
        } else {
            (546, 547 + 100)
        };
        for (port, meant) in [(client, false), (other, true)] {
            for from in [1067, 20_001] {
                let packet = site.packet(Transport::Udp, (ends.a, from), (ends.b, port));
                site.a.send_to(site.b.mac, &packet.bytes())?;
                site.fence(&site.a)?;
                site.fence(&site.b)?;
                let seen = site.b.find(|seen| mark(seen) == mark(&packet))?.is_some();
                ensure!(
                    seen == meant,
                    "from {from} to {port} over {}: arrives: {seen}",
                    ends.family()
                );
            }
        }
        if let (IpAddr::V4(_), Ok(all)) = (ends.a, "255.255.255.255".parse::<IpAddr>()) {
            for (port, meant) in [(68, false), (69, true)] {
                let packet = site.packet(Transport::Udp, (ends.a, 1067), (all, port));
                site.a.send_to([0xff; 6], &packet.bytes())?;
                site.fence(&site.a)?;
                site.fence(&site.b)?;
                let seen = site.b.find(|seen| mark(seen) == mark(&packet))?.is_some();
                ensure!(seen == meant, "a broadcast to {port}: arrives: {seen}");
            }
        }
    }
    Ok(())
}

/// A container may tell a peer what became of the peer's packets to itself, and of no others.
#[test]
fn x07_forged_errors_do_not_reach_peers() -> Outcome {
    let site = site()?;
    // A container that publishes nothing, whose next hop is its peer.
    let evil = site.world.sandbox("evil", &["front"])?;
    let hops = site.ends().map(|ends| ends.b);
    let station = Station::new(&evil.netns, evil.scope.clone(), "eth0", hops)?;
    for (ends, own) in site.ends().into_iter().zip(evil.addresses("eth0")?) {
        for trouble in [Trouble::TooBig(600), Trouble::Port, Trouble::Host] {
            let about = |dst| {
                let inner = Packet::udp((ends.b, 20_001), (dst, 20_100), b"inner").bytes();
                trouble.about(own, ends.b, &inner)
            };
            for (dst, meant) in [
                (own, true),
                (ends.a, false),
                (ends.lan, false),
                (ends.host, false),
            ] {
                site.b.forget()?;
                station.send(&about(dst))?;
                // It has arrived, if it arrives, when two that were sent behind it have.
                for _ in 0..2 {
                    let last = site.packet(Transport::Udp, (own, 20_001), (ends.b, 20_002));
                    station.send(&last)?;
                    site.b
                        .wait("a peer's datagram", |seen| mark(seen) == mark(&last))?;
                }
                let seen = site.b.find(|packet| trouble.is(packet))?.is_some();
                ensure!(
                    seen == meant,
                    "{trouble:?} about a packet to {dst}: arrives: {seen}"
                );
            }
        }
    }
    Ok(())
}

/// A publication on a network's own gateway address is the host's and its containers'; no route leads there from the LAN.
#[test]
fn d06_c03_the_gateways_address_is_not_the_lans() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --subnet 172.23.0.0/16 -o com.docker.network.bridge.host_binding_ipv4=172.23.0.1 inner")?;
    let web = world.sandbox("web", &["inner"])?;
    let _server = web.serve(7000)?;
    world.ctl("port publish web 8080:7000 8080:7000/udp")?;
    world.lan.ip("route add 172.23.0.0/16 via 198.51.100.1")?;
    let to = ("172.23.0.1".parse::<IpAddr>()?, 8080).into();
    for protocol in crate::PROTOCOLS {
        probe(&world.host_scope(), protocol, to, 2000)?;
        let reply = probe(&world.lan_scope(), protocol, to, 1000);
        ensure!(reply.is_err(), "{protocol}: the LAN reaches it: {reply:?}");
    }
    Ok(())
}

/// A container has no way back to a link-local address of the LAN: such a client is not let in, or is served.
#[test]
fn c02_link_local_clients_get_no_half_way() -> Outcome {
    let site = site()?;
    site.publish("a", "tcp", 8080, 20_007)?;
    let link_local = |netns: &netd_tests::Netns| -> anyhow::Result<IpAddr> {
        let text = netns.ip("-6 -o addr show dev uplink scope link")?;
        let word = text
            .split_whitespace()
            .find(|word| word.starts_with("fe80:"));
        Ok(word
            .and_then(|word| word.split('/').next())
            .context(text.clone())?
            .parse()?)
    };
    let (host, lan) = (link_local(&site.world.host)?, link_local(&site.world.lan)?);
    let global = site.ends()[1];
    for (src, dst, meant) in [
        (global.lan, global.host, true),
        (lan, host, false),
        (lan, global.host, false),
    ] {
        let packet = site.packet(Transport::Tcp, (src, 20_100), (dst, 8080));
        let seen = site.enters(&site.a, &packet)?;
        ensure!(
            seen.is_some() == meant,
            "from {src} to {dst}: the container sees {seen:?}"
        );
    }
    Ok(())
}

/// Protocols whose checksum covers the addresses as TCP's does: it is right behind the NAT, or the packet stays.
#[test]
fn d05_checksums_of_other_transports() -> Outcome {
    let site = site()?;
    for ends in site.ends() {
        for (number, at) in [(protocol::UDP_LITE, 6), (protocol::DCCP, 6)] {
            let mut data = vec![0x4e, 0x21, 0x4e, 0x84, 0, 0, 0, 0];
            if number == protocol::DCCP {
                // A request: header of five words, 48-bit sequence numbers.
                data = vec![
                    0x4e, 0x21, 0x4e, 0x84, 5, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0,
                ];
            }
            data.extend(b"payload!");
            let value = sum(Some((ends.a, ends.lan, number)), &data);
            data[at..at + 2].copy_from_slice(&value.to_be_bytes());
            let packet = Packet::new(
                ends.a,
                ends.lan,
                Body::Other {
                    protocol: number,
                    data,
                },
            );
            site.lan.forget()?;
            site.a.send(&packet)?;
            site.fence(&site.a)?;
            let Some(seen) = site.lan.find(|seen| seen.protocol() == number)? else {
                continue;
            };
            ensure!(
                seen.src == ends.host,
                "protocol {number} leaves with {}",
                seen.src
            );
            ensure!(
                sum(Some((seen.src, seen.dst, number)), seen.data()) == 0,
                "protocol {number} over {} leaves with a wrong checksum",
                ends.family()
            );
        }
    }
    Ok(())
}
