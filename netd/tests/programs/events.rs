//! X03: what the programs tell of refused packets, and that they tell nothing while nobody listens.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use aya::maps::{MapData, RingBuf};
use netd_common::{
    abi::{DropEvent, watch},
    addr::{Addr, Be16},
    drop_reason::DropReason,
    packet::protocol::{TCP, UDP},
    rate::SPAN,
};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

use crate::{Both, kernel::Kernel, with, world::*};

/// The two endpoints' networks and last bytes.
const ME: (u32, u8) = (1, 2);
const OTHER: (u32, u8) = (2, 2);

impl Kernel {
    /// What was told since the last call.
    fn told(&mut self) -> Result<Vec<DropEvent>> {
        let map = self.object.map_mut("EVENTS").context("no events")?;
        let mut ring: RingBuf<&mut MapData> = map.try_into()?;
        let mut told = Vec::new();
        while let Some(item) = ring.next() {
            ensure!(item.len() == size_of::<DropEvent>(), "{item:?}");
            // SAFETY: as many bytes as the type has, and any bytes are a valid value of it.
            told.push(unsafe { item.as_ptr().cast::<DropEvent>().read_unaligned() });
        }
        Ok(told)
    }
}

/// Counts stand with the processor that made them.
fn stay_here() -> Result<()> {
    let me = Pid::from_raw(0);
    let allowed = sched_getaffinity(me)?;
    let is_allowed = |cpu: &usize| allowed.is_set(*cpu).unwrap_or(false);
    let first = (0..CpuSet::count()).find(is_allowed);
    let mut one = CpuSet::new();
    one.set(first.context("no processor")?)?;
    Ok(sched_setaffinity(me, &one)?)
}

fn watched(test: impl FnOnce(&mut Both) -> Result<()> + Send) -> Result<()> {
    let run = |both: &mut Both| {
        stay_here()?;
        test(both)
    };
    with(|world| world.maps.settings.watch = watch::DROPS, run)
}

fn refused(both: &mut Both, protocol: u8, v4: bool) -> Result<()> {
    let (from, to) = (inside(v4, ME.0, ME.1), inside(v4, OTHER.0, OTHER.1));
    let p = first(protocol, (from, 1000), (to, 80));
    both.drops(Some(ME), &p)
}

#[test]
fn x03_nothing_is_told_while_nobody_listens() -> Result<()> {
    with(
        |world| world.maps.settings.watch = !watch::DROPS,
        |both| {
            refused(both, TCP, true)?;
            ensure!(both.kernel.told()?.is_empty());
            Ok(())
        },
    )
}

#[test]
fn x03_refused_packets_are_told() -> Result<()> {
    watched(|both| {
        for v4 in FAMILIES {
            for protocol in [TCP, UDP] {
                refused(both, protocol, v4)?;
                let told = both.kernel.told()?;
                ensure!(told.len() == 1, "{told:?}");
                let event = told[0];
                assert_eq!(event.reason, DropReason::Isolated as u32);
                assert_eq!(event.ifindex, 10 + number(ME.0, ME.1));
                assert_eq!(event.src, inside(v4, ME.0, ME.1));
                assert_eq!(event.dst, inside(v4, OTHER.0, OTHER.1));
                assert_eq!((event.sport, event.dport), (Be16::new(1000), Be16::new(80)));
                assert_eq!(event.protocol, protocol);
                let flags = if protocol == TCP { SYN } else { 0 };
                assert_eq!(event.tcp_flags, flags);
                assert!(event.time > 0 && event.bytes > 34 && event.left_out == 0);
            }
        }
        Ok(())
    })
}

#[test]
fn x03_what_was_not_read_is_not_told() -> Result<()> {
    watched(|both| {
        refused(both, TCP, true)?;
        let p = first(TCP, (inside(true, 1, 2), 1000), (lan(true), 80));
        let mut p = both.world.framed(ME.0, ME.1, &p);
        // From another Ethernet address: its IP header is not looked at.
        p.0[11] ^= 1;
        let ifindex = 10 + number(ME.0, ME.1);
        both.kernel.run("from_container", ifindex, true, &mut p)?;
        let told = both.kernel.told()?;
        ensure!(told.len() == 2, "{told:?}");
        assert_eq!(told[1].reason, DropReason::SpoofedMac as u32);
        assert_eq!(
            (told[1].src, told[1].dst),
            (Addr::default(), Addr::default())
        );
        assert_eq!(
            (told[1].sport, told[1].protocol, told[1].tcp_flags),
            (Be16::ZERO, 0, 0)
        );
        Ok(())
    })
}

#[test]
fn x03_so_many_are_told_in_a_span_of_time() -> Result<()> {
    watched(|both| {
        let began = Instant::now();
        let (mut sent, mut told, mut left_out) = (0, 0, 0);
        // Until one tells of others that were left out.
        while left_out == 0 {
            refused(both, UDP, true)?;
            sent += 1;
            for event in both.kernel.told()? {
                told += 1;
                left_out += event.left_out;
            }
            ensure!(sent < 1_000_000, "nothing was left out");
        }
        let spans = began.elapsed().as_nanos() / u128::from(SPAN) + 2;
        ensure!(told <= 10 * spans as u32, "{told} in {spans}");
        // Nothing is forgotten.
        assert_eq!(told + left_out, sent);
        Ok(())
    })
}
