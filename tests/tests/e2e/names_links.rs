//! S02 and S03: links, which are one sandbox's own, and aliases, which are a network's.

use std::{collections::HashSet, net::Ipv4Addr};

use anyhow::ensure;
use netd_tests::dns::{Client, dig};

use crate::{
    Outcome,
    names::{addresses, named_world, unheard},
    show,
};

#[test]
fn s02_a_link_is_private_and_may_come_before_its_target() -> Outcome {
    let (world, _upstream) = named_world("")?;
    world.ctl("network create --ipv6 front")?;
    let one = show::run(&world, "--network name=front,link=later:l8 one")?;
    let other = world.sandbox("other", &["front"])?;
    for name in ["l8", "later", "l8.front"] {
        let found = addresses(&one, name)?;
        ensure!(found.is_empty(), "{name} before its target: {found:?}");
    }
    let later = world.sandbox("later", &["front"])?;
    let both = [later.v4("eth0")?.to_string(), later.v6("eth0")?.to_string()];
    for name in ["l8", "later", "L8", "l8.front"] {
        let found = addresses(&one, name)?;
        ensure!(found == both, "{name}: {found:?}");
    }
    // The others, the target among them, know its name and not the alias.
    for sandbox in [&other, &later] {
        let found = addresses(sandbox, "later")?;
        ensure!(found == both, "later in {}: {found:?}", sandbox.name);
        for name in ["l8", "l8.front"] {
            dig(&sandbox.scope, &format!("{name} A"))?.is_empty("NXDOMAIN")?;
        }
    }
    Ok(())
}

#[test]
fn s02_a_link_follows_its_target() -> Outcome {
    let (world, _upstream) = named_world("")?;
    world.ctl("network create --subnet 10.78.0.0/24 front")?;
    let target = world.sandbox("target", &["front"])?;
    let id = show::sandbox(&world, "target")?["Id"].clone();
    let id = id.as_str().unwrap_or_default();
    let one = show::run(
        &world,
        &format!("--network name=front,link=target:t,link={id}:byid one"),
    )?;
    dig(&one.scope, "t A")?.is("A", &[target.v4("eth0")?])?;
    dig(&one.scope, "byid A")?.is("A", &[target.v4("eth0")?])?;
    for last in [50_u8, 60] {
        let address = Ipv4Addr::new(10, 78, 0, last);
        world.ctl("network disconnect front target")?;
        for name in ["t", "byid"] {
            let found = addresses(&one, name)?;
            ensure!(found.is_empty(), "{name}, disconnected: {found:?}");
        }
        world.ctl(&format!("network connect --ip {address} front target"))?;
        dig(&one.scope, "t A")?.is("A", &[address])?;
        dig(&one.scope, "byid A")?.is("A", &[address])?;
    }
    // Another one takes the name: the link by name is for whoever has it.
    world.ctl("sandbox rm target")?;
    let found = addresses(&one, "t")?;
    ensure!(found.is_empty(), "t, removed: {found:?}");
    let again = world.sandbox("target", &["front"])?;
    dig(&one.scope, "t A")?.is("A", &[again.v4("eth0")?])?;
    let found = addresses(&one, "byid")?;
    ensure!(found.is_empty(), "the id is another's now: {found:?}");
    // Stopping and starting keeps the link.
    world.ctl("sandbox stop one")?;
    world.ctl("sandbox start one")?;
    let one = show::handle(&world, "one")?;
    dig(&one.scope, "t A")?.is("A", &[again.v4("eth0")?])
}

