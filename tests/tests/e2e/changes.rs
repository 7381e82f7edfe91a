//! C05, C11: what is published, withdrawn or changed for one sandbox touches no flow of another.

use anyhow::ensure;
use netd_tests::{
    Server, World,
    probe::hold,
    world::{HOST_V4, LAN, LAN_V4},
};

use crate::Outcome;

/// A connection to a remote port is not meant by a publication of the same number, nor is one of another sandbox whose
/// own port has it.
#[test]
fn c05_c11_a_publication_means_its_own_flows_only() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --ipv6 front")?;
    let caller = world.sandbox("caller", &["front"])?;
    let web = world.sandbox("web", &["front"])?;
    let _lan = Server::start(&world.lan_scope(), 7000)?;
    let _inside = web.serve(7000)?;
    let mut others = Vec::new();
    for lan in LAN {
        others.push(hold(&caller.scope, (lan, 7000).into())?);
    }
    // One that was published before, and a neighbour's by the network alone.
    world.ctl("port publish web 8080:7000")?;
    others.push(hold(&world.lan_scope(), (HOST_V4, 8080).into())?);
    others.push(hold(&caller.scope, (web.v4("eth0")?, 7000).into())?);
    for _ in 0..2 {
        world.ctl("port publish web 7000:7000 20000-59999:20000-59999")?;
        let meant = hold(&world.lan_scope(), (HOST_V4, 7000).into())?;
        let neighbour = hold(&caller.scope, (HOST_V4, 7000).into())?;
        world.ctl("port unpublish web 7000:7000 20000-59999:20000-59999")?;
        for flow in [meant, neighbour] {
            ensure!(!flow.finish()?.ok, "a flow outlived its publication");
        }
    }
    for flow in others {
        ensure!(flow.finish()?.ok, "a flow of another broke");
    }
    Ok(())
}

/// A published port may lie in the pool: whoever has that number outside keeps it.
#[test]
fn c05_c11_a_port_of_the_pool() -> Outcome {
    let world = World::with_config("[nat]\nfirst_port = 50000\nlast_port = 50000\n")?;
    world.ctl("network create front")?;
    let caller = world.sandbox("caller", &["front"])?;
    let web = world.sandbox("web", &["front"])?;
    let _lan = Server::start(&world.lan_scope(), 7000)?;
    let _inside = web.serve(7000)?;
    let flow = hold(&caller.scope, (LAN_V4, 7000).into())?;
    for name in ["web", "caller"] {
        world.ctl(&format!("port publish {name} 50000:7000"))?;
        world.ctl(&format!("port unpublish {name} 50000:7000"))?;
    }
    ensure!(flow.finish()?.ok, "the flow by that port broke");
    Ok(())
}

/// After a restart nothing ends; what was withdrawn while no daemon could take it away ends with the start.
#[test]
fn c11_a_start_ends_what_is_withdrawn_only() -> Outcome {
    let mut world = World::new()?;
    world.ctl("network create front")?;
    let web = world.sandbox("web", &["front"])?;
    let _inside = [web.serve(7000)?, web.serve(7001)?];
    world.ctl("port publish web 8080:7000")?;
    let kept = hold(&world.lan_scope(), (HOST_V4, 8080).into())?;
    world.ctl("port publish web 8081:7001")?;
    world.stop()?;
    world.start_with(&[("NETD_FAILPOINT", "ports-withdrawn")])?;
    let output = world.netctl(&["port", "unpublish", "web", "8081:7001"])?;
    ensure!(!output.ok, "the daemon lives");
    world.wait_for_end()?;
    // The store knows of the change, the data plane does not.
    let half = hold(&world.lan_scope(), (HOST_V4, 8081).into())?;
    world.start()?;
    ensure!(!half.finish()?.ok, "a flow outlived its publication");
    ensure!(kept.finish()?.ok, "a flow broke by the start");
    Ok(())
}
