//! Many random packets, one after the other, through the loaded programs and through the same decisions in memory.

use std::{env, thread};

use anyhow::{Context as _, Result, ensure};
use netd_common::{
    abi::{Device, MappingKey},
    addr::Be16,
};
use nix::{
    sched::{CloneFlags, unshare},
    time::{ClockId, clock_gettime},
};
use proptest::{
    strategy::{Strategy as _, ValueTree as _},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use crate::{
    generator::{Step, Trace},
    got::Got,
    kernel::{Action, Kernel, ip, veth},
    memory::Bytes,
    packet::{Icmp, L3, read},
    setup::{Setup, UPLINK, gateway_ifindex, host, inside, remote},
    strategies,
    subject::{self, Subject},
};

/// Clients' ports that were taken are replaced by those from here on.
const SHIFTED: u16 = 61000;
/// Packets through one loaded object.
const WORLD: usize = 100_000;
/// Of 1,664,525, modulo 2^32.
const INVERSE: u32 = 4_276_115_653;
/// Packets that later ones may answer.
const TRACE: usize = 64;

/// The same setup in the kernel and in memory.
struct Both {
    setup: Setup,
    subject: Subject,
    kernel: Kernel,
    trace: Vec<Trace>,
    next_number: u32,
}

fn namespace(setup: &Setup) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    veth("uplink", UPLINK)?;
    ip(&format!(
        "link set uplink address 02:00:00:09:09:01 mtu {}",
        setup.uplink_mtu
    ))?;
    for v4 in [true, false] {
        let rest = if v4 { "/24" } else { "/64 nodad" };
        ip(&format!("addr add {}{rest} dev uplink", host(v4)))?;
        ip(&format!(
            "{} route add default dev uplink",
            if v4 { "-4" } else { "-6" }
        ))?;
    }
    for e in &setup.endpoints {
        veth(&format!("v{}", e.number), e.ifindex())?;
    }
    for net in &setup.nets {
        let index = gateway_ifindex(net.number);
        veth(&format!("g{index}"), index)?;
        for family in ["ipv4", "ipv6"] {
            std::fs::write(
                format!("/proc/sys/net/{family}/conf/g{index}/forwarding"),
                "1",
            )?;
        }
        for (family, v4, prefix) in [("-4", true, 24), ("-6", false, 64)] {
            let subnet = inside(v4, net.number, 0);
            ip(&format!(
                "{family} route add {subnet}/{prefix} dev g{index}"
            ))?;
        }
    }
    Ok(())
}

fn devices(setup: &Setup) -> Vec<(u32, Device)> {
    setup
        .endpoints
        .iter()
        .map(|e| (e.ifindex(), subject::device(setup, e)))
        .collect()
}

/// The source port or identifier that a packet came out with.
fn source_port(bytes: &[u8]) -> Option<u16> {
    let seen = read(bytes, L3, bytes.get(12) == Some(&8), false)?;
    seen.ports.map(|p| {
        if seen.icmp == Some(Icmp::Reply) {
            p.1
        } else {
            p.0
        }
    })
}

/// Whether a frame says that it is a fragment, but not the first one (of IPv6: with nothing in front of that header).
fn is_later_fragment(frame: &[u8]) -> bool {
    match frame.get(12..14) {
        Some([8, 0]) => frame
            .get(20..22)
            .is_some_and(|b| b[0] & 0x1f != 0 || b[1] != 0),
        _ => frame.get(20) != Some(&17) && frame.get(20) != Some(&6),
    }
}

impl Both {
    fn new() -> Result<Self> {
        let setup = Setup::new();
        namespace(&setup)?;
        let mut subject = Subject::new(&setup);
        // Time is the kernel's here and must not matter.
        subject.endless();
        let mut kernel = Kernel::load(65536)?;
        kernel.fill(&subject.maps, &devices(&setup))?;
        Ok(Self {
            setup,
            subject,
            kernel,
            trace: Vec::new(),
            next_number: 1000,
        })
    }

    fn follow(&mut self) -> Result<()> {
        self.subject.follow(&self.setup);
        self.kernel
            .follow_maps(&self.subject.maps, &devices(&self.setup))
    }

    /// A random number in memory is the one that the kernel must have had to choose this port: the second one for a port
    /// of the pool (the first is where a search begins that is not needed), the first one for another.
    fn adopt(&self, port: Option<u16>) {
        let (first, last) = self.setup.pool;
        let (port, first, size, draws) = match port {
            Some(port) if (first..=last).contains(&port) => (port, first, last - first + 1, 2),
            Some(port) if port >= SHIFTED => (port, SHIFTED, u16::MAX - SHIFTED + 1, 1),
            _ => return,
        };
        let number = (u64::from(port - first) << 32).div_ceil(size.into()) as u32;
        // The generator in memory, backwards.
        let before = |n: u32| n.wrapping_sub(1_013_904_223).wrapping_mul(INVERSE);
        *self.subject.maps.random.borrow_mut() = (0..draws).fold(number, |n, _| before(n));
    }

    /// The outside port of the container's socket that a packet came from.
    fn hidden_port(&self, from: Option<usize>, sent: &[u8]) -> Result<Option<u16>> {
        let seen = read(sent, L3, sent.get(12) == Some(&8), false);
        let (Some(i), Some(seen)) = (from, seen) else {
            return Ok(None);
        };
        let Some((sport, _)) = seen.ports else {
            return Ok(None);
        };
        let key = MappingKey {
            inside: seen.src.into(),
            outside: host(seen.v4).into(),
            endpoint: self.setup.endpoints[i].number,
            port: Be16::new(sport),
            protocol: seen.protocol,
            ..MappingKey::default()
        };
        Ok(self.kernel.mapping(&key)?.map(|m| m.port.get()))
    }

