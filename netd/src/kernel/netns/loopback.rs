//! The loopback device of a namespace.

use std::{
    io,
    os::{fd::AsRawFd as _, unix::net::UnixDatagram},
};

use nix::libc::{IFF_UP, SIOCGIFFLAGS, SIOCSIFFLAGS, c_short, ifreq, ioctl};

/// Brings up the loopback device of the calling thread's namespace: two calls where a netlink socket would take five.
pub(super) fn set_up() -> io::Result<()> {
    // Any socket will do (netdevice(7)).
    let socket = UnixDatagram::unbound()?;
    // SAFETY: the structure is made of numbers and bytes, for which zero is a value.
    let mut request: ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    // SAFETY: both calls read and write one `ifreq`, which lives longer, and of the union the flags.
    unsafe {
        if ioctl(socket.as_raw_fd(), SIOCGIFFLAGS, &raw mut request) != 0 {
            return Err(io::Error::last_os_error());
        }
        request.ifr_ifru.ifru_flags |= IFF_UP as c_short;
        if ioctl(socket.as_raw_fd(), SIOCSIFFLAGS, &raw const request) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
