//! The host's resolvers, followed as their file changes.

use std::{
    fs,
    net::{IpAddr, SocketAddr, SocketAddrV6},
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use nix::net::if_::if_nametoindex;

use crate::resolv_conf::{ResolvConf, Server};

/// DNS over UDP and TCP (RFC 1035, 4.2).
pub const PORT: u16 = 53;

/// The file that names the host's resolvers.
#[derive(Debug)]
pub struct HostResolvers {
    path: PathBuf,
    last: Mutex<(Option<Stamp>, Arc<[SocketAddr]>)>,
}

/// Tells two states of a file apart: device, inode, size, and time of change in seconds and nanoseconds.
type Stamp = (u64, u64, u64, i64, i64);

impl HostResolvers {
    /// Follows this file.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            last: Mutex::new((None, [].into())),
        }
    }

    /// The servers now, in the order in which they are to be asked. Asking for the file's state costs less than any
    /// question to a server, so there is nothing to be told of and nothing to miss.
    pub fn servers(&self) -> Arc<[SocketAddr]> {
        let stamp = fs::metadata(&self.path)
            .ok()
            .map(|m| (m.dev(), m.ino(), m.size(), m.ctime(), m.ctime_nsec()));
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if stamp.is_none() || last.0 != stamp {
            // Without a file there are no resolvers.
            let text = fs::read_to_string(&self.path).unwrap_or_default();
            let servers = ResolvConf::parse(&text).servers;
            *last = (stamp, servers.iter().filter_map(socket).collect());
        }
        Arc::clone(&last.1)
    }
}

/// Where a server listens; `None`: its interface is not there.
fn socket(server: &Server) -> Option<SocketAddr> {
    match (server.address, &server.zone) {
        (IpAddr::V6(address), Some(zone)) => {
            let index = match zone.parse() {
                Ok(index) => index,
                Err(_) => if_nametoindex(zone.as_str()).ok()?,
            };
            Some(SocketAddrV6::new(address, PORT, 0, index).into())
        }
        (address, _) => Some(SocketAddr::new(address, PORT)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s04_a_changed_file_counts_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("resolv.conf");
        let resolvers = HostResolvers::new(path.clone());
        assert!(resolvers.servers().is_empty());
        fs::write(&path, "nameserver 192.0.2.1\nnameserver fe80::1%lo\n").unwrap();
        let shown: Vec<String> = resolvers
            .servers()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(shown, ["192.0.2.1:53", "[fe80::1%1]:53"]);
        fs::write(&path, "nameserver 192.0.2.2\n").unwrap();
        assert_eq!(resolvers.servers()[0].to_string(), "192.0.2.2:53");
        fs::remove_file(&path).unwrap();
        assert!(resolvers.servers().is_empty());
    }
}
