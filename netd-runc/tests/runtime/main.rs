//! P05: the shipped program between an engine, a runtime and a daemon: who is called with what, in which order, and how it ends.

mod mock;

use std::{
    fs,
    io::Write as _,
    process::{Output, Stdio},
    time::Instant,
};

use mock::{ID, World};
use serde_json::json;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

const CREATE: &str = "runtime create --bundle D/bundle --pid-file D/init.pid ID";

fn refusal(reason: &str, text: &str) -> Status {
    let details = ErrorDetails::with_error_info(reason, "netd", [("hint".into(), "x".into())]);
    Status::with_error_details(Code::FailedPrecondition, text, details)
}

fn ends(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
}

#[test]
fn p05_a_container_is_connected_between_create_and_start() {
    let world = World::new();
    ends(&world.create(), 0);
    assert_eq!(world.calls(), ["netd get", CREATE, "netd start 4711"]);
    assert_eq!(world.seen()["mounts"][0]["source"], "/run/n/hosts");
    ends(&world.run("start ID"), 0);
    assert_eq!(
        world.calls(),
        ["netd get", "netd check e1", "runtime start ID"]
    );
    ends(&world.run("delete ID"), 0);
    assert_eq!(
        world.calls(),
        ["runtime delete ID", "netd get", "netd stop"]
    );
    // The engine says it twice.
    ends(&world.run("delete --force ID"), 0);
    assert_eq!(world.calls(), ["runtime delete --force ID"]);
    assert_eq!(world.log(), []);
}

#[test]
fn p05_what_is_not_netds_is_the_runtimes_alone() {
    let world = World::new();
    for line in [
        "--version",
        "features",
        "kill --all ID 9",
        "exec --process p ID",
        "start ID",
        "delete ID",
        "create",
    ] {
        ends(&world.run(line), 0);
        assert_eq!(world.calls(), [format!("runtime {line}")], "{line}");
    }
    // On the host's namespace nobody is asked.
    world.spec(&json!([{"type": "pid"}]), &json!({}));
    ends(&world.create(), 0);
    assert_eq!(world.calls(), [CREATE]);
    world.sandbox(|sandbox| *sandbox = None);
    world.spec(&json!([{"type": "network"}]), &json!({}));
    ends(&world.create(), 0);
    assert_eq!(world.calls(), ["netd get", CREATE]);
    assert_eq!(
        world.seen()["mounts"][0]["source"],
        format!("/lib/{ID}/hosts")
    );
    // A sandbox whose name is the container's id is another's.
    let mut other = netd_proto::v1::Sandbox {
        id: "6f".repeat(32),
        name: ID.into(),
        ..Default::default()
    };
    other.set_state(netd_proto::v1::sandbox::State::Running);
    world.sandbox(|sandbox| *sandbox = Some(other));
    ends(&world.create(), 0);
    assert_eq!(world.calls(), ["netd get", CREATE]);
    world.does("kill", "exit 33");
    ends(&world.run("kill ID 9"), 33);
}

#[test]
fn p05_the_runtimes_own_failure_stays_its_own() {
    let world = World::new();
    world.does("create", "echo '{\"level\":\"error\",\"msg\":\"mine\",\"time\":\"Z\"}' >>\"$log\"; echo words >&2; exit 9");
    let output = world.create();
    ends(&output, 9);
    assert_eq!(output.stderr, b"words\n");
    assert_eq!(world.log(), [("error".into(), "mine".into())]);
    assert_eq!(world.calls(), ["netd get", CREATE]);
}

#[test]
fn p05_a_refusal_is_the_last_word_of_the_log_and_leaves_nothing() {
    let world = World::new();
    world.refuse(refusal(
        "PORT_ALLOCATED",
        "Bind for 0.0.0.0:80 failed: port is already allocated",
    ));
    let output = world.create();
    ends(&output, 1);
    let said = "netd: PORT_ALLOCATED: Bind for 0.0.0.0:80 failed: port is already allocated";
    assert_eq!(world.log(), [("error".into(), said.into())]);
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        format!("{said}\n")
    );
    assert_eq!(
        world.calls(),
        [
            "netd get",
            CREATE,
            "netd start 4711",
            "runtime delete --force ID"
        ]
    );
    assert!(!world.path("root").join(ID).exists());
}

