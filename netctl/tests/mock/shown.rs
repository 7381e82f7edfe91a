//! What netctl makes of answers and refusals: texts, JSON, exit codes.

use std::{collections::HashMap, os::unix::fs::PermissionsExt};

use netd_proto::v1::{watch_response::Kind, *};
use serde_json::json;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::recorder::Daemon;

fn missing(what: &str) -> Status {
    let metadata = HashMap::from([("hint".to_owned(), "look again".to_owned())]);
    let details = ErrorDetails::with_error_info("NOT_FOUND", "netd", metadata);
    Status::with_error_details(Code::NotFound, what, details)
}

#[test]
fn p02_refusals_have_code_reason_and_hint() {
    let daemon = Daemon::start();
    let refused = || Err::<Network, _>(missing("network nosuch not found"));
    daemon.will_say(refused());
    let (out, said) = daemon.fails(1, "network inspect nosuch");
    assert_eq!(out, "[]\n");
    assert_eq!(said, "Error: network nosuch not found\nHint: look again\n");
    daemon.will_say(refused());
    let (_, said) = daemon.fails(1, "--output json network inspect nosuch");
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        said,
        json!({
            "Error": "network nosuch not found",
            "Code": "NOT_FOUND",
            "Reason": "NOT_FOUND",
            "Hint": "look again",
        })
    );
}

#[test]
fn n07_one_that_is_missing_leaves_the_others() {
    let daemon = Daemon::start();
    let answers = || {
        daemon.will(RemoveNetworkResponse::default());
        daemon.will_say(Err::<RemoveNetworkResponse, _>(missing("no nosuch")));
    };
    answers();
    let (out, said) = daemon.fails(1, "network rm front nosuch back");
    assert_eq!(out, "front\nback\n");
    assert!(said.contains("no nosuch"), "{said}");
    answers();
    assert_eq!(
        daemon.ok("network rm -f front nosuch back"),
        "front\nback\n"
    );
    daemon.will_say(Err::<Network, _>(missing("no nosuch")));
    let (out, _) = daemon.fails(1, "network inspect nosuch front");
    let shown: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(shown.as_array().unwrap().len(), 1);
}

#[test]
fn n04_templates_of_networks() {
    let daemon = Daemon::start();
    let network = || Network {
        name: "front".into(),
        labels: [("a".to_owned(), "b".to_owned())].into(),
        ..Default::default()
    };
    daemon.will(network());
    assert_eq!(
        daemon.ok("network inspect -f {{.Labels}} front"),
        "map[a:b]\n"
    );
    daemon.will(network());
    let line = daemon.ok("network inspect -v --format json front");
    assert!(line.starts_with("{\"Name\":\"front\",") && line.lines().count() == 1);
}

#[test]
fn c01_publish_shows_the_chosen_port() {
    let daemon = Daemon::start();
    let published = |host_port| PublishResponse {
        publications: vec![Publication {
            spec: Some(PortSpec {
                host_port,
                port: 80,
                count: 1,
                ..Default::default()
            }),
            ..Default::default()
        }],
    };
    daemon.will(published(Some(40_000)));
    assert_eq!(daemon.ok("port publish web 80"), "80/tcp -> 40000\n");
    daemon.will(published(Some(40_000)));
    assert_eq!(daemon.json("port publish web 80")[0]["HostPort"], "40000");
    // A stopped sandbox gets its ports when it starts.
    daemon.will(published(None));
    assert_eq!(daemon.ok("port publish idle 80"), "80/tcp -> auto\n");
    daemon.will(published(None));
    assert_eq!(daemon.json("port publish idle 80")[0]["HostPort"], "");
    assert_eq!(daemon.ok("port unpublish web 80"), "");
    assert_eq!(
        daemon.ok("port ls"),
        "SANDBOX   HOST      PORT      STATE\n"
    );
}

