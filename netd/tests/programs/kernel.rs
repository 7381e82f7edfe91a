//! The real programs in a namespace of the test's own, with the maps of a world in memory.

use std::{fs, os::fd::AsFd as _, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{
        Array, HashMap, MapData, MapError, PerCpuArray, PerCpuValues,
        lpm_trie::{Key, LpmTrie},
    },
    programs::SchedClassifier,
};
use netd::dataplane::run::test_run;
use netd_common::{abi::*, addr::Addr, drop_reason::DropReason, verdict::Verdict};
use nix::sched::{CloneFlags, unshare};

use crate::{
    memory::{Bytes, Maps},
    world::{FAMILIES, UPLINK, World, gateway_ifindex, host, number},
};

static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("NETD_EBPF_OBJECT"));

/// Endpoints of the world: network and last byte of the address.
const ENDPOINTS: [(u32, u8); 4] = [(1, 2), (1, 3), (2, 2), (2, 3)];

/// Fields of `struct __sk_buff` that a test may set.
const SKB: usize = 192;
const SKB_IFINDEX: usize = 40;
const SKB_GSO_SIZE: usize = 176;

/// What a program returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Pass,
    Drop,
    Redirect,
}

impl From<Result<Verdict, DropReason>> for Action {
    fn from(verdict: Result<Verdict, DropReason>) -> Self {
        match verdict {
            Ok(Verdict::Pass) => Self::Pass,
            Ok(Verdict::Drop(_)) | Err(_) => Self::Drop,
            Ok(_) => Self::Redirect,
        }
    }
}

/// The loaded object.
pub struct Kernel {
    pub object: Ebpf,
}

/// Runs ip(8).
pub fn ip(line: &str) -> Result<()> {
    let output = Command::new("ip").args(line.split_whitespace()).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "ip {line}: {said}");
    Ok(())
}

/// A pair of interfaces; the first has this index.
pub fn veth(name: &str, index: u32) -> Result<()> {
    ip(&format!(
        "link add {name} index {index} type veth peer name p{name}"
    ))?;
    ip(&format!("link set p{name} up"))?;
    ip(&format!("link set {name} up"))
}

/// A namespace for the calling thread, with the world's interfaces, addresses and ways.
fn namespace(world: &World) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    ip("link set lo up")?;
    veth("uplink", UPLINK)?;
    // What is sent to another address than the interface's is not the host's.
    ip("link set uplink address 02:00:00:09:09:09")?;
    ip(&format!("link set uplink mtu {}", world.maps.mtu))?;
    for v4 in FAMILIES {
        let addr: std::net::IpAddr = host(v4).into();
        let rest = if v4 { "/24" } else { "/64 nodad" };
        ip(&format!("addr add {addr}{rest} dev uplink"))?;
        let family = if v4 { "-4" } else { "-6" };
        ip(&format!("{family} route add default dev uplink"))?;
    }
    for (network, last) in ENDPOINTS {
        let endpoint = number(network, last);
        veth(&format!("v{endpoint}"), 10 + endpoint)?;
    }
    for network in [1, 2] {
        let index = gateway_ifindex(network);
        veth(&format!("g{index}"), index)?;
        for family in ["ipv4", "ipv6"] {
            fs::write(
                format!("/proc/sys/net/{family}/conf/g{index}/forwarding"),
                "1",
            )?;
        }
    }
    for (gateway, bytes, network) in &world.maps.subnets {
        let device = format!("dev g{}", gateway_ifindex(*network));
        // An IPv4 address stands behind twelve bytes.
        let (family, first) = if gateway.is_v4() {
            ("-4", 12)
        } else {
            ("-6", 0)
        };
        let (subnet, bits) = (std::net::IpAddr::from(*gateway), 8 * (bytes - first));
        let subnet = ipnetwork::IpNetwork::new(subnet, bits as u8)?;
        let (subnet, bits) = (subnet.network(), subnet.prefix());
        ip(&format!("{family} route add {subnet}/{bits} {device}"))?;
    }
    Ok(())
}

fn world_devices(world: &World) -> Vec<(u32, Device)> {
    let device = |(network, last)| {
        let endpoint = number(network, last);
        (10 + endpoint, world.device(network, last, endpoint))
    };
    ENDPOINTS.into_iter().map(device).collect()
}

