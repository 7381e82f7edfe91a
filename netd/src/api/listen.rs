//! Connections, over the Unix socket and over TCP by TLS, and how much of the daemon a client may take.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::{TcpListener, TcpStream, UnixStream},
    sync::mpsc,
    time::{Instant, Sleep, sleep},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::transport::server::Connected;

use super::{
    access::Peer,
    listen_limits::{Limits, Slot},
    socket::Socket,
    tls::{self, Tls},
};
use crate::error::{Error, Result};

/// How long, and how much, is read of a client whose handshake was refused.
const DRAIN: Duration = Duration::from_secs(1);
const DRAINED: u64 = 64 << 10; // bytes

/// How long a TLS handshake may take, and then the first bytes of HTTP/2.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Bytes with which every HTTP/2 client begins.
const PREFACE: u64 = 24;

/// Who is at the other end; stands among a request's extensions.
pub type ConnectInfo = Arc<Peer>;

/// A connection of a known peer.
pub struct Connection<S> {
    stream: S,
    peer: ConnectInfo,
    /// Until the peer has shown that it speaks HTTP/2; from then on keepalives find out who is gone.
    greeting: Option<(Pin<Box<Sleep>>, u64)>,
    _slot: Option<Slot>,
}

/// Over the socket.
pub type Local = Connection<UnixStream>;
/// Over TLS.
pub type Remote = Connection<TlsStream<TcpStream>>;

impl<S> Connected for Connection<S> {
    type ConnectInfo = ConnectInfo;

    fn connect_info(&self) -> ConnectInfo {
        Arc::clone(&self.peer)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut this.stream).poll_read(context, buffer);
        if let Some((deadline, left)) = &mut this.greeting {
            let read = (buffer.filled().len() - before) as u64;
            *left = left.saturating_sub(read);
            if *left == 0 {
                this.greeting = None;
            } else if outcome.is_pending() && deadline.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        outcome
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Binds the TCP address.
///
/// # Errors
/// When that is refused.
pub fn bind_tcp(address: std::net::SocketAddr) -> Result<TcpListener> {
    let bound = std::net::TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    });
    bound.map_err(|e| {
        Error::invalid(format!("listen: {address}: {e}"))
            .hint("an address of this host and a free port, in [listen] or --listen")
    })
}

/// Connections over the socket.
pub fn local(socket: Socket) -> impl Stream<Item = io::Result<Local>> {
    futures::stream::unfold(socket, |mut socket| async move {
        let stream = socket.accept().await;
        Some((known(stream), socket))
    })
}

fn known(stream: UnixStream) -> io::Result<Local> {
    let cred = stream.peer_cred()?;
    let pid = cred.pid();
    let name = pid.and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/comm")).ok());
    let peer = Arc::new(Peer::Local {
        uid: cred.uid(),
        pid,
        process: name.unwrap_or_default().trim_end().to_owned(),
    });
    Ok(Connection {
        stream,
        peer,
        greeting: None,
        _slot: None,
    })
}

/// Connections over TLS, as their handshakes end. Those that fail are logged and closed.
pub fn remote(listener: TcpListener, tls: Arc<Tls>) -> impl Stream<Item = io::Result<Remote>> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(accept(listener, tls, sender));
    futures::StreamExt::map(ReceiverStream::new(receiver), Ok)
}

async fn accept(listener: TcpListener, tls: Arc<Tls>, sender: mpsc::Sender<Remote>) {
    let limits = Arc::new(Limits::default());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = sender.closed() => return,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(e) => {
                // Out of descriptors, say: it would fail again at once.
                tracing::warn!("accepting a TCP connection: {e}");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(slot) = limits.handshake(address.ip()) else {
            tracing::debug!(%address, "too many handshakes at once: closed");
            continue;
        };
        let (tls, sender, limits) = (Arc::clone(&tls), sender.clone(), Arc::clone(&limits));
        tokio::spawn(async move {
            let deadline = Instant::now() + HANDSHAKE;
            let shaken = tokio::time::timeout_at(deadline, shake_hands(stream, tls)).await;
            drop(slot);
            let outcome = match shaken {
                Ok(Ok((stream, names))) => enter(stream, names, address, deadline, &limits),
                Ok(Err(e)) => Err(e.to_string()),
                Err(_) => Err(format!("not ended after {} s", HANDSHAKE.as_secs())),
            };
            match outcome {
                Ok(connection) => drop(sender.send(connection).await),
                Err(e) => tracing::info!(%address, "TLS handshake refused: {e}"),
            }
        });
    }
}

async fn shake_hands(
    stream: TcpStream,
    tls: Arc<Tls>,
) -> io::Result<(TlsStream<TcpStream>, Vec<String>)> {
    stream.set_nodelay(true)?;
    let config = tokio::task::spawn_blocking(move || tls.current())
        .await
        .map_err(io::Error::other)?;
    let accepted = TlsAcceptor::from(config).accept(stream).into_fallible();
    let stream = match accepted.await {
        Ok(stream) => stream,
        Err((error, stream)) => {
            drain(stream).await;
            return Err(error);
        }
    };
    let certificates = stream.get_ref().1.peer_certificates();
    let names = certificates
        .and_then(<[_]>::first)
        .map(|certificate| tls::names(certificate))
        .unwrap_or_default();
    Ok((stream, names))
}

/// Reads what a refused client still sends, until it closes.
///
/// In TLS 1.3 (RFC 8446, 2) a client sends its request behind its certificate, before it can know that the certificate
/// is refused. Closing with that unread would answer RST, which may overtake the alert that says why.
async fn drain(mut stream: TcpStream) {
    let reading = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(DRAINED), &mut tokio::io::sink()).await
    };
    let _ = tokio::time::timeout(DRAIN, reading).await;
}

fn enter(
    stream: TlsStream<TcpStream>,
    names: Vec<String>,
    address: std::net::SocketAddr,
    deadline: Instant,
    limits: &Arc<Limits>,
) -> std::result::Result<Remote, String> {
    let name = names.first().cloned().unwrap_or_default();
    let slot = limits
        .connection(&name)
        .ok_or_else(|| format!("{name:?} or all clients together have too many connections"))?;
    let wait = Box::pin(tokio::time::sleep_until(deadline));
    Ok(Connection {
        stream,
        peer: Arc::new(Peer::Remote { names, address }),
        greeting: Some((wait, PREFACE)),
        _slot: Some(slot),
    })
}
