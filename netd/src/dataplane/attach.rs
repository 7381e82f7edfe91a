//! Hanging the programs on their hooks, so that they stay when the daemon goes: filters belong to their device, links
//! are pinned. What hangs already gets the new program in place.

use std::{
    collections::BTreeSet,
    ffi::CString,
    fs::{self, File},
    io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
};

use aya::{
    Ebpf,
    maps::MapData,
    programs::{
        CgroupAttachMode, CgroupSockAddr, LinkOrder, ProgramError, SchedClassifier, TcAttachType,
        links::{FdLink, PinnedLink},
        loaded_programs,
        tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle},
    },
};

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, fstatfs};

use super::object;
use crate::{
    error::{Error, Kind, Result, chain},
    kernel::filters::{self, Filter, Side},
};

/// The cgroup programs; each is its link's name too.
pub const CGROUP_PROGRAMS: [&str; 10] = [
    "bind4",
    "bind6",
    "connect4",
    "connect6",
    "sendmsg4",
    "sendmsg6",
    "recvmsg4",
    "recvmsg6",
    "getpeername4",
    "getpeername6",
];

/// The programs of uplinks, with an Ethernet header and without.
pub const UPLINK_PROGRAMS: [&str; 2] = ["from_uplink", "from_uplink_l3"];

/// The programs that are loaded once something is there that they hang on: the verifier needs long for each of them.
pub const LATE_PROGRAMS: [&str; 2] = [UPLINK_PROGRAMS[1], LOOPBACK_PROGRAM];

/// The program of the host's loopback device.
pub const LOOPBACK_PROGRAM: &str = "from_loopback";

/// Priority of our filters where nobody else's stands.
const PRIORITY: u16 = 1;

fn handle() -> TcHandle {
    TcHandle::from(1u32)
}

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

/// The loopback device's index in every namespace.
pub const LOOPBACK: u32 = netd_common::loopback::IFINDEX;

/// A clsact filter on one of our own veths, on the loopback device of a sandbox, or on an uplink where there is no TCX.
/// The one for which `own` says so is replaced in place; others' stay, and ours takes another priority. It costs nothing
/// to attach, where a TCX link waits for an RCU grace period, and lives as long as the device.
/// Says whether none of ours hung there.
pub fn filter(
    object: &mut Ebpf,
    program: &str,
    ifindex: u32,
    side: Side,
    own: impl Fn(&Filter) -> bool,
) -> Result<bool> {
    let name = name_of(ifindex)?;
    let fail = |e: &dyn std::error::Error| {
        Error::internal(format!("attaching {program} to {name}"), chain(e))
    };
    match tc::qdisc_add_clsact(&name) {
        Ok(()) | Err(tc::TcError::AlreadyAttached) => {}
        Err(tc::TcError::NetlinkError(e)) if e.raw_os_error() == Some(libc::EEXIST) => {}
        Err(e) if e.to_string().contains("File exists") => {}
        Err(e) => return Err(fail(&e)),
    }
    let classifier = classifier(object, program)?;
    let hook = hook(side);
    let mut create = |priority| {
        let options = TcAttachOptions::Netlink(NlOptions {
            priority,
            handle: handle(),
            classid: None,
        });
        let link = classifier.attach_with_options(&name, hook, options)?;
        // Dropped, the link would take the filter with it.
        std::mem::forget(classifier.take_link(link)?);
        Ok::<(), ProgramError>(())
    };
    let Err(refusal) = create(PRIORITY) else {
        return Ok(true);
    };
    let there = filters::list(ifindex, side)?;
    if let Some(found) = there.iter().find(|f| own(f)) {
        let link = attached(&name, hook, found).map_err(|e| fail(&e))?;
        let link = classifier.attach_to_link(link).map_err(|e| fail(&e))?;
        std::mem::forget(classifier.take_link(link).map_err(|e| fail(&e))?);
        return Ok(false);
    }
    if there.is_empty() {
        return Err(fail(&refusal));
    }
    let taken = |priority: &u16| there.iter().any(|f| f.priority == *priority);
    let free = (PRIORITY..u16::MAX).find(|priority| !taken(priority));
    create(free.unwrap_or(u16::MAX)).map_err(|e| fail(&e))?;
    Ok(true)
}

fn hook(side: Side) -> TcAttachType {
    match side {
        Side::Ingress => TcAttachType::Ingress,
        Side::Egress => TcAttachType::Egress,
    }
}

/// A filter that hangs there, as what takes it away when it is dropped.
fn attached(name: &str, hook: TcAttachType, found: &Filter) -> io::Result<SchedClassifierLink> {
    SchedClassifierLink::attached(name, hook, found.priority, found.handle.into(), None)
}