#[test]
fn p02_sandboxes() {
    let daemon = Daemon::start();
    let sandboxes = || {
        let sandbox = |digit: &str, name: &str, state: sandbox::State, path: &str| Sandbox {
            id: digit.repeat(64),
            name: name.into(),
            state: state.into(),
            netns_path: path.into(),
            ..Default::default()
        };
        let idle = Sandbox {
            attachments: vec![EndpointSpec {
                network: "front".into(),
                ipv4_address: "10.0.0.9".into(),
                ..Default::default()
            }],
            exposed: vec![ExposedPort {
                port: 80,
                count: 2,
                protocol: 0,
            }],
            degraded: vec!["its network is gone".into()],
            ..sandbox("6", "idle", sandbox::State::Stopped, "")
        };
        ListSandboxesResponse {
            sandboxes: vec![
                sandbox("5", "web", sandbox::State::Running, "/run/netd/netns/web"),
                idle,
                sandbox("7", "gone", sandbox::State::Gone, "/run/netd/netns/gone"),
            ],
            ..Default::default()
        }
    };
    daemon.will(sandboxes());
    assert_eq!(
        daemon.ok("sandbox ls"),
        "\
SANDBOX ID     NAME      STATE                NETWORKS   PORTS     NAMESPACE
555555555555   web       running                                   /run/netd/netns/web
666666666666   idle      stopped (degraded)   front                
777777777777   gone      gone                                      /run/netd/netns/gone
"
    );
    daemon.will(sandboxes());
    let shown = daemon.json("sandbox ls");
    assert_eq!(shown[0]["Running"], true);
    assert_eq!(shown[1]["State"], "stopped");
    assert_eq!(shown[1]["Attachments"][0]["IPv4Address"], "10.0.0.9");
    assert_eq!(shown[1]["Exposed"][0], "80-81/tcp");
    assert_eq!(shown[1]["Degraded"][0], "its network is gone");
}

#[test]
fn p02_exec_ends_as_its_command() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "entering even the own namespace takes CAP_SYS_ADMIN: run the tests as root"
    );
    let daemon = Daemon::start();
    let fails = |code: i32, path: &str, command: &str| {
        daemon.will(Sandbox {
            name: "web".into(),
            netns_path: path.into(),
            ..Default::default()
        });
        daemon.fails(code, &format!("sandbox exec web -- {command}"))
    };
    let own = "/proc/self/ns/net";
    fails(7, own, "sh -c exit${IFS}7");
    fails(127, own, "no-such-command");
    let plain = daemon.directory.path().join("plain");
    std::fs::write(&plain, "").unwrap();
    std::fs::set_permissions(&plain, PermissionsExt::from_mode(0o600)).unwrap();
    fails(126, own, &plain.display().to_string());
    let (out, _) = fails(0, own, "echo -f --output x");
    assert_eq!(out, "-f --output x\n");
    let (_, said) = fails(125, "/proc/self/no-such-namespace", "true");
    assert!(said.contains("/proc/self/no-such-namespace"), "{said}");
    daemon.will_say(Err::<Sandbox, _>(missing("No such container: nosuch")));
    let (_, said) = daemon.fails(1, "sandbox exec nosuch -- true");
    assert!(said.contains("nosuch"), "{said}");
}

#[test]
fn p02_a_check_that_finds_something_fails() {
    let daemon = Daemon::start();
    assert_eq!(daemon.ok("endpoint check front web"), "");
    let found = || CheckEndpointResponse {
        differences: vec!["eth0 is down".into(), "no default route".into()],
    };
    daemon.will(found());
    let (out, said) = daemon.fails(1, "endpoint check front web");
    assert_eq!(
        (out.as_str(), said.as_str()),
        ("eth0 is down\nno default route\n", "")
    );
    daemon.will(found());
    let (out, _) = daemon.fails(1, "--output json endpoint check e1");
    let shown: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(shown["Differences"][0], "eth0 is down");
}

