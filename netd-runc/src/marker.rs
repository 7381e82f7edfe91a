//! That a container is netd's, noted beside what the runtime knows of it: the runtime removes both together. So a container that is
//! none of netd's costs no question, and one that is never starts unasked.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::failure::{Failure, Result};

const NAME: &str = "netd";

/// A container of netd's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    /// Its first process, in whose namespace its sandbox runs.
    pub pid: u32,
}

fn path(root: &Path, id: &str) -> Option<PathBuf> {
    // An id that could lead elsewhere is no container's.
    is_id(id).then(|| root.join(id).join(NAME))
}

/// Whether netd can have a sandbox of this id: 64 hexadecimal digits.
pub fn is_id(id: &str) -> bool {
    id.len() == 64 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

impl Marker {
    /// Notes it.
    ///
    /// # Errors
    /// When the runtime keeps nothing of the container there, or it cannot be written.
    pub fn write(self, root: &Path, id: &str) -> Result<()> {
        let Some(path) = path(root, id) else {
            return Err(Failure::new(
                "INVALID",
                format!("{id:?} is no container id of netd's"),
            ));
        };
        fs::write(&path, self.pid.to_string())
            .map_err(|e| Failure::internal(format!("writing {}", path.display()), e))
    }

    /// Reads it; none: the container is not netd's.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn read(root: &Path, id: &str) -> Result<Option<Self>> {
        let Some(path) = path(root, id) else {
            return Ok(None);
        };
        let text = match fs::read_to_string(&path) {
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(None);
            }
            other => {
                other.map_err(|e| Failure::internal(format!("reading {}", path.display()), e))?
            }
        };
        // One that was being written names no process, and fits no sandbox.
        let pid = text.trim().parse().unwrap_or(0);
        Ok(Some(Self { pid }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p05_a_marker_goes_with_what_the_runtime_knows() {
        let root = tempfile::tempdir().unwrap();
        let id = "5e".repeat(32);
        assert_eq!(Marker::read(root.path(), &id).unwrap(), None);
        let marker = Marker { pid: 77 };
        let said = marker.write(root.path(), &id).unwrap_err().message;
        assert!(said.contains(&id), "{said}");
        fs::create_dir(root.path().join(&id)).unwrap();
        marker.write(root.path(), &id).unwrap();
        assert_eq!(Marker::read(root.path(), &id).unwrap(), Some(marker));
        assert_eq!(Marker::read(root.path(), "../x").unwrap(), None);
        assert!(marker.write(root.path(), "../x").is_err());
        fs::write(root.path().join(&id).join(NAME), "").unwrap();
        assert_eq!(
            Marker::read(root.path(), &id).unwrap(),
            Some(Marker { pid: 0 })
        );
    }
}
