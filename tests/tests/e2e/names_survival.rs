//! Names while the daemon is stopped, killed and started again, and many questions at once. X01 holds for names, too.

use std::{collections::BTreeSet, fs};

use anyhow::{Context, ensure};
use hickory_proto::op::Message;
use netd_tests::{
    Sandbox, World,
    dns::{
        Client, RESOLVER, answers,
        client::{question, receive, receive_framed, send_framed},
        dig,
        load::{Steady, flood},
    },
    world::{LAN_V4, LAN_V6},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    Outcome,
    names::{forwards, named_world},
};

/// Inodes of the resolver's sockets inside: another socket has another.
pub fn sockets(sandbox: &Sandbox) -> anyhow::Result<BTreeSet<String>> {
    let inodes = sandbox
        .netns
        .enter(|| -> std::io::Result<BTreeSet<String>> {
            let mut found = BTreeSet::new();
            for file in ["/proc/thread-self/net/udp", "/proc/thread-self/net/tcp"] {
                for line in fs::read_to_string(file)?.lines().skip(1) {
                    let words: Vec<&str> = line.split_whitespace().collect();
                    // 127.0.0.11:20053, nobody at the other end.
                    if words.get(1) == Some(&"0B00007F:4E55")
                        && words.get(2) == Some(&"00000000:0000")
                    {
                        let inode = words.get(9).unwrap_or(&"?");
                        found.insert(format!("{file} {inode}"));
                    }
                }
            }
            Ok(found)
        })??;
    ensure!(inodes.len() == 2, "the resolver's sockets: {inodes:?}");
    Ok(inodes)
}

/// How the daemon goes.
type End = fn(&mut World) -> anyhow::Result<()>;

/// Clients ask all the time, local and others' names, while the daemon goes and comes back three times.
/// `resent`: how many questions of each kind may have to be asked again.
fn over_restarts(end: End, resent: [u64; 2]) -> Outcome {
    let (mut world, _upstream) = named_world("")?;
    world.ctl("network create front")?;
    let web = world.sandbox("web", &["front"])?;
    let before = sockets(&web)?;
    let address = web.v4("eth0")?.into();
    let local = Steady::start(&web.scope, RESOLVER, "web", address)?;
    let others = Steady::start(&web.scope, RESOLVER, "a.example", answers::V4.into())?;
    for _ in 0..3 {
        end(&mut world)?;
        world.start()?;
        dig(&web.scope, "web A")?.is("A", &[web.v4("eth0")?])?;
        // What waited for the start has been answered by then: the next end would lose it.
        dig(&web.scope, "a.example A")?.is("A", &[answers::V4])?;
    }
    let clients = [("local names", local), ("others' names", others)];
    for ((what, client), resent) in clients.into_iter().zip(resent) {
        let tally = client.end()?;
        ensure!(
            tally.lost == 0 && tally.wrong == 0 && tally.right == tally.asked,
            "{what}: {tally:?}"
        );
        // Only what the daemon had in its hands when it was killed is asked again, however long its start takes.
        ensure!(tally.resent <= resent, "{what}: {tally:?}");
        ensure!(
            tally.asked > 50,
            "{what}: hardly anything was asked: {tally:?}"
        );
    }
    ensure!(sockets(&web)? == before, "other sockets than before");
    Ok(())
}

#[test]
fn x01_names_while_the_daemon_is_killed_and_started() -> Outcome {
    // At most one question for each end, or what was with the server.
    over_restarts(World::kill, [3, 60])
}

#[test]
fn x01_names_while_the_daemon_is_stopped_and_started() -> Outcome {
    over_restarts(World::stop, [0, 0])
}