#[test]
fn p05_a_run_that_nobody_ended_is_ended_first() {
    let world = World::new();
    world.refuse(refusal("ALREADY_RUNNING", "sandbox web is running already"));
    ends(&world.create(), 0);
    assert_eq!(
        world.calls(),
        [
            "netd get",
            CREATE,
            "netd start 4711",
            "netd stop",
            "netd start 4711"
        ]
    );
}

#[test]
fn p05_an_annotated_container_never_starts_without_netd() {
    let mut world = World::new();
    world.spec(
        &json!([{"type": "network"}]),
        &json!({"io.netd.network": "front"}),
    );
    world.sandbox(|sandbox| *sandbox = None);
    ends(&world.create(), 1);
    assert_eq!(world.calls(), ["netd get"]);
    let (_, said) = world.log().pop().unwrap();
    assert!(
        said.starts_with("netd: NOT_FOUND: ") && said.contains("create it again"),
        "{said}"
    );
    world.silence();
    let begun = Instant::now();
    ends(&world.create(), 1);
    assert!(begun.elapsed().as_secs() >= 9);
    let (_, said) = world.log().pop().unwrap();
    assert!(
        said.starts_with("netd: UNAVAILABLE: cannot reach netd at unix://"),
        "{said}"
    );
    // An engine makes exit code 127 of these words.
    assert!(!said.to_lowercase().contains("no such file"), "{said}");
    assert_eq!(world.calls(), [""; 0]);
}

#[test]
fn p05_only_what_may_be_netds_waits_for_it() {
    let mut world = World::new();
    world.silence();
    for namespaces in [
        json!([]),
        json!([{"type": "network", "path": "/proc/7/ns/net"}]),
    ] {
        world.spec(&namespaces, &json!({}));
        let begun = Instant::now();
        ends(&world.create(), 0);
        assert!(begun.elapsed().as_secs() < 3);
        assert_eq!(world.calls(), [CREATE]);
    }
    // It comes while it is waited for.
    world.spec(&json!([{"type": "network"}]), &json!({}));
    let child = world
        .command("create --bundle BUNDLE --pid-file PID ID")
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(700));
    world.serve();
    ends(&child.wait_with_output().unwrap(), 0);
    assert_eq!(world.calls(), ["netd get", CREATE, "netd start 4711"]);
}

#[test]
fn p05_a_start_finds_the_network_whole_or_does_not_come() {
    let mut world = World::new();
    ends(&world.create(), 0);
    world.differs("eth0 has no address");
    ends(&world.run("start ID"), 1);
    assert!(
        world
            .log()
            .pop()
            .unwrap()
            .1
            .contains("DEGRADED: the networks of container web are not whole: eth0 has no address")
    );
    world.sandbox(|sandbox| sandbox.as_mut().unwrap().pid = 7);
    ends(&world.run("start ID"), 1);
    assert!(world.log().pop().unwrap().1.contains("process 4711"));
    world.sandbox(|sandbox| *sandbox = None);
    ends(&world.run("start ID"), 1);
    assert!(
        world
            .log()
            .pop()
            .unwrap()
            .1
            .starts_with("netd: NOT_FOUND: ")
    );
    assert!(!world.calls().concat().contains("runtime start"));
    // A deletion does not wait, and does not fail for it.
    world.silence();
    let begun = Instant::now();
    ends(&world.run("delete --force ID"), 0);
    assert!(begun.elapsed().as_millis() < 2500);
    let (level, said) = world.log().pop().unwrap();
    assert!(
        level == "warning" && said.contains("cannot reach netd"),
        "{said}"
    );
}

