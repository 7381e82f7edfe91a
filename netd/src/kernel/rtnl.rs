//! Taking turns at the kernel's configuration. All changes of links, addresses, routes and of some sysctls take one lock of
//! the kernel, RTNL. Whoever asks by netlink sleeps until it is free; whoever writes a sysctl does not: the write is
//! tried again and again (`restart_syscall` in `addrconf_sysctl_disable`, Linux 6.18), and a hundred such writers at once
//! leave no processor for the work. So netd's own tasks queue here first.

use tokio::sync::{Mutex, MutexGuard};

static TURN: Mutex<()> = Mutex::const_new(());

/// A task's turn; it ends when this is dropped.
pub type Turn = MutexGuard<'static, ()>;

/// Waits for the task's turn. Tasks come in the order in which they asked.
pub async fn turn() -> Turn {
    TURN.lock().await
}
