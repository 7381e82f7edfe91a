//! What an instance must not leave behind after `--purge`.

use std::{fs, path::Path};

use crate::world::World;

/// One sentence for each thing of the instance that still exists.
pub fn find(world: &World) -> Vec<String> {
    let mut left = Vec::new();
    let pins = Path::new("/sys/fs/bpf/netd").join(&world.instance);
    if pins.exists() {
        left.push(format!("pins under {}", pins.display()));
    }
    match world.host.ip("-o link show") {
        Ok(links) => {
            let alias = format!("alias netd:{}:", world.instance);
            for line in links.lines() {
                let name = line.split(": ").nth(1).unwrap_or(line);
                let ours = ["nd-", "np-", "br-", "netd0"]
                    .iter()
                    .any(|prefix| name.starts_with(prefix));
                if ours || line.contains(&alias) {
                    left.push(format!("link {name}"));
                }
            }
        }
        Err(error) => left.push(error.to_string()),
    }
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let run = world.run_directory().display().to_string();
    left.extend(
        mounts
            .lines()
            .filter(|line| line.contains(&run))
            .map(|line| format!("mount {line}")),
    );
    if world.state_directory().join("netd.redb").exists() {
        left.push(format!("state in {}", world.state_directory().display()));
    }
    let files = world.run_directory().join("files");
    if files.exists() {
        left.push(format!("files in {}", files.display()));
    }
    // A new namespace has none.
    match world.host.read_sysctl("net/ipv4/ip_local_reserved_ports") {
        Ok(ports) if ports.trim().is_empty() => {}
        Ok(ports) => left.push(format!("reserved ports {}", ports.trim())),
        Err(error) => left.push(error.to_string()),
    }
    // Filters and links of eBPF on interfaces that are not netd's own.
    for device in ["uplink", "lo"] {
        let shown = world
            .host_scope()
            .run(&["bpftool", "net", "show", "dev", device]);
        if let Ok(output) = shown {
            let mark = format!("{device}(");
            let lines = output.stdout.lines().filter(|line| line.starts_with(&mark));
            left.extend(lines.map(|line| format!("program {line}")));
        }
    }
    left
}
