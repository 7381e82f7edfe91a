//! Two packets of one new socket at the same moment, on two processors.

use std::{
    collections::HashSet,
    io::Write,
    net::IpAddr,
    sync::{Arc, Barrier},
    thread,
};

use anyhow::{Context, Result, anyhow};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use crate::nat::{Checks, Packet, Site, Transport, Verdict, exchange::mark};

const ROUNDS: u16 = 300;

/// As a resolver sends A and AAAA questions from one socket: to one server, and to two.
pub fn one_mapping(site: &Site) -> Result<Verdict> {
    let mut checks = Checks::new();
    for ends in site.ends() {
        for (what, to) in [("one server", ends.lan), ("two servers", ends.other)] {
            let pairs: Vec<[Packet; 2]> = (0..ROUNDS)
                .map(|round| {
                    let src = (
                        ends.a,
                        20_000 + round + if to == ends.lan { 0 } else { ROUNDS },
                    );
                    [(ends.lan, 53), (to, 53)].map(|dst| site.packet(Transport::Udp, src, dst))
                })
                .collect();
            at_once(site, &pairs)?;
            site.fence(&site.a)?;
            let seen = site.lan.seen()?;
            let outside = |packet: &Packet| {
                let found = seen.iter().find(|seen| mark(seen) == mark(packet))?;
                Some((found.src, found.ports()?.0))
            };
            let (mut lost, mut split) = (0, 0);
            for [first, second] in &pairs {
                match (outside(first), outside(second)) {
                    (Some(one), Some(two)) => split += u32::from(one != two),
                    _ => lost += 1,
                }
            }
            let unanswered = answer(site, &pairs, outside)?;
            let what = format!("{what} over {}", ends.family());
            checks.that(
                format!("{what}: {lost} of {ROUNDS} pairs lose a packet"),
                lost == 0,
            );
            checks.that(
                format!("{what}: {split} of {ROUNDS} pairs get two ports"),
                split == 0,
            );
            checks.that(
                format!("{what}: {unanswered} of {ROUNDS} pairs lose an answer"),
                unanswered == 0,
            );
        }
    }
    Ok(checks.verdict())
}

/// Answers every packet that came; how many pairs' answers did not all come back. Both entries of a flow must be there
/// and lead to each other, whichever processor wrote them.
fn answer(
    site: &Site,
    pairs: &[[Packet; 2]],
    outside: impl Fn(&Packet) -> Option<(IpAddr, u16)>,
) -> Result<usize> {
    site.a.forget()?;
    let mut marks = Vec::new();
    for pair in pairs {
        let mut own = Vec::new();
        for packet in pair {
            let (Some(to), Some((_, port))) = (outside(packet), packet.ports()) else {
                continue;
            };
            let answer = site.packet(Transport::Udp, (packet.dst, port), to);
            own.push(mark(&answer));
            site.lan.send(&answer)?;
        }
        marks.push(own);
    }
    site.fence(&site.a)?;
    let came: HashSet<_> = site.a.seen()?.iter().map(mark).collect();
    Ok(marks
        .iter()
        .filter(|own| own.is_empty() || !own.iter().all(|mark| came.contains(mark)))
        .count())
}

/// Sends the first packets of all pairs from one processor and the second ones from another, pair by pair.
fn at_once(site: &Site, pairs: &[[Packet; 2]]) -> Result<()> {
    let barrier = Arc::new(Barrier::new(2));
    let threads = [0, 1].map(|half: usize| -> Result<_> {
        let barrier = barrier.clone();
        let mut sender = site.a.sender()?;
        let frames: Vec<Vec<u8>> = pairs.iter().map(|pair| site.a.frame(&pair[half])).collect();
        Ok(thread::spawn(move || -> Result<()> {
            let mut processors = CpuSet::new();
            processors.set(half)?;
            // A machine with one processor runs the test as well, if with less to find.
            let _ = sched_setaffinity(Pid::from_raw(0), &processors);
            for frame in frames {
                barrier.wait();
                sender.write_all(&frame).context("sending")?;
            }
            Ok(())
        }))
    });
    for thread in threads {
        thread?.join().map_err(|_| anyhow!("a sender panicked"))??;
    }
    Ok(())
}
