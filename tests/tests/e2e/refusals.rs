//! N02, N03, N05 to N09: what Docker refuses of networks, netd refuses too: with the code that stands for Docker's
//! status, a message that names the thing, and nothing changed.

use anyhow::{Context, ensure};
use netd_tests::World;
use serde_json::Value;

use crate::{Outcome, show};

/// The codes that stand for Docker's statuses.
fn codes(kind: &str) -> &'static [&'static str] {
    match kind {
        // 400, and 500 for what the user wrote.
        "INVALID" => &["INVALID_ARGUMENT"],
        // 403.
        "FORBIDDEN" => &["FAILED_PRECONDITION", "PERMISSION_DENIED"],
        // 404.
        "MISSING" => &["NOT_FOUND"],
        // 409.
        "EXISTS" => &["ALREADY_EXISTS"],
        // 500 for an address or a port that is taken, or a pool that is empty.
        "TAKEN" => &["FAILED_PRECONDITION", "RESOURCE_EXHAUSTED"],
        // Said by netctl itself, as by Docker's client.
        "CLIENT" => &[""],
        _ => &[],
    }
}

/// All that may not change by a refusal.
pub fn state(world: &World) -> anyhow::Result<String> {
    // Their names: whether one has carrier yet is the kernel's own pace.
    let links = world.host.ip("-br link")?;
    let names = links
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    let links = names.collect::<Vec<_>>().join(" ");
    let routes = world.host.ip("route")?;
    let mut state = vec![links, routes];
    for line in ["network ls", "sandbox ls", "port ls"] {
        state.push(world.ctl(&format!("--output json {line}"))?);
    }
    Ok(state.join("\n"))
}

/// Runs the words, wants exit code 1, one of the codes and all of the parts.
fn refused(world: &World, words: &[&str], codes: &[&str], parts: &[&str]) -> Outcome {
    let output = world.netctl(&[&["--output", "json"], words].concat())?;
    ensure!(
        output.code == Some(1),
        "exit code {:?}: {}",
        output.code,
        output.text()
    );
    let said: Value = serde_json::from_str(&output.stderr)
        .with_context(|| format!("not JSON: {}", output.stderr))?;
    let code = said["Code"].as_str().unwrap_or_default();
    ensure!(codes.contains(&code), "{code}, not {codes:?}: {said}");
    let text = format!("{} {}", said["Error"], said["Hint"])
        .replace('\\', "")
        .to_lowercase();
    for part in parts {
        ensure!(
            text.contains(&part.to_lowercase()),
            "{part:?} is not in {said}"
        );
    }
    Ok(())
}

