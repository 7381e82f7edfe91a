//! Running a command in a sandbox' namespace.

use std::{ffi::CString, fs::File};

use nix::{
    sched::{CloneFlags, setns},
    unistd::execvp,
};

/// Enters the namespace and becomes the command; returns only on failure, with Docker's exit code for it.
pub fn exec(netns: &str, command: &[String]) -> (u8, String) {
    let entered = File::open(netns)
        .map_err(|e| e.to_string())
        .and_then(|file| setns(file, CloneFlags::CLONE_NEWNET).map_err(|e| e.to_string()));
    if let Err(e) = entered {
        return (125, format!("entering namespace {netns}: {e}"));
    }
    let words: Result<Vec<CString>, _> = command.iter().map(|w| CString::new(w.as_str())).collect();
    let Ok(words) = words else {
        return (125, "an argument holds a zero byte".into());
    };
    let Some(program) = words.first() else {
        return (125, "no command".into());
    };
    let Err(e) = execvp(program, &words);
    let code = if e == nix::Error::ENOENT { 127 } else { 126 };
    (code, format!("{}: {e}", command[0]))
}
