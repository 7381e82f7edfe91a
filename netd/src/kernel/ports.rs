//! Whether a process of the host already uses a port, and which.

use std::{
    fs,
    net::{IpAddr, TcpListener, UdpSocket},
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

/// Who in the calling thread's namespace holds this port (protocol 6: TCP, 17: UDP), if anybody. Found out by trying
/// to bind as a server would; other protocols have no socket that could be tried on every kernel.
pub fn holder(ip: IpAddr, protocol: u8, port: u16) -> Result<Option<Holder>> {
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
    let base = if protocol == 6 { "tcp" } else { "udp" };
    let wanted = format!(":{port:04X}");
    let mut inodes = Vec::new();
    for table in [
        format!("/proc/thread-self/net/{base}"),
        format!("/proc/thread-self/net/{base}6"),
    ] {
        for line in fs::read_to_string(table)
            .unwrap_or_default()
            .lines()
            .skip(1)
        {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let listens = protocol == 17 || fields.get(3) == Some(&"0A");
            if let (Some(local), Some(inode)) = (fields.get(1), fields.get(9))
                && local.ends_with(&wanted)
                && listens
            {
                inodes.push(format!("socket:[{inode}]"));
            }
        }
    }
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