#[test]
fn s02_a_link_belongs_to_its_network() -> Outcome {
    let (world, _upstream) = named_world("")?;
    world.ctl("network create front")?;
    world.ctl("network create back")?;
    let target = world.sandbox("target", &["front", "back"])?;
    let one = world.sandbox("one", &[])?;
    world.ctl("network connect --link target:f front one")?;
    world.ctl("network connect --link target:b --link target:both back one")?;
    let (front, back) = (target.v4("eth0")?, target.v4("eth1")?);
    dig(&one.scope, "f A")?.is("A", &[front])?;
    dig(&one.scope, "b A")?.is("A", &[back])?;
    dig(&one.scope, "b.back A")?.is("A", &[back])?;
    dig(&one.scope, "b.front A")?.is_empty("NXDOMAIN")?;
    dig(&one.scope, "f.back A")?.is_empty("NXDOMAIN")?;
    // The target leaves the one network: that alias is gone, the other stays.
    world.ctl("network disconnect front target")?;
    let found = addresses(&one, "f")?;
    ensure!(found.is_empty(), "f: {found:?}");
    dig(&one.scope, "b A")?.is("A", &[back])?;
    // The linking one leaves the other network.
    world.ctl("network disconnect back one")?;
    let found = addresses(&one, "b")?;
    ensure!(found.is_empty(), "b: {found:?}");
    Ok(())
}

#[test]
fn s02_a_links_alias_goes_before_others_names() -> Outcome {
    // As Docker has it: what the asker called so is what it means, whoever else has the name.
    let (world, _upstream) = named_world("")?;
    world.ctl("network create front")?;
    let mine = world.sandbox("mine", &["front"])?;
    let db = world.sandbox("db", &["front"])?;
    let one = show::run(&world, "--network name=front,link=mine:db one")?;
    let other = world.sandbox("other", &["front"])?;
    let found = addresses(&one, "db")?;
    ensure!(
        found.contains(&mine.v4("eth0")?.to_string()),
        "the link is not heard: {found:?}"
    );
    dig(&other.scope, "db A")?.is("A", &[db.v4("eth0")?])
}

#[test]
fn s03_an_alias_is_the_networks() -> Outcome {
    let (world, upstream) = named_world("")?;
    world.ctl("network create front")?;
    world.ctl("network create back")?;
    let web = world.sandbox("web", &[])?;
    world.ctl("network connect --alias app --alias www front web")?;
    world.ctl("network connect --alias scoped-app back web")?;
    let on_front = world.sandbox("onfront", &["front"])?;
    let on_back = world.sandbox("onback", &["back"])?;
    let on_both = world.sandbox("onboth", &["front", "back"])?;
    let (front, back) = (web.v4("eth0")?, web.v4("eth1")?);
    for (asker, name, wanted) in [
        (&on_front, "app", Some(front)),
        (&on_front, "www", Some(front)),
        (&on_front, "app.front", Some(front)),
        (&on_front, "scoped-app", None),
        (&on_front, "app.back", None),
        (&on_back, "app", None),
        (&on_back, "scoped-app", Some(back)),
        (&on_both, "app", Some(front)),
        (&on_both, "scoped-app", Some(back)),
        (&on_both, "app.back", None),
        (&on_both, "scoped-app.back", Some(back)),
        (&on_both, "scoped-app.front", None),
    ] {
        let answer = dig(&asker.scope, &format!("{name} A"))?;
        match wanted {
            Some(address) => answer.is("A", &[address])?,
            None => answer.is_empty("NXDOMAIN")?,
        }
    }
    unheard(&upstream, &["www.", "app.front.", "scoped-app.back."])
}

