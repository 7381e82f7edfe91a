//! One sandbox's sockets: taking requests, answering what is known here, having the rest asked.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::{
    net::{TcpListener, TcpStream, UdpSocket},
    task::AbortHandle,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    fair::{self, Fair, Limits},
    forward::{self, Asker, Place},
    message::{self, Asked, Outcome, Transport},
    sockets::{Pair, Sockets},
    table::{Table, View},
    upstream::{HostResolvers, OwnServers, Servers},
};
use crate::{
    config,
    error::{Error, Result},
    kernel::{Netns, SocketMaker},
};

/// Datagrams answered before others have their turn.
const BATCH: usize = 64;

/// The longest request that is looked at.
const LONGEST: usize = 4096;

/// Connections of all sandboxes at a time, and of one; further ones wait in the backlog.
const CONNECTIONS: Limits = Limits {
    all: 1024,
    each: 64,
    waiting: 0,
};

/// Connections to servers at a time, of all sandboxes and of one; further answers that do not fit a datagram are cut.
const TO_SERVERS: Limits = Limits {
    all: 512,
    each: 32,
    waiting: 0,
};

/// Bytes of all questions that wait for their turn to be asked; further ones fail at once.
const WAITING: usize = 32 << 20;

/// What a question that waits takes beside its own bytes.
const TASK: usize = 2048;

/// A connection may be silent for so long.
const IDLE: Duration = Duration::from_secs(10);

/// How long the end of a resolver is waited for.
const CLOSING: Duration = Duration::from_secs(1);

/// What all sandboxes share.
#[derive(Debug)]
pub struct Shared {
    /// The names, as they are now.
    pub table: ArcSwap<Table>,
    /// Whoever takes requests, and requests that have been taken and not been answered yet; closed when no more shall be taken.
    pub taken: TaskTracker,
    pub(super) host: HostResolvers,
    pub(super) config: config::Dns,
    pub(super) socket_maker: SocketMaker,
    asking: Arc<Fair>,
    connections: Arc<Fair>,
    to_servers: Arc<Fair>,
}

impl Shared {
    /// Of no sandbox yet.
    pub fn new(config: config::Dns) -> Result<Self> {
        let asking = Limits {
            all: config::Dns::IN_FLIGHT as usize,
            each: config.in_flight as usize,
            waiting: WAITING,
        };
        Ok(Self {
            table: ArcSwap::default(),
            taken: TaskTracker::new(),
            host: HostResolvers::new(config.resolv_conf.clone()),
            config,
            socket_maker: SocketMaker::start("dns-sockets")?,
            asking: Fair::new(asking),
            connections: Fair::new(CONNECTIONS),
            to_servers: Fair::new(TO_SERVERS),
        })
    }
}

/// One sandbox.
#[derive(Debug)]
struct Client {
    sandbox: Arc<str>,
    netns: Netns,
    shared: Arc<Shared>,
    /// As which it gets its fair shares.
    account: fair::Client,
    servers: OwnServers,
    /// Its resolver is closed: what is not answered yet never will be.
    closed: CancellationToken,
    /// All that has its sockets or connections.
    tasks: TaskTracker,
}

/// The tasks that serve a sandbox. When this is dropped they take nothing more, and answer what they have taken. The
/// sockets live on where others keep them, too.
#[derive(Debug)]
pub struct Serving {
    sockets: Arc<Pair>,
    takers: [AbortHandle; 2],
    closed: CancellationToken,
    tasks: TaskTracker,
}

impl Serving {
    /// The sockets.
    pub fn sockets(&self) -> Arc<Pair> {
        Arc::clone(&self.sockets)
    }

    /// Ends it with all that it has taken, and waits until that has ended: connections end, questions stay without an
    /// answer.
    pub async fn close(self) {
        let tasks = self.tasks.clone();
        tasks.close();
        self.closed.cancel();
        drop(self);
        // Nothing that a task does between two waits takes long.
        let _ = timeout(CLOSING, tasks.wait()).await;
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.takers.iter().for_each(AbortHandle::abort);
    }
}

/// Serves a sandbox's sockets. Must be called within the runtime that shall do it.
pub fn serve(
    sandbox: &str,
    netns: &Netns,
    sockets: Sockets,
    shared: &Arc<Shared>,
) -> Result<Serving> {
    let fail = |e| Error::internal(format!("the resolver of sandbox {sandbox}"), e);
    let (closed, tasks) = (CancellationToken::new(), TaskTracker::new());
    let client = Arc::new(Client {
        sandbox: sandbox.into(),
        netns: netns.clone(),
        shared: Arc::clone(shared),
        account: fair::Client::new(),
        servers: OwnServers::default(),
        closed: closed.clone(),
        tasks: tasks.clone(),
    });
    let sockets = Arc::new(Pair {
        udp: UdpSocket::from_std(sockets.udp).map_err(fail)?,
        tcp: TcpListener::from_std(sockets.tcp).map_err(fail)?,
    });
    // A taker that is told to end may have a question in its hands: it counts as taken until that has been handed on. Connections
    // end with the process.
    let datagrams = Arc::clone(&client).datagrams(Arc::clone(&sockets));
    let datagrams = shared.taken.track_future(datagrams);
    let streams = shared
        .taken
        .track_future(client.streams(Arc::clone(&sockets)));
    Ok(Serving {
        sockets,
        takers: [
            tasks.spawn(datagrams).abort_handle(),
            tasks.spawn(streams).abort_handle(),
        ],
        closed,
        tasks,
    })
}

