//! What arrives at the daemon: each command says all that its flags mean, and no more.

use netd_proto::v1::*;

use crate::recorder::{Daemon, words};

fn text(text: &str) -> String {
    text.to_owned()
}

#[test]
fn n02_create_says_all() {
    let daemon = Daemon::start();
    daemon.ok("network create -d bridge -o a=b --internal --attachable --label l=1 --ipv6 --ipv4=false --scope local front");
    let seen = daemon.seen::<CreateNetworkRequest>();
    let wanted = CreateNetworkRequest {
        name: text("front"),
        driver: text("bridge"),
        scope: text("local"),
        enable_ipv4: Some(false),
        enable_ipv6: true,
        ipam: Some(Ipam {
            driver: text("default"),
            ..Default::default()
        }),
        internal: true,
        attachable: true,
        options: [(text("a"), text("b"))].into(),
        labels: [(text("l"), text("1"))].into(),
        ..Default::default()
    };
    assert_eq!(seen, [wanted]);
}

#[test]
fn n02_pools_arrive_paired() {
    let daemon = Daemon::start();
    daemon.ok(
        "network create --ipv6 --subnet 10.0.0.0/16,fd00::/64 --gateway fd00::1 --ip-range 10.0.5.0/24 --aux-address x=10.0.0.5 front",
    );
    let ipam = daemon.seen::<CreateNetworkRequest>()[0].ipam.clone();
    let v4 = IpamPool {
        subnet: text("10.0.0.0/16"),
        ip_range: text("10.0.5.0/24"),
        aux_addresses: [(text("x"), text("10.0.0.5"))].into(),
        ..Default::default()
    };
    let v6 = IpamPool {
        subnet: text("fd00::/64"),
        gateway: text("fd00::1"),
        ..Default::default()
    };
    assert_eq!(ipam.unwrap().pools, [v4, v6]);
}

#[test]
fn n02_an_empty_subnet_is_none() {
    let daemon = Daemon::start();
    let line = [
        "network",
        "create",
        "--subnet",
        "",
        "--gateway",
        "",
        "front",
    ];
    let output = words(&daemon.socket(), &line, "");
    assert!(output.status.success(), "{output:?}");
    let ipam = daemon.seen::<CreateNetworkRequest>()[0].ipam.clone();
    assert!(ipam.unwrap().pools.is_empty());
}

#[test]
fn n08_prune_asks_and_says_what_went() {
    let daemon = Daemon::start();
    let question = "WARNING! This will remove all custom networks not used by at least one container.\n\
        Are you sure you want to continue? [y/N] ";
    for no in ["", "\n", "n\n", "yes\n"] {
        let output = words(&daemon.socket(), &["network", "prune"], no);
        assert!(output.status.success());
        assert_eq!(String::from_utf8(output.stdout).unwrap(), question);
    }
    assert_eq!(daemon.count(), 0);
    daemon.will(PruneNetworksResponse {
        names: vec![text("front"), text("back")],
    });
    let output = words(&daemon.socket(), &["network", "prune"], "Y\n");
    let wanted = format!("{question}Deleted Networks:\nfront\nback\n\n");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), wanted);
    assert_eq!(daemon.ok("network prune -f"), "");
    let shown = daemon.json("network prune -f");
    assert_eq!(shown, serde_json::json!({"NetworksDeleted": []}));
}

#[test]
fn n08_prune_filters() {
    let daemon = Daemon::start();
    daemon.ok("network prune -f --filter label=a=b --filter label=c --filter label!=keep --filter until=2026-01-31Z");
    let (_, said) = daemon.fails(1, "network prune -f --filter until=1h --filter until=2h");
    assert!(said.contains("more than one until filter"), "{said}");
    let seen = daemon.seen::<PruneNetworksRequest>();
    let label = |key: &str, value: Option<&str>| LabelSelector {
        key: text(key),
        value: value.map(text),
    };
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].labels, [label("a", Some("b")), label("c", None)]);
    assert_eq!(seen[0].excluded_labels, [label("keep", None)]);
    let until = seen[0].created_before.unwrap();
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
    let link = |target: &str, alias: &str| Link {
        target: text(target),
        alias: text(alias),
    };
    let spec = EndpointSpec {
        network: text("front"),
        ipv4_address: text("10.0.0.9"),
        ipv6_address: text("fd00::9"),
        mac_address: text("02:00:00:00:00:09"),
        aliases: vec![text("a"), text("b")],
        driver_options: [(text("k"), text("v"))].into(),
        gateway_priority: -5,
        links: vec![link("db", "db"), link("cache", "c")],
        link_local_addresses: vec![text("169.254.1.1")],
        interface_name: text("net1"),
    };
    let wanted = ConnectSandboxRequest {
        sandbox: text("web"),
        spec: Some(spec),
        request_id: String::new(),
    };
    assert_eq!(daemon.seen::<ConnectSandboxRequest>(), [wanted]);
    assert_eq!(daemon.ok("network disconnect front web"), "");
    daemon.will(DisconnectSandboxResponse {
        endpoint_id: text("e1"),
    });
    let shown = daemon.json("network disconnect -f front web");
    assert_eq!(shown["EndpointID"], "e1");
    let forced: Vec<bool> = daemon
        .seen::<DisconnectSandboxRequest>()
        .iter()
        .map(|r| r.allow_missing)
        .collect();
    // Force asks for no more than netd does anyway: it never hides a sandbox that was not connected.
    assert_eq!(forced, [false, false]);
}

