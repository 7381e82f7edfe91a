//! S06: docker run's flags for names: kept, shown, and refused where they could not be right.

use std::fs;

use anyhow::ensure;
use netd_tests::World;
use serde_json::json;

use crate::{
    Outcome,
    name_files::{hosts, path, resolv_conf, wants, world},
    show,
};

#[test]
fn s06_flags_are_shown_and_kept() -> Outcome {
    let (mut world, _file) = world("")?;
    world.ctl(
        "sandbox create --stopped --hostname w --domainname a.example --dns 192.0.2.1 --dns 2001:db8::1 \
        --dns-search b.example --dns-search c --dns-option timeout:1 --dns-opt rotate --add-host db=192.0.2.7 \
        --add-host six:[2001:db8::7] --add-host h:host-gateway web",
    )?;
    for _ in 0..2 {
        let shown = show::sandbox(&world, "web")?;
        for (key, wanted) in [
            ("Hostname", json!("w")),
            ("Domainname", json!("a.example")),
            ("Dns", json!(["192.0.2.1", "2001:db8::1"])),
            ("DnsSearch", json!(["b.example", "c"])),
            ("DnsOptions", json!(["timeout:1", "rotate"])),
            (
                "ExtraHosts",
                json!(["db:192.0.2.7", "six:2001:db8::7", "h:host-gateway"]),
            ),
            // It does not run.
            ("NetnsPath", json!("")),
        ] {
            ensure!(shown[key] == wanted, "{key}: {shown:#}");
        }
        world.kill()?;
        world.start()?;
    }
    world.ctl("sandbox start web")?;
    let text = resolv_conf(&world, "web")?;
    ensure!(
        text == "nameserver 127.0.0.11\nsearch b.example c\noptions timeout:1 rotate ndots:0\n",
        "{text}"
    );
    let name = fs::read_to_string(path(&world, "web", "HostnamePath")?)?;
    ensure!(name == "w\n", "{name}");
    // No network, no host: the line for the host's address is left out.
    let wanted = ["192.0.2.7\tdb", "2001:db8::7\tsix"].map(str::to_owned);
    wants(&hosts(&world, "web")?, &wanted)?;
    ensure!(world.log().contains("host-gateway"), "{}", world.log());
    Ok(())
}

#[test]
fn s06_refusals() -> Outcome {
    let world = World::new()?;
    // netctl says it by itself, as Docker's client.
    for (flags, part) in [
        ("--dns nosuch", "nosuch is not an ip address"),
        ("--dns-search 10", "10 is not a valid domain"),
        ("--add-host db", "bad format for add-host: \"db\""),
        (
            "--add-host :192.0.2.7",
            "bad format for add-host: \":192.0.2.7\"",
        ),
        (
            "--add-host db:192.0.2",
            "invalid IP address in add-host: \"192.0.2\"",
        ),
    ] {
        let line = format!("sandbox create {flags} web");
        let output = world.netctl(&line.split_whitespace().collect::<Vec<_>>())?;
        ensure!(
            output.code == Some(2) && output.stderr.contains(part),
            "{line}: {}",
            output.text()
        );
    }
    let long = "a".repeat(65);
    for (words, part) in [
        (["--hostname", "a b"], "invalid hostname \"a b\""),
        (["--hostname", &long], "invalid hostname"),
        (["--domainname", "a..b"], "invalid domainname \"a..b\""),
        (
            ["--dns-option", "rotate\nnameserver 192.0.2.1"],
            "invalid dns option",
        ),
        (
            ["--dns-option", "ndots:many"],
            "invalid number for ndots option",
        ),
        (["--dns-option", ""], "invalid dns option \"\""),
        (
            ["--add-host", "a b:192.0.2.7"],
            "bad format for add-host: \"a b\"",
        ),
        (
            ["--add-host", "a\n192.0.2.1 b:192.0.2.7"],
            "bad format for add-host",
        ),
        (
            ["--network", "name=bridge,link=db:a b"],
            "invalid link \"db:a b\"",
        ),
    ] {
        let output = world.netctl(&[&["sandbox", "create"], &words[..], &["web"]].concat())?;
        ensure!(
            output.code == Some(1) && output.stderr.contains(part),
            "{words:?}: {}",
            output.text()
        );
    }
    ensure!(world.ctl("sandbox ls -q")?.is_empty());
    ensure!(!world.run_directory().join("files").exists());
    Ok(())
}
