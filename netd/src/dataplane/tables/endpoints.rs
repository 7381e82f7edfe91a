//! Endpoints in the maps, and the numbers of the slots that they count in.

use std::collections::{BTreeSet, HashMap};

use aya::maps::PerCpuValues;
use netd_common::{
    abi::{AddressKey, Counters, Device, DropKey, Target, network_flags},
    addr::{Addr, link_local_of},
    drop_reason::DropReason,
};

use super::{Tables, put, refused};
use crate::{
    dataplane::{EndpointPublications, EndpointSpec},
    error::{Error, Kind, Result},
};

/// What stands in the maps for an endpoint.
#[derive(Clone, Debug, Default)]
pub(super) struct KnownEndpoint {
    /// Key of `DEVICES`; 0: none yet.
    pub ifindex: u32,
    /// Its value.
    pub device: Device,
    /// Keys of `ADDRESSES`.
    pub addresses: Vec<AddressKey>,
}

impl Tables {
    pub(super) fn read_endpoints(&mut self) {
        for (ifindex, device) in self.devices.iter().filter_map(std::result::Result::ok) {
            let known = self.known_endpoints.entry(device.endpoint).or_default();
            known.ifindex = ifindex;
            known.device = device;
        }
        for (key, target) in self.addresses.iter().filter_map(std::result::Result::ok) {
            let known = self.known_endpoints.entry(target.endpoint).or_default();
            known.addresses.push(key);
            known.device.slot = target.slot;
        }
        let used: Vec<u32> = self
            .known_endpoints
            .values()
            .map(|k| k.device.slot)
            .collect();
        self.next_slot = used.iter().max().map_or(1, |last| last + 1);
        self.free_slots = (1..self.next_slot).collect();
        for slot in used {
            self.free_slots.remove(&slot);
        }
    }

    /// A slot of `COUNTERS` that no endpoint uses, emptied.
    fn take_slot(&mut self) -> Result<u32> {
        let slot = match self.free_slots.pop_first() {
            Some(slot) => slot,
            None if self.next_slot < self.counters.len() => {
                self.next_slot += 1;
                self.next_slot - 1
            }
            None => {
                return Err(Error::new(Kind::Exhausted, "no room for another endpoint")
                    .hint("raise limits.endpoints in the configuration"));
            }
        };
        let cpus = aya::util::nr_cpus().map_err(|(what, e)| Error::internal(what, e))?;
        let zero = PerCpuValues::try_from(vec![Counters::default(); cpus])
            .map_err(|e| Error::internal("counting processors", e))?;
        self.counters
            .set(slot, zero, 0)
            .map_err(|e| refused("COUNTERS", &e))?;
        for reason in DropReason::ALL {
            let reason = *reason as u32;
            let _ = self.drops.remove(&DropKey { slot, reason });
        }
        Ok(slot)
    }

    /// Slots of endpoints that are gone.
    pub fn slots_of_gone(&self, gone: &BTreeSet<u32>) -> Vec<u32> {
        let slots = gone
            .iter()
            .filter_map(|number| self.resting_slots.get(number));
        slots.copied().collect()
    }

    /// Nothing counts in the slots of these endpoints any more.
    pub fn free_slots_of(&mut self, gone: &BTreeSet<u32>) {
        for number in gone {
            self.free_slots.extend(self.resting_slots.remove(number));
        }
    }

    /// Number of the endpoint that counts in each slot.
    pub fn endpoint_of_slots(&self) -> HashMap<u32, u32> {
        let pair = |(number, known): (&u32, &KnownEndpoint)| (known.device.slot, *number);
        self.known_endpoints.iter().map(pair).collect()
    }

    /// The veths' host ends.
    pub fn interfaces(&self) -> Vec<u32> {
        let known = self.known_endpoints.values();
        known.map(|k| k.ifindex).filter(|i| *i != 0).collect()
    }

