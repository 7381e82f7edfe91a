//! Faults that others found in the resolver: loops, greedy sandboxes, servers that answer by halves or not at all.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, TcpListener},
    time::Instant,
};

use anyhow::{Context as _, ensure};
use netd_tests::{
    Process, Sandbox, World,
    dns::{
        Client, Nameserver, RESOLVER, answers,
        client::{question, receive_framed, send_framed},
        dig,
        load::flood,
    },
    wait_for,
    world::{LAN_V4, LAN_V6, binary},
};

use crate::{
    Outcome,
    names::{forwards, named_world},
    show,
};

/// Nobody answers there.
const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 99));

/// Questions that the server does not answer, all at once, from a process of their own.
fn silence(from: &Sandbox, count: usize) -> anyhow::Result<Process> {
    from.scope.spawn(&[
        &binary("netd-probe"),
        "flood",
        "udp",
        &RESOLVER.to_string(),
        &format!("silent.q{{}}.{}.example", from.name),
        &count.to_string(),
    ])
}

/// Waits until so many of them have reached the server.
fn silent(upstream: &Nameserver, count: usize) {
    wait_for("the silent questions", 20, || {
        let seen = upstream.seen().ok()?;
        let silent = seen.iter().filter(|one| one.name.starts_with("silent."));
        (silent.count() >= count).then_some(())
    });
}

/// A number of the daemon's `/proc/PID/status`.
fn status(world: &World, key: &str) -> anyhow::Result<u64> {
    let pid = world.daemon_pid().context("no daemon")?;
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(key));
    let words = lines.next().context("no such line")?;
    let number = words.trim_start_matches(':').split_whitespace().next();
    Ok(number.context("no number")?.parse()?)
}

#[test]
fn b08_the_own_resolver_is_refused_as_a_server() -> Outcome {
    let (world, upstream) = named_world("")?;
    world.ctl("network create front")?;
    for server in ["127.0.0.11", "::ffff:127.0.0.11"] {
        for more in ["", "--stopped"] {
            let line = format!("sandbox create {more} --dns {server} --network front x");
            world.refused(&line, &[server, "own resolver"])?;
        }
    }
    // Any other server of the sandbox's own may be.
    let web = show::run(&world, "--dns 127.0.0.1 --network front web")?;
    let own = [(IpAddr::V4(Ipv4Addr::LOCALHOST), 53).into()];
    let own = Nameserver::start(&web.netns, &web.scope, &own, &[])?;
    forwards(&web, &own, "a.example")?;
    ensure!(upstream.saw("a.example.")?.is_empty());
    Ok(())
}

/// Replaces a text in the records of a daemon that does not run; returns in how many.
fn rewrite(world: &World, from: &str, to: &str) -> anyhow::Result<usize> {
    use redb::ReadableTable as _;
    let records = redb::TableDefinition::<&str, &str>::new("records");
    let store = redb::Database::open(world.state_directory().join("netd.redb"))?;
    let change = store.begin_write()?;
    let mut changed = 0;
    {
        let mut table = change.open_table(records)?;
        let mut found = Vec::new();
        for record in table.iter()? {
            let (key, value) = record?;
            if value.value().contains(from) {
                found.push((key.value().to_owned(), value.value().replace(from, to)));
            }
        }
        for (key, value) in found {
            table.insert(&*key, &*value)?;
            changed += 1;
        }
    }
    change.commit()?;
    Ok(changed)
}

#[test]
fn b08_the_own_resolver_as_it_was_stored_is_passed_over() -> Outcome {
    let (mut world, upstream) = named_world("")?;
    world.ctl("network create front")?;
    let words = format!("--dns 127.0.0.19 --dns {LAN_V4} --network front web");
    let web = show::run(&world, &words)?;
    let alone = show::run(&world, "--dns 127.0.0.19 --network front alone")?;
    world.stop()?;
    // As a version that did not refuse it has written it.
    let places = rewrite(&world, "\"127.0.0.19\"", "\"127.0.0.11\"")?;
    ensure!(places == 2, "{places} records name the server");
    world.start()?;
    let shown = show::sandbox(&world, "alone")?.to_string();
    ensure!(shown.contains("127.0.0.11"), "it was not stored: {shown}");
    let begun = Instant::now();
    forwards(&web, &upstream, "a.example")?;
    dig(&alone.scope, "a.other.example A")?.is_empty("SERVFAIL")?;
    let time = begun.elapsed().as_secs_f64();
    ensure!(time < 1.5, "it took {time} s");
    let saw = upstream.saw("a.example.")?;
    ensure!(saw.len() == 1, "{saw:?}");
    Ok(())
}

