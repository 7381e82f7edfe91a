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
    error::Result,
    kernel::socket_diag::{Connected, SocketDiag},
};

/// How long an entry is looked at that leads to where nothing leads any more: its socket may just be connecting.
const SETTLED: Duration = Duration::from_secs(1);
/// Ports that are asked for one by one; of more, all sockets are listed.
const PORTS: usize = 16;

/// The sockets that were led, and those of them that were led to where nothing leads any more.
pub struct HostSockets {
    peers: HashMap<MapData, SocketPeerKey, SocketPeer>,
    /// Since when they are known to be astray, by their protocol too, and whether that stands in the entry.
    astray: Entries<(SocketPeerKey, u8), (Instant, bool)>,
    /// Protocols whose sockets the kernel cannot end, and that was said.
    unable: BTreeSet<u8>,
}

impl HostSockets {
    /// Takes the map out of the object.
    pub fn take(object: &mut Ebpf) -> Result<Self> {
        Ok(Self {
            peers: object::take(object, "SOCKET_PEERS")?,
            astray: Entries::new(),
            unable: BTreeSet::new(),
        })
    }

    /// Ends the sockets that are astray. `withdrawn`: there may be new ones since the last call.
    pub fn follow(&mut self, withdrawn: bool, tables: &Mutex<Tables>) {
        if !withdrawn && self.astray.is_empty() {
            return;
        }
        let ports = match self.find_astray(tables) {
            Ok(ports) => ports,
            Err(e) => return tracing::warn!("ending sockets of the host's processes: {e}"),
        };
        for number in [protocol::TCP, protocol::UDP] {
            let of = ports.iter().filter(|p| p.0 == number).map(|p| p.1);
            if self.unable.contains(&number) {
                continue;
            }
            if let Err(e) = self.end_astray(number, of.collect()) {
                if is_unable(&e) {
                    self.unable.insert(number);
                }
                let shown = if number == protocol::TCP {
                    "TCP"
                } else {
                    "UDP"
                };
                tracing::warn!(
                    "ending {shown} sockets of the host's processes: {e}; those that were connected to a port which is published no \
                     more may go on to where it led: restart them, or use a kernel with CONFIG_INET_DIAG_DESTROY and CONFIG_INET_UDP_DIAG"
                );
            }
        }
        self.forget_settled();
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
                        let place = (*key, *number);
                        let since = self.astray.get(&place).map_or(now, |known| known.0);
                        still.insert(place, (since, asked.protocol != 0));
                    }
                }
            }
        }
        self.astray = still;
        Ok(found)
    }

    /// Ends the sockets of one protocol that lead to these ports and are astray.
    fn end_astray(&self, number: u8, ports: Vec<u16>) -> io::Result<()> {
        let questions: Vec<Option<u16>> = match ports.len() {
            0 => return Ok(()),
            1..=PORTS => ports.into_iter().map(Some).collect(),
            _ => vec![None],
        };
        let diag = SocketDiag::new()?;
        let mut ended = 0;
        for port in questions {
            for socket in diag.connected(number, port)? {
                if self.is_astray(&socket, number) {
                    ended += u32::from(diag.destroy(&socket)?);
                }
            }
        }
        if ended > 0 {
            tracing::debug!("ended {ended} sockets of the host whose publication is gone");
        }
        Ok(())
    }

    /// Removes the entries of which there can be no socket any more.
    fn forget_settled(&mut self) {
        let peers = &mut self.peers;
        self.astray.retain(|(key, _), (since, known)| {
            let settled = since.elapsed() > SETTLED;
            // One of an unknown protocol may be astray by the other one only.
            if settled && *known {
                // What is gone already is as good as removed.
                let _ = peers.remove(key);
            }
            !settled
        });
    }

    fn is_astray(&self, socket: &Connected, number: u8) -> bool {
        let (addr, port) = socket.peer;
        let key = SocketPeerKey {
            cookie: socket.cookie,
            addr: addr.into(),
            port: Be16::new(port),
            pad: [0; 6],
        };
        self.astray.contains_key(&(key, number))
    }
}

/// Whether the kernel has no such operation: not compiled in, or its module is not there.
fn is_unable(e: &io::Error) -> bool {
    matches!(
        e.raw_os_error(),
        Some(libc::EOPNOTSUPP | libc::ENOENT | libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT)
    )
}