    /// Writes an endpoint: its device last, since only then the program lets anything of it pass.
    pub fn set_endpoint(&mut self, spec: &EndpointSpec) -> Result<()> {
        let old = self.known_endpoints.get(&spec.number).cloned();
        let slot = match &old {
            Some(known) => known.device.slot,
            None => self.take_slot()?,
        };
        let mut device = Device {
            endpoint: spec.number,
            network: spec.network,
            slot,
            flags: spec.flags,
            gateway_ifindex: spec.gateway_ifindex,
            mtu: spec.mtu,
            mac: spec.mac,
            gateway_mac: spec.gateway_mac,
            ..Device::default()
        };
        if let Some(known) = &old {
            device.flags |= known.device.flags & network_flags::PUBLISHED;
        }
        let target = Target {
            ifindex: spec.ifindex,
            endpoint: spec.number,
            slot,
            mtu: spec.mtu,
            flags: device.flags,
            mac: spec.mac,
            gateway_mac: spec.gateway_mac,
        };
        let mut held: Vec<Addr> = spec.addresses.iter().copied().map(Addr::from).collect();
        for addr in &held {
            if addr.is_v4() {
                device.ipv4 = *addr;
            } else {
                device.ipv6 = *addr;
                device.link_local = link_local_of(spec.mac);
            }
        }
        if !device.link_local.is_unspecified() {
            held.push(device.link_local);
        }
        held.extend(spec.link_local.iter().copied().map(Addr::from));
        let network = spec.network;
        let keys: Vec<AddressKey> = held
            .into_iter()
            .map(|addr| AddressKey { network, addr })
            .collect();
        // Known before it is written: what fails half-way is removed whole.
        self.known_endpoints.insert(
            spec.number,
            KnownEndpoint {
                ifindex: spec.ifindex,
                device,
                addresses: keys.clone(),
            },
        );
        let mut changed = false;
        for key in &keys {
            changed |= put(&mut self.addresses, "ADDRESSES", key, target)?;
        }
        if let Some(old) = old {
            for key in old.addresses.iter().filter(|k| !keys.contains(k)) {
                self.remove_address(key, spec.number);
            }
            if old.ifindex != spec.ifindex && old.ifindex != 0 {
                self.leave(network, old.ifindex)?;
                self.remove_device(old.ifindex, spec.number);
            }
        }
        self.join(network, spec.ifindex)?;
        changed |= put(&mut self.devices, "DEVICES", &spec.ifindex, device)?;
        self.mended += u64::from(changed);
        Ok(())
    }

    /// Another endpoint may have the interface's number by now.
    fn remove_device(&mut self, ifindex: u32, endpoint: u32) {
        let there = self.devices.get(&ifindex, 0);
        if there.is_ok_and(|device| device.endpoint == endpoint) {
            let _ = self.devices.remove(&ifindex);
        }
    }

    /// Another endpoint may hold the address by now.
    fn remove_address(&mut self, key: &AddressKey, endpoint: u32) {
        let there = self.addresses.get(key, 0);
        if there.is_ok_and(|target| target.endpoint == endpoint) {
            let _ = self.addresses.remove(key);
        }
    }

    /// Removes an endpoint.
    pub fn remove_endpoint(&mut self, number: u32) {
        let _ = self.set_publications(&EndpointPublications {
            endpoint: number,
            ..EndpointPublications::default()
        });
        let Some(known) = self.known_endpoints.remove(&number) else {
            return;
        };
        self.remove_device(known.ifindex, number);
        let _ = self.leave(known.device.network, known.ifindex);
        for key in &known.addresses {
            self.remove_address(key, number);
        }
        // Its flows count there until they have ended.
        self.resting_slots.insert(number, known.device.slot);
    }

    /// Marks whether an endpoint has publications.
    pub(super) fn mark_published(&mut self, endpoint: u32, published: bool) -> Result<()> {
        let Some(known) = self.known_endpoints.get_mut(&endpoint) else {
            return Ok(());
        };
        let flags = &mut known.device.flags;
        if published {
            *flags |= network_flags::PUBLISHED;
        } else {
            *flags &= !network_flags::PUBLISHED;
        }
        let flags = *flags;
        if known.ifindex == 0 {
            return Ok(());
        }
        for key in &known.addresses {
            // One that is gone is written again with the endpoint.
            let there = self.addresses.get(key, 0).ok();
            if let Some(target) = there.filter(|t| t.endpoint == endpoint && t.flags != flags) {
                let target = Target { flags, ..target };
                put(&mut self.addresses, "ADDRESSES", key, target)?;
            }
        }
        // Another endpoint may have the interface's number by now; one that is gone is written again with the endpoint.
        let there = self.devices.get(&known.ifindex, 0);
        if there.is_ok_and(|device| device.endpoint == endpoint) {
            put(&mut self.devices, "DEVICES", &known.ifindex, known.device)?;
        }
        Ok(())
    }
}
