//! Namespaces of a test's own.

use std::process::Command;

use nix::sched::{CloneFlags, unshare};

use super::Netns;

/// A new namespace, which goes with the last that holds it. Needs root.
pub fn fresh() -> Netns {
    let made = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("root");
        Netns::open("/proc/thread-self/ns/net".as_ref()).unwrap()
    });
    made.join().unwrap()
}

/// What a program says inside; it must not fail.
pub fn run(netns: &Netns, words: &[&str]) -> String {
    let ran = netns.run(|| Ok(Command::new(words[0]).args(&words[1..]).output().unwrap()));
    let output = ran.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{words:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// As [`run`], of one line.
pub fn command(netns: &Netns, line: &str) -> String {
    run(netns, &line.split_whitespace().collect::<Vec<_>>())
}

/// As [`command`], of ip(8).
pub fn ip(netns: &Netns, words: &str) -> String {
    command(netns, &format!("ip {words}"))
}
