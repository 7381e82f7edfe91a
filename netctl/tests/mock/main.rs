//! P02: the shipped program against a recorder of what arrives: requests, outputs, messages and exit codes.

mod contract;
mod flow;
mod recorder;
mod shown;

use recorder::{Daemon, netctl};

#[test]
fn n02_what_the_client_refuses_reaches_no_daemon() {
    let daemon = Daemon::start();
    for (code, line, part) in [
        (
            1,
            "network create --gateway 10.0.0.1 front",
            "must have a corresponding subnet",
        ),
        (1, "network prune -f --filter foo=1", "Invalid filter '"),
        (
            1,
            "network prune -f --filter driver=bridge",
            "Invalid filter '",
        ),
        (1, "network ls --filter label!=a", "Invalid filter '"),
        (1, "events --filter foo=1", "Invalid filter '"),
        (1, "events --format {{.Frob}}", "can't evaluate field Frob"),
        (
            1,
            "network prune -f --filter until=zzz",
            "failed to parse value as time or duration: \"zzz\"",
        ),
        (
            2,
            "network connect --link a: front web",
            "bad format for links",
        ),
        (
            2,
            "port publish web 8000-8010:80-81",
            "11 ports on the host for 2 in the sandbox",
        ),
        (2, "port publish web 99999:80", "host port"),
        (2, "sandbox create --expose 1:2 web", "--expose"),
        (
            2,
            "sandbox create --network ip=10.0.0.1 web",
            "network name/id is not specified",
        ),
        (2, "flows rm", "--all"),
    ] {
        let (_, said) = daemon.fails(code, line);
        assert!(said.contains(part), "{line}: {said}");
    }
    assert_eq!(daemon.count(), 0);
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
        "system-watch",
        "endpoint-check",
        "names-resolve",
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
        "--snapshot",
        "--label-rm",
    ] {
        assert!(script.contains(flag), "{flag}");
    }
}