#[test]
fn n05_stopped_sandboxes() {
    let daemon = Daemon::start();
    daemon.ok("sandbox create --stopped --id 7f --expose 80 --expose 7000-7002/udp -P --network name=front,ip=10.0.0.9,link=db:d idle");
    assert_eq!(daemon.ok("sandbox start idle"), "idle\n");
    daemon.ok("sandbox start --pid 7 idle");
    daemon.ok("sandbox start --netns /run/netns/x idle");
    daemon.fails(2, "sandbox create --stopped --netns /x web");
    daemon.fails(2, "sandbox start --pid 1 --netns /x web");
    let exposed = |port, count, protocol: Protocol| ExposedPort {
        port,
        count,
        protocol: protocol.into(),
    };
    let wanted = CreateSandboxRequest {
        name: text("idle"),
        id: text("7f"),
        endpoints: vec![EndpointSpec {
            network: text("front"),
            ipv4_address: text("10.0.0.9"),
            links: vec![Link {
                target: text("db"),
                alias: text("d"),
            }],
            ..Default::default()
        }],
        stopped: true,
        exposed: vec![
            exposed(80, 1, Protocol::Tcp),
            exposed(7000, 3, Protocol::Udp),
        ],
        publish_all: true,
        names: Some(NameOptions::default()),
        ..Default::default()
    };
    assert_eq!(daemon.seen::<CreateSandboxRequest>(), [wanted]);
    let sources: Vec<_> = daemon
        .seen::<StartSandboxRequest>()
        .into_iter()
        .map(|start| start.namespace.and_then(|n| n.source))
        .collect();
    let path = namespace::Source::Path(text("/run/netns/x"));
    assert_eq!(sources, [None, Some(namespace::Source::Pid(7)), Some(path)]);
}

#[test]
fn s06_names_arrive_in_their_fields() {
    let daemon = Daemon::start();
    daemon.ok("sandbox create --domainname d.example --dns 192.0.2.1 --dns-search . --dns-option rotate --add-host db=[::1] --add-host h:host-gateway web");
    let host = |name: &str, target| ExtraHost {
        name: text(name),
        target: Some(target),
    };
    let wanted = NameOptions {
        domainname: text("d.example"),
        dns: vec![text("192.0.2.1")],
        dns_search: vec![text(".")],
        dns_options: vec![text("rotate")],
        extra_hosts: vec![
            host("db", extra_host::Target::Address(text("::1"))),
            host("h", extra_host::Target::HostGateway(true)),
        ],
    };
    let seen = daemon.seen::<CreateSandboxRequest>();
    assert_eq!(seen[0].names, Some(wanted));
}

#[test]
fn c01_ports_arrive_as_rows() {
    let daemon = Daemon::start();
    daemon.ok("port publish web 80 [::1]:53:53/udp 9000-9002:7000-7002");
    daemon.ok("port unpublish web 80");
    let spec = |host_ip: &str, host_port, port, count, protocol: Protocol| PortSpec {
        host_ip: text(host_ip),
        host_port,
        port,
        count,
        protocol: protocol.into(),
        ..Default::default()
    };
    let seen = daemon.seen::<PublishRequest>();
    assert_eq!(
        seen[0].specs,
        [
            spec("", None, 80, 1, Protocol::Tcp),
            spec("::1", Some(53), 53, 1, Protocol::Udp),
            spec("", Some(9000), 7000, 3, Protocol::Tcp),
        ]
    );
    assert_eq!(daemon.seen::<UnpublishRequest>()[0].specs.len(), 1);
}

