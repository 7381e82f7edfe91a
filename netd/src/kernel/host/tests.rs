//! What netlink messages make of what is known of the host.

use std::{path::Path, process::Command};

use nix::sched::{CloneFlags, unshare};

use super::{follow, *};

/// A runtime of one thread in a namespace of its own: while the test works, the follower does not read. Needs root.
fn alone<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("root");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(test());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn ip(words: &str) {
    let output = Command::new("ip")
        .args(words.split_whitespace())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "ip {words}: {said}");
}

/// Many commands at once; fewer forks than the follower's patience.
fn batch(lines: impl Iterator<Item = String>) {
    use std::io::Write as _;
    let mut child = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut text = String::new();
    lines.for_each(|line| text.push_str(&format!("{line}\n")));
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    assert!(child.wait().unwrap().success());
}

/// Two pairs of interfaces, up, with addresses.
fn interfaces() {
    for words in [
        "link set lo up",
        "link add up0 type veth peer name up1",
        "link add up2 type veth peer name up3",
        "link set up1 addrgenmode none up",
        "link set up3 addrgenmode none up",
        "link set up0 addrgenmode none up",
        "link set up2 addrgenmode none up",
        "addr add 10.1.0.2/16 dev up0",
        "addr add fd00:1::2/64 dev up0 nodad",
        "addr add 10.2.0.2/16 dev up2",
    ] {
        ip(words);
    }
}

const NOWHERE: &str = "/nonexistent";

async fn state(netlink: &Netlink) -> HostState {
    netlink.host_state(Path::new(NOWHERE)).await.unwrap()
}

/// As a listing has it; nobody follows by a new socket.
async fn listed() -> HostState {
    let netlink = Netlink::new().unwrap();
    state(&netlink).await
}

