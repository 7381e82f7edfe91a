//! P01: the API over TCP: certificates, roles, and the log of changes.

use std::{fs, io::Write as _, path::Path};

use anyhow::{Context, ensure};
use netd_tests::{
    World,
    pki::{Pki, access, config_path, plain},
    wait_for,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Outcome;

/// A world whose daemon serves TCP with a PKI of these clients, and these roles.
pub fn served(clients: &[&str], roles: &str) -> anyhow::Result<(World, Pki)> {
    let mut world = World::unstarted_with("")?;
    let pki = Pki::new(&world, "pki", clients)?;
    fs::write(config_path(&world), pki.listen() + roles)?;
    world.start()?;
    Ok((world, pki))
}

/// Reads the settings anew, until the log says so once more.
pub fn reload(world: &World) -> Outcome {
    let count = |world: &World| {
        let log = plain(&world.log());
        log.matches("the settings were read anew").count()
            + log.matches("the settings stay as they were").count()
    };
    let before = count(world);
    let pid = i32::try_from(world.daemon_pid().context("no daemon")?)?;
    kill(Pid::from_raw(pid), Signal::SIGHUP)?;
    wait_for("the settings to be read", 10, || {
        (count(world) > before).then_some(())
    });
    Ok(())
}

#[test]
fn p01_over_tcp_certificates_and_roles_decide() -> Outcome {
    let roles = access("admin", "write") + &access("viewer", "read");
    let (world, pki) = served(&["admin", "viewer", "stranger"], &roles)?;
    let lan = world.lan_scope();
    let refused = |client: &str, line: &str, parts: &[&str]| -> Outcome {
        let output = pki.netctl(&lan, client, line)?;
        ensure!(
            output.code == Some(1),
            "{client}: {line}: {}",
            output.text()
        );
        for part in parts {
            ensure!(output.stderr.contains(part), "{part}: {}", output.stderr);
        }
        Ok(())
    };
    let allowed = |client: &str, line: &str| -> anyhow::Result<String> {
        let output = pki.netctl(&lan, client, line)?;
        ensure!(output.ok, "{client}: {line}: {}", output.text());
        Ok(output.stdout)
    };
    allowed("admin", "network create front")?;
    ensure!(allowed("viewer", "network ls")?.contains("front"));
    allowed("viewer", "status")?;
    let hint = "role = \"write\"";
    refused("viewer", "network create back", &["may read only", hint])?;
    refused("viewer", "network rm front", &["may read only", hint])?;
    refused("stranger", "network ls", &["unknown to netd", "[[access]]"])?;
    allowed("admin", "network rm front")?;

    // Another authority's certificate is nobody's, on either side.
    let other = Pki::new(&world, "other", &["admin"])?;
    for (name, why) in [("cert.pem", "alert"), ("ca.pem", "certificate")] {
        let mixed = pki.client("mixed");
        let _ = fs::remove_dir_all(&mixed);
        fs::create_dir(&mixed)?;
        let theirs = ["ca.pem", "cert.pem", "key.pem"].map(|file| {
            let foreign = file == name || (name == "cert.pem" && file == "key.pem");
            (file, if foreign { &other } else { &pki })
        });
        for (file, of) in theirs {
            fs::copy(of.client("admin").join(file), mixed.join(file))?;
        }
        refused("mixed", "network ls", &[why, "--tls-ca"])?;
    }
    // No plaintext, no older TLS, no connection without a certificate.
    let probe = include_str!("access_probe.py");
    let client = pki.client("admin").display().to_string();
    let output = lan.run(&["python3", "-c", probe, "198.51.100.1", "7433", &client])?;
    ensure!(output.ok, "{}", output.text());
    ensure!(
        output.stdout.trim()
            == "plaintext refused\ntls1.2 refused\nno certificate refused\ntls1.3 accepted",
        "{}",
        output.text()
    );

    let log = plain(&world.log());
    let audit: Vec<&str> = log.lines().filter(|l| l.contains("netd::audit")).collect();
    let one = |parts: &[&str]| {
        let found = audit
            .iter()
            .filter(|line| parts.iter().all(|part| line.contains(part)));
        ensure!(found.count() == 1, "{parts:?}: {}", audit.join("\n"));
        Ok(())
    };
    let create = "netd.v1.NetworkService/CreateNetwork";
    let from = "from 198.51.100.2:";
    one(&["[\"admin\"]", from, create, "name=\"front\"", "\"OK\""])?;
    one(&["[\"viewer\"]", create, "PERMISSION_DENIED"])?;
    ensure!(!log.contains("ListNetworks"), "reads are logged");
    Ok(())
}

#[test]
fn p01_changes_over_the_socket_are_logged_with_who_asked() -> Outcome {
    let world = World::new()?;
    world.ctl("network create front")?;
    world.refused("network create front", &["already exists"])?;
    world.ctl("sandbox create web --network front")?;
    world.ctl("network ls")?;
    let log = plain(&world.log());
    let audit: Vec<&str> = log.lines().filter(|l| l.contains("netd::audit")).collect();
    for parts in [
        [
            "uid 0, pid ",
            "\"netctl\"",
            "CreateNetwork",
            "name=\"front\"",
            "\"OK\"",
        ],
        [
            "uid 0, pid ",
            "\"netctl\"",
            "CreateNetwork",
            "name=\"front\"",
            "ALREADY_EXISTS",
        ],
        [
            "uid 0, pid ",
            "\"netctl\"",
            "CreateSandbox",
            "name=\"web\"",
            "\"OK\"",
        ],
    ] {
        let found = audit
            .iter()
            .filter(|line| parts.iter().all(|part| line.contains(part)));
        ensure!(found.count() == 1, "{parts:?}: {}", audit.join("\n"));
    }
    ensure!(audit.len() == 3, "{}", audit.join("\n"));
    Ok(())
}

#[test]
fn p01_certificates_change_under_connections_that_stay() -> Outcome {
    let roles = access("admin", "write") + &access("viewer", "read");
    let (world, first) = served(&["admin", "viewer"], &roles)?;
    let lan = world.lan_scope();
    let mut events = first.spawn(
        &lan,
        "viewer",
        "events --format {{.Action}}={{.Actor.Attributes.name}}",
    )?;
    // The stream is there when it tells what happens.
    let mut made = 0;
    wait_for("the first event", 20, || {
        world.ctl(&format!("network create n{made}")).ok()?;
        made += 1;
        std::thread::sleep(std::time::Duration::from_millis(200));
        (made > 2).then_some(())
    });
    events.until("create=n")?;
    let second = Pki::new(&world, "second", &["admin"])?;
    let pair = |from: &Path, to: &Path, names: &[&str]| -> Outcome {
        for name in names {
            // As certbot and others do it: the old file is whole until the new one is.
            let new = to.join(format!("{name}.new"));
            fs::copy(from.join(name), &new)?;
            fs::rename(new, to.join(name))?;
        }
        Ok(())
    };
    let (of_first, of_second) = (
        first.directory.join("server"),
        second.directory.join("server"),
    );
    // Half of a pair: what was before stays in force, with a warning.
    pair(&of_second, &of_first, &["cert.pem"])?;
    let output = first.netctl(&lan, "admin", "network ls")?;
    ensure!(output.ok, "{}", output.text());
    ensure!(
        plain(&world.log()).contains("use what was read before"),
        "{}",
        world.log()
    );
    pair(&of_second, &of_first, &["key.pem"])?;
    pair(&second.directory, &first.directory, &["ca.pem"])?;
    let output = second.netctl(&lan, "admin", "network create late")?;
    ensure!(output.ok, "{}", output.text());
    let output = first.netctl(&lan, "admin", "network ls")?;
    ensure!(output.code == Some(1), "the old authority still counts");
    events.until("create=late")?;
    Ok(())
}

#[test]
fn p01_sighup_changes_what_can_change() -> Outcome {
    let (world, pki) = served(&["admin", "viewer"], &access("admin", "write"))?;
    let lan = world.lan_scope();
    let path = config_path(&world);
    let may = |line: &str| -> anyhow::Result<bool> { Ok(pki.netctl(&lan, "viewer", line)?.ok) };
    ensure!(!may("network ls")?);
    let roles = access("admin", "write") + &access("viewer", "read");
    fs::write(&path, pki.listen() + &roles)?;
    ensure!(!may("network ls")?, "before SIGHUP");
    reload(&world)?;
    ensure!(may("network ls")? && !may("network create x")?);

    // A bad file changes nothing.
    let writes = access("admin", "write") + &access("viewer", "write");
    fs::write(&path, pki.listen() + &writes + "nonsense = 1\n")?;
    reload(&world)?;
    ensure!(may("network ls")? && !may("network create x")?);
    ensure!(plain(&world.log()).contains("nonsense"), "{}", world.log());
    let missing = pki
        .listen()
        .replace("server/key.pem", "server/no-such-key.pem");
    fs::write(&path, missing + &writes)?;
    reload(&world)?;
    ensure!(may("network ls")? && !may("network create x")?);
    ensure!(
        plain(&world.log()).contains("no-such-key.pem"),
        "{}",
        world.log()
    );

    // The socket's group changes at once; limits say that they wait.
    let listen = pki.listen() + "group = \"54321\"\n";
    fs::write(&path, listen + &writes + "[limits]\nnetworks = 100\n")?;
    reload(&world)?;
    ensure!(may("network create x")?);
    use std::os::unix::fs::MetadataExt as _;
    let data = fs::metadata(world.run_directory().join("netd.sock"))?;
    ensure!(
        data.gid() == 54321 && data.mode() & 0o777 == 0o660,
        "{data:?}"
    );
    let log = plain(&world.log());
    ensure!(log.contains("these wait for a restart: limits"), "{log}");
    Ok(())
}

#[test]
fn p01_what_cannot_be_served_is_refused_at_the_start() -> Outcome {
    let world = World::unstarted_with("")?;
    let pki = Pki::new(&world, "pki", &["admin"])?;
    let (path, good) = (config_path(&world), pki.listen());
    let says = |text: &str, parts: &[&str]| -> Outcome {
        fs::File::create(&path)?.write_all(text.as_bytes())?;
        let output = world.netd(&[])?;
        ensure!(output.code == Some(1), "{text}: {}", output.text());
        for part in parts {
            ensure!(output.stderr.contains(part), "{part}: {}", output.stderr);
        }
        Ok(())
    };
    let without_key: String = good
        .lines()
        .filter(|line| !line.starts_with("tls_key"))
        .map(|line| format!("{line}\n"))
        .collect();
    says(
        &without_key,
        &["tls_key", "mutual TLS only", "netd pki init"],
    )?;
    says(
        &good.replace("server/cert.pem", "server/key.pem"),
        &["no certificate"],
    )?;
    says(
        &good.replace("198.51.100.1", "198.51.100.77"),
        &["198.51.100.77", "--listen"],
    )?;
    says(
        "[listen]\ngroup = \"no-such-group\"\n",
        &["no-such-group", "--socket-group"],
    )?;
    ensure!(!world.run_directory().join("netd.sock").exists());
    Ok(())
}