/// Takes away the filters of which `own` says so; an interface that is gone has none.
pub fn no_filter(ifindex: u32, side: Side, own: impl Fn(&Filter) -> bool) {
    let Ok(name) = name_of(ifindex) else {
        return;
    };
    for found in filters::list(ifindex, side).unwrap_or_default() {
        if own(&found) {
            // It goes with the link.
            let _ = attached(&name, hook(side), &found);
        }
    }
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

/// Leads questions to the resolver's sockets, in the namespace of the calling thread. Says whether nothing did.
pub fn resolver(object: &mut Ebpf) -> Result<bool> {
    let program = "to_resolver";
    filter(object, program, LOOPBACK, Side::Egress, is(program))
}

/// Takes away what [`resolver`] hung there; nothing is fine.
pub fn no_resolver() -> Result<()> {
    name_of(LOOPBACK)?;
    no_filter(LOOPBACK, Side::Egress, is("to_resolver"));
    Ok(())
}

/// A pinned TCX link on the ingress of an uplink, where other programs may live too; before Linux 6.6 a filter, of which
/// `own` says whether it is this instance's.
pub fn uplink(
    object: &mut Ebpf,
    program: &str,
    ifindex: u32,
    pin: &Path,
    own: impl Fn(&Filter) -> bool,
) -> Result<()> {
    let name = name_of(ifindex)?;
    let fail = |e: &dyn std::error::Error| {
        Error::internal(format!("attaching {program} to uplink {name}"), chain(e))
    };
    fail::fail_point!("uplink-refused", name == "refused", |_| Err(
        Error::internal(
            format!("attaching {program} to uplink {name}"),
            "a test says so"
        )
    ));
    let classifier = classifier(object, program)?;
    if pin.exists() {
        let updated = PinnedLink::from_pin(pin)
            .map_err(|e| e.to_string())
            .and_then(|pinned| {
                SchedClassifierLink::try_from(FdLink::from(pinned)).map_err(|e| e.to_string())
            })
            .and_then(|link| classifier.attach_to_link(link).map_err(|e| e.to_string()));
        if let Ok(id) = updated {
            // The pin goes on holding the link; ours is only a second descriptor.
            drop(classifier.take_link(id).map_err(|e| fail(&e))?);
            return Ok(());
        }
        // The link of an interface that is gone cannot be updated: it is of no use to anybody.
        let _ = fs::remove_file(pin);
    }
    match tcx(classifier, &name) {
        Ok(link) => link.pin(pin).map(drop).map_err(|e| fail(&e)),
        // A kernel before TCX knows no such attachment. The filter belongs to the device and needs no pin.
        Err(ProgramError::SyscallError(e)) if e.io_error.raw_os_error() == Some(libc::EINVAL) => {
            filter(object, program, ifindex, Side::Ingress, own).map(drop)
        }
        Err(e) => Err(fail(&e)),
    }
}

fn tcx(classifier: &mut SchedClassifier, name: &str) -> std::result::Result<FdLink, ProgramError> {
    fail::fail_point!("no-tcx", |_| Err(ProgramError::SyscallError(
        aya::sys::SyscallError {
            call: "bpf_link_create",
            io_error: io::Error::from_raw_os_error(libc::EINVAL),
        }
    )));
    let last = TcAttachOptions::TcxOrder(LinkOrder::default());
    let id = classifier.attach_with_options(name, TcAttachType::Ingress, last)?;
    FdLink::try_from(classifier.take_link(id)?).map_err(|_| ProgramError::NotAttached)
}

/// Takes the program off what is no uplink any more.
pub fn no_uplink(ifindex: u32, pin: &Path, own: impl Fn(&Filter) -> bool) {
    detach(pin);
    if fs::remove_file(pin).is_err() {
        no_filter(ifindex, Side::Ingress, own);
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

/// Takes a pinned link's program off its hook at once (BPF_LINK_DETACH, Linux 5.9). When its last descriptor or pin goes, the
/// kernel does so some time later, and the program could not be hung there again before.
fn detach(pin: &Path) {
    const BPF_OBJ_GET: libc::c_int = 7;
    const BPF_LINK_DETACH: libc::c_int = 34;
    let Ok(path) = CString::new(pin.as_os_str().as_bytes()) else {
        return;
    };
    // The parts of `union bpf_attr` that the two commands read (include/uapi/linux/bpf.h).
    let get: [u64; 2] = [path.as_ptr() as u64, 0];
    // SAFETY: the path is of bytes that end with 0 and lives until the call returns; the size is that of the array.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_OBJ_GET,
            &raw const get,
            size_of_val(&get),
        )
    };
    let Ok(fd) = i32::try_from(fd) else {
        return;
    };
    if fd < 0 {
        // No pin: nothing hangs by it.
        return;
    }
    // SAFETY: the kernel has just given out the descriptor.
    let link = unsafe { OwnedFd::from_raw_fd(fd) };
    let attr = link.as_raw_fd();
    // SAFETY: the command reads the four bytes of the descriptor. One whose device is gone has been detached.
    unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_LINK_DETACH,
            &raw const attr,
            size_of_val(&attr),
        )
    };
}