impl Client {
    async fn datagrams(self: Arc<Self>, sockets: Arc<Pair>) {
        loop {
            if let Err(e) = sockets.udp.readable().await {
                return tracing::error!("DNS of sandbox {}: {e}", self.sandbox);
            }
            self.batch(&sockets);
            tokio::task::yield_now().await;
        }
    }

    /// Takes what is there, with a buffer that thousands of waiting tasks need not hold.
    fn batch(self: &Arc<Self>, sockets: &Arc<Pair>) {
        let mut bytes = [0; LONGEST];
        for _ in 0..BATCH {
            // An error is that there is nothing more, or of an earlier answer that its asker did not wait for.
            let Ok((length, from)) = sockets.udp.try_recv_from(&mut bytes) else {
                return;
            };
            self.datagram(sockets, &bytes[..length], from);
        }
    }

    fn datagram(self: &Arc<Self>, sockets: &Arc<Pair>, request: &[u8], from: SocketAddr) {
        match self.handle(request, Transport::Udp) {
            Outcome::Silence => {}
            // What does not fit the socket's buffer is lost, as on any network; the asker asks again.
            Outcome::Answer(bytes) => drop(sockets.udp.try_send_to(&bytes, from)),
            Outcome::Forward(asked) => {
                let end = self.end();
                let (this, sockets) = (Arc::clone(self), Arc::clone(sockets));
                let task = self.tasks.token();
                self.shared.taken.spawn(async move {
                    let _task = task;
                    let answered = this.closed.run_until_cancelled(async {
                        let bytes = this.forward(&asked, end).await;
                        // Its asker may have gone.
                        let _ = sockets.udp.send_to(&bytes, from).await;
                    });
                    let _ = answered.await;
                });
            }
        }
    }

    async fn streams(self: Arc<Self>, sockets: Arc<Pair>) {
        loop {
            let Some(turn) = self.shared.connections.turn(self.account, 0).await else {
                return;
            };
            match sockets.tcp.accept().await {
                Ok((stream, _)) => {
                    let this = Arc::clone(&self);
                    self.tasks.spawn(async move {
                        let _ = this.closed.run_until_cancelled(this.stream(stream)).await;
                        drop(turn);
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
    async fn stream(&self, mut stream: TcpStream) {
        while let Ok(Ok(request)) = timeout(IDLE, forward::read_message(&mut stream, LONGEST)).await
        {
            let _taken = self.shared.taken.token();
            let bytes = match self.handle(&request, Transport::Tcp) {
                Outcome::Silence => return,
                Outcome::Answer(bytes) => bytes,
                Outcome::Forward(asked) => self.forward(&asked, self.end()).await,
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

    /// By when a question that has just come is answered.
    fn end(&self) -> Instant {
        Instant::now() + Duration::from_millis(config::Dns::PATIENCE_MS)
    }

    /// Asks others; in any case there is an answer by `end`.
    async fn forward(&self, asked: &Asked, end: Instant) -> Vec<u8> {
        let Some((servers, place)) = self.servers() else {
            return asked.failed();
        };
        let shared = &*self.shared;
        let turn = shared.asking.turn(self.account, asked.bytes.len() + TASK);
        let Ok(Some(_turn)) = timeout_at(end, turn).await else {
            return asked.failed();
        };
        let asker = Asker {
            servers: &servers,
            place,
            socket_maker: &shared.socket_maker,
            patience: Duration::from_millis(shared.config.timeout_ms),
            end,
            connections: &shared.to_servers,
            client: self.account,
        };
        asker.ask(asked).await
    }

    /// Whom to ask, and from where; `None`: nobody may be asked.
    fn servers(&self) -> Option<(Arc<Servers>, Place)> {
        let table = self.shared.table.load();
        let view = table.view(&self.sandbox)?;
        if view.servers.is_empty() {
            // An internal network would not be one if its questions reached the outside (CVE-2024-29018).
            return view
                .forwards
                .then(|| (self.shared.host.servers(), Place::Host));
        }
        // What the sandbox itself reaches, and nothing else.
        let servers = self.servers.servers(&view.servers);
        Some((servers, Place::Sandbox(self.netns.clone())))
    }
}
