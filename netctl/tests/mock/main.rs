//! P02: the shipped program against a daemon of memory only: outputs, messages and exit codes.

mod contract;
mod daemon;
mod flow;
mod system;

use std::os::unix::fs::PermissionsExt;

use daemon::{Daemon, netctl};

#[test]
fn n01_networks_from_create_to_rm() {
    let daemon = Daemon::start();
    let id = format!("{:064x}", 1);
    let made =
        daemon.ok("network create --subnet 10.0.0.0/24 --gateway 10.0.0.9 --label a=b front");
    assert_eq!(made, format!("{id}\n"));
    let (_, said) = daemon.fails(1, "network create front");
    assert_eq!(said, "Error: network with name front already exists\n");
    assert_eq!(
        daemon.ok("network ls"),
        "NETWORK ID     NAME      DRIVER    SCOPE\n000000000000   front     bridge    local\n"
    );
    assert_eq!(daemon.ok("network ls -q --no-trunc"), format!("{id}\n"));
    let shown: serde_json::Value =
        serde_json::from_str(&daemon.ok("network inspect front")).unwrap();
    assert_eq!(shown[0]["IPAM"]["Config"][0]["Gateway"], "10.0.0.9");
    assert_eq!(
        daemon.ok("network inspect -f {{.Labels}} front"),
        "map[a:b]\n"
    );
    let lines = daemon.ok("network inspect -v --format json front");
    assert!(lines.starts_with("{\"Name\":\"front\",\"Id\":\"0000") && lines.lines().count() == 1);
    daemon.ok("network create back");
    let (out, said) = daemon.fails(1, "network rm front nosuch back");
    assert_eq!(out, "front\nback\n");
    assert_eq!(
        said,
        "Error: network nosuch not found\nHint: `netctl network ls` lists them\n"
    );
    let (_, said) = daemon.fails(1, "--output json network rm nosuch");
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        said,
        serde_json::json!({
            "Error": "network nosuch not found",
            "Code": "NOT_FOUND",
            "Hint": "`netctl network ls` lists them",
        })
    );
    assert_eq!(daemon.ok("network rm -f nosuch"), "");
    assert_eq!(daemon.ok("--output json network ls"), "[]\n");
}

#[test]
fn n04_a_missing_network_leaves_the_others() {
    let daemon = Daemon::start();
    daemon.ok("network create front");
    let (out, said) = daemon.fails(1, "network inspect nosuch");
    assert_eq!(out, "[]\n");
    assert!(said.contains("network nosuch not found"), "{said}");
    let (out, _) = daemon.fails(1, "network inspect nosuch front");
    let shown: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(shown[0]["Name"], "front");
    assert_eq!(shown.as_array().unwrap().len(), 1);
}

#[test]
fn n02_what_the_client_refuses_reaches_no_daemon() {
    let daemon = Daemon::start();
    let (_, said) = daemon.fails(1, "network create --gateway 10.0.0.1 front");
    assert!(said.contains("must have a corresponding subnet"), "{said}");
    for line in [
        "network prune -f --filter foo=1",
        "network prune -f --filter driver=bridge",
        "network ls --filter label!=a",
        "events --filter foo=1",
    ] {
        let (_, said) = daemon.fails(1, line);
        assert!(said.contains("Invalid filter '"), "{line}: {said}");
    }
    let (_, said) = daemon.fails(1, "network prune -f --filter until=zzz");
    assert!(
        said.contains("failed to parse value as time or duration: \"zzz\""),
        "{said}"
    );
    let (_, said) = daemon.fails(2, "network connect --link a: front web");
    assert!(said.contains("bad format for links"), "{said}");
    let (_, said) = daemon.fails(2, "port publish web 8000-8010:80");
    assert!(said.contains("choose one of 11 ports"), "{said}");
    let (_, said) = daemon.fails(2, "sandbox create --expose 1:2 web");
    assert!(said.contains("--expose"), "{said}");
    let (_, said) = daemon.fails(2, "sandbox create --network ip=10.0.0.1 web");
    assert!(said.contains("network name/id is not specified"), "{said}");
    let (_, said) = daemon.fails(2, "port publish web 99999:80");
    assert!(said.contains("host port"), "{said}");
    assert_eq!(daemon.ok("network ls -q"), "");
}

#[test]
fn c01_publish_shows_the_chosen_port() {
    let daemon = Daemon::start();
    assert_eq!(
        daemon.ok("port publish web 80 [::1]:53:53/udp"),
        "80/tcp -> 40000\n53/udp -> [::1]:53\n"
    );
    let shown: serde_json::Value =
        serde_json::from_str(&daemon.ok("--output json port publish web 80")).unwrap();
    assert_eq!(shown[0]["HostPort"], "40000");
    assert_eq!(daemon.ok("port publish idle 80"), "80/tcp -> auto\n");
    let shown: serde_json::Value =
        serde_json::from_str(&daemon.ok("--output json port publish idle 80")).unwrap();
    assert_eq!(shown[0]["HostPort"], "");
    assert_eq!(daemon.ok("port unpublish web 80"), "");
    assert_eq!(
        daemon.ok("port ls"),
        "SANDBOX   HOST      PORT      STATE\n"
    );
}

