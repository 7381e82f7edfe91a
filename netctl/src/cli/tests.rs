//! P02: the command line's forms.

use clap::{CommandFactory, error::ErrorKind};

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(["netctl"].into_iter().chain(line.split_whitespace()))
}

#[test]
fn p02_the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn n02_create_takes_docker_flags() {
    let line = "network create -d bridge -o a=b -o c --subnet 10.0.0.0/24,fd00::/64 --gateway 10.0.0.1 \
        --ip-range 10.0.0.0/25 --aux-address x=10.0.0.9 --ipam-driver default --ipam-opt k=v --internal \
        --ipv6 --ipv4=false --attachable=false --ingress=0 --scope local --label l=1 --config-only=f \
        --config-from other front";
    let Command::Network(network::Command::Create(create)) = parse(line).unwrap().command else {
        panic!("another command")
    };
    assert_eq!(create.name, "front");
    assert_eq!(create.subnets, ["10.0.0.0/24", "fd00::/64"]);
    assert_eq!(create.options[1], ("c".into(), String::new()));
    assert!(create.internal && !create.attachable && !create.ingress && !create.config_only);
    assert_eq!((create.ipv4, create.ipv6), (Some(false), Some(true)));
}

#[test]
fn p02_flags_before_and_after_the_command() {
    for line in [
        "--output json network ls",
        "network ls --output json",
        "network --output json ls",
    ] {
        assert_eq!(parse(line).unwrap().output, Output::Json, "{line}");
    }
}

#[test]
fn p02_exec_leaves_the_command_alone() {
    for line in [
        "sandbox exec web -- ls --output x -f",
        "sandbox exec web ls --output x -f",
    ] {
        let Command::Sandbox(sandbox::Command::Exec { command, .. }) = parse(line).unwrap().command
        else {
            panic!("another command")
        };
        assert_eq!(command, ["ls", "--output", "x", "-f"], "{line}");
    }
}

#[test]
fn s06_sandboxes_take_the_name_flags_of_docker_run() {
    let line = "sandbox create --hostname web --domainname a.example --dns 192.0.2.1 --dns 2001:db8::1 --dns-search b \
        --dns-search . --dns-option ndots:2 --dns-opt rotate --add-host db=[::1] --add-host h:host-gateway web";
    let Command::Sandbox(sandbox::Command::Create(create)) = parse(line).unwrap().command else {
        panic!("another command")
    };
    let names = create.names;
    assert_eq!(names.domainname.as_deref(), Some("a.example"));
    assert_eq!(names.dns, ["192.0.2.1", "2001:db8::1"]);
    assert_eq!(names.dns_search, ["b", "."]);
    assert_eq!(names.dns_options, ["ndots:2", "rotate"]);
    let hosts: Vec<&str> = names.extra_hosts.iter().map(|h| &*h.name).collect();
    assert_eq!(hosts, ["db", "h"]);
}

#[test]
fn p02_flows_and_drops() {
    let line = "flows --sandbox web --protocol ICMPv6 --published --ip fd00::/64 --port 80 --watch";
    let Command::Flows(flows) = parse(line).unwrap().command else {
        panic!("another command")
    };
    assert_eq!(flows.filter.sandbox.as_deref(), Some("web"));
    assert_eq!(
        (flows.filter.protocol, flows.filter.port),
        (Some(58), Some(80))
    );
    assert!(flows.watch && flows.filter.published && flows.command.is_none());
    let Command::Flows(flows) = parse("flows rm --protocol 47").unwrap().command else {
        panic!("another command")
    };
    let Some(flow::Command::Rm(rm)) = flows.command else {
        panic!("another command")
    };
    assert!(rm.filter.protocol == Some(47) && !rm.all);
    assert!(parse("flows rm --all").is_ok() && parse("drops").is_ok());
    let Command::Drops(drops) = parse("drops -f --reason quota --reason isolated")
        .unwrap()
        .command
    else {
        panic!("another command")
    };
    assert!(drops.follow && drops.reasons == ["quota", "isolated"]);
}

#[test]
fn p02_usage_errors() {
    for (line, kind) in [
        ("network frobnicate", ErrorKind::InvalidSubcommand),
        ("network create", ErrorKind::MissingRequiredArgument),
        ("network ls --frob", ErrorKind::UnknownArgument),
        ("network ls -f foo", ErrorKind::ValueValidation),
        ("port publish web 99999:80", ErrorKind::ValueValidation),
        (
            "network connect --ip 10.0.0 a b",
            ErrorKind::ValueValidation,
        ),
        ("sandbox create --dns nosuch a", ErrorKind::ValueValidation),
        ("sandbox create --add-host db a", ErrorKind::ValueValidation),
        ("--address nosuch status", ErrorKind::ValueValidation),
        ("flows rm", ErrorKind::MissingRequiredArgument),
        (
            "system watch --from 7 --snapshot",
            ErrorKind::ArgumentConflict,
        ),
        ("system watch --type port", ErrorKind::InvalidValue),
        ("sandbox rename web", ErrorKind::MissingRequiredArgument),
        ("flows rm --all --sandbox web", ErrorKind::ArgumentConflict),
        ("flows --sandbox web rm --all", ErrorKind::ArgumentConflict),
        ("flows --protocol 0", ErrorKind::ValueValidation),
        ("flows --port 65536", ErrorKind::ValueValidation),
        ("drops --sandbox web", ErrorKind::MissingRequiredArgument),
        (
            "sandbox create --netns /x --pid 1 a",
            ErrorKind::ArgumentConflict,
        ),
    ] {
        let error = parse(line).unwrap_err();
        assert_eq!((error.kind(), error.exit_code()), (kind, 2), "{line}");
    }
}
