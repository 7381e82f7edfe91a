//! Bad input: a clear error that names the thing and the way out, and nothing half-made.

use std::fs;

use anyhow::ensure;
use netd_tests::{
    Scope, Server, World,
    probe::probe,
    world::{HOST_V4, HOST_V6, LAN_V4, LAN_V6},
};

use crate::{Outcome, reaches};

#[test]
fn n05_unknown_names() -> Outcome {
    let world = World::new()?;
    world.ctl("network create front")?;
    world.ctl("sandbox create web")?;
    world.refused("network connect nosuch web", &["nosuch", "not found"])?;
    world.refused("network connect front nosuch", &["nosuch"])?;
    world.refused("network inspect nosuch", &["nosuch", "not found"])?;
    world.refused("network create -d nosuch other", &["nosuch"])?;
    world.refused("sandbox rm nosuch", &["nosuch"])?;
    world.refused("port publish nosuch 80:80", &["nosuch"])?;
    let usage = world.netctl(&["network", "frobnicate"])?;
    ensure!(
        usage.code == Some(2),
        "usage errors are 2, not {:?}",
        usage.code
    );
    ensure!(!world.ctl("network ls")?.contains("other"), "half-made");
    Ok(())
}

#[test]
fn n05_namespaces_that_are_none() -> Outcome {
    let world = World::new()?;
    world.refused(
        "sandbox create ghost --netns /run/netns/no-such-namespace",
        &["/run/netns/no-such-namespace"],
    )?;
    world.refused(
        "sandbox create ghost --netns /proc/self/ns/pid",
        &["/proc/self/ns/pid"],
    )?;
    world.refused("sandbox create ghost --pid 4194304", &["4194304"])?;
    ensure!(!world.ctl("sandbox ls")?.contains("ghost"), "half-made");
    world.ctl("sandbox create ghost")?;
    world.refused("sandbox create ghost", &["ghost"])?;
    Ok(())
}

#[test]
fn c01_malformed_ports_and_foreign_addresses() -> Outcome {
    let world = World::new()?;
    world.ctl("network create front")?;
    world.sandbox("web", &["front"])?;
    for spec in [
        "99999:80",
        "80:80/icmp",
        "8000-8002:80-81",
        "host:80:80",
        "0x50:80",
    ] {
        let output = world.netctl(&["port", "publish", "web", spec])?;
        ensure!(
            matches!(output.code, Some(1 | 2)) && !output.stderr.is_empty(),
            "{spec}: {output:?}"
        );
    }
    world.refused("port publish web 203.0.113.77:80:80", &["203.0.113.77"])?;
    ensure!(!world.ctl("port ls web")?.contains("80"), "half-made");
    Ok(())
}

#[test]
fn p02_second_daemon_on_the_instance() -> Outcome {
    let world = World::new()?;
    let output = world.netd(&[])?;
    ensure!(!output.ok, "a second daemon runs");
    ensure!(output.text().contains(&world.instance), "{}", output.text());
    world.ctl("status")?;
    Ok(())
}

#[test]
fn p02_corrupt_store() -> Outcome {
    let mut world = World::new()?;
    world.ctl("network create front")?;
    world.stop()?;
    let store = world.state_directory().join("netd.redb");
    let good = fs::read(&store)?;
    fs::write(&store, b"this is no database")?;
    let output = world.netd(&[])?;
    ensure!(
        !output.ok && output.text().contains(&store.display().to_string()),
        "{}",
        output.text()
    );
    ensure!(
        fs::read(&store)? == b"this is no database",
        "the evidence was overwritten"
    );
    fs::write(&store, good)?;
    world.start()?;
    world.ctl("network inspect front")?;
    Ok(())
}

#[test]
fn p02_not_root_and_no_daemon() -> Outcome {
    let mut world = World::new()?;
    world.stop()?;
    world.refused("status", &["netd.sock"])?;
    let mut words = vec![
        "setpriv",
        "--reuid",
        "65534",
        "--clear-groups",
        "--inh-caps=-all",
        "--bounding-set=-all",
    ];
    let daemon = world.daemon_words(&[]);
    // The build directory may be closed to others.
    let copy = world.directory().join("netd").display().to_string();
    Scope::machine().install(&daemon[0], &copy)?;
    let open = Scope::machine().run(&[
        "chmod",
        "-R",
        "a+rX",
        &world.directory().display().to_string(),
    ])?;
    ensure!(open.ok, "{}", open.text());
    words.push(&copy);
    words.extend(daemon.iter().skip(1).map(String::as_str));
    let output = world.host_scope().run(&words)?;
    ensure!(
        !output.ok && output.text().contains("root"),
        "{}",
        output.text()
    );
    Ok(())
}

/// What a failed start left pinned would hold the next one to its sizes.
#[test]
fn n10_a_start_that_fails_leaves_nothing() -> Outcome {
    let mut world = World::without_daemon()?;
    let mut words = world.daemon_words(&[]);
    let nowhere = "/proc/self";
    for at in 1..words.len() {
        if words[at - 1] == "--cgroup" {
            words[at] = nowhere.into();
        }
    }
    // And one that has no descriptors left when some maps are there.
    let few = [
        vec!["prlimit".into(), "--nofile=20:20".into()],
        world.daemon_words(&[]),
    ];
    for (words, part) in [(words, nowhere), (few.concat(), "Too many open files")] {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = world.host_scope().run(&words)?;
        ensure!(
            !output.ok && output.text().contains(part),
            "{}",
            output.text()
        );
        let pins = std::path::Path::new("/sys/fs/bpf/netd").join(&world.instance);
        ensure!(!pins.exists(), "{} is left", pins.display());
    }
    world.start()
}

/// Sizes are the pinned maps': others are refused, and the way out that is told keeps all but the connections.
#[test]
fn n10_sizes_change_with_the_pins_gone() -> Outcome {
    let mut world = World::unstarted_with("[limits]\nflows = 8192\n")?;
    world.start()?;
    world.ctl("network create --ipv6 front")?;
    let web = world.sandbox("web", &["front"])?;
    let _servers = [web.serve(7000)?, Server::start(&world.lan_scope(), 7000)?];
    world.ctl("port publish web 8080:7000")?;
    let works = |world: &World| -> Outcome {
        for (inside, outside) in [
            (LAN_V4.into(), HOST_V4.into()),
            (LAN_V6.into(), HOST_V6.into()),
        ] {
            reaches(&web, inside, 7000)?;
            let from_outside: (std::net::IpAddr, u16) = (outside, 8080);
            probe(&world.lan_scope(), "tcp", from_outside.into(), 1500)?;
        }
        Ok(())
    };
    works(&world)?;
    world.stop()?;
    fs::write(
        world.directory().join("netd.toml"),
        "[limits]\nflows = 16384\n",
    )?;
    let refused = world.netd(&[])?;
    let text = refused.text();
    let pins = std::path::Path::new("/sys/fs/bpf/netd").join(&world.instance);
    ensure!(
        !refused.ok && text.contains("8192") && text.contains(&pins.display().to_string()),
        "{text}"
    );
    fs::remove_dir_all(&pins)?;
    world.start()?;
    works(&world)?;
    ensure!(world.ctl("status")?.contains("of 16384"), "the old size");
    Ok(())
}