#[test]
fn x01_questions_wait_for_the_daemon() -> Outcome {
    let (mut world, _upstream) = named_world("")?;
    world.ctl("network create front")?;
    let web = world.sandbox("web", &["front"])?;
    let client = Client::inside(&web.netns).patience(20_000);
    let ends: [End; 2] = [World::kill, World::stop];
    for end in ends {
        end(&mut world)?;
        // Asked once, while nobody is there: by datagrams and on a connection made meanwhile.
        let mut waiting = Vec::new();
        for number in 0..200 {
            let name = if number % 2 == 0 { "web" } else { "a.example" };
            let socket = client.socket()?;
            socket.send(&question(name, "A")?)?;
            waiting.push(socket);
        }
        let mut stream = client.stream()?;
        send_framed(&mut stream, &question("web", "A")?)?;
        world.start()?;
        for (number, socket) in waiting.iter().enumerate() {
            let answer = receive(socket)?.unwrap_or_default();
            let answer = Message::from_vec(&answer);
            ensure!(
                answer.is_ok_and(|answer| answer.answers.len() == 1),
                "question {number} of 200 was lost"
            );
        }
        let answer = receive_framed(&mut stream)?.unwrap_or_default();
        ensure!(Message::from_vec(&answer)?.answers.len() == 1);
    }
    Ok(())
}

#[test]
fn x01_what_changed_while_it_was_away() -> Outcome {
    let (mut world, upstream) = named_world("")?;
    world.ctl("network create front")?;
    world.ctl("network create back")?;
    let web = world.sandbox("web", &["front"])?;
    let peer = world.sandbox("peer", &["front"])?;
    let other = world.namespace("mine")?;
    world.ctl(&format!(
        "sandbox create --netns {} --network front mine",
        other.path().display()
    ))?;
    dig(&peer.scope, "mine A")?;
    world.kill()?;
    // A namespace that is gone.
    other.remove()?;
    world.forget(&other);
    world.start()?;
    dig(&peer.scope, "web A")?.is("A", &[web.v4("eth0")?])?;
    forwards(&peer, &upstream, "a.example")?;
    let gone = dig(&peer.scope, "mine A")?;
    ensure!(!gone.has_addresses(), "{}", gone.text);
    // What is made now has a resolver and outlives the next end.
    let fresh = world.sandbox("fresh", &["front"])?;
    let before = sockets(&fresh)?;
    world.kill()?;
    world.start()?;
    ensure!(sockets(&fresh)? == before, "other sockets than before");
    dig(&fresh.scope, "web A")?.is("A", &[web.v4("eth0")?])
}

#[test]
fn s04_a_changed_file_closes_no_socket() -> Outcome {
    let world = World::with_resolvers(&[LAN_V4.into()], "")?;
    let first = world.lan_names_v4(&[])?;
    let second = world.lan_names_v6(&[])?;
    world.ctl("network create front")?;
    let web = world.sandbox("web", &["front"])?;
    let before = sockets(&web)?;
    let local = Steady::start(&web.scope, RESOLVER, "web", web.v4("eth0")?.into())?;
    let others = Steady::start(&web.scope, RESOLVER, "a.example", answers::V4.into())?;
    let mut stream = Client::inside(&web.netns).stream()?;
    for number in 0..10 {
        let (address, server) = if number % 2 == 0 {
            (LAN_V6.into(), &second)
        } else {
            (LAN_V4.into(), &first)
        };
        world.set_resolvers(&[address])?;
        forwards(&web, server, &format!("a-{number}.example"))?;
        // The same connection all the time.
        send_framed(&mut stream, &question("a.example", "A")?)?;
        let answer = receive_framed(&mut stream)?.unwrap_or_default();
        ensure!(Message::from_vec(&answer)?.answers.len() == 1);
    }
    for client in [local, others] {
        let tally = client.end()?;
        ensure!(
            tally.right == tally.asked && tally.resent == 0 && tally.asked > 10,
            "{tally:?}"
        );
    }
    ensure!(sockets(&web)? == before, "other sockets than before");
    Ok(())
}

