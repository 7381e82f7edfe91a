//! The table in docs/nat.md.

use std::{fs, path::Path};

use anyhow::{Context, Result};

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Row {
    /// First column.
    pub id: String,
    /// Third: what Linux does.
    pub linux: String,
    /// Fourth: what netd does.
    pub netd: String,
    /// Fifth: the name of the test.
    pub test: String,
}

/// The lines of the table, without its head.
///
/// # Errors
/// When the document cannot be read.
pub fn rows() -> Result<Vec<Row>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/nat.md");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().to_owned())
            .collect()
    };
    Ok(text
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(cells)
        .filter_map(|cells| match <[String; 5]>::try_from(cells) {
            Ok([id, _, linux, netd, test]) if test.starts_with('`') => Some(Row {
                id,
                linux,
                netd,
                test: test.trim_matches('`').to_owned(),
            }),
            _ => None,
        })
        .collect())
}
