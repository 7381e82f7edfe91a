//! What arrives at the daemon for prune, connect, stopped sandboxes, events.

use netd_proto::v1::{Protocol, start_sandbox_request::Namespace};

use crate::daemon::{Daemon, words};

#[test]
fn n08_prune_asks_and_says_what_went() {
    let daemon = Daemon::start();
    daemon.ok("network create front");
    daemon.ok("network create back");
    let question = "WARNING! This will remove all custom networks not used by at least one container.\n\
        Are you sure you want to continue? [y/N] ";
    for no in ["", "\n", "n\n", "yes\n"] {
        let output = words(&daemon.socket(), &["network", "prune"], no);
        assert!(output.status.success());
        assert_eq!(String::from_utf8(output.stdout).unwrap(), question);
    }
    assert!(daemon.seen.lock().unwrap().prunes.is_empty());
    let output = words(&daemon.socket(), &["network", "prune"], "Y\n");
    let wanted = format!("{question}Deleted Networks:\nfront\nback\n\n");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), wanted);
    assert_eq!(daemon.ok("network prune -f"), "");
    assert_eq!(
        daemon
            .ok("--output json network prune -f")
            .replace([' ', '\n'], ""),
        "{\"NetworksDeleted\":[]}"
    );
}

#[test]
fn n08_prune_filters() {
    let daemon = Daemon::start();
    daemon.ok("network prune -f --filter label=a=b --filter label=c --filter label!=keep --filter until=2026-01-31Z");
    let (_, said) = daemon.fails(1, "network prune -f --filter until=1h --filter until=2h");
    assert!(said.contains("more than one until filter"), "{said}");
    let seen = daemon.seen.lock().unwrap();
    let prune = &seen.prunes[0];
    assert_eq!(prune.labels, ["a=b", "c"]);
    assert_eq!(prune.excluded_labels, ["keep"]);
    let until = prune.created_before.unwrap();
    assert_eq!(until.to_string(), "2026-01-31T00:00:00Z");
}

#[test]
fn n05_connect_says_all() {
    let daemon = Daemon::start();
    daemon.ok(
        "network connect --ip 10.0.0.9 --ip6 fd00::9 --alias a --alias b --link db --link cache:c \
         --link-local-ip 169.254.1.1 --driver-opt k=v --gw-priority -5 --mac-address 02:00:00:00:00:09 \
         --interface net1 front web",
    );
    assert_eq!(daemon.ok("network disconnect -f front web"), "");
    let shown: serde_json::Value =
        serde_json::from_str(&daemon.ok("--output json network disconnect -f front web")).unwrap();
    assert_eq!(shown["EndpointID"], "forced");
    let seen = daemon.seen.lock().unwrap();
    let connect = &seen.connects[0];
    assert_eq!(
        (connect.network.as_str(), connect.sandbox.as_str()),
        ("front", "web")
    );
    assert_eq!(
        (connect.ipv4_address.as_str(), connect.ipv6_address.as_str()),
        ("10.0.0.9", "fd00::9")
    );
    assert_eq!(connect.aliases, ["a", "b"]);
    assert_eq!(connect.links, ["db:db", "cache:c"]);
    assert_eq!(connect.link_local_addresses, ["169.254.1.1"]);
    assert_eq!(connect.driver_options["k"], "v");
    assert_eq!(connect.gateway_priority, -5);
    assert_eq!(connect.mac_address, "02:00:00:00:00:09");
    assert_eq!(connect.interface_name, "net1");
}

#[test]
fn n05_stopped_sandboxes() {
    let daemon = Daemon::start();
    daemon.ok("sandbox create --stopped --expose 80 --expose 7000-7002/udp -P --network name=front,ip=10.0.0.9,link=db:d idle");
    assert_eq!(daemon.ok("sandbox start idle"), "idle\n");
    daemon.ok("sandbox start --pid 7 idle");
    daemon.ok("sandbox start --netns /run/netns/x idle");
    let (out, said) = daemon.fails(1, "sandbox stop idle nosuch web");
    assert_eq!(out, "idle\nweb\n");
    assert!(said.contains("sandbox nosuch not found"), "{said}");
    let (_, said) = daemon.fails(1, "sandbox start web");
    assert_eq!(said, "Error: sandbox web is running\n");
    daemon.fails(2, "sandbox create --stopped --netns /x web");
    daemon.fails(2, "sandbox start --pid 1 --netns /x web");
    let seen = daemon.seen.lock().unwrap();
    let create = &seen.creates[0];
    assert!(create.stopped && create.publish_all);
    let exposed: Vec<_> = create
        .exposed
        .iter()
        .map(|spec| (spec.port_first, spec.port_last, spec.protocol()))
        .collect();
    assert_eq!(
        exposed,
        [(80, 80, Protocol::Tcp), (7000, 7002, Protocol::Udp)]
    );
    let network = &create.networks[0];
    assert_eq!(
        (network.network.as_str(), network.sandbox.as_str()),
        ("front", "idle")
    );
    assert_eq!(
        (network.ipv4_address.as_str(), &network.links[0]),
        ("10.0.0.9", &"db:d".to_owned())
    );
    let namespaces: Vec<_> = seen
        .starts
        .iter()
        .map(|start| start.namespace.clone())
        .collect();
    let path = Namespace::NetnsPath("/run/netns/x".into());
    assert_eq!(namespaces, [None, Some(Namespace::Pid(7)), Some(path)]);
    assert_eq!(seen.stops, ["idle", "web"]);
}

#[test]
fn n11_events_filtered_and_formatted() {
    let daemon = Daemon::start();
    let format = "{{.Type}}/{{.Action}}/{{.Actor.Attributes.name}}/{{.Actor.Attributes.container}}";
    let events = |more: &str| daemon.ok(&format!("events --format {format} {more}"));
    assert_eq!(
        events(""),
        "network/create/front/<no value>\nsandbox/create/web/<no value>\nnetwork/connect/front/web\n"
    );
    assert_eq!(
        events("--filter event=connect"),
        "network/connect/front/web\n"
    );
    assert_eq!(
        events("--filter type=sandbox"),
        "sandbox/create/web/<no value>\n"
    );
    assert_eq!(
        events("-f network=front -f event=create"),
        "network/create/front/<no value>\n"
    );
    let lines = daemon.ok("events --format json");
    assert_eq!(lines.lines().count(), 3);
    for line in lines.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
    let (_, said) = daemon.fails(1, "events --format {{.Frob}}");
    assert!(said.contains("can't evaluate field Frob"), "{said}");
}

#[test]
fn p02_reconcile_says_what_it_mended() {
    let daemon = Daemon::start();
    assert_eq!(
        daemon.ok("system reconcile"),
        "the filter of nd-1 was gone\nroute of front\n"
    );
    let shown: serde_json::Value =
        serde_json::from_str(&daemon.ok("--output json system reconcile")).unwrap();
    assert_eq!(shown["Mended"][1], "route of front");
}

#[test]
fn n02_an_empty_subnet_is_none() {
    let daemon = Daemon::start();
    let output = words(
        &daemon.socket(),
        &[
            "network",
            "create",
            "--subnet",
            "",
            "--gateway",
            "",
            "front",
        ],
        "",
    );
    assert!(output.status.success(), "{output:?}");
    let pools = daemon.ok("network inspect -f {{.IPAM.Config}} front");
    assert_eq!(pools, "[]\n");
}