/// Runs all rows (`command | kind | part | part …`, `#` for a remark) and says all that are wrong.
fn all(world: &World, rows: &str) -> Outcome {
    let mut before = state(world)?;
    let mut wrong = Vec::new();
    let rows = rows.lines().map(str::trim);
    for row in rows.filter(|row| !row.is_empty() && !row.starts_with('#')) {
        let fields: Vec<&str> = row.split(" | ").collect();
        let [line, kind, parts @ ..] = fields.as_slice() else {
            anyhow::bail!("{row}: not a row")
        };
        let words: Vec<&str> = line
            .split_whitespace()
            .map(|word| word.trim_matches('\''))
            .collect();
        if let Err(error) = refused(world, &words, codes(kind), parts) {
            wrong.push(format!("netctl {line}: {error:#}"));
        }
        let after = state(world)?;
        if before != after {
            wrong.push(format!("netctl {line} changed something"));
            before = after;
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn n02_create_of_names_drivers_and_scopes() -> Outcome {
    let world = World::new()?;
    world.ctl("network create isolated_nw")?;
    world.ctl("network create -o com.docker.network.bridge.name=brpeer0 peer0")?;
    world.ctl("network create --config-only --subnet 10.30.0.0/24 conf0")?;
    all(
        &world,
        r#"
            network create isolated_nw | EXISTS | network with name isolated_nw already exists
            network create '' | INVALID | name
            network create bridge | FORBIDDEN | operation is not permitted on predefined bridge network
            network create default | FORBIDDEN | operation is not permitted on predefined default network
            network create host | FORBIDDEN | operation is not permitted on predefined host network
            network create none | FORBIDDEN | operation is not permitted on predefined none network
            network create -d host h2 | FORBIDDEN | only one instance of "host" network is allowed
            network create -d null n2 | FORBIDDEN | only one instance of "null" network is allowed
            network create -d none n2 | MISSING | plugin "none" not found
            network create -d nosuchdriver n2 | MISSING | plugin "nosuchdriver" not found
            network create --ipam-driver nosuchipam n2 | MISSING | plugin "nosuchipam" not found
            network create --ingress n2 | FORBIDDEN | ingress network can only be global scope network
            network create --scope swarm n2 | FORBIDDEN | cannot create a swarm scoped network when swarm is not active
            network create --scope zzz n2 | INVALID | scope | zzz | local
            network create --config-from nosuchconf n2 | MISSING | configuration network "nosuchconf" does not exist
            network create --config-from isolated_nw n2 | MISSING | configuration network "isolated_nw" does not exist
            network create --config-from conf0 --subnet 10.31.0.0/24 n2 | FORBIDDEN | user specified configurations are not supported if the network depends on a configuration network
            network create --config-from conf0 --label a=b n2 | FORBIDDEN | user specified configurations are not supported
            network create --config-from conf0 --config-only n2 | INVALID | --config-only | --config-from
            network create -o com.docker.network.bridge.name=brpeer0 n2 | FORBIDDEN | brpeer0 | peer0 | networks have same bridge name
            network create -o com.docker.network.bridge.name=a-name-that-is-too-long n2 | INVALID | a-name-that-is-too-long | 15
            network create -o com.docker.network.bridge.name=uplink n2 | FORBIDDEN | uplink | exists
        "#,
    )
}

#[test]
fn n02_create_of_addresses() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --subnet 10.30.0.0/24 --ipv6 --subnet fd00:30::/64 taken")?;
    all(
        &world,
        r#"
            network create --subnet 10.30.0.0/24 n | FORBIDDEN | pool overlaps with other one on this address space | 10.30.0.0/24 | taken
            network create --subnet 10.30.0.128/25 n | FORBIDDEN | pool overlaps | taken
            network create --subnet 10.0.0.0/8 n | FORBIDDEN | pool overlaps | taken
            network create --ipv6 --subnet fd00:30::/48 n | FORBIDDEN | pool overlaps | taken
            network create --subnet 10.31.0.0/24 --subnet 10.32.0.0/24 n | FORBIDDEN | bridge driver doesn't support multiple subnets
            network create --subnet hello n | INVALID | invalid subnet hello
            network create --subnet 10.31.0.0 n | INVALID | invalid subnet 10.31.0.0
            network create --subnet 10.31.0.0/33 n | INVALID | invalid subnet 10.31.0.0/33
            network create --subnet 10.83.0.0/24 --aux-address a=10.83.0.1 n | TAKEN | failed to allocate secondary ip address (a:10.83.0.1): address already in use
            network create --subnet 10.83.0.0/24 --gateway 10.83.0.9 --aux-address a=10.83.0.9 n | TAKEN | a:10.83.0.9 | address already in use
            network create --subnet 10.83.0.0/24 --gateway 10.83.0.0 n | INVALID | gateway | 10.83.0.0
            network create --subnet 10.83.0.0/24 --gateway 10.83.0.255 n | INVALID | gateway | 10.83.0.255
            network create --ipv4=false n | INVALID | ipv4 | ipv6
            # Docker's client says these itself, and so does netctl.
            network create --subnet 10.31.0.0/24 --gateway 10.99.0.1 n | CLIENT | no matching subnet for gateway 10.99.0.1
            network create --gateway 10.31.0.1 n | CLIENT | every ip-range or gateway must have a corresponding subnet
            network create --subnet 10.31.0.0/24 --gateway banana n | CLIENT | no matching subnet for gateway banana
            network create --subnet 10.31.0.0/24 --ip-range 10.32.0.0/24 n | CLIENT | no matching subnet for range 10.32.0.0/24
            network create --subnet 10.31.0.0/24 --ip-range zzz n | CLIENT | invalid cidr address: zzz
            network create --subnet 10.31.0.0/24 --aux-address a=10.99.0.5 n | CLIENT | no matching subnet for aux-address 10.99.0.5
            network create --subnet 10.31.0.0/24 --aux-address a=zzz n | CLIENT | no matching subnet for aux-address zzz
            network create --subnet 10.31.0.0/24 --gateway 10.31.0.1 --gateway 10.31.0.2 n | CLIENT | every ip-range or gateway must have a corresponding subnet
            network create --subnet 10.31.0.0/24 --subnet 10.31.0.0/25 n | CLIENT | multiple overlapping subnet configuration is not supported
            network create --subnet 10.34.0.0/24 --aux-address 10.34.0.9 n | CLIENT | no matching subnet for aux-address
        "#,
    )
}

#[test]
fn d02_create_of_driver_options() -> Outcome {
    let world = World::new()?;
    let bridge = "com.docker.network.bridge";
    let rows = [
        (format!("{bridge}.enable_icc=maybe"), "maybe"),
        (format!("{bridge}.enable_ip_masquerade=perhaps"), "perhaps"),
        (format!("{bridge}.host_binding_ipv4=zzz"), "zzz"),
        (format!("{bridge}.gateway_mode_ipv4=open"), "open"),
        ("com.docker.network.driver.mtu=big".to_owned(), "big"),
    ];
    let before = state(&world)?;
    for (option, value) in rows {
        let key = option.split('=').next().unwrap_or_default();
        let wanted: &[&str] = if key.contains("mode") {
            &[key, value]
        } else {
            &["failed to parse", key, value]
        };
        refused(
            &world,
            &["network", "create", "-o", &option, "n"],
            codes("INVALID"),
            wanted,
        )
        .context(option.clone())?;
    }
    for (mtu, wanted) in [
        ("-5", "invalid MTU number: -5"),
        ("0", "invalid MTU number: 0"),
        ("70000", "70000"),
    ] {
        let option = format!("com.docker.network.driver.mtu={mtu}");
        refused(
            &world,
            &["network", "create", "-o", &option, "n"],
            codes("INVALID"),
            &[wanted],
        )
        .context(option.clone())?;
    }
    ensure!(before == state(&world)?, "something changed");
    Ok(())
}

#[test]
fn n03_n08_filters() -> Outcome {
    let world = World::new()?;
    world.ctl("network create front")?;
    all(
        &world,
        r#"
            network ls --filter foo=x | CLIENT | invalid filter 'foo'
            network ls --filter label!=x | CLIENT | invalid filter 'label!'
            network ls --filter dangling=x | CLIENT | invalid value for filter 'dangling', must be "true" (or "1"), or "false" (or "0")
            network ls --filter type=zzz | CLIENT | invalid filter: 'type'='zzz'
            network ls --format {{.Frob}} | CLIENT | can't evaluate field Frob in type *network.networkContext
            network inspect -f {{.Nope}} bridge | CLIENT | template parsing error: template: :1:2: executing "" at <.Nope>: map has no entry for key "Nope"
            network prune -f --filter driver=bridge | CLIENT | invalid filter 'driver'
            network prune -f --filter foo=x | CLIENT | invalid filter 'foo'
            network prune -f --filter until=zzz | CLIENT | failed to parse value as time or duration: "zzz"
        "#,
    )?;
    let usage = world.netctl(&["network", "ls", "-f", "foo"])?;
    ensure!(
        usage.code == Some(2)
            && usage
                .stderr
                .contains("bad format of filter (expected name=value)"),
        "{usage:?}"
    );
    Ok(())
}

#[test]
fn n04_n07_n09_inspect_and_rm() -> Outcome {
    let world = World::new()?;
    let id = world.ctl("network create isolated_nw")?;
    show::run(&world, "--network isolated_nw container3")?;
    world.ctl("network create --config-only --subnet 10.30.0.0/24 conf0")?;
    world.ctl("network create --config-from conf0 borrower")?;
    all(
        &world,
        r#"
            network inspect nosuch | MISSING | network nosuch not found
            network rm nosuch | MISSING | network nosuch not found
            network rm bridge | FORBIDDEN | bridge is a pre-defined network and cannot be removed
            network rm host | FORBIDDEN | host is a pre-defined network and cannot be removed
            network rm none | FORBIDDEN | none is a pre-defined network and cannot be removed
            network rm -f bridge | FORBIDDEN | bridge is a pre-defined network and cannot be removed
            network rm conf0 | FORBIDDEN | error while removing network: configuration network "conf0" is in use | borrower
            network rm isolated_nw | FORBIDDEN | error while removing network: network isolated_nw id | has active endpoints | container3
            network rm -f isolated_nw | FORBIDDEN | has active endpoints
        "#,
    )?;
    refused(
        &world,
        &["network", "rm", "isolated_nw"],
        codes("FORBIDDEN"),
        &[&id],
    )
}

#[test]
fn n05_connect() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --subnet 10.96.0.0/24 --aux-address a=10.96.0.7 isolated_nw")?;
    world.ctl("network create automatic")?;
    world.ctl("network create --subnet 10.97.0.0/30 small0")?;
    world.ctl("network create --config-only --subnet 10.98.0.0/24 conf0")?;
    show::run(&world, "--network isolated_nw container3")?;
    show::run(&world, "--network small0 only")?;
    show::run(&world, "web")?;
    show::run(&world, "--network none lonely")?;
    world.ctl("sandbox create --network host hosty")?;
    all(
        &world,
        r#"
            network connect nosuchnet web | MISSING | network nosuchnet not found
            network connect isolated_nw nosuchctr | MISSING | nosuchctr
            network connect isolated_nw '' | INVALID | name
            network connect isolated_nw lonely | INVALID | container cannot be connected to multiple networks with one of the networks in private (none) mode
            network connect none container3 | INVALID | private (none) mode
            network connect host web | INVALID | container cannot be disconnected from host network or connected to host network
            network connect isolated_nw hosty | INVALID | host
            network connect isolated_nw container3 | FORBIDDEN | endpoint with name container3 already exists in network isolated_nw
            network connect conf0 web | FORBIDDEN | cannot create endpoint on configuration-only network
            network connect --alias a bridge web | INVALID | network-scoped alias is supported only for containers in user defined networks
            network connect --ip 172.17.0.99 bridge web | INVALID | user specified IP address is supported on user defined networks only
            network connect --ip 172.18.0.99 automatic web | INVALID | user specified IP address is supported only when connecting to networks with user configured subnets
            network connect --ip 10.96.0.2 isolated_nw web | FORBIDDEN | address already in use | 10.96.0.2
            network connect --ip 10.96.0.7 isolated_nw web | FORBIDDEN | address already in use | 10.96.0.7
            network connect --ip 10.96.0.1 isolated_nw web | FORBIDDEN | address already in use | 10.96.0.1
            network connect --ip 10.96.0.0 isolated_nw web | FORBIDDEN | address already in use | 10.96.0.0
            network connect --ip 10.96.0.255 isolated_nw web | FORBIDDEN | address already in use | 10.96.0.255
            network connect --ip 10.9.9.9 isolated_nw web | INVALID | invalid address 10.9.9.9: it does not belong to any of this network's subnets
            network connect --ip6 fd00::9 isolated_nw web | INVALID | isolated_nw
            network connect small0 web | TAKEN | no available IPv4 addresses on this network's address pools: small0
            network connect --link-local-ip 10.0.0.1 isolated_nw web | INVALID | 10.0.0.1 | 169.254
            network connect --mac-address zz isolated_nw web | INVALID | MAC address | zz
            network connect --interface a-name-that-is-too-long isolated_nw web | INVALID | a-name-that-is-too-long
        "#,
    )?;
    let usage = world.netctl(&["network", "connect", "--ip", "zzz", "isolated_nw", "web"])?;
    ensure!(
        usage.code == Some(2) && usage.stderr.contains("zzz"),
        "{usage:?}"
    );
    Ok(())
}

#[test]
fn n06_disconnect() -> Outcome {
    let world = World::new()?;
    world.ctl("network create local_alias")?;
    show::run(&world, "web")?;
    world.ctl("sandbox create --network host hosty")?;
    world.ctl("sandbox create --stopped idle")?;
    all(
        &world,
        r#"
            network disconnect host hosty | INVALID | container cannot be disconnected from host network or connected to host network
            network disconnect local_alias nosuchctr | MISSING | nosuchctr
            network disconnect -f local_alias nosuchctr | MISSING | nosuchctr
            network disconnect nosuchnet web | MISSING | network nosuchnet not found
            # Docker answers 500; it is the state that does not fit.
            network disconnect local_alias web | FORBIDDEN | is not connected to network local_alias | web
            network disconnect local_alias idle | FORBIDDEN | is not connected to network local_alias | idle
            network disconnect host web | INVALID | host
        "#,
    )
}

#[test]
fn n10_create_and_start_of_sandboxes() -> Outcome {
    let world = World::new()?;
    world.ctl("network create --subnet 10.96.0.0/24 isolated_nw")?;
    world.ctl("network create automatic")?;
    world.ctl("network create --subnet 10.97.0.0/30 small0")?;
    world.ctl("network create --config-only --subnet 10.98.0.0/24 conf0")?;
    show::run(
        &world,
        "--network name=isolated_nw,ip=10.96.0.9 -p 8080:80 holder",
    )?;
    show::run(&world, "--network small0 only")?;
    // What was right when they were registered, and is not when they start.
    world.ctl("network create tmpd")?;
    world.ctl("sandbox create --stopped --network tmpd late")?;
    world.ctl("network rm tmpd")?;
    world.ctl("sandbox create --stopped --network name=isolated_nw,ip=10.96.0.9 second")?;
    world.ctl("sandbox create --stopped --network isolated_nw -p 8080:80 p2")?;
    world.ctl("sandbox create --stopped --network small0 full")?;
    all(
        &world,
        r#"
            sandbox create --network name=bridge,ip=172.17.0.99 n | INVALID | user specified IP address is supported on user defined networks only
            sandbox create --network name=automatic,ip=172.18.0.99 n | INVALID | user specified IP address is supported only when connecting to networks with user configured subnets
            sandbox create --stopped --network name=automatic,ip=172.18.0.99 n | INVALID | user configured subnets
            sandbox create --network name=isolated_nw,ip=10.96.0.9 n | FORBIDDEN | address already in use | 10.96.0.9
            sandbox create --network name=isolated_nw,ip=10.141.0.10 n | INVALID | invalid address 10.141.0.10: it does not belong to any of this network's subnets
            sandbox create --network conf0 n | FORBIDDEN | cannot create endpoint on configuration-only network
            sandbox create --network nosuchnet n | MISSING | network nosuchnet not found
            sandbox create --network small0 n | TAKEN | no available IPv4 addresses on this network's address pools: small0
            sandbox create --network isolated_nw -p 8080:80 n | TAKEN | 8080 | port is already allocated | holder
            sandbox create --network isolated_nw -p 9.9.9.9:8090:80 n | INVALID | cannot assign requested address | 9.9.9.9
            sandbox create --network none --network isolated_nw n | INVALID | private (none) mode
            sandbox create --network host --network isolated_nw n | INVALID | host
            sandbox start late | MISSING | network tmpd not found
            sandbox start second | FORBIDDEN | address already in use | 10.96.0.9
            sandbox start p2 | TAKEN | 8080 | port is already allocated | holder
            sandbox start full | TAKEN | no available IPv4 addresses | small0
            sandbox start holder | FORBIDDEN | holder | running
            sandbox start nosuch | MISSING | nosuch
            sandbox stop nosuch | MISSING | nosuch
        "#,
    )?;
    // A network of the same name is as good.
    world.ctl("network create tmpd")?;
    world.ctl("sandbox start late")?;
    Ok(())
}