    fn send(&mut self, from: Option<usize>, sent: &[u8]) -> Result<()> {
        let (program, ifindex) = match from {
            Some(i) => ("from_container", self.setup.endpoints[i].ifindex()),
            None => ("from_uplink", UPLINK),
        };
        let mut there = Bytes(sent.to_vec(), 0);
        let action = self.kernel.run(program, ifindex, false, &mut there)?;
        let new = source_port(&there.0).filter(|port| Some(*port) != source_port(sent));
        self.adopt(match new {
            // What another endpoint does not let in has a port nevertheless, and a port may be chosen that is the sender's own.
            None => self.hidden_port(from, sent)?,
            new => new,
        });
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
        self.subject
            .set_time(now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64);
        let got = self.subject.run(&self.setup, from, sent);
        let waits = action == Action::Redirect && there.0 == sent && is_later_fragment(sent);
        let given_up = matches!(&got, Got::Drop(why) if why == "fragment");
        let (expected, bytes) = match &got {
            // How long a later fragment waits, and whether it has been given up by the time the first one comes, is a
            // matter of the clock.
            _ if got == Got::Again || waits || given_up => {
                *self.subject.maps.fragments.borrow_mut() = self.kernel.fragments()?;
                (action, None)
            }
            Got::Pass => (Action::Pass, None),
            Got::Drop(_) => (Action::Drop, None),
            // Its copies went out by themselves.
            Got::Again | Got::Replicate(..) => (action, None),
            Got::Deliver(_, p) | Got::ToHost(_, p) | Got::Out(_, _, p) | Got::Back(_, p) => {
                (Action::Redirect, Some(p))
            }
        };
        let same = bytes.is_none_or(|p| *p == there.0);
        ensure!(
            action == expected && same,
            "{program} by {ifindex} on {sent:02x?}:\nin the kernel {action:?} {:02x?},\nin memory {got:02x?}",
            there.0
        );
        if matches!(got, Got::Back(..)) {
            self.kernel
                .forget_errors(from.map_or(0, |i| self.setup.endpoints[i].number))?;
            self.subject.maps.budgets.borrow_mut().clear();
        }
        self.remember(from, sent, got);
        Ok(())
    }

    fn remember(&mut self, from: Option<usize>, sent: &[u8], got: Got) {
        let holder = |by: u32| self.setup.endpoints.iter().position(|e| e.ifindex() == by);
        let (to, came) = match got {
            Got::Deliver(by, came) => (holder(by), came),
            Got::Out(_, _, came) => (None, came),
            _ => return,
        };
        if self.trace.len() == TRACE {
            self.trace.remove(0);
        }
        self.trace.push(Trace {
            event: 0,
            from,
            sent: sent.to_vec(),
            to,
            came,
        });
    }

    /// True when it was a packet.
    fn step(&mut self, step: &Step) -> Result<bool> {
        match step {
            Step::Wait(_) => {}
            Step::Toggle(at) => {
                let offer = self.setup.offers()[*at];
                match self.setup.publications.iter().position(|p| *p == offer) {
                    Some(at) => drop(self.setup.publications.remove(at)),
                    None => self.setup.publications.push(offer),
                }
                self.follow()?;
            }
            Step::Replace(at) => {
                self.next_number += 1;
                self.setup.endpoints[*at].number = self.next_number;
                self.follow()?;
            }
            Step::Send(send) => {
                let past = send
                    .refers(&self.trace)
                    .map(|at| at.map(|at| self.trace[at].clone()));
                let past = match past {
                    Some(None) => return Ok(false),
                    past => past.flatten(),
                };
                let Some((from, sent)) = send.packet(&self.setup, past.as_ref()) else {
                    return Ok(false);
                };
                if !self.is_plain(from, &sent) {
                    return Ok(false);
                }
                self.send(from, &sent)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the way of a packet is as plain in the kernel as it is in memory, where everything leaves by the uplink:
    /// what goes out to nobody's or everybody's address is left to the kernel's routing.
    fn is_plain(&self, from: Option<usize>, sent: &[u8]) -> bool {
        let v4 = sent.get(12) == Some(&8);
        // BPF_PROG_TEST_RUN takes no packet without a whole IP header, as no interface gives one to a program.
        if sent.len() < if v4 { L3 + 20 } else { L3 + 40 } {
            return false;
        }
        let Some(seen) = read(sent, L3, v4, false) else {
            return true;
        };
        let known = (1..10).map(|last| remote(v4, last)).any(|a| a == seen.dst);
        from.is_none() || known || self.setup.subnet(seen.dst).is_some() || seen.dst.is_multicast()
    }
}

/// 100,000 packets, or as many as NETD_PACKETS says.
#[test]
fn random_packets_become_the_same_in_the_kernel() -> Result<()> {
    let number = |name: &str, default: usize| {
        env::var(name)
            .ok()
            .and_then(|n| n.parse().ok())
            .unwrap_or(default)
    };
    let packets = number("NETD_PACKETS", 100_000);
    let seed = (number("NETD_SEED", 7) as u32).to_le_bytes();
    let run = move || -> Result<()> {
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed.repeat(8));
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let mut both = Both::new()?;
        let mut judged = 0;
        while judged < packets {
            // Nothing is ever over here: before the pool is used up by what is gone, everything begins anew.
            if judged % WORLD == WORLD - 1 {
                both = Both::new()?;
            }
            let step = strategies::step()
                .new_tree(&mut runner)
                .expect("a step")
                .current();
            let was_packet = both
                .step(&step)
                .with_context(|| format!("packet {judged}: {step:?}"))?;
            judged += usize::from(was_packet);
        }
        Ok(())
    };
    // A thread of its own, whose namespace goes with it.
    thread::spawn(run)
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
