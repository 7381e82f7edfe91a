//! The words that it is called with: its own options come first, all that follows is the other runtime's.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt as _,
    path::PathBuf,
};

use clap::Parser;

/// Where netd listens unless something else is said.
pub const ADDRESS: &str = "unix:///run/netd/netd.sock";

/// The word by which the hook of a container's creation is called; no runtime knows it.
pub const HOOK: &str = "netd-hook";

/// Where runc keeps what it knows of containers unless `--root` says something else.
const ROOT: &str = "/run/runc";

/// Options of the runtime itself that take a value (runc's, and crun's).
const GLOBAL: [&str; 6] = [
    "root",
    "log",
    "log-format",
    "criu",
    "rootless",
    "cgroup-manager",
];

/// Options behind the verb that take a value, of the verbs that matter here.
const LOCAL: [&str; 14] = [
    "bundle",
    "b",
    "config",
    "f",
    "console-socket",
    "pidfd-socket",
    "pid-file",
    "preserve-fds",
    "image-path",
    "work-path",
    "manage-cgroups-mode",
    "empty-ns",
    "lsm-profile",
    "lsm-mount-context",
];

/// What it is called with. Help and version are the other runtime's.
#[derive(Parser, Debug)]
#[command(
    name = "netd-runc",
    disable_help_flag = true,
    disable_version_flag = true
)]
pub struct CommandLine {
    /// Where netd listens: unix:// and a path.
    #[arg(long = "netd-address", default_value = ADDRESS)]
    pub address: String,
    /// The runtime that makes the containers: a path, or a name found in PATH.
    #[arg(long = "netd-runtime", default_value = "runc")]
    pub runtime: PathBuf,
    /// The runtime's words.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<OsString>,
}

/// What the runtime is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// A process that waits for its start.
    Create,
    /// A process that a checkpoint becomes; no start follows.
    Restore,
    /// Create and start in one.
    Run,
    /// The waiting process begins.
    Start,
    /// What is left of a container goes.
    Delete,
    /// This program's own: a container's namespaces are there, nothing runs in them.
    Hook,
    /// None of this program's business.
    Other,
}

/// The runtime's words, understood as far as they matter.
#[derive(Debug)]
pub struct Invocation<'a> {
    /// What is asked for.
    pub verb: Verb,
    /// The words before the verb.
    pub globals: &'a [OsString],
    global: Vec<(&'a str, &'a OsStr)>,
    local: Vec<(&'a str, &'a OsStr)>,
    id: Option<&'a str>,
}

impl<'a> Invocation<'a> {
    /// Understands the runtime's words.
    pub fn of(words: &'a [OsString]) -> Self {
        let (global, at) = options(words, &GLOBAL);
        let (globals, rest) = words.split_at(at);
        let verb = match rest.first().and_then(|word| word.to_str()) {
            Some("create") => Verb::Create,
            Some("restore") => Verb::Restore,
            Some("run") => Verb::Run,
            Some("start") => Verb::Start,
            Some("delete") => Verb::Delete,
            Some(HOOK) => Verb::Hook,
            _ => Verb::Other,
        };
        let rest = rest.get(1..).unwrap_or_default();
        // Of `delete`, -f means something else, and takes no value.
        let valued = match verb {
            Verb::Create | Verb::Restore | Verb::Run => &LOCAL[..],
            _ => &[],
        };
        let (local, at) = options(rest, valued);
        Self {
            verb,
            globals,
            global,
            local,
            id: rest.get(at).and_then(|word| word.to_str()),
        }
    }

    /// The container's id, if one is named that is text.
    pub fn id(&self) -> Option<&'a str> {
        self.id
    }

    /// Which of the words is the verb.
    pub fn verb_at(&self) -> usize {
        self.globals.len()
    }

    /// The value of an option before the verb; the last one counts.
    pub fn global(&self, name: &str) -> Option<&'a OsStr> {
        find(&self.global, &[name])
    }

    /// The container's bundle.
    pub fn bundle(&self) -> PathBuf {
        let given = find(&self.local, &["bundle", "b"]);
        given.unwrap_or(OsStr::new(".")).into()
    }

    /// The file that shall hold the id of the container's first process.
    pub fn pid_file(&self) -> Option<PathBuf> {
        find(&self.local, &["pid-file"]).map(PathBuf::from)
    }

    /// Where the runtime keeps what it knows of containers.
    pub fn root(&self) -> PathBuf {
        self.global("root").unwrap_or(OsStr::new(ROOT)).into()
    }
}

