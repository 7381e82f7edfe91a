//! A flood: frames with any source, put on an interface at a rate. Only ever inside namespaces that a test has made.

use std::{
    mem,
    net::{IpAddr, SocketAddr},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    ptr, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nix::{errno::Errno, ifaddrs::getifaddrs, net::if_::if_nametoindex};
use serde::{Deserialize, Serialize};

use super::frame::{self, Kind};

/// Frames of one system call.
const BATCH: usize = 64;

/// What is sent.
#[derive(Clone, Debug)]
pub struct Plan {
    pub kind: Kind,
    pub interface: String,
    /// Of the next hop.
    pub mac: [u8; 6],
    pub from: Prefix,
    pub from_ports: (u16, u16),
    pub to: Prefix,
    pub to_ports: (u16, u16),
    /// Frames per second.
    pub rate: f64,
    pub time: Duration,
}

/// What was sent.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Sent {
    /// Frames that the kernel took.
    pub frames: u64,
    /// Seconds that it took.
    pub seconds: f64,
}

impl Sent {
    /// Frames per second.
    pub fn rate(&self) -> f64 {
        self.frames as f64 / self.seconds.max(1e-9)
    }
}

/// Addresses to choose from.
#[derive(Clone, Copy, Debug)]
pub struct Prefix {
    base: IpAddr,
    bits: u8,
}

impl std::str::FromStr for Prefix {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (base, bits) = text.split_once('/').unwrap_or((text, ""));
        let base: IpAddr = base.parse().with_context(|| text.to_owned())?;
        let most = if base.is_ipv4() { 32 } else { 128 };
        let bits = if bits.is_empty() { most } else { bits.parse()? };
        ensure!(bits <= most, "{text}: a prefix has at most {most} bits");
        Ok(Self { base, bits })
    }
}

impl Prefix {
    /// The address with these host bits.
    fn address(self, random: u64) -> IpAddr {
        match self.base {
            IpAddr::V4(v4) => {
                let host = u32::MAX.checked_shr(self.bits.into()).unwrap_or(0);
                IpAddr::V4((u32::from(v4) & !host | random as u32 & host).into())
            }
            IpAddr::V6(v6) => {
                let host = u128::MAX.checked_shr(self.bits.into()).unwrap_or(0);
                IpAddr::V6((u128::from(v6) & !host | u128::from(random) & host).into())
            }
        }
    }
}

/// Sends it all; prints `begun` after the first frames.
///
/// # Errors
/// Without the interface, or when the kernel refuses frames.
pub fn run(plan: &Plan) -> Result<Sent> {
    ensure!(
        plan.from.base.is_ipv4() == plan.to.base.is_ipv4(),
        "source and destination are of different families"
    );
    let socket = Raw::open(&plan.interface)?;
    let own = own_mac(&plan.interface)?;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut frames = vec![Vec::new(); BATCH];
    let begun = Instant::now();
    let mut sent = Sent::default();
    while begun.elapsed() < plan.time {
        let due = (begun.elapsed().as_secs_f64() * plan.rate) as u64;
        let batch = usize::try_from(due.saturating_sub(sent.frames))?.min(BATCH);
        if batch == 0 {
            thread::sleep(Duration::from_micros(200));
            continue;
        }
        for frame in frames.iter_mut().take(batch) {
            let (addresses, ports) = (random.next(), random.next());
            let from = plan.from.address(addresses);
            let to = plan.to.address(ports >> 32);
            *frame = frame::build(
                plan.kind,
                (plan.mac, own),
                SocketAddr::new(from, port(plan.from_ports, ports)),
                SocketAddr::new(to, port(plan.to_ports, ports >> 16)),
            );
        }
        let first = sent.frames == 0;
        sent.frames += socket.send(frames.get(..batch).unwrap_or_default())?;
        if first {
            println!("begun");
        }
    }
    sent.seconds = begun.elapsed().as_secs_f64();
    Ok(sent)
}

fn port((first, last): (u16, u16), random: u64) -> u16 {
    let size = u64::from(last.saturating_sub(first)) + 1;
    first + u16::try_from((random & 0xffff) % size).unwrap_or_default()
}

/// Xorshift: the same flood each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

fn own_mac(interface: &str) -> Result<[u8; 6]> {
    let found = getifaddrs()?
        .filter(|one| one.interface_name == interface)
        .find_map(|one| one.address?.as_link_addr()?.addr());
    found.with_context(|| format!("{interface} has no Ethernet address"))
}

/// A packet socket bound to an interface.
struct Raw(OwnedFd);

impl Raw {
    fn open(interface: &str) -> Result<Self> {
        let index = if_nametoindex(interface).with_context(|| interface.to_owned())?;
        // Protocol 0: it receives nothing.
        // SAFETY: a system call without pointers.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        let fd = Errno::result(fd).context("a packet socket")?;
        // SAFETY: the kernel has just given it to us alone.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: all zeroes are a valid address of that structure.
        let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
        address.sll_family = u16::try_from(libc::AF_PACKET)?;
        address.sll_ifindex = i32::try_from(index)?;
        let length = u32::try_from(mem::size_of::<libc::sockaddr_ll>())?;
        // SAFETY: the address lives through the call and is as long as is said.
        let done = unsafe { libc::bind(fd.as_raw_fd(), ptr::from_ref(&address).cast(), length) };
        Errno::result(done).with_context(|| interface.to_owned())?;
        Ok(Self(fd))
    }

    /// How many were taken; a full queue is no error.
    fn send(&self, frames: &[Vec<u8>]) -> Result<u64> {
        let mut parts: Vec<libc::iovec> = frames
            .iter()
            .map(|frame| libc::iovec {
                iov_base: frame.as_ptr().cast_mut().cast(),
                iov_len: frame.len(),
            })
            .collect();
        let mut messages: Vec<libc::mmsghdr> = parts
            .iter_mut()
            .map(|part| {
                // SAFETY: all zeroes are a message without address, parts and control data.
                let mut message: libc::mmsghdr = unsafe { mem::zeroed() };
                message.msg_hdr.msg_iov = part;
                message.msg_hdr.msg_iovlen = 1;
                message
            })
            .collect();
        let count = u32::try_from(messages.len())?;
        // SAFETY: messages, their parts and the frames live through the call, which only reads the frames.
        let sent = unsafe { libc::sendmmsg(self.0.as_raw_fd(), messages.as_mut_ptr(), count, 0) };
        match Errno::result(sent) {
            Ok(sent) => Ok(u64::try_from(sent)?),
            Err(Errno::ENOBUFS | Errno::EAGAIN | Errno::EINTR) => Ok(0),
            Err(errno) => bail!("sending frames: {errno}"),
        }
    }
}
