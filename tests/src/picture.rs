//! A picture of all that a request may change, to be compared with a later one: what netctl lists, the host's links,
//! addresses, routes and rules, the same in each namespace that netd made, and the files for names.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use crate::{Netns, World};

/// Parts by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture(BTreeMap<String, String>);

/// What is looked at in a namespace.
const LOOKS: [&str; 5] = [
    "-br link",
    "-o addr",
    "rule",
    "-6 rule",
    "route show table all",
];

/// Lines of `ip` in `netns`, without what the kernel changes at its own pace.
fn look(netns: &Netns, words: &str) -> String {
    let text = match netns.ip(words) {
        Ok(text) => text,
        Err(error) => return format!("{error:#}"),
    };
    let lines = text.lines().map(|line| {
        let words = line.split_whitespace();
        let steady =
            |word: &&str| !matches!(*word, "linkdown" | "dead" | "UP" | "DOWN" | "UNKNOWN");
        // Flags of links, and the state of addresses that are just being checked.
        let steady = words.filter(steady).filter(|word| !word.starts_with('<'));
        let steady = steady.filter(|word| *word != "tentative");
        steady.collect::<Vec<_>>().join(" ")
    });
    lines
        .collect::<BTreeSet<_>>()
        .into_iter()
        .fold(String::new(), |all, line| all + &line + "\n")
}

fn add_files(directory: &Path, parts: &mut BTreeMap<String, String>) {
    let Ok(found) = fs::read_dir(directory) else {
        return;
    };
    for path in found.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            add_files(&path, parts);
        } else {
            let text = fs::read_to_string(&path).unwrap_or_else(|error| error.to_string());
            parts.insert(format!("file {}", path.display()), text);
        }
    }
}

impl Picture {
    /// Takes it.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn take(world: &World) -> Result<Self> {
        let mut parts = BTreeMap::new();
        for (ls, inspect) in [
            ("network ls -q --no-trunc", "network inspect"),
            ("sandbox ls -q --no-trunc", "sandbox inspect"),
        ] {
            let ids = world.ctl(ls)?;
            for id in ids.split_whitespace() {
                let line = format!("{inspect} {id}");
                parts.insert(line.clone(), world.ctl(&line)?);
            }
        }
        parts.insert("port ls".into(), world.ctl("--output json port ls")?);
        let status: serde_json::Value = serde_json::from_str(&world.ctl("--output json status")?)?;
        for key in ["Networks", "Sandboxes", "Endpoints", "Publications"] {
            parts.insert(format!("status {key}"), status[key].to_string());
        }
        for map in status["Maps"].as_array().into_iter().flatten() {
            let name = map["Name"].as_str().unwrap_or_default();
            if !["FLOWS", "MAPPINGS"].contains(&name) {
                parts.insert(format!("map {name}"), map["Entries"].to_string());
            }
        }
        let mut places = vec![world.host.clone()];
        if let Ok(found) = fs::read_dir(world.run_directory().join("netns")) {
            let found = found.flatten().map(|entry| entry.path());
            places.extend(found.map(|path| Netns::at(&path.display().to_string(), &path)));
        }
        for netns in &places {
            for words in LOOKS {
                parts.insert(format!("{} {words}", netns.name()), look(netns, words));
            }
        }
        let reserved = "net/ipv4/ip_local_reserved_ports";
        parts.insert(reserved.into(), world.host.read_sysctl(reserved)?);
        add_files(&world.run_directory().join("files"), &mut parts);
        Ok(Self(parts))
    }

    /// One line for each part that is not the same in `after`.
    pub fn differences(&self, after: &Self) -> Vec<String> {
        let names: BTreeSet<&String> = self.0.keys().chain(after.0.keys()).collect();
        let mut found = Vec::new();
        for name in names {
            let (old, new) = (self.0.get(name), after.0.get(name));
            if old != new {
                let lines = |text: Option<&String>| -> BTreeSet<String> {
                    text.into_iter()
                        .flat_map(|t| t.lines())
                        .map(str::to_owned)
                        .collect()
                };
                let (old, new) = (lines(old), lines(new));
                let gone: Vec<&String> = old.difference(&new).collect();
                let come: Vec<&String> = new.difference(&old).collect();
                found.push(format!("{name}: gone {gone:?}, new {come:?}"));
            }
        }
        found
    }

    /// Wants the world to look like this now, or within five seconds: links go a moment after they were removed.
    ///
    /// # Errors
    /// What is different.
    pub fn holds(&self, world: &World) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            let found = self.differences(&Self::take(world)?);
            if found.is_empty() {
                return Ok(());
            }
            if Instant::now() > end {
                bail!("it is not as before: {}", found.join("\n"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
