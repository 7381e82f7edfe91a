//! A machine whose packets the tests make and see themselves.
//!
//! Its kernel keeps the link and its neighbours, and does not see UDP and TCP for [`PORTS`]: nobody but the test answers
//! these.

use std::{
    cell::{Cell, RefCell},
    fs::File,
    io::IoSliceMut,
    mem,
    net::{IpAddr, UdpSocket},
    os::fd::{AsRawFd, OwnedFd},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::{
    errno::Errno,
    libc,
    net::if_::if_nametoindex,
    sys::socket::{
        AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrLike, bind,
        recvmsg, send, setsockopt, socket, sockopt,
    },
    sys::time::{TimeVal, TimeValLike},
};

use super::packet::Packet;
use crate::{Netns, Scope, probe, wait_for};

/// Ports of the stations that only the tests answer, in nft's words.
pub const PORTS: &str = "{ 21, 53, 500, 501, 5060, 20000-29999 }";

const ETHERNET: usize = 14;
/// What is kept of a frame.
const BUFFER: usize = 70_000;

/// See the module.
#[derive(Debug)]
pub struct Station {
    /// Its namespace.
    pub netns: Netns,
    /// Programs there.
    pub scope: Scope,
    /// Its interface.
    pub link: String,
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// The Ethernet addresses of the next hop, IPv4 and IPv6.
    hops: [[u8; 6]; 2],
    wire: OwnedFd,
    seen: RefCell<Vec<Packet>>,
    longest: Cell<usize>,
}

fn mac(text: &str) -> Result<[u8; 6]> {
    let bytes: Vec<u8> = text
        .trim()
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16))
        .collect::<Result<_, _>>()
        .with_context(|| format!("the Ethernet address {text:?}"))?;
    <[u8; 6]>::try_from(bytes.as_slice()).with_context(|| format!("the Ethernet address {text:?}"))
}

/// Opens a packet socket on a link of the calling thread's namespace.
fn open(link: &str) -> Result<OwnedFd> {
    let fd = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::EthAll,
    )?;
    let address = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET)?,
        sll_protocol: u16::try_from(libc::ETH_P_ALL)?.to_be(),
        sll_ifindex: i32::try_from(if_nametoindex(link)?)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = libc::socklen_t::try_from(mem::size_of_val(&address))?;
    // SAFETY: the pointer and the length are those of a whole sockaddr_ll that outlives the call.
    let address = unsafe { LinkAddr::from_raw((&raw const address).cast(), Some(length)) };
    bind(fd.as_raw_fd(), &address.context("a link's address")?)?;
    setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::milliseconds(10))?;
    setsockopt(&fd, sockopt::RcvBufForce, &(8 << 20))?;
    Ok(fd)
}

/// The true length of the next frame, also when it is longer than the buffer, and where it came from.
fn receive(wire: &OwnedFd, buffer: &mut [u8]) -> nix::Result<(usize, Option<LinkAddr>)> {
    let mut parts = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_TRUNC;
    let message = recvmsg::<LinkAddr>(wire.as_raw_fd(), &mut parts, None, flags)?;
    Ok((message.bytes, message.address))
}

impl Station {
    /// The station on `link` of a namespace, whose packets go by way of `hops` (IPv4, IPv6).
    ///
    /// # Errors
    /// When a next hop does not answer, or a step fails.
    pub fn new(netns: &Netns, scope: Scope, link: &str, hops: [IpAddr; 2]) -> Result<Self> {
        let rules = format!(
            "table inet stations {{ chain input {{ type filter hook input priority -400; \
             udp dport {PORTS} drop; tcp dport {PORTS} drop; }}; }}"
        );
        let output = netns.scope().run(&["nft", &rules])?;
        ensure!(output.ok, "nft in {}: {}", netns.name(), output.text());
        let hops = [
            Self::hop(netns, link, hops[0])?,
            Self::hop(netns, link, hops[1])?,
        ];
        let name = link.to_owned();
        let wire = netns.enter(move || open(&name))??;
        let own = netns.ip(&format!("-j link show dev {link}"))?;
        let own: serde_json::Value = serde_json::from_str(&own)?;
        let own = own[0]["address"].as_str().context("no Ethernet address")?;
        Ok(Self {
            netns: netns.clone(),
            scope,
            link: link.to_owned(),
            mac: mac(own)?,
            hops,
            wire,
            seen: RefCell::default(),
            longest: Cell::default(),
        })
    }

    /// The Ethernet address of a neighbour, once it has answered.
    fn hop(netns: &Netns, link: &str, address: IpAddr) -> Result<[u8; 6]> {
        let found = wait_for(&format!("{address} as a neighbour"), 10, || {
            probe::ping(&netns.scope(), address).ok()?;
            let text = netns
                .ip(&format!("neigh show to {address} dev {link}"))
                .ok()?;
            let words: Vec<&str> = text.split_whitespace().collect();
            let at = words.iter().position(|word| *word == "lladdr")?;
            words.get(at + 1).map(|&word| word.to_owned())
        });
        mac(&found)
    }

