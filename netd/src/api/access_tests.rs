//! The table of RPCs against the API itself, and roles.

use std::collections::BTreeSet;

use super::*;

/// Changes that are about no one thing.
const ABOUT_ALL: [&str; 3] = [
    "/netd.v1.NetworkService/PruneNetworks",
    "/netd.v1.FlowService/DeleteFlows",
    "/netd.v1.SystemService/Reconcile",
];

fn remote(names: &[&str]) -> Peer {
    Peer::Remote {
        names: names.iter().map(|&name| name.to_owned()).collect(),
        address: "192.0.2.1:4000".parse().unwrap(),
    }
}

#[test]
fn p01_every_rpc_is_a_read_or_a_write() {
    let mut served = BTreeSet::new();
    for set in descriptors() {
        for file in &set.file {
            for service in &file.service {
                for method in &service.method {
                    served.insert(format!(
                        "{}.{} {}",
                        file.package(),
                        service.name(),
                        method.name()
                    ));
                }
            }
        }
    }
    let listed: BTreeSet<String> = RPCS
        .iter()
        .map(|(service, rpc, _)| format!("{service} {rpc}"))
        .collect();
    assert_eq!(listed.len(), RPCS.len(), "an RPC is listed twice");
    assert_eq!(
        served, listed,
        "say in api/access.rs whether an RPC reads or writes"
    );
    assert_eq!(TABLE.len(), RPCS.len());
    for (path, rpc) in TABLE.iter().filter(|(_, rpc)| rpc.role == Write) {
        assert!(
            !rpc.naming.is_empty() || !rpc.within.is_empty() || ABOUT_ALL.contains(&path.as_str()),
            "the log of changes would not say what {path} is about"
        );
        assert!(!rpc.streams, "{path}: changes are single messages");
    }
    assert_eq!(
        services().count(),
        8,
        "{:?}",
        services().collect::<Vec<_>>()
    );
}

#[test]
fn p01_roles_decide_and_what_is_not_listed_is_refused() {
    let client = |name: &str, role| Client {
        name: name.into(),
        role,
    };
    let access = Access::new(&[client("ci", Write), client("spiffe://site/watch", Read)]);
    let ask = |peer: &Peer, path: &str| access.allow(peer, path, rpc(path));
    let (list, create, unlisted) = (
        "/netd.v1.NetworkService/ListNetworks",
        "/netd.v1.NetworkService/CreateNetwork",
        "/netd.v1.NetworkService/Unlisted",
    );
    let reader = remote(&["other.example", "spiffe://site/watch"]);
    assert!(ask(&reader, list).is_ok());
    let refused = ask(&reader, create).unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let hint = refused.get_details_error_info().unwrap().metadata;
    assert!(hint["hint"].contains("role = \"write\""), "{hint:?}");
    let writer = remote(&["ci"]);
    assert!(ask(&writer, list).is_ok() && ask(&writer, create).is_ok());
    let refused = ask(&writer, unlisted).unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    for stranger in [remote(&["nobody"]), remote(&["CI"]), remote(&["ci "])] {
        let refused = ask(&stranger, list).unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{stranger}");
        assert!(refused.message().contains("unknown"), "{refused:?}");
    }
    let refused = ask(&remote(&[]), list).unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let local = Peer::Local {
        uid: 0,
        pid: Some(1),
        process: "netctl".into(),
    };
    assert!(ask(&local, create).is_ok() && ask(&local, unlisted).is_ok());
}