#[test]
fn b09_many_greedy_sandboxes_starve_nobody() -> Outcome {
    let (world, upstream) = named_world("")?;
    world.ctl("network create front")?;
    let mut greedy = Vec::new();
    for number in 0..24 {
        greedy.push(show::run(
            &world,
            &format!("--network front greedy{number}"),
        )?);
    }
    let modest = world.sandbox("modest", &["front"])?;
    let before = status(&world, "VmRSS")?;
    let floods = greedy.iter().map(|one| silence(one, 400));
    let floods = floods.collect::<anyhow::Result<Vec<_>>>()?;
    // More than sixteen of them ask as much as they may, unless they leave something.
    silent(&upstream, 2000);
    for number in 0..10 {
        let begun = Instant::now();
        forwards(&modest, &upstream, &format!("a-{number}.example"))?;
        let time = begun.elapsed().as_secs_f64();
        ensure!(time < 1.5, "the modest one waited {time} s");
    }
    let grown = status(&world, "VmRSS")?.saturating_sub(before);
    ensure!(grown < 96 << 10, "netd has grown by {grown} KiB");
    for flood in floods {
        flood.finish()?;
    }
    // Nobody waits for what nobody waits for: the greedy ones are served again at once.
    for one in greedy.iter().take(4) {
        let begun = Instant::now();
        forwards(one, &upstream, &format!("a-{}.example", one.name))?;
        let time = begun.elapsed().as_secs_f64();
        ensure!(time < 1.5, "{} waited {time} s afterwards", one.name);
    }
    Ok(())
}

#[test]
fn b09_long_requests_are_not_read() -> Outcome {
    let (world, _upstream) = named_world("")?;
    world.ctl("network create front")?;
    let web = world.sandbox("web", &["front"])?;
    let client = Client::inside(&web.netns);
    let mut long = question("web", "A")?;
    // An EDNS record with an option of zeroes (RFC 6891, 6.1.2), whole and well-formed.
    let more = |message: &mut Vec<u8>, length: u16| -> Outcome {
        message[11] = 1;
        message.extend([0, 0, 41, 4, 208, 0, 0, 0, 0]);
        message.extend((length + 4).to_be_bytes());
        message.extend([0xfd, 0xe9]);
        message.extend(length.to_be_bytes());
        message.extend(vec![0; usize::from(length)]);
        Ok(())
    };
    let mut fine = long.clone();
    more(&mut fine, 3000)?;
    more(&mut long, 30_000)?;
    let mut stream = client.stream()?;
    send_framed(&mut stream, &fine)?;
    ensure!(receive_framed(&mut stream)?.is_some(), "it was refused");
    send_framed(&mut stream, &long)?;
    ensure!(receive_framed(&mut stream)?.is_none(), "it was answered");
    Ok(())
}

#[test]
fn b10_questions_make_no_threads() -> Outcome {
    let (world, upstream) = named_world("")?;
    world.ctl("network create front")?;
    let web = show::run(&world, &format!("--dns {LAN_V4} --network front web"))?;
    forwards(&web, &upstream, "a.example")?;
    let before = status(&world, "Threads")?;
    let flood = silence(&web, 1000)?;
    silent(&upstream, 150);
    // Threads of a pool stay for some seconds after their work.
    let after = status(&world, "Threads")?;
    ensure!(after <= before + 4, "{before} threads, then {after}");
    drop(flood);
    Ok(())
}

#[test]
fn b23_a_cut_answer_where_tcp_is_silent() -> Outcome {
    let world = World::with_resolvers(&[LAN_V4.into()], "timeout_ms = 500")?;
    let _upstream = world.lan_names_v4(&["--without-tcp"])?;
    world.ctl("network create front")?;
    let web = world.sandbox("web", &["front"])?;
    let ask = || dig(&web.scope, "big.example A +noedns +ignore");
    // Refused.
    let answer = ask()?;
    ensure!(
        answer.flags == "qr tc rd ra" && answer.status == "NOERROR",
        "{}",
        answer.text
    );
    // Connected to, and never answered.
    let _silent = world.lan.enter(|| TcpListener::bind((LAN_V4, 53)))??;
    let answer = ask()?;
    ensure!(
        answer.flags == "qr tc rd ra" && answer.status == "NOERROR",
        "{}",
        answer.text
    );
    Ok(())
}

