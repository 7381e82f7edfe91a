//! The task that keeps the host's state. It reads its socket itself: what waits there is bounded, and what was told before a
//! question is taken in before the answer.

use std::{
    collections::BTreeSet,
    future::pending,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ipnetwork::IpNetwork;
use nix::{
    libc,
    sys::socket::{setsockopt, sockopt::RcvBufForce},
};
use rtnetlink::{
    Handle, MulticastGroup,
    packet_core::{NLM_F_REPLACE, NetlinkMessage, NetlinkPayload},
    packet_route::RouteNetlinkMessage,
    sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};

use super::{Changes, HostState, Netlink, list::read, routes::Routes, state::Tracker};
use crate::error::{Error, Result, chain};

/// Changes that come close together are told together.
const SETTLE: Duration = Duration::from_millis(20);
/// Between two tellings lies as much, however fast changes come.
const PACE: Duration = Duration::from_millis(100);
/// Between two listings because changes were lost or did not fit lies as much.
const LISTING_PACE: Duration = Duration::from_secs(1);
/// As [`LISTING_PACE`], where only something did not fit.
const DOUBT_PACE: Duration = Duration::from_secs(30);
/// Every so often everything is listed whatever was told.
const LISTING: Duration = Duration::from_secs(300);
/// Bytes of changes that may wait, of which the kernel doubles what it is told.
const BUFFER: usize = 1 << 20;
/// The longest datagram (`NLMSG_GOODSIZE` and what the kernel makes of it).
const DATAGRAM: usize = 64 << 10;
/// Datagrams read before others have their turn.
const BATCH: usize = 1024;
/// Datagrams read before a question is answered, more than can wait.
const MOST: usize = 1 << 16;
/// Interfaces told of at once; beyond, all are to be looked at.
const TOUCHED: usize = 1 << 14;
const GROUPS: [MulticastGroup; 5] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
];

/// What the follower has done.
#[derive(Debug, Default)]
pub struct Counts {
    /// Listings of everything.
    pub listings: AtomicU64,
    /// Changes that the kernel told.
    pub changes: AtomicU64,
}

/// A question to the follower.
pub enum Ask {
    /// The state.
    State(oneshot::Sender<Result<HostState>>),
    /// Mind these, too.
    Mind(Vec<IpNetwork>, oneshot::Sender<()>),
    /// The socket's descriptor, for a test.
    #[cfg(test)]
    Socket(oneshot::Sender<std::os::fd::RawFd>),
}

fn open() -> io::Result<AsyncFd<Socket>> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.set_non_blocking(true)?;
    // A smaller one works, too, with more listings.
    let _ = setsockopt(&socket, RcvBufForce, &BUFFER);
    socket.bind(&SocketAddr::new(0, 0))?;
    for group in GROUPS {
        socket.add_membership(group as u32)?;
    }
    // SAFETY: the socket owns its descriptor, and neither closes nor replaces it.
    unsafe { AsyncFd::register(socket) }.map_err(|e| e.into_parts().1)
}

/// Keeps the state, tells changes, answers questions.
pub struct Follower {
    netlink: Handle,
    socket: AsyncFd<Socket>,
    tracker: Tracker,
    asks: mpsc::Receiver<Ask>,
    sender: mpsc::Sender<Changes>,
    counts: Arc<Counts>,
    changes: Changes,
    /// When they are told.
    tell: Option<Instant>,
    told: Option<Instant>,
    /// When everything is listed next, at the latest.
    list_at: Instant,
    /// What is known is not the truth, at first because nothing is.
    lost: bool,
    listed: Option<Instant>,
    buffer: Vec<u8>,
}

impl Follower {
    /// Subscribes; changes from now on are known.
    pub fn new(
        netlink: Netlink,
        pools: Vec<IpNetwork>,
        asks: mpsc::Receiver<Ask>,
        sender: mpsc::Sender<Changes>,
        counts: Arc<Counts>,
    ) -> Result<Self> {
        let socket = open().map_err(|e| Error::internal("following the host", e))?;
        Ok(Self {
            // Without its place for a follower: the task ends when nobody can ask any more.
            netlink: netlink.handle,
            socket,
            tracker: Tracker::minding(Routes::new(Some(pools))),
            asks,
            sender,
            counts,
            changes: Changes::default(),
            tell: None,
            told: None,
            list_at: Instant::now(),
            lost: true,
            listed: None,
            buffer: Vec::with_capacity(DATAGRAM),
        })
    }

    /// Until nobody asks or listens.
    pub async fn run(mut self) {
        enum Step {
            Ask(Option<Ask>),
            Read,
            List,
            Tell(bool),
        }
        loop {
            let due = async {
                match self.tell.filter(|_| !self.lost) {
                    Some(at) => sleep_until(at).await,
                    None => pending().await,
                }
                self.sender.reserve().await.is_ok()
            };
            let step = tokio::select! {
                biased;
                ask = self.asks.recv() => Step::Ask(ask),
                told = due => Step::Tell(told),
                () = sleep_until(self.list_at) => Step::List,
                // An error is met again where it is looked at.
                _ = self.socket.readable() => Step::Read,
            };
            match step {
                Step::Ask(None) | Step::Tell(false) => return,
                Step::Ask(Some(ask)) => self.answer(ask).await,
                Step::Read => self.drain().await,
                Step::List => self.list_or_wait().await,
                Step::Tell(true) => {
                    self.told = Some(Instant::now());
                    self.tell = None;
                    let changes = std::mem::take(&mut self.changes);
                    // There is room; nobody else sends.
                    let _ = self.sender.try_send(changes);
                }
            }
        }
    }

