//! Changes that are asked of the daemon: ports, sandboxes, networks.

use std::time::Duration;

use anyhow::Result;
use netd_tests::{
    Netns, Sandbox,
    load::{Load, Service, now},
    world::{HOST_V4, LAN_V4},
};

use crate::{Soak, traffic};

/// Publishes and unpublishes a port whose connections may end, beside ports of the same sandbox whose may not.
///
/// # Errors
/// When the daemon refuses.
pub fn ports(soak: &Soak) -> Result<()> {
    let toggled = "web 8081:7000 8081:7000/udp";
    // Nobody calls these, but some clients' own ports and other servers' ports lie among them.
    let unused = "web 7000:7000 32768-33791:9000-10023";
    while !soak.over() {
        soak.pause(Duration::from_millis(400));
        soak.ledger
            .change("a port published for a moment", &[], || {
                soak.control.ctl(&format!("port publish {unused}"))?;
                soak.control.ctl(&format!("port unpublish {unused}"))
            })?;
        soak.ledger
            .change("its port unpublished", &["toggled"], || {
                soak.control.ctl(&format!("port unpublish {toggled}"))?;
                soak.pause(Duration::from_millis(100));
                soak.control.ctl(&format!("port publish {toggled}"))
            })?;
    }
    Ok(())
}

/// A sandbox comes, calls and is called, and goes while it does.
///
/// # Errors
/// When the daemon refuses.
pub fn guests(soak: &Soak) -> Result<()> {
    let mut number = 0;
    while !soak.over() {
        number += 1;
        let name = format!("guest{number}");
        soak.ledger
            .change("a sandbox made", &[], || make(soak, &name))?;
        let sandbox = {
            let world = soak.control.world();
            let path = world.run_directory().join("netns").join(&name);
            Sandbox::new(&name, Netns::at(&name, &path), world.scope(&path))
        };
        let service = Service::start(&sandbox.scope, "7000", &[])?;
        let outside = soak.control.world().lan_scope();
        let clients = [
            (
                "guest: TCP out",
                &sandbox.scope,
                Load::connect(&[(LAN_V4, 7000).into()]),
            ),
            (
                "guest: UDP out",
                &sandbox.scope,
                Load::exchange(&[(LAN_V4, 7000).into()]),
            ),
            (
                "guest: published TCP",
                &outside,
                Load::connect(&[(HOST_V4, 8090).into()]),
            ),
        ];
        let mut running = Vec::new();
        for (class, scope, load) in clients {
            let load = traffic::steady(soak, class, load, 40.0);
            running.push((class, load.start(scope)?));
        }
        soak.pause(Duration::from_millis(1500));
        let begun = now();
        soak.control.ctl(&format!("sandbox rm {name}"))?;
        soak.pause(Duration::from_millis(100));
        for (class, client) in running {
            soak.ledger.tally(class, client.end()?);
        }
        // The clients have ended: none of these connections can begin later.
        soak.ledger
            .interval("its sandbox removed", &["guest"], (begun, now()), now());
        drop(service);
    }
    Ok(())
}

fn make(soak: &Soak, name: &str) -> Result<()> {
    soak.control.ctl(&format!("sandbox create {name}"))?;
    soak.control.ctl(&format!("network connect front {name}"))?;
    soak.control.ctl(&format!("port publish {name} 8090:7000"))
}

/// Connects a sandbox to a second network and disconnects it; its connections by the first one stay.
///
/// # Errors
/// When the daemon refuses.
pub fn second_network(soak: &Soak) -> Result<()> {
    while !soak.over() {
        soak.pause(Duration::from_millis(700));
        soak.ledger.change("a network connected", &[], || {
            soak.control.ctl("network connect zone mover")
        })?;
        soak.pause(Duration::from_millis(700));
        soak.ledger.change("a network disconnected", &[], || {
            soak.control.ctl("network disconnect zone mover")
        })?;
    }
    Ok(())
}
