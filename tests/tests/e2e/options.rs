//! N02, N03: what `network create` was given comes back by `inspect`; what `network ls` shows and leaves out.

use anyhow::{Context, ensure};
use netd_tests::World;
use serde_json::{Value, json};

use crate::{Outcome, show};

/// Fields of a network as `network inspect` shows them.
fn has(world: &World, name: &str, fields: &Value) -> Outcome {
    let network = show::network(world, name)?;
    for (key, wanted) in fields.as_object().context("fields")? {
        ensure!(network[key] == *wanted, "{name}: {key}: {network:#}");
    }
    Ok(())
}

#[test]
fn n02_every_option_comes_back() -> Outcome {
    let mut world = World::new()?;
    world.ctl(
        "network create -d bridge -o com.docker.network.bridge.name=brfront -o com.docker.network.driver.mtu=1400 \
         -o com.docker.network.bridge.enable_icc=true -o unknown.option=kept \
         --subnet 10.101.0.0/16 --gateway 10.101.0.9 --ip-range 10.101.5.0/24 --aux-address a=10.101.5.1 \
         --aux-address b=10.101.5.2 --ipv6 --subnet fd00:101::/64 --gateway fd00:101::9 --aux-address c=fd00:101::1 \
         --ipam-driver default --ipam-opt k=v --attachable --scope local --label tier=web --label flag front",
    )?;
    let front = json!({
        "Name": "front", "Driver": "bridge", "Scope": "local", "EnableIPv4": true, "EnableIPv6": true,
        "IPAM": {
            "Driver": "default",
            "Options": {"k": "v"},
            "Config": [
                {
                    "Subnet": "10.101.0.0/16", "IPRange": "10.101.5.0/24", "Gateway": "10.101.0.9",
                    "AuxiliaryAddresses": {"a": "10.101.5.1", "b": "10.101.5.2"},
                },
                {"Subnet": "fd00:101::/64", "Gateway": "fd00:101::9", "AuxiliaryAddresses": {"c": "fd00:101::1"}},
            ],
        },
        "Internal": false, "Attachable": true, "Ingress": false, "ConfigOnly": false,
        "ConfigFrom": {"Network": ""}, "Containers": {},
        "Options": {
            "com.docker.network.bridge.name": "brfront", "com.docker.network.driver.mtu": "1400",
            "com.docker.network.bridge.enable_icc": "true", "unknown.option": "kept",
        },
        "Labels": {"tier": "web", "flag": ""},
    });
    has(&world, "front", &front)?;
    // In force, not only noted.
    let links = world.host.ip("-d addr show brfront")?;
    for part in ["10.101.0.9/16", "fd00:101::9/64", "mtu 1400"] {
        ensure!(links.contains(part), "{part}: {links}");
    }
    let web = show::run(&world, "--network front web")?;
    let [.., third, last] = web.v4("eth0")?.octets();
    ensure!(
        third == 5 && last != 1 && last != 2,
        "10.101.{third}.{last}"
    );
    ensure!(
        web.netns.ip("link show eth0")?.contains("mtu 1400"),
        "the MTU inside"
    );

    world.ctl("network create --internal --subnet 10.102.0.0/24 --label a=b closed")?;
    let closed =
        json!({"Internal": true, "EnableIPv6": false, "Labels": {"a": "b"}, "Attachable": false});
    has(&world, "closed", &closed)?;
    world.ctl("network create --ipv4=false --ipv6 six")?;
    has(
        &world,
        "six",
        &json!({"EnableIPv4": false, "EnableIPv6": true}),
    )?;
    let six = show::run(&world, "--network six only6")?;
    ensure!(
        six.v4("eth0").is_err() && six.v6("eth0").is_ok(),
        "{:?}",
        six.addresses("eth0")?
    );
    // And all of it is still so after a restart.
    world.stop()?;
    world.start()?;
    has(
        &world,
        "front",
        &json!({"IPAM": front["IPAM"], "Options": front["Options"], "Labels": front["Labels"]}),
    )?;
    has(&world, "closed", &closed)
}