/// Waits until what was followed is what a listing says: of IPv6 addresses the kernel tells a moment later.
async fn same(netlink: &Netlink, words: &str) {
    let mut tries = 0;
    loop {
        let (followed, truth) = (state(netlink).await, listed().await);
        tries += 1;
        if followed == truth {
            return;
        }
        assert!(
            tries < 250,
            "after ip {words}: {followed:#?} for {truth:#?}"
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// After each of these, what was followed is what a listing says, and nothing was listed but at the start.
#[test]
fn b21_what_is_followed_is_what_a_listing_says() {
    alone(|| async {
        interfaces();
        let netlink = Netlink::new().unwrap();
        let all = ["0.0.0.0/0", "::/0"].map(|net| net.parse().unwrap());
        let _changes = netlink.follow_host(all.to_vec()).unwrap();
        assert_eq!(state(&netlink).await, listed().await);
        for words in [
            // Primary and secondary addresses, in the order in which the kernel chooses.
            "addr add 10.1.0.3/16 dev up0",
            "addr add 10.5.0.2/24 dev up0",
            "addr add 10.5.0.3/24 dev up0",
            "addr add 10.6.0.2/24 dev up0 scope link",
            "addr add fd00:1::3/64 dev up0 nodad",
            "addr add fe80::1/64 dev up0 nodad",
            "addr add fd00:1::4/64 dev up0 nodad",
            "addr change fd00:1::3/64 dev up0 preferred_lft 100 valid_lft 200",
            // Of several primaries one goes, and with it its secondary ones.
            "addr del 10.1.0.2/16 dev up0",
            "addr add 10.1.0.2/16 dev up0",
            // Routes: several of one destination, replaced, with a source, by several interfaces.
            "route add default via 10.1.0.1",
            "route add default via 10.2.0.1 metric 50",
            "route add 10.77.0.0/16 via 10.1.0.1",
            "route replace 10.77.0.0/16 via 10.2.0.1",
            "route add 10.78.0.0/16 via 10.2.0.1 src 10.5.0.2",
            "route add 10.79.0.0/16 nexthop via 10.1.0.1 nexthop via 10.2.0.1",
            "-6 route add fd00:77::/64 via fd00:1::1 dev up0 onlink",
            "-6 route replace fd00:77::/64 via fd00:1::9 dev up0 onlink",
            "-6 route add fd00:78::/64 dev up2 metric 7",
            "-6 route add default via fd00:1::1 dev up0 onlink",
            "route add 10.80.0.0/16 via 10.1.0.1 table 77",
            "route del 10.77.0.0/16",
            // The kernel tells nothing of IPv4 routes that go with an address or a device.
            "addr del 10.5.0.2/24 dev up0",
            "link set up2 down",
            "link set up2 up",
            "link set up0 mtu 1400",
            "link set up0 alias netd:other",
            "link add br0 type bridge",
            "link set up3 master br0",
            "link set up3 nomaster",
            "link set up1 name other",
            "route del 10.79.0.0/16",
            "addr flush dev up0",
            "link del up2",
            "link del br0",
        ] {
            // Not every kernel has every kind of device.
            if words.contains("br0")
                && Command::new("ip")
                    .args(["link", "show", "br0"])
                    .output()
                    .is_ok_and(|o| !o.status.success())
                && !words.contains("add br0")
            {
                continue;
            }
            if words.contains("add br0") {
                let _ = Command::new("ip").args(words.split(' ')).output();
            } else {
                ip(words);
            }
            same(&netlink, words).await;
        }
        assert_eq!(netlink.host_counts().0, 1, "listings");
    });
}

/// On a host with 20,000 routes a change costs that change: no listing, no message but its own, and no copy of the rest.
#[test]
fn b21_a_change_among_many_routes_costs_little() {
    const ROUTES: u32 = 20_000;
    alone(|| async {
        interfaces();
        // Half of them lie where subnets may be taken from.
        batch((0..ROUTES).map(|i| {
            let (first, i) = if i % 2 == 0 { (10, i / 2) } else { (20, i / 2) };
            format!(
                "route add {first}.200.{}.{}/32 via 10.1.0.1",
                i >> 8 & 255,
                i & 255
            )
        }));
        let netlink = Netlink::new().unwrap();
        let mut changes = netlink.follow_host(Vec::new()).unwrap();
        let before = state(&netlink).await;
        assert_eq!(netlink.host_counts().0, 1);
        let minded = before.routes.iter().filter(|(net, _)| net.prefix() == 32);
        assert_eq!(minded.count() as u32, ROUTES / 2, "routes remembered");
        let same = state(&netlink).await;
        assert!(
            same.routes.ptr_eq(&before.routes),
            "a copy shares the routes"
        );
        let told = netlink.host_counts().1;
        ip("route add 10.222.0.0/16 via 10.1.0.1");
        ip("route add 20.222.0.0/16 via 10.1.0.1");
        let after = state(&netlink).await;
        let new: Vec<_> = after
            .routes
            .iter()
            .filter(|r| !before.routes.contains(*r))
            .collect();
        assert_eq!(new.len(), 1, "{new:?}");
        assert_eq!(new[0].0.to_string(), "10.222.0.0/16");
        assert_eq!(netlink.host_counts(), (1, told + 2));
        // What is not remembered is told all the same: flows may have another way.
        let heard = changes.recv().await.unwrap();
        assert!(!heard.overrun && heard.removed.is_empty());
        assert_eq!(heard.touched.len(), 1);
        // A subnet of a network lies elsewhere.
        netlink
            .mind(vec!["20.0.0.0/8".parse().unwrap()])
            .await
            .unwrap();
        ip("route add 20.223.0.0/16 via 10.1.0.1");
        let seen = state(&netlink).await;
        assert!(
            seen.routes
                .iter()
                .any(|(net, _)| net.to_string() == "20.223.0.0/16")
        );
        assert_eq!(netlink.host_counts().0, 1);
    });
}

/// More changes than the socket holds: everything is listed once, links that went meanwhile are told, and so is the loss.
#[test]
fn b21_after_an_overrun_everything_is_listed_once() {
    alone(|| async {
        interfaces();
        let netlink = Netlink::new().unwrap();
        let mut changes = netlink.follow_host(Vec::new()).unwrap();
        let before = state(&netlink).await;
        let lost = before
            .links
            .iter()
            .find(|l| l.name == "up2")
            .unwrap()
            .ifindex;
        let socket = netlink.ask_host(follow::Ask::Socket).await.unwrap();
        // SAFETY: the follower, which has the socket, lives as long as the test.
        let socket = unsafe { std::os::fd::BorrowedFd::borrow_raw(socket) };
        nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBuf, &4096).unwrap();
        // Nobody reads meanwhile.
        batch((0..2000).map(|i| format!("addr add 10.3.{}.{}/32 dev up0", i >> 8, i & 255)));
        ip("link del up2");
        let after = state(&netlink).await;
        assert_eq!(after, listed().await);
        assert_eq!(netlink.host_counts().0, 2, "listings");
        let heard = changes.recv().await.unwrap();
        assert!(heard.overrun && heard.removed.contains(&lost), "{heard:?}");
        // Afterwards changes are followed as before.
        ip("addr add 10.4.0.1/32 dev up0");
        assert_eq!(state(&netlink).await, listed().await);
        assert_eq!(netlink.host_counts().0, 2, "listings");
        assert!(!changes.recv().await.unwrap().overrun);
    });
}

/// A socket that cannot be read any more is replaced, and what changed before that is found.
#[test]
fn b21_a_read_error_does_not_end_the_following() {
    alone(|| async {
        interfaces();
        let netlink = Netlink::new().unwrap();
        let mut changes = netlink.follow_host(Vec::new()).unwrap();
        state(&netlink).await;
        let socket = netlink.ask_host(follow::Ask::Socket).await.unwrap();
        let nothing = std::fs::File::open("/dev/null").unwrap();
        // SAFETY: the descriptor is the follower's socket's, which it goes on using as its own; only what is behind it changes.
        let replaced =
            unsafe { nix::libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&nothing), socket) };
        assert_eq!(replaced, socket);
        ip("addr add 10.4.0.1/32 dev up0");
        assert_eq!(state(&netlink).await, listed().await);
        assert!(changes.recv().await.unwrap().overrun);
        ip("addr add 10.4.0.2/32 dev up0");
        assert_eq!(state(&netlink).await, listed().await);
        assert_eq!(netlink.host_counts().0, 2, "listings");
        assert!(!changes.recv().await.unwrap().overrun);
    });
}
