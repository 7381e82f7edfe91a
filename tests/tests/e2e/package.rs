//! P04: the Debian package: what is in it, its unit, and the daemon started from it as the unit says.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use netd_tests::{Scope, World, world::binary};

use crate::Outcome;

/// Builds the package of the binaries that are tested and unpacks it below this directory.
fn unpacked(directory: &Path) -> Result<PathBuf> {
    let (debs, root) = (directory.join("deb"), directory.join("root"));
    fs::create_dir(&debs)?;
    let to = debs.display().to_string();
    let made = Scope::machine().run(&[
        &binary("xtask"),
        "package",
        "--built",
        "debug",
        "--output",
        &to,
    ])?;
    ensure!(
        made.ok,
        "cargo xtask package: {} (cargo xtask setup installs cargo-deb)",
        made.text()
    );
    let deb = fs::read_dir(&debs)?.next().context("no package")??.path();
    let (deb, into) = (deb.display().to_string(), root.display().to_string());
    for words in [["dpkg-deb", "-x"], ["dpkg-deb", "-e"]] {
        let into = match words[1] {
            "-x" => into.clone(),
            _ => format!("{into}/DEBIAN"),
        };
        let output = Scope::machine().run(&[words[0], words[1], &deb, &into])?;
        ensure!(output.ok, "{}", output.text());
    }
    Ok(root)
}

/// The value of a directive of the unit.
fn directive<'a>(unit: &'a str, name: &str) -> Result<&'a str> {
    unit.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        .with_context(|| format!("the unit has no {name}="))
}

/// What systemd says of the unit below this directory.
fn verified(root: &Path) -> Result<Vec<String>> {
    let inside = format!("--root={}", root.display());
    let words = [
        "systemd-analyze",
        &inside,
        "--man=no",
        "verify",
        "netd.service",
    ];
    let said = Scope::machine().run(&words)?;
    let about = said
        .stderr
        .lines()
        .filter(|line| line.contains("netd.service"));
    Ok(about.map(str::to_owned).collect())
}

#[test]
fn p04_the_package_brings_a_daemon_that_starts_as_its_unit_says() -> Outcome {
    let mut world = World::unstarted_with("")?;
    let root = unpacked(world.directory())?;
    for file in [
        "usr/bin/netd",
        "usr/bin/netctl",
        "usr/bin/netd-runc",
        "etc/netd/netd.toml",
        "usr/share/man/man1/netctl-network-create.1.gz",
        "usr/share/bash-completion/completions/netctl",
        "usr/share/zsh/vendor-completions/_netctl",
        "usr/share/fish/vendor_completions.d/netctl.fish",
        "usr/share/doc/netd/copyright",
    ] {
        let data = fs::metadata(root.join(file)).with_context(|| file.to_owned())?;
        ensure!(data.len() > 0, "{file} is empty");
    }
    ensure!(fs::read_to_string(root.join("DEBIAN/conffiles"))?.contains("/etc/netd/netd.toml"));
    let script = fs::read_to_string(root.join("DEBIAN/postinst"))?;
    ensure!(
        script.contains("deb-systemd-helper") && script.contains("netd.service"),
        "{script}"
    );
    let path = root.join("usr/lib/systemd/system/netd.service");
    let unit = fs::read_to_string(&path)?;
    if Path::new("/usr/bin/systemd-analyze").exists() {
        // Of what every system has, that which this unit names.
        for other in ["multi-user", "network-pre", "sysinit", "basic", "shutdown"] {
            let text = "[Unit]\nDescription=of the system\n";
            fs::write(path.with_file_name(format!("{other}.target")), text)?;
        }
        fs::create_dir_all(root.join("bin"))?;
        fs::copy("/bin/kill", root.join("bin/kill"))?;
        let said = verified(&root)?;
        ensure!(said.is_empty(), "{}", said.join("\n"));
        fs::write(
            &path,
            unit.replace("KillMode=mixed", "KillMode=no-such-mode"),
        )?;
        ensure!(!verified(&root)?.is_empty(), "a bad unit passes as well");
        fs::write(&path, &unit)?;
    }
    // The unit's program and capabilities; the directories are this world's.
    let program = directive(&unit, "ExecStart")?;
    let installed = root.join(program.trim_start_matches('/'));
    let bounds = directive(&unit, "CapabilityBoundingSet")?.to_lowercase();
    let bounds: Vec<String> = bounds
        .split_whitespace()
        .map(|name| name.replace("cap_", "+"))
        .collect();
    let limits = format!("-all,{}", bounds.join(","));
    fs::copy(
        root.join("etc/netd/netd.toml"),
        netd_tests::pki::config_path(&world),
    )?;
    world.wrap(
        &[
            "setpriv",
            "--no-new-privs",
            "--bounding-set",
            &limits,
            "--inh-caps",
            "-all",
        ],
        [&installed, &root.join("usr/bin/netctl")],
    );
    world.start()?;
    world.ctl("network create --ipv6 front")?;
    let web = world.sandbox("web", &["front"])?;
    let client = world.sandbox("client", &["front"])?;
    let server = web.serve(80)?;
    crate::reaches(&client, web.v4("eth0")?.into(), 80)?;
    world.ctl("port publish web 8080:80")?;
    // A process of somebody else's, by its number.
    let other = world.namespace("other")?;
    let user = [
        "setpriv",
        "--reuid",
        "54322",
        "--clear-groups",
        "sleep",
        "600",
    ];
    let process = other.scope().spawn(&user)?;
    world.ctl(&format!(
        "sandbox create theirs --pid {} --network front",
        process.pid()
    ))?;
    drop((server, process));
    world.kill()?;
    world.start()?;
    ensure!(world.ctl("network inspect front")?.contains("web"));
    for name in ["theirs", "client", "web"] {
        world.ctl(&format!("sandbox rm {name}"))?;
    }
    world.stop()
}
