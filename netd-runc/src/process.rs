//! The other runtime: in this process' place, or as its child.

use std::{
    env,
    ffi::OsString,
    fs, io,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        process::{CommandExt as _, ExitStatusExt as _},
    },
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
};

use nix::{
    sys::{prctl, signal::Signal},
    unistd::{Pid, getppid},
};

use crate::failure::{Failure, Result};

/// The other runtime.
#[derive(Debug)]
pub struct Runtime {
    path: PathBuf,
}

impl Runtime {
    /// Finds it, in PATH unless it is given by a path.
    ///
    /// # Errors
    /// When it is not there, or this program is what it leads to.
    pub fn find(wanted: &Path) -> Result<Self> {
        let way_out =
            "name the runtime with --netd-runtime PATH (runtimeArgs of the engine's daemon.json)";
        let found = if wanted.components().count() > 1 {
            Some(wanted.to_owned())
        } else {
            let directories = env::var_os("PATH").unwrap_or_default();
            let mut places = env::split_paths(&directories).map(|d| d.join(wanted));
            places.find(|path| is_program(path))
        };
        let Some(path) = found else {
            let message = format!("the runtime {} is not in PATH; {way_out}", wanted.display());
            return Err(Failure::new("NOT_FOUND", message));
        };
        let same = |a: &Path| Some((fs::metadata(a).ok()?.dev(), fs::metadata(a).ok()?.ino()));
        // It would call itself without end.
        if same(&path).is_some() && same(&path) == same(Path::new("/proc/self/exe")) {
            let message = format!(
                "the runtime {} is netd-runc itself; {way_out}",
                path.display()
            );
            return Err(Failure::new("INVALID", message));
        }
        Ok(Self { path })
    }

    /// Becomes it. Returns only if that fails.
    pub fn become_it(&self, words: &[OsString]) -> Failure {
        self.failed(&Command::new(&self.path).args(words).exec())
    }

    /// Runs it to its end, with everything that this process was given: standard input and output, open files, environment.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn run(&self, words: &[OsString]) -> Result<ExitStatus> {
        self.wait(Command::new(&self.path).args(words))
    }

    /// As [`Runtime::run`], with nothing to read, and nobody to read what it says.
    ///
    /// # Errors
    /// As [`Runtime::run`].
    pub fn run_quietly(&self, words: &[OsString]) -> Result<ExitStatus> {
        let mut command = Command::new(&self.path);
        let command = command.args(words).stdin(Stdio::null());
        self.wait(command.stdout(Stdio::null()).stderr(Stdio::null()))
    }

    fn wait(&self, command: &mut Command) -> Result<ExitStatus> {
        let parent = Pid::this();
        let dies_along = move || {
            // Whoever ends this process means the runtime.
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            match getppid() == parent {
                true => Ok(()),
                false => Err(io::Error::other("the caller has ended")),
            }
        };
        // SAFETY: between fork and exec it makes two system calls, and allocates nothing unless it fails.
        let command = unsafe { command.pre_exec(dies_along) };
        command.status().map_err(|e| self.failed(&e))
    }

    fn failed(&self, e: &io::Error) -> Failure {
        Failure::internal(format!("running {}", self.path.display()), e)
    }
}

/// The exit code that passes an end on.
pub fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code();
    let code = code.or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p05_the_runtime_is_found_and_is_another_program() {
        assert!(Runtime::find(Path::new("sh")).unwrap().path.is_absolute());
        let said = Runtime::find(Path::new("no-such-runtime")).unwrap_err();
        assert!(said.message.contains("--netd-runtime"), "{said}");
        let own = env::current_exe().unwrap();
        let said = Runtime::find(&own).unwrap_err();
        assert!(said.message.contains("is netd-runc itself"), "{said}");
    }

    #[test]
    fn p05_ends_are_passed_on() {
        let sh = Runtime::find(Path::new("sh")).unwrap();
        for (script, code) in [("exit 0", 0), ("exit 77", 77), ("kill -9 $$", 137)] {
            let words = ["-c", script].map(OsString::from);
            assert_eq!(exit_code(sh.run(&words).unwrap()), code);
        }
    }
}
