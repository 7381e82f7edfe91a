//! Hanging the programs on their hooks, so that they stay when the daemon goes: filters belong to their device, links
//! are pinned. What hangs already gets the new program in place.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use aya::{
    Ebpf,
    maps::MapData,
    programs::{
        CgroupAttachMode, CgroupSockAddr, LinkOrder, ProgramError, ProgramFd, SchedClassifier,
        TcAttachType,
        links::{FdLink, PinnedLink},
        loaded_programs,
        tc::{SchedClassifierLink, TcAttachOptions},
    },
};
use nix::{
    libc,
    sys::statfs::{CGROUP2_SUPER_MAGIC, fstatfs},
};

use super::{
    object,
    programs::{
        CGROUP_PROGRAMS, CONTAINER_PROGRAM, GATEWAY_PROGRAM, LOOPBACK_PROGRAM, RESOLVER_PROGRAM,
        UPLINK_PROGRAMS,
    },
};
use crate::{
    error::{Error, Kind, Result, chain},
    kernel::{
        Netlink,
        filters::{Filter, Hanging, Side},
    },
};

/// A classifier of the object, loaded.
fn classifier<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut SchedClassifier> {
    let program = object
        .program_mut(name)
        .ok_or_else(|| Error::internal(format!("program {name}"), "not in the object"))?;
    if program.fd().is_err() {
        object::load_program(name, program)?;
    }
    program
        .try_into()
        .map_err(|e| Error::internal(format!("program {name}"), e))
}

/// Name of an interface.
pub fn name_of(ifindex: u32) -> Result<String> {
    nix::net::if_::if_indextoname(ifindex)
        .map(|n| n.to_string_lossy().into_owned())
        .map_err(|e| Error::internal(format!("interface {ifindex}"), e))
}

/// Whether a filter holds this program; enough on devices that are netd's own.
pub fn is(program: &str) -> impl Fn(&Filter) -> bool {
    move |filter| {
        filter
            .program
            .as_ref()
            .is_some_and(|(name, _)| name == program)
    }
}

/// A pinned TCX link on the ingress of an uplink, where other programs may live too. Before Linux 6.6 the program comes back, to be
/// hung by [`uplink_filter`].
pub fn tcx_or(
    object: &mut Ebpf,
    program: &str,
    ifindex: u32,
    pin: &Path,
) -> Result<Option<ProgramFd>> {
    let name = name_of(ifindex)?;
    let fail = |e: &dyn std::error::Error| {
        Error::internal(format!("attaching {program} to uplink {name}"), chain(e))
    };
    #[cfg(feature = "failpoints")]
    if name == "refused" && crate::failpoints::reach("uplink-refused").is_err() {
        let text = format!("attaching {program} to uplink {name}");
        return Err(Error::internal(text, "a test says so"));
    }
    let classifier = classifier(object, program)?;
    if pin.exists() {
        match update(classifier, pin) {
            Ok(()) => return Ok(None),
            // The link of an interface that is gone cannot be updated, nor one that others have detached: it is of no use to anybody.
            Err(e) => tracing::debug!("the link pinned at {}: {e}", pin.display()),
        }
        let _ = fs::remove_file(pin);
    }
    match tcx(classifier, &name) {
        Ok(link) => link.pin(pin).map(|_| None).map_err(|e| fail(&e)),
        // A kernel before TCX knows no such attachment. The filter belongs to the device and needs no pin.
        Err(ProgramError::SyscallError(e)) if e.io_error.raw_os_error() == Some(libc::EINVAL) => {
            let fd = classifier.fd().and_then(|fd| Ok(fd.try_clone()?));
            fd.map(Some).map_err(|e| fail(&e))
        }
        Err(e) => Err(fail(&e)),
    }
}

/// Gives a pinned link another program.
fn update(classifier: &mut SchedClassifier, pin: &Path) -> std::result::Result<(), String> {
    let pinned = PinnedLink::from_pin(pin).map_err(|e| chain(&e))?;
    let link = SchedClassifierLink::try_from(FdLink::from(pinned)).map_err(|e| chain(&e))?;
    let id = classifier.attach_to_link(link).map_err(|e| chain(&e))?;
    // The pin goes on holding the link; ours is only a second descriptor.
    classifier.take_link(id).map(drop).map_err(|e| chain(&e))
}

/// The filter on an uplink where there is no TCX; `own` says which is this instance's.
pub async fn uplink_filter(
    netlink: &Netlink,
    program: &str,
    fd: &ProgramFd,
    ifindex: u32,
    own: impl Fn(&Filter) -> bool,
) -> Result<()> {
    let hanging = Hanging {
        again: false,
        name: program,
        fd: fd.as_fd(),
    };
    let hung = netlink.hang(hanging, ifindex, Side::Ingress, own).await;
    hung.map(drop)
}

fn tcx(classifier: &mut SchedClassifier, name: &str) -> std::result::Result<FdLink, ProgramError> {
    #[cfg(feature = "failpoints")]
    if crate::failpoints::reach("no-tcx").is_err() {
        return Err(ProgramError::SyscallError(aya::sys::SyscallError {
            call: "bpf_link_create",
            io_error: std::io::Error::from_raw_os_error(libc::EINVAL),
        }));
    }
    let last = TcAttachOptions::TcxOrder(LinkOrder::default());
    let id = classifier.attach_with_options(name, TcAttachType::Ingress, last)?;
    FdLink::try_from(classifier.take_link(id)?).map_err(|_| ProgramError::NotAttached)
}

