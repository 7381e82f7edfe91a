//! `sandbox exec`: this process enters the namespace and becomes the command. Knows nothing of the daemon.

use std::{
    ffi::OsString, fs::File, io, os::unix::process::CommandExt, process::Command as Process,
};

use netd_proto::v1::Sandbox;
use nix::sched::{CloneFlags, setns};

use crate::failure::Failure;

/// The namespace cannot be entered.
const NOT_ENTERED: u8 = 125;
/// The command cannot be run.
const NOT_RUN: u8 = 126;
/// The command is not found.
const NOT_FOUND: u8 = 127;

/// Does not return if it succeeds. Must be called on the only thread.
pub fn exec(sandbox: &Sandbox, command: &[OsString]) -> Failure {
    let Some((program, arguments)) = command.split_first() else {
        return Failure::new("no command to run").code(NOT_ENTERED);
    };
    let (name, path) = (&sandbox.name, &sandbox.netns_path);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) => {
            return Failure::new(format!(
                "cannot open the namespace {path} of sandbox {name}: {error}"
            ))
            .hint("a namespace that is gone comes back with its process, or the sandbox is removed and made anew")
            .code(NOT_ENTERED);
        }
    };
    if let Err(error) = setns(&file, CloneFlags::CLONE_NEWNET) {
        return Failure::new(format!(
            "cannot enter the namespace {path} of sandbox {name}: {}",
            error.desc()
        ))
        .hint("entering a namespace takes root (CAP_SYS_ADMIN)")
        .code(NOT_ENTERED);
    }
    drop(file);
    let error = Process::new(program).args(arguments).exec();
    let code = match error.kind() {
        io::ErrorKind::NotFound => NOT_FOUND,
        _ => NOT_RUN,
    };
    Failure::new(format!("cannot run {}: {error}", program.display())).code(code)
}
