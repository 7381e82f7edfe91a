//! Whether a process of the host already uses a port, and which.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket},
};

use nix::libc;
use procfs::{
    ProcError, ProcResult,
    net::TcpState,
    process::{FDTarget, Process},
};

use crate::error::{Error, Result};

/// Who uses a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Process id, 0 when it could not be found out.
    pub pid: u32,
    /// Name of its program.
    pub name: String,
}

/// Ports that sockets of the calling thread's namespace listen on, on whatever address: where to look closer.
#[derive(Clone, Debug, Default)]
pub struct Sockets {
    tcp: BTreeSet<u16>,
    udp: BTreeSet<u16>,
}

impl Sockets {
    /// Reads them from procfs, in one go however many ports are to be judged.
    pub fn read() -> Result<Self> {
        let of = |protocol| Ok(rows(protocol)?.into_iter().map(|(port, _)| port).collect());
        Ok(Self {
            tcp: of(6)?,
            udp: of(17)?,
        })
    }

    /// The process that holds one of the ports `first..=last` of an address (`None`: of all), if any does.
    pub fn holder(
        &self,
        ip: Option<IpAddr>,
        protocol: u8,
        (first, last): (u16, u16),
    ) -> Result<Option<Holder>> {
        let listening = match protocol {
            6 => &self.tcp,
            17 => &self.udp,
            _ => return Ok(None),
        };
        let ips = match ip {
            Some(ip) => vec![ip],
            None => vec![
                IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            ],
        };
        for port in listening.range(first..=last) {
            for ip in &ips {
                if let Some(found) = holder(*ip, protocol, *port)? {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }
}

/// Local port and inode of each socket that takes what comes: listening (TCP), or any (UDP).
fn rows(protocol: u8) -> Result<Vec<(u16, u64)>> {
    let fail = |e| Error::internal("listing the host's sockets", e);
    // The tables below /proc/net are those of the process' first thread.
    let thread = Process::new(nix::unistd::gettid().as_raw()).map_err(fail)?;
    let mut found = Vec::new();
    if protocol == 6 {
        for table in [thread.tcp(), thread.tcp6()] {
            let rows = there(table).map_err(fail)?.into_iter();
            let listening = rows.filter(|row| row.state == TcpState::Listen);
            found.extend(listening.map(|row| (row.local_address.port(), row.inode)));
        }
    } else {
        for table in [thread.udp(), thread.udp6()] {
            let rows = there(table).map_err(fail)?.into_iter();
            found.extend(rows.map(|row| (row.local_address.port(), row.inode)));
        }
    }
    Ok(found)
}

/// A kernel without IPv6 has no table for it.
fn there<T>(table: ProcResult<Vec<T>>) -> ProcResult<Vec<T>> {
    match table {
        Err(ProcError::NotFound(_)) => Ok(Vec::new()),
        other => other,
    }
}

/// Who in the calling thread's namespace holds this port (protocol 6: TCP, 17: UDP), if anybody. Found out by trying
/// to bind as a server would; other protocols have no socket that could be tried on every kernel.
fn holder(ip: IpAddr, protocol: u8, port: u16) -> Result<Option<Holder>> {
    let tried = match protocol {
        6 => TcpListener::bind((ip, port)).map(drop),
        17 => UdpSocket::bind((ip, port)).map(drop),
        _ => return Ok(None),
    };
    match tried {
        Ok(()) => Ok(None),
        Err(e) if e.kind() == std::io::ErrorKind::AddrInUse => Ok(Some(find(protocol, port))),
        // An address that is not there (yet) has no holder; whether it may be published is for others to say.
        Err(e) if e.kind() == std::io::ErrorKind::AddrNotAvailable => Ok(None),
        Err(e) if e.raw_os_error() == Some(libc::EAFNOSUPPORT) => Ok(None),
        Err(e) => Err(Error::internal(format!("trying port {port} of {ip}"), e)),
    }
}

/// The process that holds a port, by its socket's inode.
fn find(protocol: u8, port: u16) -> Holder {
    let unknown = Holder {
        pid: 0,
        name: "an unknown process".into(),
    };
    let inodes: BTreeSet<u64> = rows(protocol)
        .unwrap_or_default()
        .into_iter()
        .filter(|(p, _)| *p == port)
        .map(|(_, inode)| inode)
        .collect();
    // A process that ends meanwhile holds nothing.
    let processes = procfs::process::all_processes().into_iter().flatten();
    for process in processes.flatten() {
        let files = process.fd().into_iter().flatten().flatten();
        let mut sockets = files.filter_map(|file| match file.target {
            FDTarget::Socket(inode) => Some(inode),
            _ => None,
        });
        if sockets.any(|inode| inodes.contains(&inode)) {
            let comm = process.pid().try_into().ok().and_then(|pid: u32| {
                let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
                Some(Holder {
                    pid,
                    name: name.trim().to_owned(),
                })
            });
            return comm.unwrap_or(unknown);
        }
    }
    unknown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::testing::fresh;

    /// Needs root.
    #[test]
    fn b15_the_holder_of_a_port_is_named() {
        let netns = fresh();
        netns
            .run(|| {
                let tcp = TcpListener::bind("0.0.0.0:4000").unwrap();
                let udp = UdpSocket::bind("[::]:4001").unwrap();
                let sockets = Sockets::read()?;
                let own = std::process::id();
                for (protocol, range) in [(6, (3999, 4000)), (17, (4001, 4001))] {
                    let holder = sockets.holder(None, protocol, range)?.unwrap();
                    assert_eq!(holder.pid, own);
                    assert!(!holder.name.is_empty());
                }
                assert_eq!(sockets.holder(None, 6, (4001, 4010))?, None);
                assert_eq!(sockets.holder(None, 17, (4000, 4000))?, None);
                drop((tcp, udp));
                // What has been read is where to look; who is gone holds nothing.
                assert_eq!(sockets.holder(None, 6, (4000, 4000))?, None);
                Ok(())
            })
            .unwrap();
        // Other namespaces' sockets are nobody's here.
        let elsewhere = fresh();
        elsewhere
            .run(|| {
                assert_eq!(Sockets::read()?.holder(None, 6, (4000, 4000))?, None);
                Ok(())
            })
            .unwrap();
    }
}
