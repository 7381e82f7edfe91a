//! The real programs, run by the kernel on whole packets (BPF_PROG_TEST_RUN), make of them byte for byte what the same
//! decisions make in memory. Needs root.

#[path = "../../../netd-common/tests/model/build.rs"]
mod build;
mod events;
#[allow(dead_code, reason = "sequences of the model are numbered and wait")]
#[path = "../../../netd-common/tests/model/generator.rs"]
mod generator;
#[path = "../../../netd-common/tests/model/got.rs"]
mod got;
mod kernel;
#[path = "../../../netd-common/tests/pipeline/memory.rs"]
mod memory;
#[allow(dead_code, reason = "the model rewrites packets, too")]
#[path = "../../../netd-common/tests/model/packet.rs"]
mod packet;
#[allow(dead_code, reason = "the model asks more of it")]
#[path = "../../../netd-common/tests/model/setup.rs"]
mod setup;
#[path = "../../../netd-common/tests/model/strategies.rs"]
mod strategies;
#[allow(dead_code, reason = "the model's time passes")]
#[path = "../../../netd-common/tests/model/subject.rs"]
mod subject;
mod volume;
#[path = "../../../netd-common/tests/pipeline/world.rs"]
#[allow(
    dead_code,
    reason = "made for the tests in memory, which use all of it"
)]
mod world;

use std::thread;

use anyhow::Result;
use etherparse::TcpOptionElement;
use netd_common::{
    abi::{
        LOOPBACK_IFINDEX,
        network_flags::{ROUTED_V4, ROUTED_V6},
    },
    addr::Addr,
    packet::protocol::{TCP, UDP},
    verdict::Verdict,
};

use crate::{
    kernel::{Action, Kernel},
    memory::Bytes,
    world::*,
};

/// The same world twice: in memory and in the kernel.
struct Both {
    world: World,
    kernel: Kernel,
}

impl Both {
    /// Both must say and make the same; gives what they said, and the packet.
    fn same(&mut self, sender: Option<(u32, u8)>, p: &Bytes) -> Result<(Action, Bytes)> {
        self.same_of(sender, false, p)
    }

    /// As [`Both::same`]; `host`: a packet that the host sends to itself.
    fn same_of(
        &mut self,
        sender: Option<(u32, u8)>,
        host: bool,
        p: &Bytes,
    ) -> Result<(Action, Bytes)> {
        let (mut here, mut there) = match sender {
            Some((network, last)) => {
                let p = self.world.framed(network, last, p);
                (p.clone(), p)
            }
            None => (p.clone(), p.clone()),
        };
        let (decided, program, ifindex) = match sender {
            Some((network, last)) => (
                self.world.sends(network, last, &mut here),
                "from_container",
                10 + number(network, last),
            ),
            None if host => {
                let decided = self.world.loops(&mut here);
                (decided, "from_loopback", LOOPBACK_IFINDEX)
            }
            None => (self.world.arrives(&mut here), "from_uplink", UPLINK),
        };
        // Nobody asks for the sum of an error, which goes out.
        let summed = !matches!(decided, Ok(Verdict::Back(..)));
        let run = self.kernel.run(program, ifindex, summed, &mut there)?;
        assert_eq!(run, Action::from(decided), "{decided:?} for {p:02x?}");
        if run == Action::Redirect {
            // The kernel does not tell what became of the segments.
            assert_eq!(there.0, here.0, "{decided:?} for {p:02x?}");
        }
        Ok((run, here))
    }

    fn passes_on(&mut self, sender: Option<(u32, u8)>, p: &Bytes) -> Result<Bytes> {
        let (action, p) = self.same(sender, p)?;
        assert_eq!(action, Action::Redirect);
        Ok(p)
    }

    fn drops(&mut self, sender: Option<(u32, u8)>, p: &Bytes) -> Result<()> {
        assert_eq!(self.same(sender, p)?.0, Action::Drop);
        Ok(())
    }
}