/// The host's address of a family.
fn source(maps: &Maps, v4: bool) -> Addr {
    let found = maps.sources.iter().find(|a| a.is_v4() == v4);
    found.copied().unwrap_or_default()
}

/// Loads a program, again where a signal interrupted the verifier (EAGAIN).
fn load(program: &mut SchedClassifier) -> Result<()> {
    use aya::programs::ProgramError::LoadError;
    for _ in 0..10 {
        match program.load() {
            Err(LoadError { io_error, .. })
                if io_error.raw_os_error() == Some(nix::libc::EAGAIN) => {}
            done => return Ok(done?),
        }
    }
    anyhow::bail!("the verifier was interrupted ten times")
}

impl Kernel {
    /// Enters a namespace of its own and loads the object with the world's maps.
    pub fn new(world: &World) -> Result<Self> {
        namespace(world)?;
        let mut kernel = Self::load(256)?;
        kernel.fill(&world.maps, &world_devices(world))?;
        Ok(kernel)
    }

    /// Loads the object into the present namespace; its maps have this many entries.
    pub fn load(entries: u32) -> Result<Self> {
        // Pins are needed for a moment only: the maps live as long as the object.
        let pins = format!("/sys/fs/bpf/netd-programs-{}", nix::unistd::gettid());
        let pins = Path::new(&pins);
        fs::create_dir(pins).context("is bpffs mounted on /sys/fs/bpf?")?;
        let mut loader = EbpfLoader::new();
        loader.default_map_pin_directory(pins);
        for (name, _) in netd::dataplane::object::sizes(&netd::config::Config::default()) {
            loader.map_max_entries(name, entries);
        }
        let object = loader.load(OBJECT);
        fs::remove_dir_all(pins)?;
        let mut kernel = Self { object: object? };
        for name in ["from_container", "from_uplink", "from_loopback"] {
            load(kernel.program(name)?)?;
        }
        Ok(kernel)
    }

    fn program(&mut self, name: &str) -> Result<&mut SchedClassifier> {
        Ok(self
            .object
            .program_mut(name)
            .context("no such program")?
            .try_into()?)
    }