#[test]
fn p02_reconcile_says_what_it_mended() {
    let daemon = Daemon::start();
    assert_eq!(daemon.ok("system reconcile"), "Nothing to mend.\n");
    let mended = || ReconcileResponse {
        mended: vec![
            "the filter of nd-1 was gone".into(),
            "route of front".into(),
        ],
        failed: Vec::new(),
    };
    daemon.will(mended());
    assert_eq!(
        daemon.ok("system reconcile"),
        "the filter of nd-1 was gone\nroute of front\n"
    );
    daemon.will(mended());
    assert_eq!(
        daemon.json("system reconcile")["Mended"][1],
        "route of front"
    );
    // What could not be is said behind it, and the command fails.
    let failed = || ReconcileResponse {
        failed: vec!["network back stays degraded: no device".into()],
        ..mended()
    };
    daemon.will(failed());
    let (out, err) = daemon.fails(1, "system reconcile");
    assert_eq!(out, "the filter of nd-1 was gone\nroute of front\n");
    assert_eq!(
        err,
        "Error: not mended: network back stays degraded: no device\n"
    );
    daemon.will(ReconcileResponse {
        mended: Vec::new(),
        ..failed()
    });
    assert_eq!(daemon.fails(1, "system reconcile").0, "");
    daemon.will(failed());
    let (out, _) = daemon.fails(1, "--output json system reconcile");
    let shown: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(shown["Failed"][0], "network back stays degraded: no device");
}

#[test]
fn p02_status_shows_flows_and_what_is_degraded() {
    let daemon = Daemon::start();
    let status = || GetStatusResponse {
        flows: Some(FlowTotals {
            entries: 24,
            capacity: 262_144,
            ended: 7,
            ended_early: 2,
            ..Default::default()
        }),
        degraded: vec![DegradedObject {
            r#type: ObjectType::Network.into(),
            name: "front".into(),
            reasons: vec!["foo0 is taken".into()],
            ..Default::default()
        }],
        ..Default::default()
    };
    daemon.will(status());
    let text = daemon.ok("status");
    for part in [
        "24 of 262144",
        "7 were over, 2 of them early",
        "Degraded: network front: foo0 is taken\n",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    daemon.will(status());
    let shown = daemon.json("status");
    assert_eq!(shown["Flows"]["EndedEarly"], 2);
    assert_eq!(shown["Degraded"][0]["Reasons"][0], "foo0 is taken");
}

#[test]
fn n11_events_filtered_and_formatted() {
    let daemon = Daemon::start();
    let format = "{{.Type}}/{{.Action}}/{{.Actor.Attributes.name}}/{{.Actor.Attributes.container}}";
    let ready = || {
        let event = |kind: &str, action: &str, name: &str, more: &[(&str, &str)]| {
            let pairs = [("name", name)];
            let pairs = pairs.iter().chain(more).map(|&(k, v)| (k.into(), v.into()));
            Event {
                r#type: kind.into(),
                action: action.into(),
                id: "a".repeat(64),
                attributes: pairs.collect(),
                ..Default::default()
            }
        };
        let commit = |events| WatchResponse {
            kind: Kind::Commit.into(),
            events,
            ..Default::default()
        };
        daemon.will(vec![
            commit(vec![event("network", "create", "front", &[])]),
            commit(vec![
                event("sandbox", "create", "web", &[]),
                event("network", "connect", "front", &[("container", "web")]),
            ]),
        ]);
    };
    let events = |more: &str| {
        ready();
        daemon.ok(&format!("events --format {format} {more}"))
    };
    assert_eq!(
        events(""),
        "network/create/front/<no value>\nsandbox/create/web/<no value>\nnetwork/connect/front/web\n"
    );
    assert_eq!(
        events("--filter event=connect"),
        "network/connect/front/web\n"
    );
    assert_eq!(
        events("-f network=front -f event=create"),
        "network/create/front/<no value>\n"
    );
    ready();
    let lines = daemon.ok("events --format json");
    assert_eq!(lines.lines().count(), 3);
    for line in lines.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
}