/// Programs that hang by filters on netd's own veths and on the loopback device of sandboxes. Each is held by itself, so that
/// hanging it needs no lock.
pub struct Own {
    /// Of a container's veth.
    pub container: ProgramFd,
    /// Of the inner end of a network's device pair.
    pub gateway: ProgramFd,
    /// Of a sandbox's loopback device.
    pub resolver: ProgramFd,
}

impl Own {
    /// Takes hold of the loaded programs.
    pub fn of(object: &mut Ebpf) -> Result<Self> {
        let mut hold = |name: &str| {
            let fd = classifier(object, name)?
                .fd()
                .and_then(|fd| Ok(fd.try_clone()?));
            fd.map_err(|e| Error::internal(format!("program {name}"), chain(&e)))
        };
        Ok(Self {
            container: hold(CONTAINER_PROGRAM)?,
            gateway: hold(GATEWAY_PROGRAM)?,
            resolver: hold(RESOLVER_PROGRAM)?,
        })
    }
}

/// The numbers of the tables of flows that an instance has pinned, of every version: a program that uses one of them is its own.
#[derive(Clone, Debug, Default)]
pub struct OwnMaps(BTreeSet<u32>);

impl OwnMaps {
    /// Reads them, below the directory of the instance's pins.
    pub fn read(root: &Path) -> Self {
        let versions = fs::read_dir(root).into_iter().flatten().flatten();
        let pins = versions.map(|version| version.path().join("FLOWS"));
        let id = |pin: PathBuf| Some(MapData::from_pin(pin).ok()?.info().ok()?.id());
        Self(pins.filter_map(id).collect())
    }

    /// Whether a filter of an uplink or of the loopback device is the instance's own: the name alone is every instance's.
    pub fn own(&self, filter: &Filter) -> bool {
        let Some((name, id)) = &filter.program else {
            return false;
        };
        let name = name.as_str();
        (UPLINK_PROGRAMS.contains(&name) || name == LOOPBACK_PROGRAM)
            && loaded_programs()
                .flatten()
                .find(|program| program.id() == *id)
                .and_then(|program| program.map_ids().ok().flatten())
                .is_some_and(|maps| maps.iter().any(|id| self.0.contains(id)))
    }
}

/// The cgroup hooks of host processes, each a pinned link. A new link is made before the old one goes, so that no
/// socket call meets none.
pub fn cgroup(object: &mut Ebpf, cgroup: &Path, links: &Path) -> Result<()> {
    let directory = check_cgroup(cgroup)?;
    for name in CGROUP_PROGRAMS {
        let fail = |e: &dyn std::error::Error| {
            Error::internal(
                format!("attaching {name} to {}", cgroup.display()),
                chain(e),
            )
        };
        let program = object
            .program_mut(name)
            .ok_or_else(|| Error::internal(format!("program {name}"), "not in the object"))?;
        let program: &mut CgroupSockAddr = program.try_into().map_err(|e| fail(&e))?;
        // A link never keeps others from the cgroup; the flag that says so is for the older kind of attachment only.
        let id = program
            .attach(&directory, CgroupAttachMode::Single)
            .map_err(|e| fail(&e))?;
        let link = program.take_link(id).map_err(|e| fail(&e))?;
        let link = FdLink::try_from(link).map_err(|e| fail(&e))?;
        let new = links.join(format!("{name}-new"));
        let pin = links.join(name);
        let _ = fs::remove_file(&new);
        link.pin(&new).map_err(|e| fail(&e))?;
        fs::rename(&new, &pin).map_err(|e| fail(&e))?;
    }
    Ok(())
}

/// Root of the mounted cgroup v2 hierarchy.
pub fn root_cgroup() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts")
        .map_err(|e| Error::internal("/proc/self/mounts", e))?;
    let found = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let (path, kind) = (fields.nth(1)?, fields.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(path))
    });
    found.ok_or_else(|| {
        Error::new(Kind::Unsupported, "no cgroup v2 hierarchy is mounted").hint(
            "mount one (mount -t cgroup2 none /sys/fs/cgroup) or name a directory with --cgroup",
        )
    })
}

/// Opens a cgroup, or says why it cannot be used.
pub fn check_cgroup(cgroup: &Path) -> Result<File> {
    let refuse = |why: &str| {
        Error::new(
            Kind::Unsupported,
            format!("cgroup {}: {why}", cgroup.display()),
        )
        .hint("give a directory of a mounted cgroup v2 hierarchy with --cgroup")
    };
    let directory = File::open(cgroup).map_err(|e| refuse(&e.to_string()))?;
    let found = fstatfs(&directory).map_err(|e| refuse(&e.to_string()))?;
    if found.filesystem_type() != CGROUP2_SUPER_MAGIC {
        return Err(refuse("not in a cgroup v2 hierarchy"));
    }
    Ok(directory)
}
