//! S06: the files that tell a sandbox names, on disk and as programs inside see them.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use netd_tests::{Sandbox, World};
use tempfile::NamedTempFile;

use crate::{Outcome, show};

/// What stands in every hosts file.
const LOCALHOST: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::0\tip6-localnet\nff00::0\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";

/// A world whose host has this resolv.conf.
pub fn world(resolv_conf: &str) -> anyhow::Result<(World, NamedTempFile)> {
    let file = NamedTempFile::new()?;
    fs::write(file.path(), resolv_conf)?;
    let world = World::with_config(&format!("[dns]\nresolv_conf = {:?}\n", file.path()))?;
    Ok((world, file))
}

/// A path that `sandbox inspect` shows.
pub fn path(world: &World, sandbox: &str, key: &str) -> anyhow::Result<PathBuf> {
    let shown = show::sandbox(world, sandbox)?;
    Ok(shown[key].as_str().context("no path")?.into())
}

/// A sandbox's resolv.conf without the first line, which is a remark.
pub fn resolv_conf(world: &World, sandbox: &str) -> anyhow::Result<String> {
    let text = fs::read_to_string(path(world, sandbox, "ResolvConfPath")?)?;
    let (remark, rest) = text.split_once('\n').context("one line only")?;
    ensure!(remark.starts_with('#'), "{text}");
    Ok(rest.to_owned())
}

/// The lines of a hosts file behind those that every one has.
fn lines(path: &Path) -> anyhow::Result<Vec<String>> {
    let text = fs::read_to_string(path)?;
    let own = text.strip_prefix(LOCALHOST).with_context(|| text.clone())?;
    Ok(own.lines().map(str::to_owned).collect())
}

/// As [`lines`], of a sandbox.
pub fn hosts(world: &World, sandbox: &str) -> anyhow::Result<Vec<String>> {
    lines(&path(world, sandbox, "HostsPath")?)
}

/// The lines of a sandbox's own addresses on an interface.
pub fn own(sandbox: &Sandbox, interface: &str, names: &str) -> anyhow::Result<Vec<String>> {
    let addresses = sandbox.addresses(interface)?;
    Ok(addresses.iter().map(|a| format!("{a}\t{names}")).collect())
}

/// That these are the lines.
pub fn wants(found: &[String], wanted: &[String]) -> Outcome {
    ensure!(found == wanted, "{found:#?}, not {wanted:#?}");
    Ok(())
}

#[test]
fn s06_resolv_conf_takes_what_the_host_has() -> Outcome {
    let (world, file) = world(
        "nameserver 192.0.2.53\nsearch lan.example other.example\noptions edns0 timeout:3\n",
    )?;
    let server = "nameserver 127.0.0.11\n";
    let search = "search lan.example other.example\n";
    for (flags, wanted) in [
        (
            "one",
            format!("{server}{search}options edns0 timeout:3 ndots:0\n"),
        ),
        (
            "--network bridge two",
            format!("{server}{search}options edns0 timeout:3 ndots:0\n"),
        ),
        (
            "--dns-search . --dns-option ndots:3 --dns 192.0.2.9 three",
            format!("{server}options edns0 timeout:3 ndots:3\n"),
        ),
        (
            "--dns-search x.example --dns-option timeout:9 four",
            format!("{server}search x.example\noptions edns0 timeout:9 ndots:0\n"),
        ),
    ] {
        show::run(&world, flags)?;
        let name = flags.split_whitespace().last().context("no name")?;
        let text = resolv_conf(&world, name)?;
        ensure!(text == wanted, "{name}: {text}");
    }
    // The host's file is looked at when a sandbox starts.
    fs::write(file.path(), "search new.example\n")?;
    world.ctl("network create front")?;
    world.ctl("network connect front one")?;
    ensure!(resolv_conf(&world, "one")?.contains(search));
    world.ctl("sandbox stop one")?;
    world.ctl("sandbox start one")?;
    let text = resolv_conf(&world, "one")?;
    ensure!(
        text == format!("{server}search new.example\noptions ndots:0\n"),
        "{text}"
    );
    fs::remove_file(file.path())?;
    world.ctl("sandbox create five")?;
    let text = resolv_conf(&world, "five")?;
    ensure!(text == format!("{server}options ndots:0\n"), "{text}");
    // On the host network names are the host's.
    world.ctl("sandbox create --network host hosty")?;
    let shown = show::sandbox(&world, "hosty")?;
    ensure!(shown["ResolvConfPath"] == "" && shown["HostsPath"] == "");
    Ok(())
}