/// Runs a test in a thread of its own, whose namespace goes with it. A pool of one port leaves nothing to chance.
fn with(
    prepare: impl FnOnce(&mut World),
    test: impl FnOnce(&mut Both) -> Result<()> + Send,
) -> Result<()> {
    let mut world = World::new();
    let settings = &mut world.maps.settings;
    settings.pool_last = settings.pool_first;
    settings.shifted_last = settings.shifted_first;
    prepare(&mut world);
    thread::scope(|scope| {
        let run = || {
            let kernel = Kernel::new(&world)?;
            test(&mut Both { world, kernel })
        };
        let run = scope.spawn(run).join();
        run.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[test]
fn d05_masquerade() -> Result<()> {
    for protocol in PROTOCOLS {
        for v4 in FAMILIES {
            with(
                |_| {},
                |both| {
                    let (me, to) = ((inside(v4, 1, 2), 1000), (lan(v4), 80));
                    let out = both.passes_on(Some((1, 2)), &first(protocol, me, to))?;
                    let from = ends(&out).0;
                    assert_eq!(from, (host(v4), 50000));
                    let answer = packet(protocol, to, from, SYN | ACK, b"odd");
                    let back = both.passes_on(None, &answer)?;
                    assert_eq!(ends(&back), (to, me));
                    let stray = packet(protocol, (to.0, 81), from, ACK, b"");
                    // No answer of the host's may tell that nobody is there.
                    both.drops(None, &stray)?;
                    Ok(())
                },
            )?;
        }
    }
    Ok(())
}

#[test]
fn d05_masquerade_of_echoes() -> Result<()> {
    for v4 in FAMILIES {
        with(
            |_| {},
            |both| {
                let sent = echo(inside(v4, 1, 2), lan(v4), 7, true);
                let out = both.passes_on(Some((1, 2)), &sent)?;
                assert_eq!(ends(&out).0, (host(v4), 0));
                let back = both.passes_on(None, &echo(lan(v4), host(v4), 50000, false))?;
                assert_eq!(ends(&back).1, (inside(v4, 1, 2), 0));
                Ok(())
            },
        )?;
    }
    Ok(())
}

#[test]
fn c02_published_ports() -> Result<()> {
    for protocol in PROTOCOLS {
        for v4 in FAMILIES {
            with(
                |world| {
                    world.publish(host(v4), protocol, 8080, (1, 2, 80));
                    world.publish(host(v4), protocol, 8081, (1, 2, 80));
                },
                |both| {
                    let (server, client) = ((inside(v4, 1, 2), 80), (lan(v4), 1000));
                    for (port, seen) in [(8080, client.1), (8081, 61000)] {
                        let p = first(protocol, client, (host(v4), port));
                        let p = both.passes_on(None, &p)?;
                        assert_eq!(ends(&p), ((client.0, seen), server));
                        let p = packet(protocol, server, (client.0, seen), SYN | ACK, b"x");
                        let p = both.passes_on(Some((1, 2)), &p)?;
                        assert_eq!(ends(&p), ((host(v4), port), client));
                    }
                    let inner = (inside(v4, 2, 2), 1000);
                    let hairpin = first(protocol, inner, (host(v4), 8080));
                    both.passes_on(Some((2, 2)), &hairpin)?;
                    let own = first(protocol, (server.0, 1000), (host(v4), 8080));
                    both.passes_on(Some((1, 2)), &own)?;
                    let closed = first(protocol, client, (host(v4), 8082));
                    assert_eq!(both.same(None, &closed)?.0, Action::Pass);
                    Ok(())
                },
            )?;
        }
    }
    Ok(())
}

/// From processes of the host, by the loopback device.
#[test]
fn c02_published_ports_by_loopback() -> Result<()> {
    for protocol in PROTOCOLS {
        for v4 in FAMILIES {
            let (all, localhost) = if v4 {
                (Addr::UNSPECIFIED_V4, Addr::LOCALHOST_V4)
            } else {
                (Addr::UNSPECIFIED, Addr::LOCALHOST_V6)
            };
            with(
                |world| world.publish(all, protocol, 8080, (1, 2, 80)),
                |both| {
                    let server = (inside(v4, 1, 2), 80);
                    for (client, seen) in [
                        ((localhost, 1000), (inside(v4, 1, 1), 61000)),
                        ((host(v4), 1000), (host(v4), 1000)),
                    ] {
                        let asked = (client.0, 8080);
                        let p = first(protocol, client, asked);
                        let (action, p) = both.same_of(None, true, &p)?;
                        assert_eq!(action, Action::Redirect);
                        assert_eq!(ends(&p), (seen, server));
                        let p = packet(protocol, server, seen, SYN | ACK, b"x");
                        let p = both.passes_on(Some((1, 2)), &p)?;
                        assert_eq!(ends(&p), (asked, client));
                        assert_eq!(both.same_of(None, true, &p)?.0, Action::Pass);
                    }
                    let closed = first(protocol, (localhost, 1000), (localhost, 8081));
                    assert_eq!(both.same_of(None, true, &closed)?.0, Action::Pass);
                    Ok(())
                },
            )?;
        }
    }
    Ok(())
}

/// Old clients of a replaced container reach the new one, and nobody else.
#[test]
fn c08_replaced_containers() -> Result<()> {
    for protocol in PROTOCOLS {
        for v4 in FAMILIES {
            with(
                |world| world.publish(host(v4), protocol, 8080, (1, 2, 80)),
                |both| {
                    let (client, to) = ((lan(v4), 1000), (host(v4), 8080));
                    both.passes_on(None, &first(protocol, client, to))?;
                    both.world.remove(1, 2);
                    both.kernel.follow(&both.world)?;
                    both.drops(None, &first(protocol, client, to))?;
                    both.world.publish(host(v4), protocol, 8080, (2, 3, 80));
                    both.kernel.follow(&both.world)?;
                    let p = both.passes_on(None, &first(protocol, client, to))?;
                    assert_eq!(ends(&p), (client, (inside(v4, 2, 3), 80)));
                    let answer = packet(protocol, (inside(v4, 2, 3), 80), client, SYN | ACK, b"");
                    let p = both.passes_on(Some((2, 3)), &answer)?;
                    assert_eq!(ends(&p), (to, client));
                    Ok(())
                },
            )?;
        }
    }
    Ok(())
}

#[test]
fn d02_isolation_and_x07_forged_addresses() -> Result<()> {
    for protocol in PROTOCOLS {
        for v4 in FAMILIES {
            with(
                |_| {},
                |both| {
                    let a = (inside(v4, 1, 2), 1000);
                    both.passes_on(Some((1, 2)), &first(protocol, a, (inside(v4, 1, 3), 80)))?;
                    both.drops(Some((1, 2)), &first(protocol, a, (inside(v4, 2, 2), 80)))?;
                    both.drops(None, &first(protocol, (lan(v4), 1), a))?;
                    for forged in [inside(v4, 1, 3), inside(v4, 2, 2), host(v4), lan(v4)] {
                        let p = first(protocol, (forged, 1), (lan(v4), 80));
                        both.drops(Some((1, 2)), &p)?;
                    }
                    Ok(())
                },
            )?;
        }
    }
    Ok(())
}

#[test]
fn routed_networks() -> Result<()> {
    for protocol in PROTOCOLS {
        for v4 in FAMILIES {
            with(
                |world| {
                    world.maps.networks.entry(1).or_default().flags = ROUTED_V4 | ROUTED_V6;
                    world.publish(inside(v4, 1, 2), protocol, 80, (1, 2, 80));
                    world.publish(inside(v4, 2, 2), protocol, 80, (2, 2, 80));
                    world.maps.trusted.insert((2, UPLINK));
                },
                |both| {
                    let client = (lan(v4), 1000);
                    for network in [1, 2] {
                        let server = (inside(v4, network, 2), 80);
                        both.passes_on(None, &first(protocol, client, server))?;
                        let p = packet(protocol, server, client, SYN | ACK, b"");
                        let p = both.passes_on(Some((network, 2)), &p)?;
                        assert_eq!(ends(&p), (server, client));
                        both.drops(None, &first(protocol, client, (server.0, 81)))?;
                    }
                    both.passes_on(None, &echo(client.0, inside(v4, 1, 2), 7, true))?;
                    both.drops(None, &echo(client.0, inside(v4, 2, 2), 7, true))
                },
            )?;
        }
    }
    Ok(())
}

#[test]
fn d07_sizes_of_segments() -> Result<()> {
    for v4 in FAMILIES {
        with(
            |world| world.maps.mtu = 1400,
            |both| {
                let (me, to) = ((inside(v4, 1, 2), 1), (lan(v4), 80));
                for shift in 0..3 {
                    let mut options = vec![TcpOptionElement::Noop; shift];
                    options.push(TcpOptionElement::MaximumSegmentSize(1460));
                    let mut syn = Vec::new();
                    let step = builder(me.0, to.0).tcp(me.1, to.1, 1, 1).syn();
                    step.options(&options)?.write(&mut syn, b"")?;
                    let p = both.passes_on(Some((1, 2)), &Bytes(syn.clone(), 0))?;
                    let at = if v4 { 34 } else { 54 } + 20 + shift + 2;
                    let lowered: u16 = if v4 { 1360 } else { 1340 };
                    assert_eq!(p.0[at..at + 2], lowered.to_be_bytes());
                    ends(&p);
                }
                let large = packet(TCP, me, to, ACK, &[7; 3000]);
                let fits = 1400 - if v4 { 40 } else { 60 };
                let p = Bytes(large.0.clone(), fits);
                assert_eq!(ends(&both.passes_on(Some((1, 2)), &p)?).1, to);
                let p = Bytes(large.0.clone(), fits + 1);
                assert_eq!(ends(&both.passes_on(Some((1, 2)), &p)?).1.0, me.0);
                Ok(())
            },
        )?;
    }
    Ok(())
}

#[test]
fn icmp_errors() -> Result<()> {
    for v4 in FAMILIES {
        with(
            |world| {
                world.maps.mtu = 1400;
                world.mtu = 1300;
                world.place(1, 2, number(1, 2));
                world.publish(host(v4), UDP, 8080, (1, 2, 80));
            },
            |both| {
                for size in [0, 1, 33, 62, 63, 600, 1231] {
                    let payload = vec![7; size];
                    for (sender, from, to) in [
                        (Some((1, 2)), (inside(v4, 1, 2), 1), (lan(v4), 80)),
                        (None, (lan(v4), 1), (host(v4), 8080)),
                    ] {
                        let mut p = packet(UDP, from, to, 0, &payload);
                        p.0[0] = 2;
                        // One hop left: the program must not look at the checksum that this breaks.
                        p.0[if v4 { 22 } else { 21 }] = 1;
                        let p = both.passes_on(sender, &p)?;
                        assert_eq!(ends(&p).1.0, from.0);
                    }
                }
                let payload = [7; 1400];
                let large = packet(UDP, (inside(v4, 1, 2), 1), (lan(v4), 80), 0, &payload);
                let p = both.passes_on(Some((1, 2)), &large)?;
                assert_eq!(ends(&p), ((inside(v4, 1, 1), 0), (inside(v4, 1, 2), 0)));
                let large = packet(UDP, (lan(v4), 1), (host(v4), 8080), 0, &payload[..1340]);
                let p = both.passes_on(None, &large)?;
                assert_eq!(ends(&p), ((host(v4), 0), (lan(v4), 0)));
                Ok(())
            },
        )?;
    }
    Ok(())
}