#[test]
fn b23_what_does_not_fit_is_cut_at_a_record() -> Outcome {
    let (world, _upstream) = named_world("")?;
    world.ctl("network create front")?;
    let web = world.sandbox("web", &["front"])?;
    // 40 records of 16 bytes, without and with room for them.
    let answer = dig(&web.scope, "medium.example A +noedns +ignore")?;
    ensure!(answer.flags == "qr tc rd ra", "{}", answer.text);
    let count = answer.records.len();
    ensure!((25..40).contains(&count), "{count}: {}", answer.text);
    let answer = dig(&web.scope, "medium.example A +bufsize=1232 +ignore")?;
    ensure!(
        answer.flags == "qr rd ra" && answer.records.len() == 40,
        "{}",
        answer.text
    );
    Ok(())
}

#[test]
fn b23_refusals_without_the_question_count() -> Outcome {
    let world = World::with_resolvers(&[LAN_V4.into(), LAN_V6.into()], "")?;
    let first = world.lan_names_v4(&["--always", "barerefused"])?;
    let second = world.lan_names_v6(&[])?;
    world.ctl("network create front")?;
    let web = world.sandbox("web", &["front"])?;
    let begun = Instant::now();
    forwards(&web, &second, "a.example")?;
    ensure!(
        !first.saw("a.example.")?.is_empty(),
        "the first was not asked"
    );
    // Nobody else to ask: what it said, with the question.
    world.set_resolvers(&[LAN_V4.into()])?;
    let answer = dig(&web.scope, "a.other.example A")?;
    answer.is_empty("REFUSED")?;
    ensure!(answer.question == "a.other.example.", "{}", answer.text);
    let time = begun.elapsed().as_secs_f64();
    ensure!(time < 1.5, "it took {time} s");
    Ok(())
}

#[test]
fn b23_a_silent_server_is_asked_last() -> Outcome {
    let world = World::with_resolvers(&[NOBODY, LAN_V6.into()], "timeout_ms = 1500")?;
    let good = world.lan_names_v6(&[])?;
    world.ctl("network create front")?;
    let web = world.sandbox("web", &["front"])?;
    let own = format!("--dns {NOBODY} --dns {LAN_V6} --network front own");
    world.ctl("network create --ipv6 six")?;
    let own = show::run(&world, &own.replace("front", "six"))?;
    for sandbox in [&web, &own] {
        let begun = Instant::now();
        forwards(sandbox, &good, &format!("a-first-{}.example", sandbox.name))?;
        let first = begun.elapsed().as_secs_f64();
        ensure!(first > 1.0, "it was not asked first: {first} s");
        let begun = Instant::now();
        for number in 0..5 {
            forwards(
                sandbox,
                &good,
                &format!("a-{number}-{}.example", sandbox.name),
            )?;
        }
        let others = begun.elapsed().as_secs_f64();
        ensure!(others < 1.5, "it was asked again: {others} s");
    }
    Ok(())
}

#[test]
fn b23_a_closed_resolver_answers_no_more() -> Outcome {
    let (mut world, upstream) = named_world("")?;
    world.ctl("network create front")?;
    let theirs = world.namespace("theirs")?;
    let path = theirs.path().display().to_string();
    let words = format!("--netns {path} --network front guest");
    world.ctl(&format!("sandbox create {words}"))?;
    let client = Client::inside(&theirs).patience(2000);
    let mut stream = client.stream()?;
    send_framed(&mut stream, &question("guest", "A")?)?;
    ensure!(receive_framed(&mut stream)?.is_some(), "no answer at first");
    // One question is with a server when it ends.
    let asked = client.socket()?;
    asked.send(&question("silent.example", "A")?)?;
    silent(&upstream, 1);
    world.ctl("sandbox stop guest")?;
    let end = receive_framed(&mut stream)?;
    ensure!(end.is_none(), "the connection lives on");
    // Its port is free again, and what comes is new.
    world.ctl(&format!("sandbox start --netns {path} guest"))?;
    ensure!(client.ask("guest", "A")?.answers.len() == 1);
    ensure!(client.ask_by_tcp("guest", "A")?.answers.len() == 1);
    let tally = flood(&theirs.scope(), "udp", RESOLVER, "n{}.example", 50)?;
    ensure!(tally.right == 50, "{tally:?}");
    ensure!(
        !world.log().contains("resolves no names"),
        "{}",
        world.log()
    );
    Ok(())
}

#[test]
fn b23_forged_refusals_do_not_count() -> Outcome {
    let (world, _upstream) = named_world("")?;
    world.ctl("network create front")?;
    let web = world.sandbox("web", &["front"])?;
    // A refusal of another id without a question, then the right answer.
    let answer = dig(&web.scope, "wrongbare.example A")?;
    answer.is("A", &[answers::V4])
}
