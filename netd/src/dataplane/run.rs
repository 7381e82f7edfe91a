//! Running a loaded program from here (BPF_PROG_TEST_RUN): what ends flows is one program, whoever asks for it, so that
//! entries and what is counted about them change together.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
};

use aya::{
    Ebpf,
    programs::{ProgramFd, SchedClassifier},
};
use nix::libc;

use crate::error::{Error, Result};

/// A program that hangs on no hook.
pub struct Runner {
    name: &'static str,
    fd: ProgramFd,
}

/// The part of `union bpf_attr` that BPF_PROG_TEST_RUN reads and writes (include/uapi/linux/bpf.h).
#[derive(Default)]
#[repr(C)]
struct TestRun {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    pad: u32,
}

/// Bytes of the Ethernet header that the kernel wants before the packet.
const ETHERNET: usize = 14;

impl Runner {
    /// Takes hold of a loaded program.
    pub fn new(object: &Ebpf, name: &'static str) -> Result<Self> {
        let fail = |e: &dyn std::fmt::Display| Error::internal(format!("program {name}"), e);
        let program = object
            .program(name)
            .ok_or_else(|| fail(&"not in the object"))?;
        let program: &SchedClassifier = program.try_into().map_err(|e| fail(&e))?;
        let fd = program.fd().map_err(|e| fail(&e))?;
        let fd = fd.try_clone().map_err(|e| fail(&e))?;
        Ok(Self { name, fd })
    }

    /// Runs it on a packet of these bytes behind an Ethernet header of zeros, `repeat` times; returns what it returned last.
    pub fn run(&self, bytes: &[u8], repeat: u32) -> Result<u32> {
        let mut packet = vec![0u8; ETHERNET];
        packet.extend_from_slice(bytes);
        // Something must follow the header.
        packet.resize(packet.len().max(ETHERNET + 20), 0);
        let program = self.fd.as_fd();
        loop {
            match test_run(program, &packet, &[], &mut [], repeat, 0) {
                Ok((value, _)) => return Ok(value),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    return Err(Error::internal(format!("running program {}", self.name), e));
                }
            }
        }
    }
}

/// BPF_PROG_TEST_RUN: runs a program `repeat` times on a packet with its Ethernet header. `context`: a `struct __sk_buff` of which
/// the kernel takes some fields, or nothing. `out`: room for the packet that the program leaves, or nothing. Returns what the
/// program returned last, and the length of that packet. aya's own call knows no flags.
///
/// # Errors
/// As the kernel says: EINTR where a signal came, ENOSPC where `out` is too small, EINVAL for flags that it does not know.
pub fn test_run(
    program: BorrowedFd<'_>,
    packet: &[u8],
    context: &[u8],
    out: &mut [u8],
    repeat: u32,
    flags: u32,
) -> io::Result<(u32, usize)> {
    const BPF_PROG_TEST_RUN: libc::c_int = 10;
    // The kernel takes no pointer without a size.
    let address = |bytes: &[u8]| {
        if bytes.is_empty() {
            0
        } else {
            bytes.as_ptr() as u64
        }
    };
    let mut attr = TestRun {
        prog_fd: program.as_raw_fd() as u32,
        data_size_in: packet.len() as u32,
        data_size_out: out.len() as u32,
        data_in: address(packet),
        data_out: address(out),
        repeat,
        ctx_size_in: context.len() as u32,
        ctx_in: address(context),
        flags,
        ..TestRun::default()
    };
    // SAFETY: every pointer is to as many bytes as the size beside it says, or none, and all live until the call returns; `out`
    // is borrowed mutably.
    let done = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_TEST_RUN,
            &raw mut attr,
            size_of::<TestRun>(),
        )
    };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((attr.retval, attr.data_size_out as usize))
}
