//! Refused packets one by one, as the programs tell of them while somebody watches.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use aya::{
    Ebpf,
    maps::{HashMap, MapData, RingBuf},
};
use netd_common::abi::{Device, DropEvent, HOST_SLOT, watch};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::broadcast,
};

use super::{Dataplane, flows, locked, object, settings::SettingsMap};
use crate::error::{Error, Result};

/// Packets that wait for one who reads slowly; beyond, the oldest are lost to that one.
const WAITING: usize = 4096;

/// Packets read in one go before others have their turn.
const BATCH: usize = 256;

/// A refused packet, and who sent it.
#[derive(Clone, Copy, Debug)]
pub struct RefusedPacket {
    /// What the program told.
    pub event: DropEvent,
    /// Number of the endpoint, `None` for the host's side.
    pub endpoint: Option<u32>,
}

/// Where refused packets come from.
pub struct DropFeed {
    /// Until the first one watches.
    source: Mutex<Option<Source>>,
    settings: Arc<Mutex<SettingsMap>>,
    watchers: Mutex<usize>,
    packets: broadcast::Sender<RefusedPacket>,
}

struct Source {
    ring: RingBuf<MapData>,
    devices: HashMap<MapData, u32, Device>,
}

impl DropFeed {
    /// Takes the ring buffer out of the object. Nobody watches: `settings` must say so.
    pub fn take(
        object: &mut Ebpf,
        pins: &Path,
        settings: Arc<Mutex<SettingsMap>>,
    ) -> Result<Arc<Self>> {
        let source = Source {
            ring: object::take(object, "EVENTS")?,
            devices: flows::open(pins, "DEVICES")?,
        };
        Ok(Arc::new(Self {
            source: Mutex::new(Some(source)),
            settings,
            watchers: Mutex::new(0),
            packets: broadcast::channel(WAITING).0,
        }))
    }

    fn watch(self: &Arc<Self>) -> Result<DropWatch> {
        let mut watchers = locked(&self.watchers);
        self.begin()?;
        let packets = self.packets.subscribe();
        if *watchers == 0 {
            locked(&self.settings).change(|s| s.watch |= watch::DROPS)?;
        }
        *watchers += 1;
        Ok(DropWatch {
            feed: Arc::clone(self),
            packets,
        })
    }

    /// Reads from now on, to the end of the process, if nobody does.
    fn begin(self: &Arc<Self>) -> Result<()> {
        let mut there = locked(&self.source);
        let Some(Source { mut ring, devices }) = there.take() else {
            return Ok(());
        };
        // What an earlier daemon did not come to read.
        while ring.next().is_some() {}
        // SAFETY: the ring buffer owns its map's descriptor, and neither closes nor replaces it.
        match unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) } {
            Ok(ring) => {
                let feed = Arc::clone(self);
                tokio::spawn(async move { feed.read(ring, &devices).await });
                Ok(())
            }
            Err(e) => {
                let (ring, cause) = e.into_parts();
                *there = Some(Source { ring, devices });
                Err(Error::internal("waiting for refused packets", cause))
            }
        }
    }

    async fn read(
        &self,
        mut ring: AsyncFd<RingBuf<MapData>>,
        devices: &HashMap<MapData, u32, Device>,
    ) {
        loop {
            let mut ready = match ring.readable_mut().await {
                Ok(ready) => ready,
                Err(e) => {
                    tracing::error!("refused packets cannot be watched any more: {e}");
                    return;
                }
            };
            let mut count = 0;
            while count < BATCH
                && let Some(item) = ready.get_inner_mut().next()
            {
                count += 1;
                if let Some(event) = decode(&item) {
                    let endpoint = sender(devices, &event);
                    // Nobody listens any more: it was on its way.
                    let _ = self.packets.send(RefusedPacket { event, endpoint });
                }
            }
            if count < BATCH {
                ready.clear_ready();
            } else {
                drop(ready);
                tokio::task::yield_now().await;
            }
        }
    }

    fn forsake(&self) {
        let mut watchers = locked(&self.watchers);
        *watchers = watchers.saturating_sub(1);
        if *watchers == 0
            && let Err(e) = locked(&self.settings).change(|s| s.watch &= !watch::DROPS)
        {
            tracing::warn!("refused packets are told though nobody watches: {e}");
        }
    }
}

impl Dataplane {
    /// Refused packets from now on. Must be called within the runtime.
    pub fn watch_drops(&self) -> Result<DropWatch> {
        self.refused.watch()
    }

    /// Has the programs tell nothing any more, whoever watches: the daemon ends.
    pub fn end_watches(&self) {
        if let Err(e) = locked(&self.settings).change(|s| s.watch = 0) {
            tracing::warn!("refused packets are told though nobody watches: {e}");
        }
    }
}

/// The endpoint whose slot the program named; it may be gone by now, and its slot another's.
fn sender(devices: &HashMap<MapData, u32, Device>, event: &DropEvent) -> Option<u32> {
    if event.slot == HOST_SLOT {
        return None;
    }
    let device = devices.get(&event.ifindex, 0).ok()?;
    (device.slot == event.slot).then_some(device.endpoint)
}

fn decode(bytes: &[u8]) -> Option<DropEvent> {
    if bytes.len() != size_of::<DropEvent>() {
        return None;
    }
    // SAFETY: as many bytes as the type has, and any bytes are a valid value of it (`aya::Pod`); need not be aligned.
    Some(unsafe { bytes.as_ptr().cast::<DropEvent>().read_unaligned() })
}

/// One who watches; refused packets are told as long as there is one.
pub struct DropWatch {
    feed: Arc<DropFeed>,
    packets: broadcast::Receiver<RefusedPacket>,
}

impl DropWatch {
    /// The next packet, and how many before it were lost because nobody read them in time. `None`: the end.
    pub async fn next(&mut self) -> Option<(RefusedPacket, u64)> {
        let mut lost = 0;
        loop {
            match self.packets.recv().await {
                Ok(packet) => return Some((packet, lost)),
                Err(broadcast::error::RecvError::Lagged(missed)) => lost += missed,
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

impl Drop for DropWatch {
    fn drop(&mut self) {
        self.feed.forsake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x03_only_whole_events_are_read() {
        let size = size_of::<DropEvent>();
        assert!(decode(&vec![0; size - 1]).is_none() && decode(&vec![0; size + 1]).is_none());
        let mut bytes = vec![0; size + 1];
        bytes[1 + 8] = 7;
        // Not aligned.
        assert_eq!(decode(&bytes[1..]).map(|e| e.slot), Some(7_u32.to_le()));
    }
}
