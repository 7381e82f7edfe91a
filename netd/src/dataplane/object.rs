//! Loading the eBPF object: its maps are adopted where they are pinned, its programs are always those of this build.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Map, MapData, MapInfo},
    programs::{Program, ProgramError},
};
use netd_common::abi;
use nix::{
    libc,
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

use super::programs::LATE_PROGRAMS;
use crate::{
    config::{Config, Instance},
    error::{Error, Kind, Result, chain},
};

static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("NETD_EBPF_OBJECT"));

/// Where this build pins: maps, and links in `links/`.
pub fn pin_directory(instance: &Instance) -> PathBuf {
    instance.pin_root().join(abi::VERSION.to_string())
}

/// Mounts bpffs where it is missing.
pub fn ensure_bpffs() -> Result<()> {
    let root = Path::new("/sys/fs/bpf");
    let is_bpffs = || statfs(root).is_ok_and(|s| s.filesystem_type() == BPF_FS_MAGIC);
    if is_bpffs() {
        return Ok(());
    }
    mount(
        Some("bpf"),
        root,
        Some("bpf"),
        MsFlags::empty(),
        None::<&str>,
    )
    .map_err(|e| {
        Error::new(
            Kind::Unsupported,
            format!("mounting bpffs on {}: {e}", root.display()),
        )
        .hint("netd needs CONFIG_BPF_SYSCALL and the right to mount; mount bpffs there by hand")
    })
}

/// Mappings that there is room for: with few flows, too, those of the whole pool for TCP, UDP and ICMP of two addresses, since a
/// port that rests keeps its mapping.
fn mappings(config: &Config) -> u32 {
    let pool = u32::from(config.nat.last_port - config.nat.first_port) + 1;
    (config.limits.flows / 2).max(6 * pool)
}

/// How many entries each map of configurable size has.
pub fn sizes(config: &Config) -> Vec<(&'static str, u32)> {
    let l = &config.limits;
    vec![
        ("DEVICES", l.endpoints),
        ("NETWORKS", l.networks),
        ("GATEWAYS", l.networks),
        // IPv4, global and link-local IPv6.
        ("ADDRESSES", l.endpoints.saturating_mul(3)),
        ("SUBNETS", l.networks.saturating_mul(2)),
        ("MEMBERS", l.endpoints),
        (
            "HOST_ADDRESSES",
            l.networks.saturating_mul(2).saturating_add(4096),
        ),
        // There, and back from the endpoint's own port.
        ("PUBLICATIONS", l.publications.saturating_mul(2)),
        ("HOMES", l.endpoints),
        ("FLOWS", l.flows),
        // A flow takes one, and may leave one behind for a while.
        ("CLOCK", l.flows),
        ("MAPPINGS", mappings(config)),
        ("OUTSIDE_PORTS", mappings(config)),
        ("COUNTERS", l.endpoints.saturating_add(1)),
        ("USAGE", l.endpoints.saturating_add(1)),
        ("ERRORS", l.endpoints.saturating_add(1)),
        ("RATES", l.endpoints.saturating_add(1)),
        ("DROPS", l.endpoints.saturating_mul(4)),
    ]
}

/// Loads the object and every program in it.
pub fn load(instance: &Instance, config: &Config) -> Result<Ebpf> {
    ensure_bpffs()?;
    let directory = pin_directory(instance);
    fs::create_dir_all(directory.join("links"))
        .map_err(|e| Error::internal(format!("creating {}", directory.display()), e))?;
    let mut loader = EbpfLoader::new();
    loader.default_map_pin_directory(&directory);
    let sizes = sizes(config);
    for (name, entries) in &sizes {
        check_pinned(&directory, name, *entries)?;
        loader.map_max_entries(name, *entries);
    }
    let mut object = loader
        .load(OBJECT)
        .map_err(|e| refused("loading the eBPF maps", &e))?;
    load_programs(&mut object)?;
    Ok(object)
}

/// How often a program is loaded whose verification was interrupted.
const TRIES: u32 = 10;

/// Whether the kernel says EAGAIN.
fn is_interrupted(e: &ProgramError) -> bool {
    matches!(e, ProgramError::LoadError { io_error, .. } if io_error.raw_os_error() == Some(libc::EAGAIN))
}

/// Loads the programs side by side, without those that may never be needed: the kernel's verifier takes some hundred
/// milliseconds for each of the large ones.
fn load_programs(object: &mut Ebpf) -> Result<()> {
    let now = object
        .programs_mut()
        .filter(|(name, _)| !LATE_PROGRAMS.contains(name));
    let waiting = Mutex::new(now.collect::<Vec<_>>());
    let next = || waiting.lock().ok()?.pop();
    let work = || {
        while let Some((name, program)) = next() {
            load_program(name, program)?;
        }
        Ok(())
    };
    let count = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(4);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| {
            thread
                .join()
                .unwrap_or_else(|_| Err(Error::internal("loading the eBPF programs", "panicked")))
        })
    })
}

/// Loads one program.
pub fn load_program(name: &str, program: &mut Program) -> Result<()> {
    let mut tries = 0;
    loop {
        let done = match program {
            Program::SchedClassifier(p) => p.load(),
            Program::CgroupSockAddr(p) => p.load(),
            _ => return Ok(()),
        };
        tries += 1;
        match done {
            // The verifier gives up when a signal is on its way to the thread (`bpf_check`, since Linux 5.0).
            Err(e) if tries < TRIES && is_interrupted(&e) => {}
            done => {
                return done.map_err(|e| refused(&format!("loading the eBPF program {name}"), &e));
            }
        }
    }
}