#[test]
fn n02_configurations_are_lent() -> Outcome {
    let world = World::new()?;
    world.ctl(
        "network create --config-only --subnet 10.103.0.0/24 --gateway 10.103.0.7 --label lent=yes \
         -o com.docker.network.driver.mtu=1300 conf0",
    )?;
    let pool = json!([{"Subnet": "10.103.0.0/24", "Gateway": "10.103.0.7"}]);
    let conf = show::network(&world, "conf0")?;
    ensure!(
        conf["ConfigOnly"] == true && conf["IPAM"]["Config"] == pool,
        "{conf:#}"
    );
    world.ctl("network create --config-from conf0 --attachable user0")?;
    let user = show::network(&world, "user0")?;
    ensure!(
        user["ConfigFrom"] == json!({"Network": "conf0"})
            && user["ConfigOnly"] == false
            && user["Attachable"] == true
            && user["IPAM"]["Config"] == pool
            && user["Labels"]["lent"] == "yes",
        "{user:#}"
    );
    let web = show::run(&world, "--network user0 web")?;
    ensure!(
        web.netns.ip("route")?.contains("default via 10.103.0.7"),
        "the gateway"
    );
    ensure!(
        web.netns.ip("link show eth0")?.contains("mtu 1300"),
        "the MTU"
    );
    world.refused("network rm conf0", &["conf0", "in use", "user0"])?;
    world.ctl("sandbox rm web")?;
    world.ctl("network rm user0 conf0")?;
    Ok(())
}

