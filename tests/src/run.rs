//! Programs in a namespace and a cgroup.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Read, Write},
    os::{fd::AsFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::{
    sched::{CloneFlags, setns},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::wait_for;

/// Where a program runs: network namespace, cgroup, environment.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    netns: Option<PathBuf>,
    cgroup: Option<PathBuf>,
    env: Vec<(String, String)>,
}

/// What a finished program left.
#[derive(Clone, Debug)]
pub struct Output {
    /// Exit status 0.
    pub ok: bool,
    /// Exit code, if it was not killed.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// Both streams.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

impl Scope {
    /// The calling process's own namespace and cgroup.
    pub fn machine() -> Self {
        Self::default()
    }

    /// The same, in the network namespace at `path`.
    #[must_use]
    pub fn inside(mut self, path: &Path) -> Self {
        self.netns = Some(path.to_owned());
        self
    }

    /// The same, in the cgroup at `path`.
    #[must_use]
    pub fn cgroup(mut self, path: &Path) -> Self {
        self.cgroup = Some(path.to_owned());
        self
    }

    /// The same, with an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The program to start, with standard streams as by default.
    ///
    /// # Errors
    /// When the namespace or the cgroup does not exist.
    pub fn command(&self, words: &[&str]) -> Result<Command> {
        let (program, arguments) = words.split_first().context("an empty command")?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .envs(self.env.iter().map(|(k, v)| (k, v)));
        let open = |path: &PathBuf| File::open(path).with_context(|| path.display().to_string());
        let netns = self.netns.as_ref().map(open).transpose()?;
        let cgroup = self
            .cgroup
            .as_ref()
            .map(|path| {
                let procs = path.join("cgroup.procs");
                OpenOptions::new()
                    .write(true)
                    .open(&procs)
                    .with_context(|| procs.display().to_string())
            })
            .transpose()?;
        // SAFETY: between fork and exec only system calls (write, setns) on descriptors opened before.
        unsafe {
            command.pre_exec(move || {
                if let Some(mut procs) = cgroup.as_ref() {
                    procs.write_all(b"0")?;
                }
                if let Some(netns) = netns.as_ref() {
                    setns(netns.as_fd(), CloneFlags::CLONE_NEWNET)?;
                }
                Ok(())
            });
        }
        Ok(command)
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run(&self, words: &[&str]) -> Result<Output> {
        let output = self
            .command(words)?
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot start {}", words.join(" ")))?;
        Ok(Output {
            ok: output.status.success(),
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// A copy of a program, good to run by anybody.
    ///
    /// Another process writes it: what this one has open for writing, a child that another test starts just then has
    /// open too, and the copy cannot be run until that child has become its program (ETXTBSY).
    ///
    /// # Errors
    /// It cannot be copied.
    pub fn install(&self, program: &str, to: &str) -> Result<()> {
        let output = self.run(&["install", "-m", "755", program, to])?;
        ensure!(output.ok, "{}", output.text());
        Ok(())
    }

    /// Starts it with piped input and output; standard error goes to the caller's.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self, words: &[&str]) -> Result<Process> {
        Process::start(self.command(words)?.stdout(Stdio::piped()), words)
    }

    /// Starts it with both output streams to `log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn_logged(&self, words: &[&str], log: File) -> Result<Process> {
        Process::start(
            self.command(words)?.stdout(log.try_clone()?).stderr(log),
            words,
        )
    }
}

/// A running program, killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<BufReader<ChildStdout>>,
}

impl Process {
    pub(crate) fn start(command: &mut Command, words: &[&str]) -> Result<Self> {
        let name = words.join(" ");
        let mut child = command
            .stdin(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().map(BufReader::new));
        Ok(Self {
            name,
            child,
            stdin,
            stdout,
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line of its output, without the line end; empty when it ended.
    ///
    /// # Errors
    /// When reading fails.
    pub fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let stdout = self.stdout.as_mut().context("its output goes elsewhere")?;
        stdout
            .read_line(&mut line)
            .with_context(|| self.name.clone())?;
        Ok(line.trim_end().to_owned())
    }

    /// Reads its output until a line holds `mark`; what was read, with that line.
    ///
    /// # Errors
    /// When the output ends before.
    pub fn until(&mut self, mark: &str) -> Result<String> {
        let mut seen = String::new();
        loop {
            let start = seen.len();
            let stdout = self.stdout.as_mut().context("its output goes elsewhere")?;
            let length = stdout
                .read_line(&mut seen)
                .with_context(|| self.name.clone())?;
            anyhow::ensure!(length > 0, "{mark:?} did not come: {seen}");
            if seen.get(start..).is_some_and(|line| line.contains(mark)) {
                return Ok(seen);
            }
        }
    }

    /// Sends it a line.
    ///
    /// # Errors
    /// When it reads no more.
    pub fn say(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("its input is closed")?;
        writeln!(stdin, "{line}").with_context(|| self.name.clone())
    }

    /// Closes its input.
    pub fn close(&mut self) {
        drop(self.stdin.take());
    }

    /// Whether it still runs.
    pub fn running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid()).context("process id")?;
        kill(Pid::from_raw(pid), signal).with_context(|| format!("{signal} to {}", self.name))
    }

    /// Closes its input, waits for its end (at most 30 s) and returns the rest of its output.
    ///
    /// # Errors
    /// When reading fails.
    pub fn finish(mut self) -> Result<Output> {
        drop(self.stdin.take());
        let mut stdout = String::new();
        if let Some(pipe) = self.stdout.as_mut() {
            pipe.read_to_string(&mut stdout)
                .with_context(|| self.name.clone())?;
        }
        let name = self.name.clone();
        let status = wait_for(&format!("end of {name}"), 30, || {
            self.child.try_wait().ok().flatten()
        });
        Ok(Output {
            ok: status.success(),
            code: status.code(),
            stdout,
            stderr: String::new(),
        })
    }

    /// Asks it to end by `signal`, as [`Process::finish`] otherwise.
    ///
    /// # Errors
    /// When it is gone already or reading fails.
    pub fn stop(self, signal: Signal) -> Result<Output> {
        self.signal(signal)?;
        self.finish()
    }

    /// Whether it ended within `time`.
    pub fn ended_within(&mut self, time: Duration) -> bool {
        let end = std::time::Instant::now() + time;
        while std::time::Instant::now() < end {
            if !self.running() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
