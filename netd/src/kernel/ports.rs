//! Whether a process of the host already uses a port, and which.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket},
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
fn rows(protocol: u8) -> Result<Vec<(u16, String)>> {
    let base = if protocol == 6 { "tcp" } else { "udp" };
    let mut found = Vec::new();
    for table in [
        format!("/proc/thread-self/net/{base}"),
        format!("/proc/thread-self/net/{base}6"),
    ] {
        let text = match fs::read_to_string(&table) {
            Ok(text) => text,
            // A kernel without IPv6.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => return Err(Error::internal(table, e)),
        };
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let listens = protocol == 17 || fields.get(3) == Some(&"0A");
            let port = fields.get(1).and_then(|local| local.rsplit(':').next());
            let port = port.and_then(|text| u16::from_str_radix(text, 16).ok());
            if let (Some(port), Some(inode), true) = (port, fields.get(9), listens) {
                found.push((port, (*inode).to_owned()));
            }
        }
    }
    Ok(found)
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
    let inodes: Vec<String> = rows(protocol)
        .unwrap_or_default()
        .into_iter()
        .filter(|(p, _)| *p == port)
        .map(|(_, inode)| format!("socket:[{inode}]"))
        .collect();
    let Ok(processes) = fs::read_dir("/proc") else {
        return unknown;
    };
    for process in processes.flatten() {
        let Some(pid) = process
            .file_name()
            .to_str()
            .and_then(|n| n.parse::<u32>().ok())
        else {
            continue;
        };
        let Ok(files) = fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        let mut targets = files.flatten().filter_map(|f| fs::read_link(f.path()).ok());
        if targets.any(|t| t.to_str().is_some_and(|t| inodes.iter().any(|i| i == t))) {
            let name = fs::read_to_string(process.path().join("comm"))
                .unwrap_or_default()
                .trim()
                .to_owned();
            return Holder { pid, name };
        }
    }
    unknown
}
