//! Replacing a file by another at once: whoever reads it finds the old one or the new one, whole.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, fchown},
    path::Path,
};

use tempfile::NamedTempFile;

/// Puts a file with this text in the place of `path`, with the mode and owner of the one that is there. `lasting`: it is on disk
/// before this returns.
///
/// # Errors
/// When the directory cannot be written to; nothing has changed then.
pub fn replace(path: &Path, text: &[u8], lasting: bool) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut new = NamedTempFile::new_in(directory)?;
    new.write_all(text)?;
    let file = new.as_file();
    match fs::metadata(path) {
        Ok(old) => {
            // The owner first: a change of it takes bits off the mode.
            fchown(file, Some(old.uid()), Some(old.gid()))?;
            file.set_permissions(old.permissions())?;
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        }
        Err(e) => return Err(e),
    }
    if lasting {
        file.sync_all()?;
    }
    new.persist(path).map_err(|e| e.error)?;
    if lasting {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}