    /// Sends a packet to the next hop.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn send(&self, packet: &Packet) -> Result<()> {
        self.send_bytes(&packet.bytes())
    }

    /// Sends bytes from an IP header on to the next hop.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn send_bytes(&self, bytes: &[u8]) -> Result<()> {
        let v4 = bytes.first().is_some_and(|byte| byte >> 4 == 4);
        self.send_to(self.hops[usize::from(!v4)], bytes)
    }

    /// Sends bytes from an IP header on to an Ethernet address.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn send_to(&self, hop: [u8; 6], bytes: &[u8]) -> Result<()> {
        let v4 = bytes.first().is_some_and(|byte| byte >> 4 == 4);
        let kind: [u8; 2] = if v4 { [0x08, 0x00] } else { [0x86, 0xdd] };
        self.send_frame(&[hop.as_slice(), &self.mac, &kind, bytes].concat())
    }

    /// Sends a frame as it is.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn send_frame(&self, frame: &[u8]) -> Result<()> {
        let length = send(self.wire.as_raw_fd(), frame, MsgFlags::empty())
            .with_context(|| format!("sending from {}", self.netns.name()))?;
        ensure!(length == frame.len(), "{length} of {} bytes", frame.len());
        Ok(())
    }

    /// Takes in what has arrived; whether there was anything.
    fn take(&self) -> Result<bool> {
        let mut buffer = vec![0_u8; BUFFER];
        let (length, from) = match receive(&self.wire, &mut buffer) {
            Ok(received) => received,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(false),
            Err(error) => return Err(error).context("receiving"),
        };
        // What the station itself sends comes by, too.
        let own = from.is_some_and(|from| from.pkttype() == libc::PACKET_OUTGOING);
        if !own {
            self.longest.set(self.longest.get().max(length));
        }
        let frame = buffer.get(..length.min(BUFFER)).unwrap_or_default();
        if let (false, Some(packet)) = (own, frame.get(ETHERNET..).and_then(Packet::read)) {
            self.seen.borrow_mut().push(packet);
        }
        Ok(true)
    }

    /// Everything that has arrived since the start or the last [`Station::forget`].
    ///
    /// # Errors
    /// As the kernel says.
    pub fn seen(&self) -> Result<Vec<Packet>> {
        setsockopt(
            &self.wire,
            sockopt::ReceiveTimeout,
            &TimeVal::microseconds(1),
        )?;
        while self.take()? {}
        setsockopt(
            &self.wire,
            sockopt::ReceiveTimeout,
            &TimeVal::milliseconds(10),
        )?;
        Ok(self.seen.borrow().clone())
    }

    /// The first packet that has arrived and is meant.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn find(&self, mut meant: impl FnMut(&Packet) -> bool) -> Result<Option<Packet>> {
        Ok(self.seen()?.into_iter().find(|packet| meant(packet)))
    }

    /// Waits for a packet, also among those that have arrived.
    ///
    /// # Errors
    /// When it does not come within five seconds.
    pub fn wait(&self, what: &str, meant: impl FnMut(&Packet) -> bool) -> Result<Packet> {
        let found = self.wait_for(Duration::from_secs(5), meant)?;
        found.with_context(|| format!("{what} did not arrive in {}", self.netns.name()))
    }

    /// As [`Station::wait`], but for this long, and none is no error.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn wait_for(
        &self,
        time: Duration,
        mut meant: impl FnMut(&Packet) -> bool,
    ) -> Result<Option<Packet>> {
        let end = Instant::now() + time;
        let mut looked = 0;
        loop {
            {
                let seen = self.seen.borrow();
                let found = seen.iter().skip(looked).find(|packet| meant(packet));
                if let Some(packet) = found {
                    return Ok(Some(packet.clone()));
                }
                looked = seen.len();
            }
            if !self.take()? && Instant::now() > end {
                return Ok(None);
            }
        }
    }

    /// Forgets what has arrived.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn forget(&self) -> Result<()> {
        self.seen()?;
        self.seen.borrow_mut().clear();
        self.longest.set(0);
        Ok(())
    }

    /// The sysctl of its namespace's IPv4 and ICMP answers to echo requests.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn answer_echo(&self, answer: bool) -> Result<()> {
        let value = if answer { "0" } else { "1" };
        self.netns.sysctl("net/ipv4/icmp_echo_ignore_all", value)?;
        self.netns.sysctl("net/ipv6/icmp/echo_ignore_all", value)
    }

    /// A socket of its kernel's, which waits shortly for what has arrived already.
    ///
    /// # Errors
    /// When the address is taken.
    pub fn udp(&self, address: (IpAddr, u16)) -> Result<UdpSocket> {
        let socket = self.netns.enter(move || UdpSocket::bind(address))??;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        Ok(socket)
    }

    /// A packet's frame for the next hop.
    pub fn frame(&self, packet: &Packet) -> Vec<u8> {
        let hop = self.hops[usize::from(packet.src.is_ipv6())];
        let kind: [u8; 2] = if packet.src.is_ipv4() {
            [0x08, 0x00]
        } else {
            [0x86, 0xdd]
        };
        [hop.as_slice(), &self.mac, &kind, &packet.bytes()].concat()
    }

    /// What sends frames when they are written to it, from any thread.
    ///
    /// # Errors
    /// Without descriptors.
    pub fn sender(&self) -> Result<File> {
        Ok(File::from(self.wire.try_clone()?))
    }

    /// The longest frame that has arrived since the last [`Station::forget`], bytes.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn longest(&self) -> Result<usize> {
        self.seen()?;
        Ok(self.longest.get())
    }
}