fn find<'a>(options: &[(&'a str, &'a OsStr)], names: &[&str]) -> Option<&'a OsStr> {
    let mut found = options.iter().rev();
    found
        .find(|(name, _)| names.contains(name))
        .map(|(_, value)| *value)
}

/// The options before the first word that is none, and where that is. `valued`: those whose value is a word of its own. One dash
/// is as good as two, as Go's programs have it.
fn options<'a>(words: &'a [OsString], valued: &[&str]) -> (Vec<(&'a str, &'a OsStr)>, usize) {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(word) = words.get(at) {
        let bytes = word.as_bytes();
        if bytes.len() < 2 || bytes[0] != b'-' {
            break;
        }
        at += 1;
        if bytes == b"--" {
            break;
        }
        let bare = bytes.strip_prefix(b"--").unwrap_or(&bytes[1..]);
        let (name, value) = match bare.iter().position(|&b| b == b'=') {
            Some(end) => (&bare[..end], Some(OsStr::from_bytes(&bare[end + 1..]))),
            None => (bare, None),
        };
        // No option that matters has a name that is not text.
        let name = std::str::from_utf8(name).unwrap_or_default();
        let value = match value {
            None if valued.contains(&name) => {
                at += 1;
                words.get(at - 1).map(OsString::as_os_str)
            }
            other => other,
        };
        found.push((name, value.unwrap_or_default()));
    }
    (found, at.min(words.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> CommandLine {
        CommandLine::try_parse_from(line.split_whitespace()).unwrap()
    }

    #[test]
    fn p05_own_options_come_first() {
        let line = read(
            "netd-runc --netd-address unix:///x --netd-runtime=/bin/r --root /a -- create -- b",
        );
        assert_eq!(line.address, "unix:///x");
        assert_eq!(line.runtime, PathBuf::from("/bin/r"));
        assert_eq!(line.words, ["--root", "/a", "--", "create", "--", "b"]);
        for words in [
            "--version",
            "-v",
            "--help",
            "features",
            "",
            "exec --netd-address x y",
            "--log-format json kill --all x KILL",
        ] {
            let line = read(&format!("netd-runc {words}"));
            assert_eq!(line.words, words.split_whitespace().collect::<Vec<_>>());
            assert_eq!(line.address, ADDRESS);
            assert_eq!(line.runtime, PathBuf::from("runc"));
            assert_eq!(Invocation::of(&line.words).verb, Verb::Other, "{words}");
        }
    }

    #[test]
    fn p05_the_verb_is_the_first_word_that_is_no_option() {
        for (words, verb, id) in [
            (
                "--root /create --log=/x --log-format json create --bundle /b --pid-file p start",
                Verb::Create,
                Some("start"),
            ),
            ("--systemd-cgroup --debug start x", Verb::Start, Some("x")),
            (
                "-root delete --criu restore delete --force x",
                Verb::Delete,
                Some("x"),
            ),
            ("delete -f x", Verb::Delete, Some("x")),
            (
                "--rootless auto restore --detach --image-path i -b /b x",
                Verb::Restore,
                Some("x"),
            ),
            ("run --bundle=/b --keep -d x", Verb::Run, Some("x")),
            (
                "create --console-socket s --no-pivot --preserve-fds 3 x",
                Verb::Create,
                Some("x"),
            ),
            ("-- create x", Verb::Create, Some("x")),
            ("create", Verb::Create, None),
            ("kill start TERM", Verb::Other, Some("start")),
            ("--root", Verb::Other, None),
        ] {
            let line = read(&format!("netd-runc {words}"));
            let words: Vec<OsString> = words.split_whitespace().map(OsString::from).collect();
            // `--` in front of all is clap's own.
            let call = Invocation::of(if words[0] == "--" {
                &words
            } else {
                &line.words
            });
            assert_eq!((call.verb, call.id()), (verb, id), "{words:?}");
        }
    }

    #[test]
    fn p05_values_are_found_in_either_form() {
        let line =
            read("netd-runc --root=/r --log /l --log-format json create -b /b --pid-file=/p x");
        let call = Invocation::of(&line.words);
        assert_eq!(call.globals.len(), 5);
        assert_eq!(call.root(), PathBuf::from("/r"));
        assert_eq!(call.global("log"), Some(OsStr::new("/l")));
        assert_eq!(call.bundle(), PathBuf::from("/b"));
        assert_eq!(call.pid_file(), Some(PathBuf::from("/p")));
        let line = read("netd-runc create x");
        let call = Invocation::of(&line.words);
        assert_eq!(call.root(), PathBuf::from(ROOT));
        assert_eq!((call.bundle(), call.pid_file()), (PathBuf::from("."), None));
    }
}