/// Names that `network ls` shows with these words, in order.
fn names(world: &World, words: &str) -> anyhow::Result<String> {
    let text = world.ctl(&format!("network ls --format {{{{.Name}}}} {words}"))?;
    Ok(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[test]
fn n03_filters() -> Outcome {
    let world = World::new()?;
    let front = world.ctl("network create --label tier=web --label flag front")?;
    world.ctl("network create --label tier=db net10")?;
    world.ctl("network create --internal net9")?;
    show::run(&world, "--network front web")?;
    world.ctl("sandbox create --stopped --network net9 idle")?;
    let id = front.get(..8).context("id")?;
    let by_id = format!("--filter id={id}");
    for (words, wanted) in [
        ("", "bridge front host net9 net10 none"),
        ("--filter driver=bridge", "bridge front net9 net10"),
        ("--filter driver=null --filter driver=host", "host none"),
        (&by_id, "front"),
        ("--filter label=tier", "front net10"),
        ("--filter label=tier=web", "front"),
        ("--filter label=tier=web --filter label=flag", "front"),
        ("--filter label=tier=web --filter label=nope", ""),
        ("--filter name=net", "net9 net10"),
        ("--filter name=^net9$", "net9"),
        ("--filter name=front --filter driver=null", ""),
        ("--filter scope=local", "bridge front host net9 net10 none"),
        ("--filter scope=swarm", ""),
        ("--filter type=builtin", "bridge host none"),
        ("--filter type=custom", "front net9 net10"),
        // A stopped sandbox uses nothing.
        ("--filter dangling=true", "net9 net10"),
        ("--filter dangling=false", "bridge front host none"),
        ("-f dangling=1 -f label=tier", "net10"),
    ] {
        let shown = names(&world, words)?;
        ensure!(shown == wanted, "{words}: {shown}");
    }
    Ok(())
}

#[test]
fn n03_formats() -> Outcome {
    let world = World::new()?;
    let id = world.ctl("network create --internal --ipv6 --label tier=web --label a.b=c front")?;
    let short = id.get(..12).context("id")?;
    let show = |format: &str| -> anyhow::Result<String> {
        let words = [
            "network",
            "ls",
            "--filter",
            "name=front",
            "--format",
            format,
        ];
        let output = world.netctl(&words)?;
        ensure!(output.ok, "{format}: {}", output.text());
        Ok(output.stdout)
    };
    for (format, wanted) in [
        (
            "{{.ID}} {{.Name}} {{.Driver}} {{.Scope}}",
            format!("{short} front bridge local\n"),
        ),
        (
            "{{.IPv4}} {{.IPv6}} {{.Internal}}",
            "true true true\n".to_owned(),
        ),
        ("{{.Labels}}", "a.b=c,tier=web\n".to_owned()),
        ("{{.Label \"tier\"}}/{{.Label \"no\"}}", "web/\n".to_owned()),
        (
            "table {{.Name}}\\t{{.Internal}}",
            "NAME      INTERNAL\nfront     true\n".to_owned(),
        ),
        (
            "{{upper .Name}}{{if eq .IPv6 \"true\"}}6{{end}}",
            "FRONT6\n".to_owned(),
        ),
    ] {
        let shown = show(format)?;
        ensure!(shown == wanted, "{format}: {shown:?}");
    }
    let created = show("{{.CreatedAt}}")?;
    ensure!(
        created.starts_with("20") && created.trim().ends_with("+0000 UTC"),
        "{created}"
    );
    let row: Value = serde_json::from_str(&show("json")?)?;
    for key in [
        "CreatedAt",
        "Driver",
        "ID",
        "IPv4",
        "IPv6",
        "Internal",
        "Labels",
        "Name",
        "Scope",
    ] {
        ensure!(row[key].is_string(), "{key}: {row}");
    }
    ensure!(world.ctl("network ls -q -f name=front")? == short, "-q");
    ensure!(
        world.ctl("network ls -q --no-trunc -f name=front")? == id,
        "-q --no-trunc"
    );
    let subnets = world.netctl(&[
        "network",
        "inspect",
        "-f",
        "{{range .IPAM.Config}}{{.Subnet}} {{end}}",
        "front",
    ])?;
    ensure!(
        subnets.stdout.split_whitespace().count() == 2,
        "{subnets:?}"
    );
    Ok(())
}

#[test]
fn n08_prune() -> Outcome {
    let world = World::new()?;
    for line in [
        "network create used",
        "network create --label keep idle",
        "network create --label tier=web --subnet 10.104.0.0/24 old",
        "network create --config-only --subnet 10.105.0.0/24 conf0",
        "network create --config-from conf0 borrower",
    ] {
        world.ctl(line)?;
    }
    show::run(&world, "--network used web")?;
    world.ctl("sandbox create --stopped --network old sleeping")?;
    ensure!(
        world.ctl("network prune -f --filter until=1h")?.is_empty(),
        "none is that old"
    );
    ensure!(
        world
            .ctl("network prune -f --filter until=2020-01-01T00:00:00Z")?
            .is_empty(),
        "nor that"
    );
    ensure!(
        world
            .ctl("network prune -f --filter label=nope")?
            .is_empty(),
        "no such label"
    );
    // Without -f and without an answer nothing goes.
    let asked = world.ctl("network prune")?;
    ensure!(
        asked.ends_with("Are you sure you want to continue? [y/N]"),
        "{asked}"
    );
    ensure!(names(&world, "-f type=custom")? == "borrower conf0 idle old used");
    ensure!(world.ctl("network prune -f --filter label=tier=web")? == "Deleted Networks:\nold");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let now = now.as_secs() + 1;
    let pruned = world.ctl(&format!(
        "network prune -f --filter until={now} --filter label!=keep"
    ))?;
    ensure!(pruned == "Deleted Networks:\nborrower\nconf0", "{pruned}");
    ensure!(world.ctl("network prune -f")? == "Deleted Networks:\nidle");
    ensure!(world.ctl("network prune -f")?.is_empty(), "a second time");
    ensure!(names(&world, "")? == "bridge host none used");
    // Nothing of them is left in the kernel.
    let links = world.host.ip("-br link")?;
    ensure!(
        links.lines().filter(|line| line.starts_with("br-")).count() == 1,
        "{links}"
    );
    let web = show::members(&world, "used")?;
    ensure!(web == ["web"], "{web:?}");
    Ok(())
}
