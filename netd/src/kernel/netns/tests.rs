//! Tests of opening namespaces and telling them apart; as root, in namespaces of their own.

use std::{
    io::Read as _,
    os::unix::net::UnixListener,
    time::{Duration, Instant},
};

use nix::{sys::stat::Mode, unistd::mkfifo};

use super::*;

/// A namespace that ends with the test.
struct Own(tempfile::TempDir);

impl Own {
    fn new() -> Self {
        let own = Self(tempfile::tempdir().unwrap());
        Netns::create(&own.path()).unwrap();
        own
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("ns")
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = Netns::remove(&self.path());
    }
}

/// What is made is what its name leads to, and its loopback device is up.
#[test]
fn a_made_namespace_is_open_and_has_its_loopback() {
    let scratch = tempfile::tempdir().unwrap();
    let own = Own(scratch);
    let made = Netns::create(&own.path()).unwrap();
    let there = Netns::open(&own.path()).unwrap();
    assert_eq!(made.inode().unwrap(), there.inode().unwrap());
    assert_eq!(made.identity().unwrap(), there.identity().unwrap());
    let bound = made.run(|| {
        let v4 = std::net::UdpSocket::bind("127.0.0.11:0");
        let sent = v4.and_then(|s| s.send_to(b"x", "127.0.0.1:9").map(drop));
        Ok((sent.is_ok(), std::net::UdpSocket::bind("[::1]:0").is_ok()))
    });
    assert_eq!(bound.unwrap(), (true, true));
}

/// What is no namespace is refused at once, and does not notice.
#[test]
fn b11_what_is_no_namespace_is_not_opened() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    mkfifo(&path("fifo"), Mode::S_IRWXU).unwrap();
    let socket = UnixListener::bind(path("socket")).unwrap();
    std::fs::write(path("file"), "x").unwrap();
    std::os::unix::fs::symlink(path("circle"), path("circle")).unwrap();
    // A terminal whose opening is seen: its other end hears of the last close.
    let (master, slave) = terminal();
    for bad in [
        path("fifo"),
        path("socket"),
        path("file"),
        path("circle"),
        scratch.path().to_owned(),
        "/dev/null".into(),
        "/proc/self/ns/mnt".into(),
        slave.clone(),
    ] {
        let begin = Instant::now();
        let refused = Netns::open(&bad).unwrap_err();
        assert_eq!(refused.kind, Kind::Invalid, "{refused}");
        assert!(refused.hint.is_some() && begin.elapsed() < Duration::from_secs(2));
    }
    for missing in [path("nothing"), path("file/below")] {
        assert_eq!(Netns::open(&missing).unwrap_err().kind, Kind::NotFound);
    }
    assert!(!was_opened(&master), "the device was opened");
    drop(File::open(&slave).unwrap());
    assert!(was_opened(&master), "an opening is not seen");
    drop(socket);
    // By a link, and the one of a process.
    let own = Own::new();
    std::os::unix::fs::symlink(own.path(), path("link")).unwrap();
    let by_link = Netns::open(&path("link")).unwrap();
    let itself = Netns::open(&own.path()).unwrap();
    assert_eq!(by_link.identity().unwrap(), itself.identity().unwrap());
    Netns::current().unwrap();
}

/// Both ends of a new terminal, the other one by its path and not open.
fn terminal() -> (File, PathBuf) {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .custom_flags(nix::libc::O_NOCTTY | nix::libc::O_NONBLOCK);
    let master = options.open("/dev/ptmx").unwrap();
    let (mut unlocked, mut number) = (0i32, 0u32);
    // SAFETY: both point to integers of this function, which the kernel reads or writes before it returns.
    unsafe {
        assert_eq!(
            nix::libc::ioctl(master.as_raw_fd(), nix::libc::TIOCSPTLCK, &raw mut unlocked),
            0
        );
        assert_eq!(
            nix::libc::ioctl(master.as_raw_fd(), nix::libc::TIOCGPTN, &raw mut number),
            0
        );
    }
    (master, PathBuf::from(format!("/dev/pts/{number}")))
}

/// Once the other end was open and is no more, reading fails otherwise than before.
fn was_opened(mut master: &File) -> bool {
    let read = master.read(&mut [0]);
    read.is_err_and(|e| e.raw_os_error() == Some(nix::libc::EIO))
}

