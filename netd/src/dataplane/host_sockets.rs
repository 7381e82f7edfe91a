//! Connected sockets of the host's own processes that were led to an endpoint. They hold its address, so nothing of a packet
//! says by which publication they came there: they end when what they asked for leads there no more. `SOCKET_PEERS`, which the
//! programs write, says which they are.

use std::{
    collections::{BTreeSet, HashMap as Entries},
    io,
    sync::Mutex,
    time::{Duration, Instant},
};

use aya::{
    Ebpf,
    maps::{HashMap, MapData},
};
use netd_common::{
    abi::{SocketPeer, SocketPeerKey},
    addr::Be16,
    packet::protocol,
};
use nix::libc;

use super::{batch, locked, object, tables::Tables};
use crate::{
    error::{Error, Result},
    kernel::socket_diag::{Connected, SocketDiag},
};

/// How long an entry is looked at that leads to where nothing leads any more: its socket may just be connecting.
const SETTLED: Duration = Duration::from_secs(1);
/// Ports that are asked for one by one; of more, all sockets are listed.
const PORTS: usize = 16;

/// The sockets that were led, and those of them that were led to where nothing leads any more.
pub struct HostSockets {
    peers: HashMap<MapData, SocketPeerKey, SocketPeer>,
    /// Since when they are known to be astray, and their protocol, if it is known.
    astray: Entries<SocketPeerKey, (Instant, u8)>,
    /// The kernel cannot end sockets, and that was said.
    unable: bool,
}

impl HostSockets {
    /// Takes the map out of the object.
    pub fn take(object: &mut Ebpf) -> Result<Self> {
        Ok(Self {
            peers: object::take(object, "SOCKET_PEERS")?,
            astray: Entries::new(),
            unable: false,
        })
    }

    /// Ends the sockets that are astray. `withdrawn`: there may be new ones since the last call.
    pub fn follow(&mut self, withdrawn: bool, tables: &Mutex<Tables>) {
        if self.unable || (!withdrawn && self.astray.is_empty()) {
            return;
        }
        let done = self.find_astray(tables).and_then(|protocols| {
            self.end_astray(&protocols).map_err(|e| {
                self.unable = is_unable(&e);
                Error::internal("ending sockets of the host's processes", e)
            })
        });
        if let Err(e) = done {
            tracing::warn!(
                "{e}; processes of the host that were connected to a port which is published no more may go on to where it led: \
                 restart them, or use a kernel with CONFIG_INET_DIAG_DESTROY and CONFIG_INET_UDP_DIAG"
            );
        }
    }

    /// Looks at all entries; returns the protocols and ports of those that are astray.
    fn find_astray(&mut self, tables: &Mutex<Tables>) -> Result<BTreeSet<(u8, u16)>> {
        let mut entries = Vec::new();
        batch::for_each(&self.peers, "SOCKET_PEERS", |key, asked| {
            entries.push((*key, *asked));
        })?;
        let now = Instant::now();
        let mut found = BTreeSet::new();
        let mut still = Entries::new();
        // Most sockets ask for the same few ports.
        let mut known = Entries::new();
        {
            let tables = locked(tables);
            for (key, asked) in &entries {
                let numbers: &[u8] = match asked.protocol {
                    0 => &[protocol::TCP, protocol::UDP],
                    _ => std::slice::from_ref(&asked.protocol),
                };
                for number in numbers {
                    let question = (asked.addr, *number, asked.port);
                    let leads = known
                        .entry(question)
                        .or_insert_with(|| tables.leads(asked.addr, *number, asked.port));
                    if *leads != Some((key.addr, key.port)) {
                        found.insert((*number, key.port.get()));
                        let since = self.astray.get(key).map_or(now, |known| known.0);
                        still.insert(*key, (since, asked.protocol));
                    }
                }
            }
        }
        self.astray = still;
        Ok(found)
    }

    /// Ends the sockets of the entries that are astray, and removes those of which there can be none any more.
    fn end_astray(&mut self, ports: &BTreeSet<(u8, u16)>) -> io::Result<()> {
        if ports.is_empty() {
            return Ok(());
        }
        let diag = SocketDiag::new()?;
        let mut ended = 0;
        for number in [protocol::TCP, protocol::UDP] {
            let of: Vec<u16> = ports
                .iter()
                .filter(|p| p.0 == number)
                .map(|p| p.1)
                .collect();
            let questions: Vec<Option<u16>> = match of.len() {
                0 => continue,
                1..=PORTS => of.into_iter().map(Some).collect(),
                _ => vec![None],
            };
            for port in questions {
                for socket in diag.connected(number, port)? {
                    if self.is_astray(&socket) {
                        ended += u32::from(diag.destroy(&socket)?);
                    }
                }
            }
        }
        if ended > 0 {
            tracing::debug!("ended {ended} sockets of the host whose publication is gone");
        }
        let peers = &mut self.peers;
        self.astray.retain(|key, (since, number)| {
            let settled = since.elapsed() > SETTLED;
            // One of an unknown protocol may be astray by the other one only.
            if settled && *number != 0 {
                // What is gone already is as good as removed.
                let _ = peers.remove(key);
            }
            !settled
        });
        Ok(())
    }

    fn is_astray(&self, socket: &Connected) -> bool {
        let (addr, port) = socket.peer;
        self.astray.contains_key(&SocketPeerKey {
            cookie: socket.cookie,
            addr: addr.into(),
            port: Be16::new(port),
            pad: [0; 6],
        })
    }
}

/// Whether the kernel has no such operation: not compiled in, or its module is not there.
fn is_unable(e: &io::Error) -> bool {
    matches!(
        e.raw_os_error(),
        Some(libc::EOPNOTSUPP | libc::ENOENT | libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT)
    )
}
