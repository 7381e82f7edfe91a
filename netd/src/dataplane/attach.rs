//! Hanging the programs on their hooks, so that they stay when the daemon goes: filters belong to their device, links
//! are pinned. What hangs already gets the new program in place.

use std::{
    fs::{self, File},
    path::Path,
};

use aya::{
    Ebpf,
    programs::{
        CgroupAttachMode, CgroupSockAddr, SchedClassifier, TcAttachType,
        links::{FdLink, PinnedLink},
        tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle},
    },
};

use crate::error::{Error, Kind, Result, chain};

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

/// Priority and handle of our filter on a veth.
const PRIORITY: u16 = 1;

fn handle() -> TcHandle {
    TcHandle::from(1u32)
}

fn classifier<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut SchedClassifier> {
    let program = object
        .program_mut(name)
        .ok_or_else(|| Error::internal(format!("program {name}"), "not in the object"))?;
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
const LOOPBACK: u32 = 1;

/// A clsact filter on one of our own veths, or on the loopback device of a sandbox, replaced in place where it hangs already. It costs nothing
/// to attach, where a TCX link waits for an RCU grace period, and lives as long as the device.
/// Says whether none hung there.
pub fn filter(object: &mut Ebpf, program: &str, ifindex: u32, hook: TcAttachType) -> Result<bool> {
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
    let options = TcAttachOptions::Netlink(NlOptions {
        priority: PRIORITY,
        handle: handle(),
        classid: None,
    });
    let attached = classifier.attach_with_options(&name, hook, options);
    let new = attached.is_ok();
    let link = match attached {
        Ok(link) => link,
        Err(_) => {
            let there = SchedClassifierLink::attached(&name, hook, PRIORITY, handle(), None)
                .map_err(|e| fail(&e))?;
            classifier.attach_to_link(there).map_err(|e| fail(&e))?
        }
    };
    // Dropped, the link would take the filter with it.
    std::mem::forget(classifier.take_link(link).map_err(|e| fail(&e))?);
    Ok(new)
}

/// Leads questions to the resolver's sockets, in the namespace of the calling thread. Says whether nothing did.
pub fn resolver(object: &mut Ebpf) -> Result<bool> {
    filter(object, "to_resolver", LOOPBACK, TcAttachType::Egress)
}

/// Takes away what [`resolver`] hung there; nothing is fine.
pub fn no_resolver() -> Result<()> {
    let name = name_of(LOOPBACK)?;
    let hook = TcAttachType::Egress;
    if let Ok(link) = SchedClassifierLink::attached(&name, hook, PRIORITY, handle(), None) {
        // It goes with the link, and is not there if that fails.
        drop(link);
    }
    Ok(())
}

/// A pinned TCX link on the ingress of an uplink, where other programs may live too.
pub fn uplink(object: &mut Ebpf, program: &str, ifindex: u32, pin: &Path) -> Result<()> {
    let name = name_of(ifindex)?;
    let fail = |e: &dyn std::error::Error| {
        Error::internal(format!("attaching {program} to uplink {name}"), chain(e))
    };
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
    let id = classifier
        .attach(&name, TcAttachType::Ingress)
        .map_err(|e| fail(&e))?;
    let link = classifier.take_link(id).map_err(|e| fail(&e))?;
    let Ok(link) = FdLink::try_from(link) else {
        // Before TCX (Linux 6.6) the filter belongs to the device and needs no pin.
        return filter(object, program, ifindex, TcAttachType::Ingress).map(drop);
    };
    link.pin(pin).map_err(|e| fail(&e))?;
    Ok(())
}

/// The cgroup hooks of host processes, each a pinned link. A new link is made before the old one goes, so that no
/// socket call meets none.
pub fn cgroup(object: &mut Ebpf, cgroup: &Path, links: &Path) -> Result<()> {
    let directory = File::open(cgroup).map_err(|e| {
        Error::new(
            Kind::Unsupported,
            format!("cgroup {}: {e}", cgroup.display()),
        )
        .hint("give a directory of a mounted cgroup v2 hierarchy with --cgroup")
    })?;
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
