//! `sandbox exec`: this process enters the namespace and becomes the command. Knows nothing of the daemon.

use std::{
    ffi::OsString,
    fs::File,
    io,
    os::{fd::AsRawFd as _, unix::process::CommandExt},
    path::Path,
    process::Command as Process,
};

use netd_proto::v1::Sandbox;
use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
    unistd::sethostname,
};

use crate::failure::{Failure, Result};

/// The namespace cannot be entered.
const NOT_ENTERED: u8 = 125;
/// The command cannot be run.
const NOT_RUN: u8 = 126;
/// The command is not found.
const NOT_FOUND: u8 = 127;

/// Does not return if it succeeds. Must be called on the only thread.
pub fn exec(sandbox: &Sandbox, command: &[OsString]) -> Failure {
    let Some((program, arguments)) = command.split_first() else {
        return Failure::new("no command to run").code(NOT_ENTERED);
    };
    if let Err(failure) = enter(sandbox) {
        return failure.code(NOT_ENTERED);
    }
    let error = Process::new(program).args(arguments).exec();
    let code = match error.kind() {
        io::ErrorKind::NotFound => NOT_FOUND,
        _ => NOT_RUN,
    };
    Failure::new(format!("cannot run {}: {error}", program.display())).code(code)
}

fn enter(sandbox: &Sandbox) -> Result<()> {
    let (name, path) = (&sandbox.name, &sandbox.netns_path);
    if path.is_empty() {
        return Err(Failure::new(format!("sandbox {name} is stopped"))
            .hint(format!("start it first: netctl sandbox start {name}")));
    }
    // The daemon's own name for it, which leads to no other namespace, whatever becomes of the path or process given.
    let file = File::open(path).map_err(|error| {
        Failure::new(format!(
            "cannot open the namespace {path} of sandbox {name}: {error}"
        ))
        .hint("a namespace that is gone comes back with its process, or the sandbox is removed and made anew")
    })?;
    setns(&file, CloneFlags::CLONE_NEWNET).map_err(|error| {
        let failure = Failure::new(format!(
            "cannot enter the namespace {path} of sandbox {name}: {}",
            error.desc()
        ));
        failure.hint(match error {
            Errno::EINVAL => "nothing is mounted there: run netctl where netd's mounts are seen",
            _ => "entering a namespace takes root (CAP_SYS_ADMIN)",
        })
    })?;
    check_identity(sandbox)?;
    // On the host network names are the host's.
    if sandbox.resolv_conf_path.is_empty() {
        return Ok(());
    }
    take_names(sandbox)
}

/// Whether this process is in the namespace that the daemon has, whatever became of its name meanwhile. Nothing runs in it before.
fn check_identity(sandbox: &Sandbox) -> Result<()> {
    let (name, path) = (&sandbox.name, &sandbox.netns_path);
    // The daemon knows none: its kernel has none to tell.
    if sandbox.netns_cookie == 0 {
        return Ok(());
    }
    let found = cookie().map_err(|error| {
        Failure::new(format!(
            "cannot tell whether {path} is the namespace of sandbox {name}: {error}"
        ))
    })?;
    if found == sandbox.netns_cookie {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{path} leads to another namespace than sandbox {name} has"
    ))
    .hint("have the daemon name it anew: netctl system reconcile"))
}

/// What the kernel calls the network namespace of this process.
fn cookie() -> io::Result<u64> {
    let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0))?;
    let mut cookie = 0_u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the pointers are to a value of the length told and to that length; both outlive the call.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    match done {
        0 => Ok(cookie),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Gives this process mounts and names of its own, with the sandbox's files in place of the host's.
fn take_names(sandbox: &Sandbox) -> Result<()> {
    let fail = |what: &str, error: &dyn std::fmt::Display| {
        Failure::new(format!("{what} for sandbox {}: {error}", sandbox.name))
    };
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS)
        .map_err(|error| fail("cannot make a mount namespace", &error.desc()))?;
    // What is mounted here must not appear outside; what goes outside must go here, too.
    let slave = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(None::<&str>, "/", None::<&str>, slave, None::<&str>)
        .map_err(|error| fail("cannot make the mounts private", &error.desc()))?;
    for (file, place, needed) in [
        (&sandbox.resolv_conf_path, "/etc/resolv.conf", true),
        (&sandbox.hosts_path, "/etc/hosts", true),
        (&sandbox.hostname_path, "/etc/hostname", false),
    ] {
        // A symbolic link is followed, here and by mount(2).
        if !Path::new(place).exists() {
            if needed {
                return Err(fail(
                    &format!("cannot mount {file} at {place}"),
                    &"it does not exist",
                )
                .hint(format!(
                    "make an empty file there: touch {place}; a symbolic link must lead to a file"
                )));
            }
            continue;
        }
        let file = file.as_str();
        mount(
            Some(file),
            place,
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        )
        .map_err(|error| fail(&format!("cannot mount {file} at {place}"), &error.desc()))?;
    }
    // The UTS namespace is this process' own.
    let domainname = sandbox.names.as_ref().map_or("", |names| &names.domainname);
    sethostname(&sandbox.hostname)
        .map_err(|error| fail("cannot set the host name", &error.desc()))?;
    // SAFETY: the pointer and the length are those of a string that outlives the call.
    let done = unsafe { libc::setdomainname(domainname.as_ptr().cast(), domainname.len()) };
    match done {
        0 => Ok(()),
        _ => Err(fail(
            "cannot set the domain name",
            &io::Error::last_os_error(),
        )),
    }
}
