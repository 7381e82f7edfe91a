//! `netd --purge`: removes every trace of an instance, and nothing that it has not made.

use std::fs;

use crate::{
    config::Instance,
    daemon,
    dataplane::Dataplane,
    directories::{self, Cleaned},
    dns::keeper::{self, Keeper},
    engine::{self, Stored},
    error::{Error, Result},
    kernel::{Netlink, Netns, Reaper, sandbox as namespace, sysctl},
    model::{Origin, Run},
    store,
};

/// Removes links, programs, pins, namespaces, files and state of an instance that no daemon runs.
pub async fn run(instance: &Instance) -> Result<()> {
    let held = directories::hold_existing(instance)?;
    let netlink = Netlink::new()?;
    let reaper = Reaper::start(netlink.clone());
    let links = netlink.find_links(&instance.name).await?;
    futures::future::try_join_all(links.iter().map(|link| reaper.remove(link.ifindex))).await?;
    let was_there = instance.pin_root().exists();
    Dataplane::purge(instance, &netlink).await?;
    // Opened once: it is one process' at a time, and its writer lets go of it a moment after it is dropped. One that is not there
    // is not made.
    let there = store::exists(&instance.state);
    let stored = there.then(|| {
        let snapshot = store::open(&instance.state)?.snapshot()?;
        Ok::<_, Error>(engine::stored(&snapshot, instance))
    });
    if let Some(Ok(stored)) = &stored {
        leave_namespaces(stored).await;
    }
    if let Some(keeper) = Keeper::find(&instance.run)? {
        keeper.quit()?;
    }
    let namespaces = directories::namespaces(&instance.run);
    let files = directories::files(&instance.run);
    let names = stored.as_ref().and_then(|s| s.as_ref().ok());
    let names = names.map(|stored| &stored.namespaces);
    // Without a store there is only the mark of the directory that they are in.
    let known = |name: &str| names.as_ref().is_none_or(|names| names.contains(name));
    let cleaned = directories::clean_namespaces(&namespaces, known, |_| false);
    for done in cleaned
        .into_iter()
        .chain(directories::clean_files(&files, |_| false))
    {
        if let Cleaned::Left(why) = done {
            tracing::warn!("{why}");
        }
    }
    // A store that cannot be read goes all the same, but then the sysctl's old value is not known.
    let before = stored
        .as_ref()
        .map(|s| s.as_ref().map(|s| s.reserved_ports.as_ref()));
    let unknown = match before {
        Some(Ok(Some(before))) => {
            sysctl::set_reserved_ports(&sysctl::parse_ports(before).unwrap_or_default())?;
            None
        }
        Some(Err(e)) => Some(e.to_string()),
        Some(Ok(None)) | None => Some(format!("{} has no state", instance.state.display())),
    };
    let now = sysctl::reserved_ports()?;
    if let Some(why) = unknown
        && was_there
        && !now.is_empty()
    {
        tracing::warn!(
            "net.ipv4.ip_local_reserved_ports stays {}, since what stood there before is not known ({why}): set it by hand",
            sysctl::format_ports(&now)
        );
    }
    for path in [daemon::socket(&instance.run), keeper::path(&instance.run)] {
        directories::remove_socket(&path)
            .map_err(|e| Error::internal(format!("removing {}", path.display()), e))?;
    }
    let store = instance.state.join("netd.redb");
    for file in [store, directories::unmarked(&instance.run)] {
        match fs::remove_file(&file) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::internal(format!("removing {}", file.display()), e));
            }
            _ => {}
        }
    }
    for directory in [&namespaces, &files] {
        // What others put there stays, and was told.
        let _ = fs::remove_dir(directory);
    }
    held.remove()
}

/// Takes what netd put there out of namespaces that others made.
async fn leave_namespaces(stored: &Stored) {
    for sandbox in &stored.sandboxes {
        let Some(Run {
            netns,
            origin: Origin::Foreign { identity, .. },
        }) = &sandbox.run
        else {
            continue;
        };
        // One that is gone, or another one by now, needs nothing.
        if let Ok(Some(netns)) = Netns::open_same(netns, identity)
            && let Err(e) = namespace::leave(&netns).await
        {
            tracing::warn!("sandbox {}: {e}", sandbox.name);
        }
    }
}
