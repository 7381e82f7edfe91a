//! Whom to ask: the host's resolvers, followed as their file changes, and servers of a sandbox's own; which of them were
//! silent lately is remembered.

use std::{
    collections::HashMap,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6},
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use netd_common::resolver::ADDRESS;
use nix::net::if_::if_nametoindex;

use crate::{
    error::{Error, Result},
    resolv_conf::{ResolvConf, Server},
};

/// DNS over UDP and TCP (RFC 1035, 4.2).
pub const PORT: u16 = 53;

/// A server that was silent is asked last for so long.
const SILENCE: Duration = Duration::from_secs(30);

/// After that, one question finds out how it is; others wait so long for what it finds.
const TRIAL: Duration = Duration::from_secs(5);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these guard is whole before and after each statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a sandbox's questions to this server would come back to netd's own resolver there.
pub fn is_own(server: IpAddr) -> bool {
    // An IPv4 address in IPv6's form is reached by IPv4.
    server.to_canonical() == IpAddr::from(Ipv4Addr::from(ADDRESS))
}

/// Refuses a server that a sandbox could not have: netd's own resolver, whose questions would go round for ever.
pub fn check_server(server: IpAddr) -> Result<()> {
    if is_own(server) {
        return Err(Error::invalid(format!(
            "the name server {server} is netd's own resolver, which would ask itself"
        ))
        .hint("give the server that it shall ask, or none for the host's"));
    }
    Ok(())
}

/// Servers in the order in which they are to be asked.
#[derive(Debug, Default)]
pub struct Servers {
    all: Vec<SocketAddr>,
    /// Servers that did not answer, and until when they are asked last.
    silent: Mutex<HashMap<SocketAddr, Instant>>,
}

impl Servers {
    /// Their addresses, in the order of the list.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.all.iter().map(SocketAddr::ip).collect()
    }

    /// These, of which nothing is known yet.
    pub fn new(all: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self {
            all: all.into_iter().collect(),
            silent: Mutex::default(),
        }
    }

    /// The order in which to ask them now: those that were silent last, but each is tried again now and then.
    pub fn order(&self, now: Instant) -> Vec<SocketAddr> {
        let mut silent = locked(&self.silent);
        let mut is_silent = |server: &SocketAddr| {
            let Some(until) = silent.get_mut(server) else {
                return false;
            };
            let tried = *until <= now;
            if tried {
                *until = now + TRIAL;
            }
            !tried
        };
        let (last, mut order): (Vec<_>, Vec<_>) = self.all.iter().partition(|s| is_silent(s));
        order.extend(last);
        order
    }

    /// It did not answer in time.
    pub fn was_silent(&self, server: SocketAddr, now: Instant) {
        locked(&self.silent).insert(server, now + SILENCE);
    }

    /// It answered, whatever it said.
    pub fn has_answered(&self, server: SocketAddr) {
        locked(&self.silent).remove(&server);
    }
}

/// The servers of one sandbox, as it was given them.
#[derive(Debug, Default)]
pub struct OwnServers(Mutex<(Vec<IpAddr>, Arc<Servers>)>);

impl OwnServers {
    /// The servers at these addresses, except netd's own resolver; what is known of them is kept while they stay.
    pub fn servers(&self, addresses: &[IpAddr]) -> Arc<Servers> {
        let mut last = locked(&self.0);
        if last.0 != addresses {
            let others = addresses.iter().filter(|a| !is_own(**a));
            let servers = others.map(|a| SocketAddr::new(*a, PORT));
            *last = (addresses.to_vec(), Arc::new(Servers::new(servers)));
        }
        Arc::clone(&last.1)
    }
}

/// The file that names the host's resolvers.
#[derive(Debug)]
pub struct HostResolvers {
    path: PathBuf,
    last: Mutex<(Option<Stamp>, Arc<Servers>)>,
}

/// Tells two states of a file apart: device, inode, size, and time of change in seconds and nanoseconds.
type Stamp = (u64, u64, u64, i64, i64);

impl HostResolvers {
    /// Follows this file.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            last: Mutex::default(),
        }
    }

    /// The servers now. Asking for the file's state costs less than any question to a server, so there is nothing to be
    /// notified of and nothing to miss. Of the servers of a changed file nothing is known yet.
    pub fn servers(&self) -> Arc<Servers> {
        let stamp = fs::metadata(&self.path)
            .ok()
            .map(|m| (m.dev(), m.ino(), m.size(), m.ctime(), m.ctime_nsec()));
        let mut last = locked(&self.last);
        if stamp.is_none() || last.0 != stamp {
            // Without a file there are no resolvers.
            let text = fs::read_to_string(&self.path).unwrap_or_default();
            let servers = ResolvConf::parse(&text).servers;
            let servers = Servers::new(servers.iter().filter_map(socket));
            *last = (stamp, Arc::new(servers));
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

    fn order(servers: &Servers, now: Instant) -> Vec<String> {
        servers.order(now).iter().map(|s| s.to_string()).collect()
    }

    #[test]
    fn s04_a_changed_file_counts_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("resolv.conf");
        let resolvers = HostResolvers::new(path.clone());
        let shown = || order(&resolvers.servers(), Instant::now());
        assert!(shown().is_empty());
        fs::write(&path, "nameserver 192.0.2.1\nnameserver fe80::1%lo\n").unwrap();
        assert_eq!(shown(), ["192.0.2.1:53", "[fe80::1%1]:53"]);
        fs::write(&path, "nameserver 192.0.2.2\n").unwrap();
        assert_eq!(shown(), ["192.0.2.2:53"]);
        fs::remove_file(&path).unwrap();
        assert!(shown().is_empty());
    }

    #[test]
    fn b08_the_own_resolver_is_known_in_every_form() {
        for (server, own) in [
            ("127.0.0.11", true),
            ("::ffff:127.0.0.11", true),
            ("127.0.0.1", false),
            ("127.0.0.53", false),
            ("::1", false),
            ("192.0.2.1", false),
        ] {
            let server: IpAddr = server.parse().unwrap();
            assert_eq!(is_own(server), own, "{server}");
            assert_eq!(check_server(server).is_err(), own, "{server}");
        }
        // As an earlier version may have stored it.
        let given = ["127.0.0.11", "192.0.2.1", "::ffff:127.0.0.11"].map(|a| a.parse().unwrap());
        let own = OwnServers::default();
        let servers = own.servers(&given);
        assert_eq!(order(&servers, Instant::now()), ["192.0.2.1:53"]);
        assert!(Arc::ptr_eq(&servers, &own.servers(&given)));
    }

    #[test]
    fn b23_a_silent_server_is_asked_last_for_a_while() {
        let [first, second] = ["192.0.2.1:53", "192.0.2.2:53"].map(|s| s.parse().unwrap());
        let servers = Servers::new([first, second]);
        let now = Instant::now();
        assert_eq!(servers.order(now), [first, second]);
        servers.was_silent(first, now);
        assert_eq!(servers.order(now), [second, first]);
        // One question tries it; the others do not wait for it.
        let later = now + SILENCE;
        assert_eq!(servers.order(later), [first, second]);
        assert_eq!(servers.order(later), [second, first]);
        servers.has_answered(first);
        assert_eq!(servers.order(later), [first, second]);
        // All are silent: as the file has it.
        servers.was_silent(second, later);
        servers.was_silent(first, later);
        assert_eq!(servers.order(later), [first, second]);
    }
}
