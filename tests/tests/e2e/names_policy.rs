//! S04's limits: what may not leave, and servers of a sandbox's own. CVE-2024-29018 is the hole that others had.

use anyhow::ensure;
use netd_tests::{
    Sandbox, World,
    dns::{Nameserver, STUB, answers, dig},
    world::{HOST_V4, LAN_V4, LAN_V6},
};

use crate::{
    Outcome,
    names::{forwards, named_world, unheard},
    show,
};

/// A name server inside a sandbox.
fn serve(sandbox: &Sandbox) -> anyhow::Result<Nameserver> {
    let address = sandbox.addresses("eth0")?;
    let listen: Vec<_> = address.iter().map(|a| (*a, 53).into()).collect();
    Nameserver::start(&sandbox.netns, &sandbox.scope, &listen, &[])
}

#[test]
fn s04_cve_2024_29018_internal_networks_ask_nobody() -> Outcome {
    // Both ways that leaked: a server elsewhere, and one on the host's loopback.
    let world = World::with_resolvers(&[STUB.ip(), LAN_V4.into(), LAN_V6.into()], "")?;
    let stub = world.host_names(&["--always", "servfail"])?;
    let lan = world.lan_names(&[])?;
    world.ctl("network create --ipv6 front")?;
    world.ctl("network create --ipv6 --internal back")?;
    let free = world.sandbox("free", &["front"])?;
    let shut = world.sandbox("shut", &["back"])?;
    // The question could arrive: from next door it does, at both.
    forwards(&free, &lan, "a.example")?;
    ensure!(
        !stub.saw("a.example.")?.is_empty(),
        "the stub was not asked"
    );
    let before = (stub.seen()?.len(), lan.seen()?.len());
    for question in [
        "a-secret.example A",
        "a-secret.example AAAA",
        "a-secret.example TXT +tcp",
        "a-secret A",
        "-x 192.0.2.1",
        "free A",
        "free.front A",
        ". NS",
    ] {
        dig(&shut.scope, question)?.is_empty("SERVFAIL")?;
    }
    dig(&shut.scope, "shut A")?.is("A", &[shut.v4("eth0")?])?;
    // A second network that is not internal opens the way, and closes it with its end.
    world.ctl("network connect front shut")?;
    forwards(&shut, &lan, "a-open.example")?;
    world.ctl("network disconnect front shut")?;
    dig(&shut.scope, "a-closed.example A")?.is_empty("SERVFAIL")?;
    let after = (stub.seen()?.len(), lan.seen()?.len());
    ensure!(
        after == (before.0 + 1, before.1 + 1),
        "the servers saw more than one question: {:?} {:?}",
        stub.seen()?,
        lan.seen()?
    );
    Ok(())
}

#[test]
fn s04_internal_stays_internal_over_a_restart() -> Outcome {
    let (mut world, upstream) = named_world("")?;
    world.ctl("network create --internal back")?;
    world.ctl("network create front")?;
    let shut = world.sandbox("shut", &["back"])?;
    let free = world.sandbox("free", &["front"])?;
    world.kill()?;
    world.start()?;
    dig(&shut.scope, "a-secret.example A")?.is_empty("SERVFAIL")?;
    forwards(&free, &upstream, "a.example")?;
    unheard(&upstream, &["a-secret.example."])
}

#[test]
fn s04_without_a_bridge_network_nobody_is_asked() -> Outcome {
    let (world, upstream) = named_world("")?;
    let bare = world.sandbox("bare", &[])?;
    let alone = show::run(&world, "--network none alone")?;
    for sandbox in [&bare, &alone] {
        dig(&sandbox.scope, "a-secret.example A")?.is_empty("SERVFAIL")?;
    }
    world.ctl("network connect bridge bare")?;
    forwards(&bare, &upstream, "a.example")?;
    unheard(&upstream, &["a-secret.example."])
}

#[test]
fn s04_a_sandbox_has_servers_of_its_own() -> Outcome {
    let world = World::with_resolvers(&[STUB.ip()], "timeout_ms = 200")?;
    let stub = world.host_names(&[])?;
    let lan = world.lan_names(&[])?;
    world.ctl("network create --ipv6 front")?;
    let web = show::run(&world, &format!("--dns {LAN_V4} --network front web"))?;
    let plain = world.sandbox("plain", &["front"])?;
    forwards(&web, &lan, "a.example")?;
    forwards(&plain, &stub, "a-plain.example")?;
    unheard(&stub, &["a.example."])?;
    // From its own namespace: the server sees what masquerading makes of its address.
    let saw = lan.saw("a.example.")?;
    ensure!(saw.iter().all(|one| one.peer.ip() == HOST_V4), "{saw:?}");
    dig(&web.scope, "big.example A +noedns")?
        .is("A", &(0..100).map(answers::numbered).collect::<Vec<_>>())?;
    // Names of sandboxes come first all the same.
    dig(&web.scope, "plain A")?.is("A", &[plain.v4("eth0")?])?;
    // The next of several; by IPv6.
    let words = format!("--dns 198.51.100.99 --dns {LAN_V6} --network front two");
    let two = show::run(&world, &words)?;
    forwards(&two, &lan, "a-two.example")?;
    // 127.0.0.53 is the sandbox's own here, where nobody listens.
    let words = format!("--dns {} --network front three", STUB.ip());
    let three = show::run(&world, &words)?;
    dig(&three.scope, "a-three.example A")?.is_empty("SERVFAIL")?;
    unheard(&stub, &["a-three.example."])
}

#[test]
fn s04_a_server_inside_an_internal_network_works() -> Outcome {
    let (world, upstream) = named_world("timeout_ms = 200")?;
    world.ctl("network create --internal --subnet 10.79.0.0/24 back")?;
    world.ctl("network create front")?;
    let ns = show::run(&world, "--network name=back,ip=10.79.0.53 ns")?;
    let inside = serve(&ns)?;
    let shut = show::run(&world, "--dns 10.79.0.53 --network back shut")?;
    forwards(&shut, &inside, "a.example")?;
    let saw = inside.saw("a.example.")?;
    let address = shut.v4("eth0")?;
    ensure!(saw.iter().all(|one| one.peer.ip() == address), "{saw:?}");
    // A server outside is out of its reach, as anything outside is; it would be reached from another network.
    let leak = show::run(&world, &format!("--dns {LAN_V4} --network back leak"))?;
    let free = show::run(&world, &format!("--dns {LAN_V4} --network front free"))?;
    dig(&leak.scope, "a-secret.example A")?.is_empty("SERVFAIL")?;
    dig(&leak.scope, "a-secret.example A +tcp")?.is_empty("SERVFAIL")?;
    forwards(&free, &upstream, "a-free.example")?;
    unheard(&upstream, &["a-secret.example.", "a.example."])
}