#[test]
fn s06_hosts_follow_the_networks() -> Outcome {
    let (mut world, _file) = world("")?;
    world.ctl("network create --ipv6 front")?;
    world.ctl("network create back")?;
    let web = show::run(
        &world,
        "--network front --hostname web.a.example --add-host db:192.0.2.7 web",
    )?;
    let path = path(&world, "web", "HostsPath")?;
    let inode = || -> anyhow::Result<u64> { Ok(fs::metadata(&path)?.ino()) };
    let first = inode()?;
    let extra = vec!["192.0.2.7\tdb".to_owned()];
    let front = own(&web, "eth0", "web.a.example web")?;
    ensure!(front.len() == 2, "{front:?}");
    wants(&lines(&path)?, &[extra.clone(), front.clone()].concat())?;
    world.ctl("network connect back web")?;
    let back = own(&web, "eth1", "web.a.example web")?;
    let both = [extra.clone(), front, back.clone()].concat();
    wants(&lines(&path)?, &both)?;
    // A connection that fails leaves nothing.
    world.ctl("network create third")?;
    web.netns.ip("link add eth2 type veth peer name mine")?;
    world.refused("network connect third web", &["exists already"])?;
    wants(&lines(&path)?, &both)?;
    world.ctl("network disconnect front web")?;
    let wanted = [extra, back].concat();
    wants(&lines(&path)?, &wanted)?;
    // What others did to the files is mended, in place.
    fs::write(&path, "nonsense")?;
    let mended = world.ctl("system reconcile")?;
    ensure!(mended.contains("files of sandbox"), "{mended}");
    wants(&lines(&path)?, &wanted)?;
    fs::write(&path, "nonsense")?;
    world.kill()?;
    world.start()?;
    wants(&lines(&path)?, &wanted)?;
    ensure!(inode()? == first, "another file is at {}", path.display());
    ensure!(world.ctl("system reconcile")?.find("files of").is_none());
    Ok(())
}

#[test]
fn s06_files_come_back_and_go() -> Outcome {
    let (mut world, _file) = world("search a.example\n")?;
    world.ctl("sandbox create web")?;
    world.ctl("sandbox create gone")?;
    let all = world.run_directory().join("files");
    let directories = || -> anyhow::Result<usize> { Ok(fs::read_dir(&all)?.count()) };
    ensure!(directories()? == 2);
    world.kill()?;
    let web = world.run_directory().join("files");
    for entry in fs::read_dir(&web)? {
        fs::remove_dir_all(entry?.path())?;
    }
    let stray = all.join("5e".repeat(32));
    fs::create_dir(&stray)?;
    fs::write(stray.join("hosts"), "")?;
    world.start()?;
    ensure!(directories()? == 2 && !stray.exists());
    let text = resolv_conf(&world, "web")?;
    ensure!(text.contains("search a.example"), "{text}");
    world.ctl("sandbox rm gone")?;
    ensure!(directories()? == 1);
    // A creation that fails leaves none.
    world.ctl("network create --subnet 10.77.0.0/24 front")?;
    world.ctl("sandbox create --network name=front,ip=10.77.0.9 taken")?;
    ensure!(directories()? == 2);
    world.refused(
        "sandbox create --network name=front,ip=10.77.0.9 late",
        &["10.77.0.9"],
    )?;
    ensure!(directories()? == 2);
    // The world looks for what --purge leaves.
    world.close()
}

