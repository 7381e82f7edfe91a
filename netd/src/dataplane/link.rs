//! Pinned links of programs: whether they still hold, and taking them off. Others may detach a link, and its pin stays.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use nix::libc;

/// A link of whatever kind.
pub struct Link(OwnedFd);

/// The parts of `struct bpf_link_info` that are read here (include/uapi/linux/bpf.h).
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Info {
    kind: u32,
    id: u32,
    program: u32,
    pad: u32,
    /// Of a link to a cgroup its number (64 bits), of a TCX link the interface and the side.
    target: [u32; 2],
    /// Room for what the other kinds say.
    rest: [u64; 8],
}

/// BPF_LINK_TYPE_CGROUP.
const CGROUP: u32 = 3;
/// BPF_LINK_TYPE_TCX, Linux 6.6.
const TCX: u32 = 11;

impl Info {
    /// The kernel gives a detached link no target: `bpf_cgroup_link_fill_link_info`, `tcx_link_fill_info`.
    fn holds(&self) -> bool {
        match self.kind {
            CGROUP => self.target != [0, 0],
            TCX => self.target[0] != 0,
            _ => false,
        }
    }
}

/// One command; `attr`: the part of `union bpf_attr` that it reads.
fn bpf<T>(command: libc::c_int, attr: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: the attributes live until the call returns, have the size that is given, and what they point to is alive, as each
    // caller says.
    let done = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attr, size_of::<T>()) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(done)
}

impl Link {
    /// Opens a pin. Errors: `NotFound`.
    pub fn open(pin: &Path) -> io::Result<Self> {
        const BPF_OBJ_GET: libc::c_int = 7;
        let path = CString::new(pin.as_os_str().as_bytes())?;
        // The path, of bytes that end with 0, lives until the call returns.
        let mut get: [u64; 2] = [path.as_ptr() as u64, 0];
        let fd = bpf(BPF_OBJ_GET, &mut get)?;
        let fd = i32::try_from(fd).map_err(io::Error::other)?;
        // SAFETY: the kernel has just given out the descriptor.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Pins it.
    pub fn pin(&self, pin: &Path) -> io::Result<()> {
        const BPF_OBJ_PIN: libc::c_int = 6;
        #[repr(C)]
        struct Pin {
            path: u64,
            fd: u32,
            flags: u32,
        }
        let path = CString::new(pin.as_os_str().as_bytes())?;
        // The path, of bytes that end with 0, lives until the call returns.
        let mut pin = Pin {
            path: path.as_ptr() as u64,
            fd: self.0.as_raw_fd().cast_unsigned(),
            flags: 0,
        };
        bpf(BPF_OBJ_PIN, &mut pin).map(drop)
    }

    fn info(&self) -> io::Result<Info> {
        const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
        let mut info = Info::default();
        #[repr(C)]
        struct Get {
            fd: u32,
            length: u32,
            info: u64,
        }
        // The kernel writes at most `length` bytes to `info`, which lives until the call returns.
        let mut get = Get {
            fd: self.0.as_raw_fd().cast_unsigned(),
            length: size_of::<Info>() as u32,
            info: &raw mut info as u64,
        };
        bpf(BPF_OBJ_GET_INFO_BY_FD, &mut get)?;
        Ok(info)
    }

    /// The kernel's number of the program that hangs by this link; `None`: it has been detached.
    pub fn program(&self) -> io::Result<Option<u32>> {
        let info = self.info()?;
        Ok(info.holds().then_some(info.program))
    }

    /// Takes the program off its hook at once (BPF_LINK_DETACH, Linux 5.9). When a link's last descriptor or pin goes, the kernel
    /// does so some time later, and the program could not be hung there again before.
    pub fn detach(&self) {
        const BPF_LINK_DETACH: libc::c_int = 34;
        let mut fd = self.0.as_raw_fd();
        // One whose device is gone has been detached.
        let _ = bpf(BPF_LINK_DETACH, &mut fd);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detached_link_has_no_target() {
        let info = |kind, target| Info {
            kind,
            target,
            ..Info::default()
        };
        assert!(info(CGROUP, [0, 1]).holds() && info(CGROUP, [1, 0]).holds());
        assert!(!info(CGROUP, [0, 0]).holds());
        // The side of a TCX link stands there all the same.
        assert!(info(TCX, [7, 46]).holds() && !info(TCX, [0, 46]).holds());
        assert!(!info(0, [7, 7]).holds());
    }
}
