//! netd's socket in front of older engines: the main path, and what they show and refuse beside an engine of the same age by itself.

use anyhow::{Result, ensure};
use netd_tests::{
    engine::{Api, Front, Suite},
    wait_for,
};
use serde_json::{Value, json};

use crate::{
    Outcome,
    docker_lifecycle::{check, set_up},
};

#[test]
fn p05_engine_26_has_netds_networks() -> Outcome {
    main_path(Suite::Trixie)
}

/// It has no annotations, and its hook switches IPv6 off in namespaces.
#[test]
fn p05_engine_20_has_netds_networks() -> Outcome {
    main_path(Suite::Bookworm)
}

fn main_path(suite: Suite) -> Outcome {
    let mut front = Front::start(suite)?;
    let cli = front.cli()?;
    set_up(&cli, "--restart always")?;
    check(&mut front, "the start")?;
    cli.ok("restart -t 0 web")?;
    check(&mut front, "a restart")?;
    cli.ok("network disconnect back web")?;
    cli.ok("network connect --alias behind back web")?;
    check(&mut front, "connecting again")?;
    cli.ok("stop -t 0 web")?;
    cli.ok("network disconnect back web")?;
    cli.ok("network connect --alias behind back web")?;
    cli.ok("start web")?;
    check(&mut front, "connecting while stopped")?;
    // The engine starts them again without a request.
    front.engine()?.kill9()?;
    front.engine()?.launch()?;
    wait_for("the engine to restart web", 30, || {
        check(&mut front, "the engine was killed").ok()
    });
    half_made(&mut front)?;
    compare(&mut front)?;
    front.close()
}

/// Of a container whose making was broken off before netd heard of it nothing runs, and there is a way out.
fn half_made(front: &mut Front) -> Result<()> {
    let host = json!({"NetworkMode": "none", "Runtime": "netd", "Annotations": {"io.netd.network": "front"}});
    let body = json!({"Image": "busybox", "Cmd": ["true"], "HostConfig": host});
    let engine = front.engine()?.api();
    engine.post("/containers/create?name=half", &body)?;
    let cli = front.cli()?;
    cli.refused("start half", &["remove the container and create it again"])?;
    cli.ok("rm half")?;
    Ok(())
}

/// The same containers at both: what is shown has the same fields, and what is refused the same words.
fn compare(front: &mut Front) -> Result<()> {
    let (ours, plain) = (front.api(), front.plain()?.api());
    plain.post("/networks/create", &json!({"Name": "front"}))?;
    let host = json!({"NetworkMode": "front", "PortBindings": {"80/tcp": [{"HostPort": "8090"}]}});
    let body = json!({"ExposedPorts": {"80/tcp": {}}, "HostConfig": host});
    let shown = |api: &Api| -> Result<Value> {
        api.sleeper("shown", &body)?;
        api.get("/containers/shown/json")
    };
    let (mut a, mut b) = (shown(&ours)?, shown(&plain)?);
    for one in [&mut a, &mut b] {
        // Of each network's subnets.
        one["NetworkSettings"]["Networks"] = one["NetworkSettings"]["Networks"]["front"].take();
    }
    for place in [
        "",
        "/HostConfig",
        "/NetworkSettings",
        "/NetworkSettings/Networks",
    ] {
        let fields = |value: &Value| -> Vec<String> {
            let there = value.pointer(place).and_then(Value::as_object);
            let mut all: Vec<String> = there.into_iter().flat_map(|m| m.keys().cloned()).collect();
            all.sort();
            all
        };
        ensure!(
            fields(&a) == fields(&b),
            "{place}: {:?}, the engine {:?}",
            fields(&a),
            fields(&b)
        );
    }
    for place in [
        "/HostConfig/NetworkMode",
        "/HostConfig/Runtime",
        "/NetworkSettings/Ports",
        "/Config/ExposedPorts",
    ] {
        ensure!(
            a.pointer(place) == b.pointer(place),
            "{place}: {:?}, the engine {:?}",
            a.pointer(place),
            b.pointer(place)
        );
    }
    for (method, path, body) in [
        (
            "POST",
            "/networks/front/connect",
            json!({"Container": "shown"}),
        ),
        (
            "POST",
            "/networks/front/connect",
            json!({"Container": "nobody"}),
        ),
        (
            "POST",
            "/networks/nowhere/connect",
            json!({"Container": "shown"}),
        ),
        (
            "POST",
            "/networks/host/connect",
            json!({"Container": "shown"}),
        ),
        ("DELETE", "/networks/nowhere", Value::Null),
        ("DELETE", "/networks/bridge", Value::Null),
        (
            "POST",
            "/networks/create",
            json!({"Name": "x", "Driver": "nothing"}),
        ),
        ("POST", "/containers/nobody/start", Value::Null),
        (
            "POST",
            "/containers/create?name=shown",
            json!({"Image": "busybox"}),
        ),
        (
            "POST",
            "/containers/create",
            json!({"Image": "busybox", "HostConfig": {"NetworkMode": "front", "PortBindings": {"x/tcp": []}}}),
        ),
    ] {
        let status = |api: &Api| Ok::<_, anyhow::Error>(api.ask(method, path, &body)?.status());
        let (a, b) = (status(&ours)?, status(&plain)?);
        ensure!(a == b, "{method} {path} {body}: {a}, the engine {b}");
    }
    Ok(())
}