#[test]
fn s03_several_holders_of_an_alias() -> Outcome {
    let (world, upstream) = named_world("")?;
    world.ctl("network create --ipv6 front")?;
    let asker = world.sandbox("asker", &["front"])?;
    let mut holders = Vec::new();
    for number in 0..3 {
        let words = format!("--network name=front,alias=app app{number}");
        holders.push(show::run(&world, &words)?);
    }
    let mut v4 = Vec::new();
    let mut v6 = Vec::new();
    for holder in &holders {
        v4.push(holder.v4("eth0")?);
        v6.push(holder.v6("eth0")?);
    }
    let mut first = HashSet::new();
    for _ in 0..40 {
        let answer = dig(&asker.scope, "app A")?;
        answer.is("A", &v4)?;
        first.extend(answer.records.first().map(|record| record.data.clone()));
    }
    // The chance that one of three is never first in forty is one in ten millions.
    ensure!(first.len() == 3, "always the same are first: {first:?}");
    dig(&asker.scope, "app AAAA")?.is("AAAA", &v6)?;
    dig(&asker.scope, "app.front A")?.is("A", &v4)?;
    // Stopped, disconnected, removed: gone with the answer of the request.
    world.ctl("sandbox stop app0")?;
    dig(&asker.scope, "app A")?.is("A", &v4[1..])?;
    dig(&asker.scope, "app0 A")?.is_empty("NXDOMAIN")?;
    world.ctl("network disconnect front app1")?;
    dig(&asker.scope, "app A")?.is("A", &v4[2..])?;
    world.ctl("sandbox rm app2")?;
    dig(&asker.scope, "app A")?.is_empty("NXDOMAIN")?;
    // Started again it has its alias again; connected again without one it has not.
    world.ctl("sandbox start app0")?;
    let back = show::handle(&world, "app0")?.v4("eth0")?;
    world.ctl("network connect front app1")?;
    dig(&asker.scope, "app A")?.is("A", &[back])?;
    dig(&asker.scope, "app1 A")?.is("A", &[holders[1].v4("eth0")?])?;
    let saw = upstream.saw("app.")?.len();
    ensure!(saw == 1, "{saw} questions for app were forwarded");
    Ok(())
}

#[test]
fn s03_a_name_and_an_alias_of_the_same_spelling() -> Outcome {
    let (world, _upstream) = named_world("")?;
    world.ctl("network create front")?;
    let web = world.sandbox("web", &["front"])?;
    let second = show::run(&world, "--network name=front,alias=web second")?;
    let asker = world.sandbox("asker", &["front"])?;
    let found = dig(&asker.scope, "web A")?.data("A");
    ensure!(
        found.contains(&web.v4("eth0")?.to_string()),
        "the name's own holder is missing: {found:?}"
    );
    world.ctl("sandbox stop web")?;
    dig(&asker.scope, "web A")?.is("A", &[second.v4("eth0")?])
}

#[test]
fn s01_two_with_one_host_name() -> Outcome {
    // Two with one host name: both addresses, as with an alias.
    let (world, _upstream) = named_world("")?;
    world.ctl("network create front")?;
    let one = show::run(&world, "--hostname same --network front one")?;
    let two = show::run(&world, "--hostname same --network front two")?;
    dig(&one.scope, "same A")?.is("A", &[one.v4("eth0")?, two.v4("eth0")?])?;
    world.ctl("sandbox rm two")?;
    dig(&one.scope, "same A")?.is("A", &[one.v4("eth0")?])
}

#[test]
fn s03_an_alias_with_many_holders_comes_by_tcp() -> Outcome {
    const HOLDERS: usize = 40;
    let (world, _upstream) = named_world("")?;
    world.ctl("network create front")?;
    let asker = world.sandbox("asker", &["front"])?;
    let mut wanted = Vec::new();
    for number in 0..HOLDERS {
        let words = format!("--network name=front,alias=all h{number}");
        wanted.push(show::run(&world, &words)?.v4("eth0")?);
    }
    // dig goes over to TCP by itself.
    let answer = dig(&asker.scope, "all A +noedns")?;
    answer.is("A", &wanted)?;
    ensure!(answer.text.contains("retrying in TCP"), "{}", answer.text);
    let cut = dig(&asker.scope, "all A +noedns +ignore")?;
    ensure!(cut.flags.contains("tc"), "{}", cut.text);
    // Room enough: one datagram.
    let answer = dig(&asker.scope, "all A +bufsize=4096 +ignore")?;
    answer.is("A", &wanted)?;
    ensure!(!answer.flags.contains("tc"), "{}", answer.text);
    let message = Client::inside(&asker.netns).ask_by_tcp("all", "A")?;
    ensure!(message.answers.len() == HOLDERS, "{message}");
    Ok(())
}