#[test]
fn p05_a_deletion_that_fails_or_comes_late_stops_nothing() {
    let world = World::new();
    ends(&world.create(), 0);
    world.does("delete", "mkdir -p \"$root/again\"; exit 4");
    // The runtime here has removed what it knew all the same; a real one has not.
    ends(&world.run("delete ID"), 4);
    world.does("delete", "");
    ends(&world.create(), 0);
    world.sandbox(|sandbox| sandbox.as_mut().unwrap().pid = 4712);
    ends(&world.run("delete ID"), 0);
    assert!(!world.calls().contains(&"netd stop".to_owned()));
}

#[test]
fn p05_run_and_restore_are_connected_by_a_hook() {
    let world = World::new();
    ends(&world.run("run --bundle BUNDLE ID"), 0);
    assert_eq!(
        world.calls(),
        ["netd get", "runtime run --bundle D/bundle ID"]
    );
    let hook = world.seen()["hooks"]["createRuntime"][0].clone();
    assert_eq!(hook["path"], env!("CARGO_BIN_EXE_netd-runc"));
    let words: Vec<&str> = hook["args"]
        .as_array()
        .unwrap()
        .iter()
        .map(|w| w.as_str().unwrap())
        .collect();
    let called = |input: &str| {
        let mut command = std::process::Command::new(hook["path"].as_str().unwrap());
        let command = command.args(&words[1..]).env_clear().current_dir("/");
        let command = command.stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    };
    fs::create_dir(world.path("root").join(ID)).unwrap();
    ends(
        &called(&json!({"id": ID, "pid": 77, "bundle": "/b"}).to_string()),
        0,
    );
    assert_eq!(world.calls(), ["netd get", "netd start 77"]);
    assert!(world.path("root").join(ID).join("netd").exists());
    for bad in ["", "{}", &json!({"id": ID, "pid": 0}).to_string()] {
        let output = called(bad);
        ends(&output, 1);
        assert!(
            String::from_utf8(output.stderr).unwrap().contains("state"),
            "{bad}"
        );
    }
    world.refuse(refusal("NAMESPACE_IN_USE", "taken"));
    let output = called(&json!({"id": ID, "pid": 77}).to_string());
    ends(&output, 1);
    assert_eq!(output.stderr, b"netd: NAMESPACE_IN_USE: taken\n");
}

#[test]
fn p05_open_files_environment_and_input_are_handed_on() {
    let world = World::new();
    world.does(
        "create",
        "cat >input; echo \"$MARK\" >env; cat <&7 >file; ls -l /proc/self/fd >fds; echo out",
    );
    fs::write(world.path("given"), "of 7").unwrap();
    let mut shell = std::process::Command::new("sh");
    let command = world.command("create --bundle BUNDLE --preserve-fds 5 --pid-file PID ID");
    let words: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| format!("'{}'", word.to_str().unwrap()))
        .collect();
    let script = format!(
        "exec {} 7<{}",
        words.join(" "),
        world.path("given").display()
    );
    let mut child = shell
        .args(["-c", &script])
        .env("MARK", "a mark")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"asked").unwrap();
    let output = child.wait_with_output().unwrap();
    ends(&output, 0);
    assert_eq!(output.stdout, b"out\n");
    for (name, text) in [("input", "asked"), ("env", "a mark\n"), ("file", "of 7")] {
        assert_eq!(
            fs::read_to_string(world.path(name)).unwrap(),
            text,
            "{name}"
        );
    }
    // Nothing of what it waits for netd with is among them.
    let open = fs::read_to_string(world.path("fds")).unwrap();
    assert!(!open.contains("eventpoll"), "{open}");
}

#[test]
fn p05_a_create_without_a_pid_file_has_one_all_the_same() {
    let world = World::new();
    ends(&world.run("create --bundle BUNDLE ID"), 0);
    assert_eq!(
        world.calls(),
        [
            "netd get",
            "runtime create --pid-file D/bundle/netd-runc.pid --bundle D/bundle ID",
            "netd start 4711"
        ]
    );
}
