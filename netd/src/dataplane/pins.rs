//! What is pinned, so that it outlives the daemon: the maps, and the links of the host's hooks. While the daemon runs it holds all
//! of it itself, too: who removes the pins takes nothing away, and they are made again.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use aya::maps::MapData;

use super::{link::Link, object};
use crate::{
    config::Instance,
    directories::Name,
    error::{Error, Result, chain},
};

/// Maps and links by the names of their pins.
pub struct Pins {
    directory: PathBuf,
    name: Arc<Name>,
    maps: Vec<(String, MapData)>,
    links: BTreeMap<String, Link>,
}

impl Pins {
    /// Takes hold of the maps that are pinned, of no link yet. `name`: what makes the directory this daemon's.
    pub fn open(instance: &Instance, name: Arc<Name>) -> Result<Self> {
        let directory = object::pin_directory(instance);
        let fail = |e: &dyn std::fmt::Display| {
            Error::internal(format!("reading {}", directory.display()), e)
        };
        let mut maps = Vec::new();
        for entry in fs::read_dir(&directory).map_err(|e| fail(&e))? {
            let entry = entry.map_err(|e| fail(&e))?;
            let Ok(file) = entry.file_name().into_string() else {
                continue;
            };
            if entry.path() != directory.join(LINKS) {
                let data = MapData::from_pin(entry.path()).map_err(|e| fail(&chain(&e)))?;
                maps.push((file, data));
            }
        }
        Ok(Self {
            directory,
            name,
            maps,
            links: BTreeMap::new(),
        })
    }

    /// The directory of the links' pins.
    pub fn links(&self) -> PathBuf {
        self.directory.join(LINKS)
    }

    /// Where a link is pinned.
    pub fn of_link(&self, name: &str) -> PathBuf {
        self.links().join(name)
    }

    /// The link of this name, if it is held: where it hangs by a filter there is none.
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.get(name)
    }

    /// Takes hold of what is pinned under this name by now.
    pub fn hold_link(&mut self, name: &str) {
        match Link::open(&self.of_link(name)) {
            Ok(link) => drop(self.links.insert(name.to_owned(), link)),
            Err(_) => drop(self.links.remove(name)),
        }
    }

    /// Takes the program of this link off its hook, and the pin away. Says whether there was one.
    pub fn remove_link(&mut self, name: &str) -> bool {
        let pin = self.of_link(name);
        let held = self.links.remove(name);
        let link = held.or_else(|| Link::open(&pin).ok());
        if let Some(link) = &link {
            link.detach();
        }
        fs::remove_file(&pin).is_ok() || link.is_some()
    }

    /// Makes the directory again and pins again what others unpinned. Says what.
    pub fn restore(&self) -> Result<Vec<String>> {
        #[cfg(feature = "failpoints")]
        crate::failpoints::reach("pins-restored")?;
        if self.name.keep()? {
            // Of whoever had the name since; none of it is what this daemon's programs use.
            let _ = fs::remove_dir_all(&self.directory);
        }
        let links = self.links();
        fs::create_dir_all(&links)
            .map_err(|e| Error::internal(format!("creating {}", links.display()), e))?;
        let mut again = Vec::new();
        for (name, map) in &self.maps {
            let path = self.directory.join(name);
            if !exists(&path)? {
                map.pin(&path).map_err(|e| failed(&path, &chain(&e)))?;
                again.push(name.as_str());
            }
        }
        for (name, link) in &self.links {
            let path = links.join(name);
            if !exists(&path)? {
                link.pin(&path).map_err(|e| failed(&path, &e))?;
                again.push(name.as_str());
            }
        }
        if again.is_empty() {
            return Ok(Vec::new());
        }
        let directory = self.directory.display();
        Ok(vec![format!(
            "pinned {} again, which were removed from {directory}",
            again.join(", ")
        )])
    }
}

/// The directory of links below that of the maps.
const LINKS: &str = "links";

fn exists(path: &Path) -> Result<bool> {
    path.try_exists()
        .map_err(|e| Error::internal(format!("looking for {}", path.display()), e))
}

fn failed(path: &Path, e: &dyn std::fmt::Display) -> Error {
    Error::internal(format!("pinning {}", path.display()), e)
}