/// The system's own word for what failed, if it is among the causes.
fn errno(e: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut at = Some(e);
    while let Some(e) = at {
        let code = e.downcast_ref::<std::io::Error>();
        if let Some(code) = code.and_then(std::io::Error::raw_os_error) {
            return Some(code);
        }
        at = e.source();
    }
    None
}

/// Why the kernel would not load something, and the way out: not everything is the fault of its version.
fn refused(what: &str, e: &(dyn std::error::Error + 'static)) -> Error {
    let (kind, hint) = match errno(e) {
        Some(libc::EMFILE) => (
            Kind::Exhausted,
            "netd may not open as many files as it needs: raise its limit (ulimit -n, LimitNOFILE= of its unit)".into(),
        ),
        Some(libc::ENFILE) => (
            Kind::Exhausted,
            "the system has too many open files: raise fs.file-max".into(),
        ),
        Some(libc::ENOMEM) => (
            Kind::Exhausted,
            "the maps need more memory than netd may have: lower [limits] in the configuration file, or raise the memory \
             limit of its cgroup (MemoryMax= of its unit)"
                .into(),
        ),
        Some(libc::EPERM) => (
            Kind::Forbidden,
            "netd needs root in the first user namespace, with CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN, and a kernel that \
             is not locked down"
                .into(),
        ),
        _ => {
            let release = nix::sys::utsname::uname()
                .map(|u| u.release().to_string_lossy().into_owned())
                .unwrap_or_default();
            (
                Kind::Unsupported,
                format!("netd needs Linux 6.1 or newer with BPF, BTF and cgroup v2; this is Linux {release}"),
            )
        }
    };
    Error::new(kind, format!("{what}: {}", ends(&chain(e)))).hint(hint)
}

/// How much of an error's end is shown, bytes, and of its first line, characters.
const END: usize = 2000;
const BEGINNING: usize = 200;

/// What failed, and the last lines: the verifier tells its reason behind all that it had no objection to.
fn ends(text: &str) -> String {
    let text = text.trim_end();
    if text.len() <= END {
        return text.to_owned();
    }
    let first = text.lines().next().unwrap_or_default();
    let first: String = first.chars().take(BEGINNING).collect();
    let rest = (text.len() - END..).find_map(|at| text.get(at..));
    let rest = rest.unwrap_or_default();
    let last = rest.split_once('\n').map_or(rest, |(_, whole)| whole);
    format!("{first} […]\n{last}")
}

/// A pinned map is reopened without a check of its own: one of another size would be used as if it were right.
fn check_pinned(directory: &Path, name: &str, entries: u32) -> Result<()> {
    let path = directory.join(name);
    if !path.exists() {
        return Ok(());
    }
    let data = MapData::from_pin(&path)
        .map_err(|e| Error::internal(format!("opening {}", path.display()), e))?;
    let info: MapInfo = data
        .info()
        .map_err(|e| Error::internal(format!("reading {}", path.display()), e))?;
    if info.max_entries() != entries {
        return Err(Error::conflict(format!(
            "the pinned map {} has {} entries, the configuration asks for {entries}",
            path.display(),
            info.max_entries()
        ))
        .hint(format!(
            "set [limits] and the pool of [nat] back; or stop netd, remove {} and start it: connections end, networks, \
             sandboxes and ports stay",
            directory.display()
        )));
    }
    Ok(())
}

/// Takes a map out of the object.
pub fn take<T: TryFrom<Map>>(object: &mut Ebpf, name: &str) -> Result<T>
where
    T::Error: std::fmt::Display,
{
    let map = object
        .take_map(name)
        .ok_or_else(|| Error::internal(format!("map {name}"), "not in the object"))?;
    T::try_from(map).map_err(|e| Error::internal(format!("map {name}"), e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_limits_are_not_blamed_on_the_kernels_version() {
        let of = |code| {
            let source = std::io::Error::from_raw_os_error(code);
            let create = aya::maps::MapError::CreateError {
                name: "FLOWS".into(),
                io_error: source,
            };
            refused("loading the eBPF maps", &aya::EbpfError::MapError(create))
        };
        for (code, kind, says) in [
            (libc::EMFILE, Kind::Exhausted, "LimitNOFILE"),
            (libc::ENFILE, Kind::Exhausted, "fs.file-max"),
            (libc::ENOMEM, Kind::Exhausted, "[limits]"),
            (libc::EPERM, Kind::Forbidden, "CAP_BPF"),
            (libc::EINVAL, Kind::Unsupported, "Linux 6.1"),
        ] {
            let e = of(code);
            assert_eq!(e.kind, kind, "{e}");
            let cause = std::io::Error::from_raw_os_error(code).to_string();
            let text = e.to_string();
            assert!(text.contains(says) && text.contains(&cause), "{text}");
            assert_eq!(text.contains("Linux 6.1"), code == libc::EINVAL, "{text}");
        }
    }

    #[test]
    fn the_end_of_a_long_error_is_shown() {
        let reason = "R1 invalid mem access 'scalar'\nprocessed 41 insns (limit 1000000)";
        let steps: String = (0..5000)
            .map(|n| format!("{n}: (bf) r1 = r6 ; √\n"))
            .collect();
        let text =
            format!("the BPF_PROG_LOAD syscall failed: Permission denied\n{steps}{reason}\n\n");
        let shown = ends(&text);
        assert!(shown.starts_with("the BPF_PROG_LOAD syscall failed: Permission denied […]\n4"));
        assert!(shown.ends_with(reason) && shown.len() < END + BEGINNING);
        let whole = |line: &str| line.is_empty() || line.contains("(bf) r1 = r6 ; √");
        assert!(shown.lines().skip(1).take(20).all(whole), "{shown}");
        assert_eq!(ends("short"), "short");
        // One line without an end, of characters of several bytes.
        assert!(ends(&"√".repeat(3000)).contains('…'));
    }
}