#[test]
fn s06_programs_see_the_files() -> Outcome {
    let (world, _file) = world("search lan.example\n")?;
    world.ctl("network create --ipv6 front")?;
    let web = show::run(
        &world,
        "--network front --hostname w --domainname a.example --add-host db:192.0.2.7 web",
    )?;
    let run = |line: &str| world.ctl(&format!("sandbox exec web -- {line}"));
    let address = web.v4("eth0")?.to_string();
    for (line, wanted) in [
        ("cat /etc/resolv.conf", "search lan.example"),
        ("cat /etc/hosts", &*format!("{address}\tw.a.example w")),
        ("cat /etc/hostname", "w"),
        ("getent hosts db", "192.0.2.7"),
        ("getent ahostsv4 w", &address),
        ("cat /proc/sys/kernel/domainname", "a.example"),
        ("ip -br link show eth0", "eth0"),
    ] {
        let text = run(line)?;
        ensure!(text.contains(wanted), "{line}: {text}");
    }
    ensure!(run("hostname")? == "w" && run("uname -n")? == "w");
    // A program that runs on sees what changes.
    let netctl = netd_tests::world::binary("netctl");
    let shell = "while read _; do cat /etc/hosts; echo .; done";
    let mut program = world
        .host_scope()
        .spawn(&[&netctl, "sandbox", "exec", "web", "--", "sh", "-c", shell])?;
    program.say("")?;
    ensure!(program.until(".\n")?.matches("w.a.example").count() == 2);
    world.ctl("network create back")?;
    world.ctl("network connect back web")?;
    program.say("")?;
    ensure!(program.until(".\n")?.matches("w.a.example").count() == 3);
    program.finish()?;
    // Nothing of it is seen outside, and the machine's own names stay.
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let own = world.run_directory().join("files").display().to_string();
    ensure!(!mounts.contains(&own), "{mounts}");
    ensure!(fs::read_to_string("/proc/sys/kernel/hostname")?.trim() != "w");
    world.ctl("sandbox create --network host hosty")?;
    let text = world.ctl("sandbox exec hosty -- cat /etc/hosts")?;
    ensure!(text == fs::read_to_string("/etc/hosts")?.trim());
    Ok(())
}

#[test]
fn s06_host_gateway_is_the_host() -> Outcome {
    let (world, _file) = world("")?;
    world.ctl("network create --ipv6 front")?;
    world.ctl("network create --internal inside")?;
    world.ctl("network create --ipv6 -o com.docker.network.bridge.gateway_mode_ipv4=isolated --internal alone")?;
    let flag = "--add-host host.docker.internal:host-gateway";
    let web = show::run(&world, &format!("--network front {flag} web"))?;
    let network = show::network(&world, "front")?;
    let pools = network["IPAM"]["Config"].as_array().context("Config")?;
    let gateways: Vec<&str> = pools.iter().filter_map(|p| p["Gateway"].as_str()).collect();
    ensure!(gateways.len() == 2, "{network}");
    let found = hosts(&world, "web")?;
    for gateway in &gateways {
        let line = format!("{gateway}\thost.docker.internal");
        ensure!(found.contains(&line), "{line}: {found:?}");
        ensure!(web.ping(gateway.parse()?)?, "no echo from {gateway}");
    }
    for family in ["-4", "-6"] {
        let line = format!("sandbox exec web -- ping {family} -n -c 1 -W 2 host.docker.internal");
        world.ctl(&line)?;
    }
    for network in ["inside", "alone"] {
        show::run(&world, &format!("--network {network} {flag} {network}1"))?;
        let found = hosts(&world, &format!("{network}1"))?;
        ensure!(!found.concat().contains("docker"), "{found:?}");
        let said = format!("sandbox {network}1: its host-gateway lines are left out");
        ensure!(world.log().contains(&said), "{}", world.log());
    }
    // It follows the default route.
    world.ctl("network create a")?;
    world.ctl("network connect a web")?;
    let gateway = show::endpoint(&world, "web", "a")?.context("a")?["IPv4Gateway"].clone();
    let line = format!("{}\thost.docker.internal", gateway.as_str().context("a")?);
    let found = hosts(&world, "web")?;
    ensure!(found.contains(&line), "{line}: {found:?}");
    world.ctl("network disconnect a web")?;
    ensure!(!hosts(&world, "web")?.contains(&line));
    Ok(())
}
