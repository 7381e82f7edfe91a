//! `netd docker setup` and `remove`: the entry of the runtime in the engine's daemon.json. What else stands there stays as it is.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::Subcommand;
use serde_json::{Map, Value, json};

use crate::{
    command_line::ADDRESS,
    failure::{Failure, Result},
    replace::replace,
};

/// The runtime's name in the engine.
const NAME: &str = "netd";

/// The program's name, by which an entry is known as netd's own.
const PROGRAM: &str = "netd-runc";

/// Where the engine looks unless it is told otherwise.
const PLACE: &str = "etc/docker/daemon.json";

/// What is left to do after `setup`.
const AFTER_SETUP: &str =
    "Have the engine read it: systemctl reload docker (or SIGHUP to dockerd).\n";

/// The same where the default is changed.
const AFTER_DEFAULT: &str = "Have the engine read it: systemctl reload docker (or SIGHUP to dockerd). If dockerd is started with \
    --default-runtime, take that flag away first: with both it does not start.\n";

/// What is left to do after `remove`.
const AFTER_REMOVAL: &str = "Have the engine forget it: systemctl restart docker. A reload adds runtimes, and takes none away. \
    Containers that were created with the runtime netd do not start any more: remove them and create them again.\n";

const RUNTIMES: &str = "runtimes";
const DEFAULT: &str = "default-runtime";

/// What is done with the engine's configuration.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Tells Docker Engine of the runtime `netd`, in its daemon.json. What else stands there stays.
    Setup {
        /// The engine's configuration file; made if it does not exist.
        #[arg(long, value_name = "FILE", default_value = "/etc/docker/daemon.json")]
        daemon_json: PathBuf,
        /// The program netd-runc.
        #[arg(long, value_name = "PATH", default_value = "/usr/bin/netd-runc")]
        runtime: PathBuf,
        /// Where netd listens.
        #[arg(long, value_name = "unix://PATH", default_value = ADDRESS)]
        address: String,
        /// Use it for every container that names no other runtime.
        #[arg(long)]
        default: bool,
    },
    /// Takes what `setup` wrote out of it again.
    Remove {
        /// The engine's configuration file.
        #[arg(long, value_name = "FILE", default_value = "/etc/docker/daemon.json")]
        daemon_json: PathBuf,
    },
}

/// Does it; what was done, and what is left to do.
///
/// # Errors
/// When the file cannot be read, is not what the engine reads, or holds what others have put in this place: nothing has changed then.
pub fn run(command: &Command) -> Result<String> {
    match command {
        Command::Setup {
            daemon_json,
            runtime,
            address,
            default,
        } => {
            check(runtime, address)?;
            let file = DaemonJson::read(daemon_json)?;
            let mut wanted = file.text.clone();
            enter(&mut wanted, runtime, address, *default).map_err(|e| file.refuse(&e))?;
            let after = match default {
                true => AFTER_DEFAULT,
                false => AFTER_SETUP,
            };
            file.write(&wanted, after)
        }
        Command::Remove { daemon_json } => {
            let file = DaemonJson::read(daemon_json)?;
            let mut wanted = file.text.clone();
            leave(&mut wanted);
            file.write(&wanted, AFTER_REMOVAL)
        }
    }
}

fn check(runtime: &Path, address: &str) -> Result<()> {
    let invalid = |message: String| Err(Failure::new("INVALID", message));
    if !runtime.is_absolute() || runtime.file_name().is_none_or(|name| name != PROGRAM) {
        return invalid(format!(
            "--runtime {} is not an absolute path of {PROGRAM}",
            runtime.display()
        ));
    }
    if runtime.to_str().is_none() {
        return invalid(format!("--runtime {} is not UTF-8", runtime.display()));
    }
    if let Err(e) = fs::metadata(runtime) {
        return invalid(format!(
            "the runtime {}: {e}; install it there, or name it with --runtime PATH",
            runtime.display()
        ));
    }
    if !address
        .strip_prefix("unix://")
        .is_some_and(|path| path.starts_with('/'))
    {
        return invalid(format!(
            "--address {address:?} is not unix:// and an absolute path, as unix:///run/netd/netd.sock"
        ));
    }
    Ok(())
}

/// The engine's configuration file.
struct DaemonJson {
    /// As it was named.
    named: PathBuf,
    /// What that leads to.
    path: PathBuf,
    exists: bool,
    text: Map<String, Value>,
}

