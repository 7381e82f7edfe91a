//! What the programs must know of the host and the configuration.

use std::os::fd::AsRawFd as _;

use aya::{
    Ebpf,
    maps::{Array, MapData, lpm_trie},
    util::KernelVersion,
};
use ipnetwork::IpNetwork;
use netd_common::abi::{Settings, SubnetData};
use nix::libc;

use super::{object, tables::subnet_key};
use crate::{
    config::{Config, nanoseconds},
    error::{Error, Kind, Result},
};

/// `SETTINGS`, and what stands in it.
pub struct SettingsMap {
    map: Array<MapData, Settings>,
    value: Settings,
}

impl SettingsMap {
    /// Writes what the host and the configuration say.
    pub fn write(object: &mut Ebpf, config: &Config) -> Result<Self> {
        let map: Array<MapData, Settings> = object::take(object, "SETTINGS")?;
        // Flows remember routes of the last daemon's time.
        let generation = map.get(&0, 0).map_or(0, |old| old.generation);
        let value = Settings {
            host_netns_cookie: netns_cookie()?,
            lifetimes: (&config.nat.lifetimes).into(),
            port_rest: nanoseconds(config.nat.port_rest),
            flows: config.limits.flows,
            flows_per_endpoint: config.flows_per_endpoint(),
            ports_per_endpoint: config.ports_per_endpoint(),
            generation: generation.wrapping_add(1),
            pool_first: config.nat.first_port,
            pool_last: config.nat.last_port,
            fib_source: u32::from(chooses_source()),
            // Above Linux' own choice (net.ipv4.ip_local_port_range) in the containers.
            shifted_first: 61000,
            shifted_last: 65535,
            ..Settings::default()
        };
        let mut settings = Self { map, value };
        settings.change(|_| {})?;
        Ok(settings)
    }

    /// A copy.
    pub fn get(&self) -> Settings {
        self.value
    }

    /// Changes some of it.
    pub fn change(&mut self, how: impl FnOnce(&mut Settings)) -> Result<()> {
        how(&mut self.value);
        self.map
            .set(0, self.value, 0)
            .map_err(|e| Error::internal("writing map SETTINGS", e))
    }
}

/// Makes exactly these the destinations whose packets keep their source.
pub fn write_exempt(object: &mut Ebpf, wanted: &[IpNetwork]) -> Result<()> {
    let mut map: lpm_trie::LpmTrie<MapData, SubnetData, u32> = object::take(object, "EXEMPT")?;
    let wanted: Vec<_> = wanted.iter().map(subnet_key).collect();
    let there: Vec<_> = map.keys().filter_map(std::result::Result::ok).collect();
    for key in there {
        if !wanted.contains(&(key.prefix_len(), key.data())) {
            // Gone already is as good.
            let _ = map.remove(&key);
        }
    }
    for (bits, data) in wanted {
        map.insert(&lpm_trie::Key::new(bits, data), 1, 0)
            .map_err(|e| Error::internal("writing map EXEMPT", e))?;
    }
    Ok(())
}

/// Cookie of the calling thread's network namespace.
fn netns_cookie() -> Result<u64> {
    // A socket of any kind has it; this one needs no port, of which the host may have none left.
    let socket = std::os::unix::net::UnixDatagram::unbound()
        .map_err(|e| Error::internal("opening a socket", e))?;
    let mut cookie = 0u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SO_NETNS_COOKIE, Linux 5.14.
    const SO_NETNS_COOKIE: libc::c_int = 71;
    // SAFETY: the kernel writes at most `length` bytes, which is the size of `cookie`.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if done != 0 {
        let e = std::io::Error::last_os_error();
        return Err(
            Error::new(Kind::Unsupported, format!("reading SO_NETNS_COOKIE: {e}"))
                .hint("needs Linux 5.14"),
        );
    }
    Ok(cookie)
}

/// Whether `bpf_fib_lookup` says which source address a route has (BPF_FIB_LOOKUP_SRC, Linux 6.7).
fn chooses_source() -> bool {
    KernelVersion::current().is_ok_and(|kernel| kernel >= KernelVersion::new(6, 7, 0))
}
