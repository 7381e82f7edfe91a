//! One sandbox' sockets: taking requests, answering what is known here, having the rest asked.

use std::{
    net::SocketAddr,
    os::fd::{AsFd as _, BorrowedFd},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Semaphore,
    task::AbortHandle,
    time::timeout,
};
use tokio_util::task::TaskTracker;

use super::{
    forward::{self, Place},
    message::{self, Asked, Outcome, Transport},
    sockets::Sockets,
    table::{Table, View},
    upstream::{HostResolvers, PORT},
};
use crate::{config, kernel::Netns};

/// Datagrams answered before others have their turn.
const BATCH: usize = 64;

/// The longest request by UDP that is looked at.
const LONGEST: usize = 4096;

/// Connections of one sandbox at a time; further ones wait in the backlog.
const CONNECTIONS: usize = 64;

/// A connection may be silent for so long.
const IDLE: Duration = Duration::from_secs(10);

/// Questions of one sandbox that wait for their turn to be asked; further ones fail at once.
const WAITING: usize = 4096;

/// What all sandboxes share.
#[derive(Debug)]
pub struct Shared {
    /// The names, as they are now.
    pub table: ArcSwap<Table>,
    /// The host's resolvers.
    pub host: HostResolvers,
    /// Limits and times.
    pub config: config::Dns,
    /// Questions of all sandboxes that are with servers at a time.
    pub in_flight: Semaphore,
    /// Requests that have been taken and not been answered yet; closed when no more shall be taken.
    pub taken: TaskTracker,
}

/// One sandbox.
#[derive(Debug)]
struct Client {
    sandbox: Arc<str>,
    netns: Netns,
    shared: Arc<Shared>,
    in_flight: Semaphore,
    waiting: AtomicUsize,
    connections: Arc<Semaphore>,
}

/// The tasks that serve a sandbox; they end when this is dropped. The sockets live on where others keep them, too.
#[derive(Debug)]
pub struct Serving {
    udp: Arc<UdpSocket>,
    tcp: Arc<TcpListener>,
    tasks: [AbortHandle; 2],
}

impl Serving {
    /// The sockets: datagrams, then connections.
    pub fn sockets(&self) -> [BorrowedFd<'_>; 2] {
        [self.udp.as_fd(), self.tcp.as_fd()]
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// Serves a sandbox' sockets. Must be called within the runtime that shall do it.
pub fn serve(
    sandbox: &str,
    netns: &Netns,
    sockets: Sockets,
    shared: &Arc<Shared>,
) -> std::io::Result<Serving> {
    let client = Arc::new(Client {
        sandbox: sandbox.into(),
        netns: netns.clone(),
        shared: Arc::clone(shared),
        in_flight: Semaphore::new(shared.config.in_flight as usize),
        waiting: AtomicUsize::new(0),
        connections: Arc::new(Semaphore::new(CONNECTIONS)),
    });
    let udp = Arc::new(UdpSocket::from_std(sockets.udp)?);
    let tcp = Arc::new(TcpListener::from_std(sockets.tcp)?);
    let datagrams = Arc::clone(&client).datagrams(Arc::clone(&udp));
    let streams = client.streams(Arc::clone(&tcp));
    Ok(Serving {
        udp,
        tcp,
        tasks: [
            tokio::spawn(datagrams).abort_handle(),
            tokio::spawn(streams).abort_handle(),
        ],
    })
}

impl Client {
    async fn datagrams(self: Arc<Self>, socket: Arc<UdpSocket>) {
        loop {
            if let Err(e) = socket.readable().await {
                return tracing::error!("DNS of sandbox {}: {e}", self.sandbox);
            }
            self.batch(&socket);
            tokio::task::yield_now().await;
        }
    }

    /// Takes what is there, with a buffer that thousands of waiting tasks need not hold.
    fn batch(self: &Arc<Self>, socket: &Arc<UdpSocket>) {
        let mut bytes = [0; LONGEST];
        for _ in 0..BATCH {
            // An error is that there is nothing more, or of an earlier answer that its asker did not wait for.
            let Ok((length, from)) = socket.try_recv_from(&mut bytes) else {
                return;
            };
            self.datagram(socket, &bytes[..length], from);
        }
    }

    fn datagram(self: &Arc<Self>, socket: &Arc<UdpSocket>, request: &[u8], from: SocketAddr) {
        match self.handle(request, Transport::Udp) {
            Outcome::Silence => {}
            // What does not fit the socket's buffer is lost, as on any network; the asker asks again.
            Outcome::Answer(bytes) => drop(socket.try_send_to(&bytes, from)),
            Outcome::Forward(asked) => {
                let (this, socket) = (Arc::clone(self), Arc::clone(socket));
                // Its asker may have gone.
                self.shared.taken.spawn(async move {
                    let bytes = this.forward(&asked).await;
                    let _ = socket.send_to(&bytes, from).await;
                });
            }
        }
    }

    async fn streams(self: Arc<Self>, listener: Arc<TcpListener>) {
        loop {
            let Ok(permit) = Arc::clone(&self.connections).acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let this = Arc::clone(&self);
                    tokio::spawn(async move {
                        this.stream(stream).await;
                        drop(permit);
                    });
                }
                Err(e) => {
                    tracing::warn!("DNS of sandbox {}: {e}", self.sandbox);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// Answers one request after the other until the asker goes or is silent.
    async fn stream(self: Arc<Self>, mut stream: TcpStream) {
        while let Ok(Ok(request)) = timeout(IDLE, forward::read_message(&mut stream)).await {
            let _taken = self.shared.taken.token();
            let bytes = match self.handle(&request, Transport::Tcp) {
                Outcome::Silence => return,
                Outcome::Answer(bytes) => bytes,
                Outcome::Forward(asked) => self.forward(&asked).await,
            };
            let written = timeout(IDLE, forward::write_message(&mut stream, &bytes)).await;
            if !matches!(written, Ok(Ok(()))) || self.shared.taken.is_closed() {
                return;
            }
        }
    }

    fn handle(&self, request: &[u8], over: Transport) -> Outcome {
        let table = self.shared.table.load();
        match table.view(&self.sandbox) {
            Some(view) => message::handle(&table, view, self.shared.config.ttl, request, over),
            // It is going.
            None => message::handle(&table, &View::default(), 0, request, over),
        }
    }

    async fn forward(&self, asked: &Asked) -> Vec<u8> {
        let Some((servers, place)) = self.servers() else {
            return asked.failed();
        };
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return asked.failed();
        }
        let own = self.in_flight.acquire().await;
        let all = self.shared.in_flight.acquire().await;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        let patience = Duration::from_millis(self.shared.config.timeout_ms);
        let bytes = forward::ask(asked, &servers, &place, patience).await;
        drop((own, all));
        bytes
    }

    /// Whom to ask, and from where; `None`: nobody may be asked.
    fn servers(&self) -> Option<(Arc<[SocketAddr]>, Place)> {
        let table = self.shared.table.load();
        let view = table.view(&self.sandbox)?;
        if view.servers.is_empty() {
            // An internal network would not be one if its questions reached the outside (CVE-2024-29018).
            return view
                .forwards
                .then(|| (self.shared.host.servers(), Place::Host));
        }
        // What the sandbox itself reaches, and nothing else.
        let servers = view.servers.iter().map(|a| SocketAddr::new(*a, PORT));
        Some((servers.collect(), Place::Sandbox(self.netns.clone())))
    }
}