impl DaemonJson {
    fn read(named: &Path) -> Result<Self> {
        let failed = |e: &dyn std::fmt::Display| Failure::internal(named.display(), e);
        let path = match fs::canonicalize(named) {
            Ok(path) => path,
            Err(e) if e.kind() == io::ErrorKind::NotFound && !named.is_symlink() => named.into(),
            Err(e) => return Err(failed(&e)),
        };
        let (exists, text) = match fs::read(&path) {
            Ok(text) => (true, text),
            Err(e) if e.kind() == io::ErrorKind::NotFound => (false, Vec::new()),
            Err(e) => return Err(failed(&e)),
        };
        let file = Self {
            named: named.into(),
            path,
            exists,
            text: Map::new(),
        };
        if text.trim_ascii().is_empty() {
            return Ok(file);
        }
        match serde_json::from_slice(&text) {
            Ok(Value::Object(text)) => Ok(Self { text, ..file }),
            Ok(_) => Err(file.refuse("it holds no JSON object")),
            Err(e) => Err(file.refuse(&format!("it is no JSON: {e}"))),
        }
    }

    fn refuse(&self, why: &str) -> Failure {
        let message = format!("{} was not changed: {why}", self.named.display());
        Failure::new("INVALID", message)
    }

    /// Puts this in its place; what was done, and what is to be done `after` it.
    fn write(&self, wanted: &Map<String, Value>, after: &str) -> Result<String> {
        let shown = self.named.display();
        if *wanted == self.text {
            return Ok(format!("{shown} is already so.\n"));
        }
        let failed = |e: io::Error| Failure::internal(format!("writing {shown}"), e);
        // Where nothing else stood there it was made by `setup`. A link to it would lead nowhere; and an engine that is told of
        // another place by --config-file does not start without it.
        let vanishes = self.named == self.path && self.path.ends_with(PLACE);
        if wanted.is_empty() && vanishes {
            fs::remove_file(&self.path).map_err(failed)?;
            return Ok(format!(
                "Removed {shown}, in which nothing else stood.\n{after}"
            ));
        }
        if let (false, Some(directory)) = (self.exists, self.path.parent()) {
            fs::create_dir_all(directory).map_err(failed)?;
        }
        let text = serde_json::to_string_pretty(wanted);
        let text = text.map_err(|e| failed(e.into()))? + "\n";
        replace(&self.path, text.as_bytes(), true).map_err(failed)?;
        Ok(format!("Wrote {shown}.\n{after}"))
    }
}

/// Whether an entry is one that `setup` wrote.
fn is_own(entry: &Value) -> bool {
    let path = entry["path"].as_str().map(Path::new);
    path.and_then(Path::file_name)
        .is_some_and(|name| name == PROGRAM)
}

/// Puts the runtime in; why not, if that is refused.
fn enter(
    text: &mut Map<String, Value>,
    runtime: &Path,
    address: &str,
    default: bool,
) -> std::result::Result<(), String> {
    let mut entry = Map::new();
    entry.insert("path".into(), runtime.display().to_string().into());
    // With arguments the engine puts a shell script between, which costs each call a little.
    if address != ADDRESS {
        entry.insert("runtimeArgs".into(), json!(["--netd-address", address]));
    }
    let runtimes = text.entry(RUNTIMES).or_insert_with(|| json!({}));
    let Some(runtimes) = runtimes.as_object_mut() else {
        return Err(format!("\"{RUNTIMES}\" in it is no object"));
    };
    match runtimes.get(NAME) {
        Some(found) if !is_own(found) => {
            return Err(format!(
                "its runtime \"{NAME}\" is {found}, which is not {PROGRAM}; give that one another name, or remove it"
            ));
        }
        _ => {}
    }
    runtimes.insert(NAME.into(), entry.into());
    if !default {
        return Ok(());
    }
    match text.get(DEFAULT) {
        // What the engine takes by itself need not be remembered.
        Some(other) if !["", "runc", NAME].iter().any(|name| other == name) => Err(format!(
            "its \"{DEFAULT}\" is {other}; remove that first if {NAME} shall be in its place (netd-runc runs another runtime than \
             runc with --netd-runtime in runtimeArgs)"
        )),
        _ => {
            text.insert(DEFAULT.into(), NAME.into());
            Ok(())
        }
    }
}

/// Takes it out.
fn leave(text: &mut Map<String, Value>) {
    let Some(runtimes) = text.get_mut(RUNTIMES).and_then(Value::as_object_mut) else {
        return;
    };
    if !runtimes.get(NAME).is_some_and(is_own) {
        return;
    }
    runtimes.shift_remove(NAME);
    if runtimes.is_empty() {
        text.shift_remove(RUNTIMES);
    }
    if text.get(DEFAULT).is_some_and(|value| value == NAME) {
        text.shift_remove(DEFAULT);
    }
}

#[cfg(test)]
#[path = "setup_tests.rs"]
mod tests;