#[test]
fn p02_updates_say_which_fields() {
    let daemon = Daemon::start();
    daemon.ok("sandbox rename web www");
    daemon.ok("sandbox update --hostname h --dns 192.0.2.1 -p 8080:80 web");
    daemon.ok("endpoint update --gw-priority 0 front web");
    daemon.ok("endpoint update --alias a e1");
    for line in [
        "sandbox update web",
        "network update front",
        "endpoint update e1",
    ] {
        let (_, said) = daemon.fails(1, line);
        assert!(said.contains("nothing is to change"), "{said}");
    }
    let sandboxes = daemon.seen::<UpdateSandboxRequest>();
    let paths = |mask: &Option<prost_types::FieldMask>| mask.clone().unwrap().paths;
    assert_eq!(paths(&sandboxes[0].update_mask), ["name"]);
    assert_eq!(sandboxes[0].update.clone().unwrap().name, "www");
    assert_eq!(
        paths(&sandboxes[1].update_mask),
        ["hostname", "names.dns", "ports"]
    );
    let endpoints = daemon.seen::<UpdateEndpointRequest>();
    assert_eq!(paths(&endpoints[0].update_mask), ["gateway_priority"]);
    let (first, second) = (
        endpoints[0].endpoint.clone().unwrap(),
        endpoints[1].endpoint.clone().unwrap(),
    );
    assert_eq!(
        (first.network.as_str(), first.sandbox.as_str()),
        ("front", "web")
    );
    assert_eq!((second.id.as_str(), second.network.as_str()), ("e1", ""));
    assert_eq!(paths(&endpoints[1].update_mask), ["aliases"]);
}

#[test]
fn p02_labels_are_changed_as_they_were_read() {
    let daemon = Daemon::start();
    let labels = || {
        [("keep", "1"), ("old", "2"), ("gone", "3")]
            .map(|(key, value)| (text(key), text(value)))
            .into()
    };
    daemon.will(Network {
        id: text("n1"),
        labels: labels(),
        revision: 7,
        ..Default::default()
    });
    daemon.will(Sandbox {
        labels: labels(),
        revision: 8,
        ..Default::default()
    });
    daemon.ok("network update --label old=4 --label new= --label-rm gone front");
    daemon.ok("sandbox update --label-rm keep --label-rm old web");
    let network = daemon.seen::<UpdateNetworkRequest>().remove(0);
    assert_eq!(
        (network.network.as_str(), network.expected_revision),
        ("n1", 7)
    );
    let wanted = [("keep", "1"), ("old", "4"), ("new", "")];
    let wanted = wanted.map(|(key, value)| (text(key), text(value))).into();
    assert_eq!(network.update.unwrap().labels, wanted);
    let sandbox = daemon.seen::<UpdateSandboxRequest>().remove(0);
    assert_eq!(sandbox.expected_revision, 8);
    let wanted = [(text("gone"), text("3"))].into();
    assert_eq!(sandbox.update.unwrap().labels, wanted);
}

#[test]
fn p02_lists_ask_for_all_pages_with_the_filter() {
    let daemon = Daemon::start();
    let sandbox = |name: &str| Sandbox {
        name: text(name),
        ..Default::default()
    };
    daemon.will(ListSandboxesResponse {
        sandboxes: vec![sandbox("a"), sandbox("b")],
        next_page_token: text("more"),
        revision: 1,
    });
    daemon.will(ListSandboxesResponse {
        sandboxes: vec![sandbox("c")],
        ..Default::default()
    });
    let shown = daemon.json("sandbox ls --filter label.tier=web");
    assert_eq!(shown.as_array().unwrap().len(), 3);
    let seen = daemon.seen::<ListSandboxesRequest>();
    let tokens: Vec<&str> = seen.iter().map(|r| &*r.page_token).collect();
    assert_eq!(tokens, ["", "more"]);
    assert!(seen.iter().all(|r| r.filter == "label.tier=web"));
    daemon.ok("port ls --filter protocol=udp web");
    let ports = daemon.seen::<ListPublicationsRequest>();
    assert_eq!(
        (ports[0].sandbox.as_str(), ports[0].filter.as_str()),
        ("web", "protocol=udp")
    );
    daemon.ok("network ls");
    daemon.ok("--output json network ls");
    let views: Vec<NetworkView> = daemon
        .seen::<ListNetworksRequest>()
        .iter()
        .map(ListNetworksRequest::view)
        .collect();
    assert_eq!(views, [NetworkView::Basic, NetworkView::Full]);
}

#[test]
fn s01_names_are_asked_for() {
    let daemon = Daemon::start();
    daemon.ok("names resolve web db");
    daemon.ok("names resolve -t AAAA web db");
    let types: Vec<String> = daemon
        .seen::<ResolveRequest>()
        .into_iter()
        .map(|r| r.r#type)
        .collect();
    assert_eq!(types, ["A", "AAAA"]);
    daemon.ok("names ls web");
    assert_eq!(daemon.seen::<ListNamesRequest>()[0].sandbox, "web");
}

#[test]
fn p02_watches_say_from_where() {
    let daemon = Daemon::start();
    daemon.ok("system watch --from 0 --type network --type endpoint --filter name=front");
    daemon.ok("system watch --snapshot --events");
    daemon.ok("events");
    let seen = daemon.seen::<WatchRequest>();
    assert_eq!(seen[0].from_revision, Some(0));
    assert_eq!(seen[0].types, [1, 3]);
    assert!(seen[1].snapshot && seen[1].events && seen[1].from_revision.is_none());
    let events = WatchRequest {
        events: true,
        ..Default::default()
    };
    assert_eq!(seen[2], events);
}
