//! The Docker socket before an engine that does what a test tells it to, byte by byte.

#![allow(dead_code, reason = "no test needs all of it")]

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use netd_docker::Settings;
use tempfile::TempDir;
use tokio::{runtime::Runtime, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// One end of a connection.
pub struct Wire {
    pub stream: UnixStream,
    held: Vec<u8>,
}

impl Wire {
    pub fn new(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            held: Vec::new(),
        }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    pub fn send_if(&mut self, whether: bool, bytes: &str) {
        if whether {
            self.send(bytes);
        }
    }

    /// Ends this side's direction.
    pub fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    fn more(&mut self) -> bool {
        let mut part = [0; 1 << 16];
        match self.stream.read(&mut part) {
            Ok(0) => false,
            Ok(length) => {
                self.held.extend_from_slice(&part[..length]);
                true
            }
            Err(e) if e.kind() == ErrorKind::ConnectionReset => false,
            Err(e) => panic!("{e} after {:?}", String::from_utf8_lossy(&self.held)),
        }
    }

    /// Up to and with a mark; none: the other side ended before its first byte.
    pub fn until(&mut self, mark: &str) -> Option<String> {
        loop {
            let found = self.held.windows(mark.len());
            if let Some(at) = found.into_iter().position(|w| w == mark.as_bytes()) {
                let taken: Vec<u8> = self.held.drain(..at + mark.len()).collect();
                return Some(String::from_utf8(taken).unwrap());
            }
            if !self.more() {
                let held = String::from_utf8_lossy(&self.held).into_owned();
                assert!(held.is_empty(), "ended after {held:?}");
                return None;
            }
        }
    }

    pub fn head(&mut self) -> String {
        self.until("\r\n\r\n").expect("a head")
    }

    pub fn exactly(&mut self, length: usize) -> Vec<u8> {
        while self.held.len() < length {
            assert!(self.more(), "ended after {} of {length}", self.held.len());
        }
        self.held.drain(..length).collect()
    }

    /// All until the other side ends.
    pub fn rest(&mut self) -> String {
        while self.more() {}
        String::from_utf8_lossy(&std::mem::take(&mut self.held)).into_owned()
    }

    /// Writes until the other side takes no more, and gives how much that was.
    pub fn flood(&mut self) -> usize {
        self.stream
            .set_write_timeout(Some(Duration::from_millis(500)))
            .unwrap();
        let (mut sent, part) = (0, [b'x'; 1 << 16]);
        while let Ok(length) = self.stream.write(&part) {
            sent += length;
            assert!(sent < 1 << 30, "no end");
        }
        self.stream.set_write_timeout(Some(PATIENCE)).unwrap();
        sent
    }
}

/// What an engine did for the socket itself.
const OWN: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
const VERSION: &str = r#"{"ApiVersion":"1.51","MinAPIVersion":"1.24"}"#;

/// A socket, its engine, and what both know.
pub struct Front {
    pub directory: TempDir,
    pub stop: CancellationToken,
    connections: Mutex<mpsc::Receiver<Wire>>,
    listening: Option<Arc<UnixListener>>,
    runtime: Option<Runtime>,
    serving: Option<JoinHandle<Result<(), String>>>,
}

impl Front {
    pub fn start() -> Self {
        let mut front = Self::without_engine();
        front.engine();
        front
    }

    /// Whose engine is away.
    pub fn without_engine() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let settings = Settings {
            socket: directory.path().join("docker.sock"),
            group: None,
            upstream: Some(directory.path().join("engine.sock")),
            netd: directory.path().join("netd.sock"),
        };
        let stop = CancellationToken::new();
        let socket = settings.socket.clone();
        let serving = runtime.spawn(netd_docker::serve(settings, stop.clone()));
        let (_, connections) = mpsc::channel();
        let front = Self {
            directory,
            stop,
            connections: Mutex::new(connections),
            listening: None,
            runtime: Some(runtime),
            serving: Some(serving),
        };
        wait("the socket", || socket.exists());
        front
    }

    /// Starts the engine: it answers what the socket itself asks, and gives all else to the test.
    pub fn engine(&mut self) {
        let path = self.directory.path().join("engine.sock");
        let listener = Arc::new(UnixListener::bind(path).unwrap());
        self.listening = Some(Arc::clone(&listener));
        let (given, connections) = mpsc::channel();
        self.connections = Mutex::new(connections);
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let given = given.clone();
                thread::spawn(move || {
                    let mut wire = Wire::new(stream);
                    let Some(head) = wire.until("\r\n\r\n") else {
                        return;
                    };
                    let target = head.split(' ').nth(1).unwrap_or_default();
                    if target == "/version" {
                        let length = VERSION.len();
                        wire.send(format!("HTTP/1.1 200 OK\r\nApi-Version: 1.51\r\nServer: Docker/x (linux)\r\nContent-Length: {length}\r\n\r\n{VERSION}"));
                    } else if target.starts_with("/events?filters=%7B%22type%22%3A%5B%22container")
                    {
                        wire.send(OWN);
                    } else {
                        wire.held.splice(..0, head.into_bytes());
                        let _ = given.send(wire);
                    }
                });
            }
        });
    }

    /// Stops, and waits for the end.
    pub fn stop(&mut self) {
        self.stop.cancel();
        let serving = self.serving.take().unwrap();
        self.runtime
            .as_ref()
            .unwrap()
            .block_on(serving)
            .unwrap()
            .unwrap();
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("docker.sock")
    }

    /// A client's connection.
    pub fn client(&self) -> Wire {
        Wire::new(UnixStream::connect(self.socket()).unwrap())
    }

    /// A client that has sent this.
    pub fn asks(&self, bytes: impl AsRef<[u8]>) -> Wire {
        let mut client = self.client();
        client.send(bytes);
        client
    }

    /// The next connection at the engine.
    pub fn asked(&self) -> Wire {
        let connections = self.connections.lock().unwrap();
        connections
            .recv_timeout(PATIENCE)
            .expect("a connection at the engine")
    }

    /// A connection at the engine, if one is there.
    pub fn asked_already(&self) -> Option<Wire> {
        self.connections.lock().unwrap().try_recv().ok()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Waits until something holds.
pub fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(std::time::Instant::now() < end, "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}
