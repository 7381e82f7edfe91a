//! S02: links on the default bridge, which stand in the hosts file of the sandbox that has them.

use anyhow::ensure;

use crate::{
    Outcome,
    name_files::{hosts, own, wants, world},
    show,
};

#[test]
fn s02_legacy_links_stand_in_the_hosts_file() -> Outcome {
    let (mut world, _file) = world("")?;
    let db = show::run(&world, "--network bridge db")?;
    let web = show::run(&world, "--network name=bridge,link=db:d web")?;
    let id = world.ctl("sandbox inspect -f {{.Id}} db")?;
    let link = |address: &str| format!("{address}\td {} db", &id[..12]);
    let name = world.ctl("sandbox inspect -f {{.Hostname}} web")?;
    let mine = own(&web, "eth0", &name)?;
    let before = db.v4("eth0")?.to_string();
    wants(
        &hosts(&world, "web")?,
        &[vec![link(&before)], mine.clone()].concat(),
    )?;
    // Private: the target does not know of it, and neither do others.
    let others = hosts(&world, "db")?;
    ensure!(others.len() == 1, "{others:?}");
    for name in ["d", "db", &id[..12]] {
        world.ctl(&format!("sandbox exec web -- ping -n -c 1 -W 2 {name}"))?;
    }
    // The line goes and comes with the target, and follows its address.
    world.ctl("sandbox stop db")?;
    wants(&hosts(&world, "web")?, &mine)?;
    world.ctl("sandbox start db")?;
    let address = show::handle(&world, "db")?.v4("eth0")?.to_string();
    wants(
        &hosts(&world, "web")?,
        &[vec![link(&address)], mine.clone()].concat(),
    )?;
    world.ctl("network disconnect bridge db")?;
    wants(&hosts(&world, "web")?, &mine)?;
    world.ctl("network connect bridge db")?;
    let now = show::handle(&world, "db")?.v4("eth0")?.to_string();
    ensure!(now != address, "the address is the same: {now}");
    let wanted = [vec![link(&now)], mine.clone()].concat();
    wants(&hosts(&world, "web")?, &wanted)?;
    world.ctl("sandbox exec web -- ping -n -c 1 -W 2 d")?;
    world.kill()?;
    world.start()?;
    wants(&hosts(&world, "web")?, &wanted)?;
    world.ctl("sandbox rm db")?;
    wants(&hosts(&world, "web")?, &mine)
}

#[test]
fn s02_legacy_links_need_their_target() -> Outcome {
    let (world, _file) = world("")?;
    world.ctl("network create front")?;
    show::run(&world, "--network front elsewhere")?;
    world.ctl("sandbox create --stopped --network bridge idle")?;
    world.ctl("sandbox create web")?;
    world.ctl("sandbox create --stopped --network name=bridge,link=idle:i late")?;
    for (link, parts) in [
        (
            "nosuch",
            "could not get container for nosuch: No such container: nosuch",
        ),
        (
            "idle:i",
            "Cannot link to a non running container: /idle AS /web/i",
        ),
        (
            "elsewhere",
            "Cannot link to /elsewhere, as it does not belong to the default network",
        ),
    ] {
        let before = crate::refusals::state(&world)?;
        world.refused(
            &format!("network connect --link {link} bridge web"),
            &[parts],
        )?;
        let parts = parts.replace("/web/", "/n/");
        let create = format!("sandbox create --network name=bridge,link={link} n");
        world.refused(&create, &[&parts])?;
        ensure!(
            crate::refusals::state(&world)? == before,
            "{link} changed something"
        );
        // Elsewhere a link may come before its target.
        world.ctl(&format!("network connect --link {link} front web"))?;
        world.ctl("network disconnect front web")?;
    }
    world.refused(
        "sandbox start late",
        &["Cannot link to a non running container: /idle AS /late/i"],
    )?;
    world.ctl("sandbox start idle")?;
    world.ctl("sandbox start late")?;
    let found = hosts(&world, "late")?;
    ensure!(found.concat().contains("\ti "), "{found:?}");
    Ok(())
}