    async fn answer(&mut self, ask: Ask) {
        // Whoever asked and has gone needs no answer.
        match ask {
            Ask::State(answer) => {
                self.drain().await;
                let state = if self.lost { self.list().await } else { Ok(()) };
                let _ = answer.send(state.map(|()| self.tracker.state()));
            }
            Ask::Mind(subnets, done) => {
                self.tracker.routes.mind(subnets);
                let _ = done.send(());
            }
            #[cfg(test)]
            Ask::Socket(answer) => {
                let _ = answer.send(std::os::fd::AsRawFd::as_raw_fd(&self.socket));
            }
        }
    }

    /// Takes in all that waits in the socket.
    async fn drain(&mut self) {
        let empty = |e: &io::Error| e.kind() == io::ErrorKind::WouldBlock;
        let mut read = 0;
        loop {
            self.buffer.clear();
            let mut came = self.socket.get_ref().recv_from(&mut self.buffer, 0);
            if came
                .as_ref()
                .is_err_and(|e| e.raw_os_error() == Some(libc::EAGAIN))
            {
                // Once more in a way that says so to whoever waits for news.
                let buffer = &mut self.buffer;
                let receive = |socket: &Socket| socket.recv_from(buffer, 0);
                came = self.socket.try_io(Interest::READABLE, receive);
            }
            match came {
                Ok((_, from)) if from.port_number() == 0 => self.take_in(),
                // Only the kernel is believed.
                Ok(_) => {}
                Err(e) if empty(&e) => break,
                Err(e) => match e.raw_os_error() {
                    Some(libc::EINTR) => {}
                    Some(libc::ENOBUFS) => {
                        self.lose("more changes of the host than netd could read")
                    }
                    _ => {
                        self.reopen(&e).await;
                        break;
                    }
                },
            }
            read += 1;
            if read % BATCH == 0 {
                tokio::task::yield_now().await;
            }
            if read == MOST {
                break;
            }
        }
        if self.tracker.routes.doubtful {
            self.tracker.routes.doubtful = false;
            let last = self.listed.unwrap_or_else(Instant::now);
            self.list_at = self.list_at.min(last + DOUBT_PACE);
        }
        self.plan_telling();
    }

    /// The messages of a datagram.
    fn take_in(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        let mut rest = buffer.as_slice();
        while !rest.is_empty() {
            let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest) else {
                self.lose("a change of the host that netd cannot read");
                break;
            };
            // Messages are aligned to four bytes (RFC 3549, 2.2).
            let length = (message.header.length as usize).next_multiple_of(4);
            rest = rest.get(length.max(1)..).unwrap_or_default();
            match &message.payload {
                NetlinkPayload::InnerMessage(inner) => {
                    self.counts.changes.fetch_add(1, Ordering::Relaxed);
                    let replaces = message.header.flags & NLM_F_REPLACE != 0;
                    self.tracker.apply(inner, false, replaces);
                    self.changes.add(inner);
                }
                NetlinkPayload::Overrun(_) => self.lose("more changes than the kernel could tell"),
                _ => {}
            }
        }
        self.buffer = buffer;
        if self.changes.touched.len() > TOUCHED {
            self.changes.touched = BTreeSet::from([0]);
            self.changes.overrun = true;
        }
    }

    /// Something was lost: everything is listed before anything is told or answered.
    fn lose(&mut self, what: &str) {
        if !self.lost {
            tracing::debug!("{what}: everything is listed anew");
        }
        self.lost = true;
        let earliest = self.listed.map(|at| at + LISTING_PACE);
        let now = Instant::now();
        self.list_at = self.list_at.min(earliest.map_or(now, |at| at.max(now)));
    }

    /// Another socket in place of one that cannot be read.
    async fn reopen(&mut self, e: &io::Error) {
        tracing::warn!("following the host: {}; netd follows it anew", chain(e));
        let mut pause = SETTLE;
        loop {
            match open() {
                Ok(socket) => {
                    self.socket = socket;
                    break;
                }
                Err(e) => tracing::warn!("following the host: {e}"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LISTING_PACE * 10);
        }
        self.lose("the socket of changes failed");
    }

    async fn list_or_wait(&mut self) {
        self.drain().await;
        if let Err(e) = self.list().await {
            tracing::warn!("following the host: {e}");
            self.list_at = Instant::now() + LISTING_PACE;
        }
    }

    /// Reads everything. What changes meanwhile waits in the socket and is taken in afterwards; the last word on each thing is
    /// the right one.
    async fn list(&mut self) -> Result<()> {
        let new = read(&self.netlink, Some(&self.tracker.routes)).await?;
        self.counts.listings.fetch_add(1, Ordering::Relaxed);
        let first = self.listed.is_none();
        let before = std::mem::replace(&mut self.tracker, new);
        let (touched, removed) = self.tracker.changes_since(&before);
        // At first everything is new, and whoever follows reads it.
        if !first {
            let routes = before.routes.destinations() != self.tracker.routes.destinations()
                || before.routes.egress() != self.tracker.routes.egress();
            if self.lost || routes {
                self.changes.touched.insert(0);
            }
            self.changes.touched.extend(touched);
            self.changes.removed.extend(removed);
            self.changes.overrun |= self.lost;
        }
        self.lost = false;
        self.listed = Some(Instant::now());
        self.list_at = Instant::now() + LISTING;
        self.plan_telling();
        Ok(())
    }

    fn plan_telling(&mut self) {
        if self.changes.is_empty() || self.tell.is_some() {
            return;
        }
        let now = Instant::now();
        let paced = self.told.map_or(now, |at| at + PACE);
        self.tell = Some(paced.max(now + SETTLE));
    }
}