    fn put<K: Pod, V: Pod>(
        &mut self,
        name: &str,
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> Result<()> {
        let map = self.object.map_mut(name).context("no such map")?;
        let mut map: HashMap<&mut MapData, K, V> = map.try_into()?;
        for (key, value) in entries {
            map.insert(key, value, 0)?;
        }
        Ok(())
    }

    fn trie<K: Pod, V: Pod>(
        &mut self,
        name: &str,
        entries: impl IntoIterator<Item = (u32, K, V)>,
    ) -> Result<()> {
        let map = self.object.map_mut(name).context("no such map")?;
        let mut map: LpmTrie<&mut MapData, K, V> = map.try_into()?;
        for (prefix, key, value) in entries {
            map.insert(&Key::new(prefix, key), value, 0)?;
        }
        Ok(())
    }

    /// Makes the maps those of the world again.
    pub fn follow(&mut self, world: &World) -> Result<()> {
        self.follow_maps(&world.maps, &world_devices(world))
    }

    /// Makes the maps these again, less the addresses of endpoints that are gone and what is published no more.
    pub fn follow_maps(&mut self, maps: &Maps, devices: &[(u32, Device)]) -> Result<()> {
        let map = self.object.map_mut("ADDRESSES").context("no addresses")?;
        let mut map: HashMap<&mut MapData, AddressKey, Target> = map.try_into()?;
        let known: Vec<_> = map.keys().collect::<Result<_, _>>()?;
        for key in known {
            if !maps.targets.contains_key(&key) {
                map.remove(&key)?;
            }
        }
        let map = self.object.map_mut("PUBLICATIONS").context("no map")?;
        let mut map: LpmTrie<&mut MapData, PublicationData, Publication> = map.try_into()?;
        let known: Vec<_> = map.keys().collect::<Result<_, _>>()?;
        for key in known {
            if !maps.publications.contains_key(&key.data()) {
                map.remove(&key)?;
            }
        }
        self.fill(maps, devices)
    }

    /// The outside port of an inside socket.
    pub fn mapping(&self, key: &MappingKey) -> Result<Option<Mapping>> {
        let map = self.object.map("MAPPINGS").context("no map")?;
        let map: HashMap<&MapData, MappingKey, Mapping> = map.try_into()?;
        match map.get(key, 0) {
            Ok(found) => Ok(Some(found)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// What is known of datagrams in parts.
    pub fn fragments(&self) -> Result<std::collections::HashMap<FragmentKey, FragmentPorts>> {
        let map = self.object.map("FRAGMENTS").context("no map")?;
        let map: HashMap<&MapData, FragmentKey, FragmentPorts> = map.try_into()?;
        Ok(map.iter().collect::<Result<_, _>>()?)
    }

    /// As if no ICMP error had been sent about packets of this slot.
    pub fn forget_errors(&mut self, slot: u32) -> Result<()> {
        let map = self.object.map_mut("ERRORS").context("no map")?;
        let mut map: PerCpuArray<&mut MapData, ErrorBudget> = map.try_into()?;
        let none = vec![ErrorBudget::default(); aya::util::nr_cpus().map_err(|(_, e)| e)?];
        map.set(slot, PerCpuValues::try_from(none)?, 0)?;
        Ok(())
    }

    /// Writes these entries.
    pub fn fill(&mut self, maps: &Maps, devices: &[(u32, Device)]) -> Result<()> {
        self.put("NETWORKS", maps.networks.clone())?;
        self.put("ADDRESSES", maps.targets.clone())?;
        self.put("HOST_ADDRESSES", maps.hosts.clone())?;
        let trusted = maps.trusted.iter();
        self.put(
            "TRUSTED",
            trusted.map(|&(network, ifindex)| (TrustedKey { network, ifindex }, 1u32)),
        )?;
        let uplink = Uplink {
            mtu: maps.mtu,
            ethernet: 1,
            ipv4: source(maps, true),
            ipv6: source(maps, false),
        };
        self.put("UPLINKS", [(UPLINK, uplink)])?;
        self.put("DEVICES", devices.iter().copied())?;
        self.trie(
            "SUBNETS",
            maps.subnets.iter().map(|(addr, bytes, number)| {
                let whole: Addr = *addr;
                (8 * *bytes as u32, whole.v6_bytes(), *number)
            }),
        )?;
        let publications = maps.publications.iter();
        self.trie(
            "PUBLICATIONS",
            publications.map(|(data, to)| (PUBLICATION_PREFIX + 16, *data, *to)),
        )?;
        let map = self.object.map_mut("SETTINGS").context("no settings")?;
        let mut settings: Array<&mut MapData, Settings> = map.try_into()?;
        let value = Settings {
            fib_source: 1,
            ..maps.settings
        };
        settings.set(0, value, 0)?;
        Ok(())
    }

    /// Runs a program on a packet that came in by `ifindex`; the packet becomes what the program made of it. With
    /// `summed`, as a NIC would deliver it that sums up whole packets: the kernel's sum must still hold afterwards.
    pub fn run(
        &mut self,
        program: &str,
        ifindex: u32,
        summed: bool,
        p: &mut Bytes,
    ) -> Result<Action> {
        let mut context = [0; SKB];
        context[SKB_IFINDEX..SKB_IFINDEX + 4].copy_from_slice(&ifindex.to_ne_bytes());
        context[SKB_GSO_SIZE..SKB_GSO_SIZE + 4].copy_from_slice(&p.1.to_ne_bytes());
        let fd = self.program(program)?.fd()?.as_fd();
        let flags = if summed { CHECKSUM_COMPLETE } else { 0 };
        let mut out = vec![0; 4096];
        let (action, length) = match test_run(fd, &p.0, &context, &mut out, 1, flags) {
            // Before Linux 6.17.
            Err(e) if e.raw_os_error() == Some(nix::libc::EINVAL) => {
                test_run(fd, &p.0, &context, &mut out, 1, 0)
            }
            done => done,
        }
        .with_context(|| format!("{program} on {p:02x?}"))?;
        out.truncate(length);
        p.0 = out;
        match action {
            // TC_ACT_UNSPEC: whoever else hangs there goes on with it.
            u32::MAX => Ok(Action::Pass),
            2 => Ok(Action::Drop),
            7 => Ok(Action::Redirect),
            other => anyhow::bail!("{program} returned {other}"),
        }
    }
}

/// BPF_F_TEST_SKB_CHECKSUM_COMPLETE.
const CHECKSUM_COMPLETE: u32 = 1 << 2;
