//! Processes that sandboxes belong to: held by a descriptor, so that another process that gets the same number is never
//! taken for one, and watched for their end.

use std::{
    fs, io,
    os::fd::{AsFd, FromRawFd as _, OwnedFd},
    path::PathBuf,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::{Interest, unix::AsyncFd};

use super::Netns;
use crate::{
    error::{Error, Kind, Result},
    model::{Identity, ProcessId},
};

/// A process that is watched; one descriptor, on the runtime's own epoll.
#[derive(Debug)]
pub struct Watch {
    id: ProcessId,
    fd: AsyncFd<OwnedFd>,
}

impl Watch {
    /// Process `pid` and its network namespace, both of one and the same process. Needs the runtime.
    ///
    /// Errors: `NotFound` (no such process, or it has ended), `Invalid` (0, or the number of a thread).
    pub fn open(pid: u32) -> Result<(Self, Netns)> {
        let watch = Self::of(pid)?;
        let netns = Netns::open(&watch.namespace()).map_err(|e| {
            Error::new(e.kind, format!("process {pid}: {}", e.message))
                .hint("give a running process")
        });
        // Only a process that lives still has had its number all the time.
        watch.lives()?;
        Ok((watch, netns?))
    }

    /// The process of an earlier [`Watch::open`], if it still lives and still has the namespace that `identity` tells.
    /// `None`: it has ended, whoever has its number now, or went elsewhere. Needs the runtime.
    pub fn open_same(id: &ProcessId, identity: &Identity) -> Result<Option<Self>> {
        let gone = |e: &Error| matches!(e.kind, Kind::NotFound | Kind::Invalid);
        let watch = match Self::of(id.pid) {
            Err(e) if gone(&e) => return Ok(None),
            other => other?,
        };
        let netns = Netns::open_same(&watch.namespace(), identity)?;
        Ok((watch.id == *id && netns.is_some() && !watch.has_ended()).then_some(watch))
    }

    fn of(pid: u32) -> Result<Self> {
        let refused = |why: &str| {
            Error::invalid(format!("process {pid}: {why}")).hint("give a running process")
        };
        let number = i32::try_from(pid).ok().filter(|number| *number > 0);
        let number = number.ok_or_else(|| refused("there is no such number"))?;
        let fd = pidfd_open(number).map_err(|e| match e.raw_os_error() {
            Some(nix::libc::ESRCH) => gone(pid),
            // A thread of a process; EINVAL before Linux 6.9.
            Some(nix::libc::EINVAL | nix::libc::ENOENT) => refused("it is a thread, not a process"),
            _ => Error::internal(format!("process {pid}"), e),
        })?;
        // SAFETY: the descriptor is owned by what is made here, which never gives it away.
        let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }
            .map_err(|e| Error::internal(format!("watching process {pid}"), e))?;
        let started = started(pid)?;
        let watch = Self {
            id: ProcessId { pid, started },
            fd,
        };
        watch.lives()?;
        Ok(watch)
    }

    /// Its number, and when it started.
    pub fn id(&self) -> ProcessId {
        self.id
    }

    /// Where its network namespace is, for as long as it lives.
    fn namespace(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.id.pid))
    }

    fn lives(&self) -> Result<()> {
        if self.has_ended() {
            return Err(gone(self.id.pid));
        }
        Ok(())
    }

    /// Whether it has ended, reaped or not.
    pub fn has_ended(&self) -> bool {
        let fd = self.fd.get_ref().as_fd();
        let mut asked = [PollFd::new(fd, PollFlags::POLLIN)];
        // It fails only where memory is short: then it is asked again another time.
        poll(&mut asked, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    /// Waits for its end.
    pub async fn ended(&self) {
        while !self.has_ended() {
            match self.fd.readable().await {
                Ok(mut ready) if !self.has_ended() => ready.clear_ready(),
                // The runtime ends, too.
                Err(_) => std::future::pending().await,
                Ok(_) => {}
            }
        }
    }
}

/// A descriptor of a process (Linux 5.3).
fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes two numbers and gives a new descriptor, or -1.
    let fd =
        unsafe { nix::libc::syscall(nix::libc::SYS_pidfd_open, pid, nix::libc::PIDFD_NONBLOCK) };
    let fd = i32::try_from(fd).unwrap_or(-1);
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is new, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn gone(pid: u32) -> Error {
    Error::not_found(format!("there is no process {pid}")).hint("give a running process")
}

/// When a process started, as proc_pid_stat(5) tells it.
fn started(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read(&path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => gone(pid),
        // Gone between open and read.
        _ if e.raw_os_error() == Some(nix::libc::ESRCH) => gone(pid),
        _ => Error::internal(&path, e),
    })?;
    let text = String::from_utf8_lossy(&text);
    // The second field is the name in parentheses, which may hold anything; the start is the 22nd.
    let field = text
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.split_ascii_whitespace().nth(19));
    field
        .and_then(|field| field.parse().ok())
        .ok_or_else(|| Error::internal(&path, "not of the form that is known"))
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::process::CommandExt as _,
        process::{Child, Command, Stdio},
        time::Duration,
    };

    use nix::sched::{CloneFlags, unshare};
    use tokio::time::timeout;

    use super::*;

    /// A process that ends when its input does; in a namespace of its own if `apart`.
    fn process(apart: bool) -> Child {
        let mut command = Command::new("cat");
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        if apart {
            // SAFETY: between fork and exec only a system call.
            unsafe {
                command.pre_exec(|| Ok(unshare(CloneFlags::CLONE_NEWNET)?));
            }
        }
        command.spawn().unwrap()
    }

    #[tokio::test]
    async fn b1_a_process_is_watched_until_it_ends() {
        let mut child = process(true);
        let (watch, netns) = Watch::open(child.id()).unwrap();
        let identity = netns.identity().unwrap();
        assert_ne!(identity, Netns::current().unwrap().identity().unwrap());
        assert!(!watch.has_ended());
        let id = watch.id();
        let again = Watch::open_same(&id, &identity).unwrap().unwrap();
        assert_eq!(again.id(), id);
        let short = Duration::from_millis(50);
        timeout(short, watch.ended()).await.expect_err("ended");
        let waiting = tokio::spawn(async move { again.ended().await });
        drop(child.stdin.take());
        let long = Duration::from_secs(20);
        timeout(long, watch.ended()).await.unwrap();
        timeout(long, waiting).await.unwrap().unwrap();
        // Not reaped yet: it has no namespace any more.
        assert_eq!(Watch::open(child.id()).unwrap_err().kind, Kind::NotFound);
        child.wait().unwrap();
        assert!(watch.has_ended());
        timeout(long, watch.ended()).await.unwrap();
        assert_eq!(Watch::open(child.id()).unwrap_err().kind, Kind::NotFound);
        assert!(Watch::open_same(&id, &identity).unwrap().is_none());
    }

    #[tokio::test]
    async fn b1_a_process_of_the_same_number_is_not_taken_for_it() {
        let mut child = process(false);
        let (watch, netns) = Watch::open(child.id()).unwrap();
        let (id, identity) = (watch.id(), netns.identity().unwrap());
        assert!(Watch::open_same(&id, &identity).unwrap().is_some());
        // One that started at another time; one that is elsewhere; after another start of the system.
        let other = ProcessId {
            started: id.started.wrapping_sub(1),
            ..id
        };
        assert!(Watch::open_same(&other, &identity).unwrap().is_none());
        let mut elsewhere = identity;
        elsewhere.cookie = elsewhere.cookie.wrapping_add(1);
        assert!(Watch::open_same(&id, &elsewhere).unwrap().is_none());
        let mut before = identity;
        before.boot_id[15] ^= 1;
        assert!(Watch::open_same(&id, &before).unwrap().is_none());
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    #[tokio::test]
    async fn b1_numbers_that_are_no_process_are_refused() {
        for (pid, kind) in [
            (0, Kind::Invalid),
            (u32::MAX, Kind::Invalid),
            (i32::MAX.unsigned_abs(), Kind::NotFound),
        ] {
            let refused = Watch::open(pid).unwrap_err();
            assert_eq!(refused.kind, kind, "{refused}");
            assert!(refused.hint.is_some());
        }
        // A thread has a number, too; the runtime's is not the first one.
        let (tell, told) = std::sync::mpsc::channel::<()>();
        let (say, heard) = std::sync::mpsc::channel();
        let lives = std::thread::spawn(move || {
            say.send(nix::unistd::gettid().as_raw().unsigned_abs())
                .unwrap();
            let _ = told.recv();
        });
        let refused = Watch::open(heard.recv().unwrap()).unwrap_err();
        assert_eq!(refused.kind, Kind::Invalid, "{refused}");
        drop(tell);
        lives.join().unwrap();
    }
}