/// A file system that never answers.
struct Hanging {
    place: tempfile::TempDir,
    server: Option<File>,
}

impl Hanging {
    fn new() -> Option<Self> {
        let place = tempfile::tempdir().unwrap();
        let mut options = OpenOptions::new();
        // Without it this kernel cannot have one.
        let server = options.read(true).write(true).open("/dev/fuse").ok()?;
        let data = format!(
            "fd={},rootmode=40000,user_id=0,group_id=0",
            server.as_raw_fd()
        );
        mount(
            Some("netd-test"),
            place.path(),
            Some("fuse"),
            MsFlags::empty(),
            Some(data.as_str()),
        )
        .unwrap();
        Some(Self {
            place,
            server: Some(server),
        })
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        // Whoever waits hears that nobody will answer.
        drop(self.server.take());
        umount2(self.place.path(), MntFlags::MNT_DETACH).unwrap();
    }
}

#[tokio::test]
async fn b11_a_file_system_that_hangs_holds_up_nobody() {
    let Some(hanging) = Hanging::new() else {
        eprintln!("no /dev/fuse: nothing hangs here");
        return;
    };
    let path = hanging.place.path().join("ns");
    let (good, begin) = (Own::new(), Instant::now());
    // The runtime has one thread: what blocks it would hold up the other, too.
    let (late, other) = tokio::join!(Netns::open_async(&path), async {
        let opened = Netns::open_async(&good.path()).await;
        (opened, begin.elapsed())
    });
    let (opened, took) = other;
    opened.unwrap();
    assert!(took < PATIENCE, "held up for {took:?}");
    let late = late.unwrap_err();
    assert_eq!(late.kind, Kind::Unavailable, "{late}");
    assert!(late.hint.is_some() && late.message.contains("no answer"));
    let fifo = good.0.path().join("fifo");
    mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    let refused = Netns::open_async(&fifo).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Invalid, "{refused}");
}

#[test]
fn b1_a_namespace_is_known_again_and_none_is_taken_for_it() {
    let own = Own::new();
    let first = Netns::open(&own.path()).unwrap();
    let identity = first.identity().unwrap();
    assert_ne!(identity, Netns::current().unwrap().identity().unwrap());
    let text = serde_json::to_string(&identity).unwrap();
    assert_eq!(serde_json::from_str::<Identity>(&text).unwrap(), identity);
    let same = |path: &Path| Netns::open_same(path, &identity).unwrap().is_some();
    assert!(same(&own.path()));
    // By a name of our own it lives on when theirs goes, and does not follow it.
    let kept = own.0.path().join("kept");
    first.link(&kept).unwrap();
    assert!(same(&kept));
    drop(first);
    Netns::remove(&own.path()).unwrap();
    assert!(!same(&own.path()));
    // Another one takes the path; a name is not made over it.
    let other = Netns::create(&own.path()).unwrap();
    assert!(!same(&own.path()) && same(&kept));
    assert_eq!(other.link(&kept).unwrap_err().kind, Kind::Conflict);
    assert!(same(&kept));
    // So does the host's own, and after a reboot everything is another.
    Netns::remove(&own.path()).unwrap();
    Netns::current().unwrap().link(&own.path()).unwrap();
    assert!(!same(&own.path()));
    let mut before = identity;
    before.boot_id[0] ^= 1;
    assert!(Netns::open_same(&kept, &before).unwrap().is_none());
    Netns::remove(&kept).unwrap();
    assert!(!kept.exists() && !same(&kept));
    // The place that is left after a reboot.
    std::fs::write(&kept, "").unwrap();
    assert!(!same(&kept));
}

/// Inodes are given again, which cookies are not.
#[test]
fn b1_no_two_namespaces_have_one_identity() {
    let mut seen = std::collections::HashSet::new();
    let mut inodes = std::collections::HashSet::new();
    for _ in 0..40 {
        let own = Own::new();
        let netns = Netns::open(&own.path()).unwrap();
        assert!(seen.insert(netns.identity().unwrap()));
        inodes.insert(netns.inode().unwrap());
    }
    eprintln!("{} inodes of 40 namespaces", inodes.len());
}