#[test]
fn s04_a_thousand_questions_at_once() -> Outcome {
    let (world, _upstream) = named_world("")?;
    world.ctl("network create front")?;
    let web = world.sandbox("web", &["front"])?;
    for (transport, name, count) in [
        ("udp", "web", 1000),
        ("udp", "n{}.example", 1000),
        ("tcp", "web", 200),
        ("tcp", "n{}.example", 200),
    ] {
        let tally = flood(&web.scope, transport, RESOLVER, name, count)?;
        ensure!(
            tally.right == count as u64 && tally.lost == 0,
            "{count} by {transport} for {name}: {tally:?}"
        );
    }
    Ok(())
}

#[test]
fn x04_one_sandbox_cannot_hold_up_anothers_names() -> Outcome {
    let (world, upstream) = named_world("")?;
    world.ctl("network create front")?;
    let greedy = world.sandbox("greedy", &["front"])?;
    let modest = world.sandbox("modest", &["front"])?;
    // A thousand questions that nobody answers, from one sandbox, all the time of the test.
    let probe = netd_tests::world::binary("netd-probe");
    let server = RESOLVER.to_string();
    let words = [
        &probe,
        "flood",
        "udp",
        &server,
        "silent.q{}.example",
        "1000",
    ];
    let flood = greedy.scope.spawn(&words)?;
    netd_tests::wait_for("the silent questions", 10, || {
        let seen = upstream.seen().ok()?;
        (seen.len() >= 200).then_some(())
    });
    for number in 0..20 {
        let begun = std::time::Instant::now();
        forwards(&modest, &upstream, &format!("a-{number}.example"))?;
        dig(&modest.scope, "greedy A")?.is("A", &[greedy.v4("eth0")?])?;
        let time = begun.elapsed().as_secs_f64();
        ensure!(time < 2.0, "the other waited {time} s");
    }
    dig(&greedy.scope, "modest A")?.is("A", &[modest.v4("eth0")?])?;
    drop(flood);
    Ok(())
}

/// The process that holds the sockets of this world's sandboxes.
pub fn keeper(world: &World) -> Option<i32> {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut found = processes.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let words = fs::read_to_string(entry.path().join("cmdline")).ok()?;
        let cgroup = fs::read_to_string(entry.path().join("cgroup")).ok()?;
        let ours = cgroup
            .trim_end()
            .ends_with(&format!("netd-{}", world.instance));
        (ours && words.contains("--keep-sockets")).then_some(pid)
    });
    found.next()
}

#[test]
fn x01_a_killed_keeper_is_replaced() -> Outcome {
    let (mut world, upstream) = named_world("")?;
    world.ctl("network create front")?;
    let old = world.sandbox("old", &["front"])?;
    let pid = keeper(&world).context("no keeper")?;
    kill(Pid::from_raw(pid), Signal::SIGKILL)?;
    netd_tests::wait_for("the keeper's end", 5, || {
        (keeper(&world) != Some(pid)).then_some(())
    });
    // Nobody notices, and the next sandbox has a keeper again.
    forwards(&old, &upstream, "a-one.example")?;
    let new = world.sandbox("new", &["front"])?;
    dig(&old.scope, "new A")?.is("A", &[new.v4("eth0")?])?;
    ensure!(keeper(&world).is_some(), "there is no keeper");
    let before = [sockets(&old)?, sockets(&new)?];
    world.kill()?;
    world.start()?;
    dig(&old.scope, "new A")?.is("A", &[new.v4("eth0")?])?;
    dig(&new.scope, "old A")?.is("A", &[old.v4("eth0")?])?;
    let after = [sockets(&old)?, sockets(&new)?];
    ensure!(
        after == before,
        "other sockets than before: {before:?} {after:?}"
    );
    // It holds nothing of what was removed, and ends with the instance: the world's end looks for it.
    world.ctl("sandbox rm old")?;
    dig(&new.scope, "old A")?.is_empty("NXDOMAIN")
}