#[test]
fn p02_sandboxes() {
    let daemon = Daemon::start();
    let made = daemon.ok("sandbox create web --network front --network back -p 8080:80");
    assert_eq!(made, "5".repeat(64) + "\n");
    assert_eq!(
        daemon.ok("sandbox ls"),
        "\
SANDBOX ID     NAME      STATE     NETWORKS   PORTS     NAMESPACE
555555555555   web       running                        /proc/self/ns/net
666666666666   idle      stopped   front                
777777777777   gone      gone                           /proc/self/no-such-namespace
"
    );
    let shown: serde_json::Value =
        serde_json::from_str(&daemon.ok("--output json sandbox ls")).unwrap();
    assert_eq!(shown[1]["Attachments"][0]["IPv4Address"], "10.0.0.9");
    assert_eq!(shown[1]["Exposed"][0], "80-81/tcp");
    assert_eq!(
        daemon.ok("sandbox inspect -f {{.NetnsPath}} web"),
        "/proc/self/ns/net\n"
    );
    assert_eq!(daemon.ok("sandbox rm -f nosuch"), "");
    let (_, said) = daemon.fails(1, "sandbox exec nosuch -- true");
    assert!(said.contains("sandbox nosuch not found"), "{said}");
    let (_, said) = daemon.fails(125, "sandbox exec gone -- true");
    assert!(said.contains("/proc/self/no-such-namespace"), "{said}");
}

#[test]
fn p02_exec_ends_as_its_command() {
    // Entering even the own namespace takes CAP_SYS_ADMIN.
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let daemon = Daemon::start();
    daemon.fails(7, "sandbox exec web -- sh -c exit${IFS}7");
    daemon.fails(127, "sandbox exec web -- no-such-command");
    let plain = daemon.directory.path().join("plain");
    std::fs::write(&plain, "").unwrap();
    std::fs::set_permissions(&plain, PermissionsExt::from_mode(0o600)).unwrap();
    daemon.fails(126, &format!("sandbox exec web -- {}", plain.display()));
    assert_eq!(
        daemon.ok("sandbox exec web -- echo -f --output x"),
        "-f --output x\n"
    );
}

#[test]
fn p02_no_daemon_is_said_with_the_socket() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("netd.sock");
    let output = netctl(&socket, "status");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains(&socket.display().to_string()), "{said}");
    assert!(said.contains("is it running?"), "{said}");
}

#[test]
fn p02_completions_and_manual_need_no_daemon() {
    let nowhere = std::path::Path::new("/nonexistent/netd.sock");
    for line in [
        "completions bash",
        "completions zsh",
        "man",
        "man network create",
    ] {
        let output = netctl(nowhere, line);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("netctl"), "{line}");
    }
    assert_eq!(netctl(nowhere, "man nosuch").status.code(), Some(2));
    let directory = tempfile::tempdir().unwrap();
    let line = format!("man --directory {}", directory.path().display());
    assert!(netctl(nowhere, &line).status.success());
    for page in [
        "network-prune",
        "sandbox-start",
        "system-reconcile",
        "flows-rm",
    ] {
        let path = directory.path().join(format!("netctl-{page}.1"));
        assert!(path.exists(), "{}", path.display());
    }
    let script = netctl(nowhere, "completions bash").stdout;
    let script = String::from_utf8_lossy(&script);
    for flag in [
        "--link-local-ip",
        "--publish-all",
        "--gw-priority",
        "--stopped",
        "--published",
        "--follow",
    ] {
        assert!(script.contains(flag), "{flag}");
    }
}

#[test]
fn n02_pools_arrive_paired() {
    let daemon = Daemon::start();
    daemon.ok(
        "network create --ipv6 --subnet 10.0.0.0/16,fd00::/64 --gateway fd00::1 --ip-range 10.0.5.0/24 --aux-address x=10.0.0.5 front",
    );
    let shown: serde_json::Value =
        serde_json::from_str(&daemon.ok("network inspect front")).unwrap();
    let wanted = serde_json::json!([
        {"Subnet": "10.0.0.0/16", "IPRange": "10.0.5.0/24", "AuxiliaryAddresses": {"x": "10.0.0.5"}},
        {"Subnet": "fd00::/64", "Gateway": "fd00::1"},
    ]);
    assert_eq!(shown[0]["IPAM"]["Config"], wanted);
}
