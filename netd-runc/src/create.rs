//! `create`, and `restore` and `run`, which nobody's `start` follows: a container that netd has a sandbox for is connected while its
//! first process waits.

use std::{env, fs, path::PathBuf, time::Duration};

use netd_proto::v1::Sandbox;

use crate::{
    attach::{attach, missing},
    bundle::{ANNOTATION, Bundle, Files, Namespace},
    client::Client,
    command_line::{CommandLine, HOOK, Invocation, Verb},
    failure::{Failure, Result},
    marker::is_id,
    process::{Runtime, exit_code},
};

/// How long a container that may be netd's waits for netd: it may be about to start, or be replaced.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// The other runtime does the rest, in this process' place.
    BecomeRuntime,
    /// This process ends.
    Exit(u8),
}

/// Does it.
///
/// # Errors
/// When the container is netd's and cannot be connected: nothing of it is left then.
pub fn create(line: &CommandLine, call: &Invocation<'_>, runtime: &Runtime) -> Result<Next> {
    let (Some(mut bundle), Some(id)) = (Bundle::read(&call.bundle()), call.id()) else {
        return Ok(Next::BecomeRuntime);
    };
    let mut client = Client::new(&line.address)?;
    let Some(sandbox) = sandbox_of(&mut client, &bundle, id)? else {
        return Ok(Next::BecomeRuntime);
    };
    let files = Files {
        resolv_conf: &sandbox.resolv_conf_path,
        hosts: &sandbox.hosts_path,
    };
    bundle.use_files(id, &files);
    bundle.drop_setkey();
    if call.verb != Verb::Create {
        let program = env::current_exe().map_err(|e| Failure::internal("finding netd-runc", e))?;
        bundle.add_hook(&program, &hook_words(line, call));
        bundle.write()?;
        return Ok(Next::BecomeRuntime);
    }
    bundle.write()?;
    let (words, pid_file) = with_pid_file(line, call);
    let status = runtime.run(&words)?;
    if !status.success() {
        // It has said why itself.
        return Ok(Next::Exit(exit_code(status)));
    }
    let connected = read_pid(&pid_file).and_then(|pid| attach(&mut client, &call.root(), id, pid));
    if let Err(e) = connected {
        let mut words = call.globals.to_vec();
        words.extend(["delete", "--force", id].map(Into::into));
        // The engine does the same once more.
        let _ = runtime.run_quietly(&words);
        return Err(e);
    }
    Ok(Next::Exit(0))
}

/// The sandbox of a container; none: it is not netd's.
fn sandbox_of(client: &mut Client, bundle: &Bundle, id: &str) -> Result<Option<Sandbox>> {
    let (annotated, namespace) = (bundle.annotated(), bundle.namespace());
    if !annotated && (namespace == Namespace::Host || !is_id(id)) {
        return Ok(None);
    }
    let patience = match (annotated, namespace) {
        (false, Namespace::Joined) => Duration::ZERO,
        _ => PATIENCE,
    };
    match client.sandbox(id, patience) {
        Ok(None) if annotated => Err(missing(id)),
        // The namespace is another's, who has connected it.
        Err(e) if e.unreachable && !annotated && namespace == Namespace::Joined => Ok(None),
        Err(mut e) if e.unreachable && !annotated => {
            e.message.push_str(&format!(
                " (without netd nobody knows whether the container is netd's: it has no annotation {ANNOTATION})"
            ));
            Err(e)
        }
        found => found,
    }
}

/// The words of the hook, which connects the container from inside the runtime.
fn hook_words(line: &CommandLine, call: &Invocation<'_>) -> Vec<String> {
    // The runtime gives hooks no directory of its own choice.
    let root = std::path::absolute(call.root()).unwrap_or_else(|_| call.root());
    let root = root.display().to_string();
    let words = [
        "netd-runc",
        "--netd-address",
        &line.address,
        "--root",
        &root,
        HOOK,
    ];
    words.map(str::to_owned).to_vec()
}

/// The runtime's words, and the file that the process' id will be in: one in the bundle if nobody asks for another.
fn with_pid_file(line: &CommandLine, call: &Invocation<'_>) -> (Vec<std::ffi::OsString>, PathBuf) {
    let mut words = line.words.clone();
    if let Some(asked) = call.pid_file() {
        return (words, asked);
    }
    let own = call.bundle().join("netd-runc.pid");
    let verb = call.verb_at();
    words.splice(
        verb + 1..verb + 1,
        ["--pid-file".into(), own.clone().into()],
    );
    (words, own)
}

fn read_pid(path: &std::path::Path) -> Result<u32> {
    let failed = |e: &dyn std::fmt::Display| {
        Failure::internal(format!("reading the process id in {}", path.display()), e)
    };
    let text = fs::read_to_string(path).map_err(|e| failed(&e))?;
    text.trim().parse().map_err(|e| failed(&e))
}
