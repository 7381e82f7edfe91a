//! What tells a namespace from every other one: its cookie, and the start of the system that gave it.

use std::{fs, os::fd::AsRawFd as _, sync::OnceLock};

use crate::{
    error::{Error, Result},
    model::Identity,
};

/// The identity of the calling thread's namespace.
pub(super) fn here() -> Result<Identity> {
    Ok(Identity {
        cookie: cookie()?,
        boot_id: boot_id()?,
    })
}

/// The cookie of the calling thread's namespace.
fn cookie() -> Result<u64> {
    let fail = |e: &dyn std::fmt::Display| Error::internal("the namespace's cookie", e);
    let socket = std::os::unix::net::UnixDatagram::unbound().map_err(|e| fail(&e))?;
    let mut cookie = 0u64;
    let mut length = size_of::<u64>() as nix::libc::socklen_t;
    // SAFETY: value and length are of this function, and the length is the value's.
    let asked = unsafe {
        nix::libc::getsockopt(
            socket.as_raw_fd(),
            nix::libc::SOL_SOCKET,
            nix::libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    match asked {
        0 => Ok(cookie),
        _ => Err(fail(&std::io::Error::last_os_error())),
    }
}

/// Tells this start of the system from all others.
fn boot_id() -> Result<[u8; 16]> {
    static KNOWN: OnceLock<[u8; 16]> = OnceLock::new();
    if let Some(known) = KNOWN.get() {
        return Ok(*known);
    }
    let path = "/proc/sys/kernel/random/boot_id";
    let text = fs::read_to_string(path).map_err(|e| Error::internal(path, e))?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let number = u128::from_str_radix(&digits, 16).map_err(|e| Error::internal(path, e))?;
    Ok(*KNOWN.get_or_init(|| number.to_be_bytes()))
}
