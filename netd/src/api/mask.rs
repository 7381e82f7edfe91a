//! Field masks of updates (AIP-134). Pure: knows paths, not what they mean.

use std::collections::BTreeSet;

use prost_types::FieldMask;

use crate::error::{Error, Result};

/// The paths of an update that are taken, each one of those that there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask(BTreeSet<&'static str>);

impl Mask {
    /// From what was given. `known` are all paths; one that leads to others (`names`) stands for these (`names.dns`). Without a
    /// mask those count that are `set`.
    pub fn new(
        given: Option<FieldMask>,
        known: &[&'static str],
        set: impl Fn(&str) -> bool,
    ) -> Result<Self> {
        let leaves = || known.iter().copied();
        let Some(given) = given else {
            return Ok(Self(leaves().filter(|path| set(path)).collect()));
        };
        let mut taken = BTreeSet::new();
        for path in &given.paths {
            let within = |leaf: &&str| {
                let below = leaf.strip_prefix(path.as_str());
                path == "*" || below.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            let mut found = leaves().filter(within).peekable();
            if path.is_empty() || found.peek().is_none() {
                let text = format!("the update mask has {path:?}, which cannot be updated");
                return Err(Error::invalid(text)
                    .about("field", "update_mask")
                    .hint(format!("{}; or * for all", known.join(", "))));
            }
            taken.extend(found);
        }
        Ok(Self(taken))
    }

    /// Whether this path is taken.
    pub fn has(&self, path: &str) -> bool {
        self.0.contains(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 4] = ["name", "labels", "names.dns", "names.dns_search"];

    fn mask(paths: &[&str]) -> Result<Mask> {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        Mask::new(Some(FieldMask { paths }), &KNOWN, |_| false)
    }

    #[test]
    fn p01_masks_name_fields_or_all() {
        let one = mask(&["names.dns"]).unwrap();
        assert!(one.has("names.dns") && !one.has("names.dns_search") && !one.has("name"));
        let below = mask(&["names", "name"]).unwrap();
        assert!(below.has("names.dns") && below.has("names.dns_search") && below.has("name"));
        assert!(!below.has("labels"));
        assert!(KNOWN.iter().all(|path| mask(&["*"]).unwrap().has(path)));
        assert!(!KNOWN.iter().any(|path| mask(&[]).unwrap().has(path)));
        for bad in ["", "id", "names.", "names.dns.x", "nam", ".", "**"] {
            let error = mask(&["name", bad]).unwrap_err();
            assert_eq!(error.about["field"], "update_mask", "{bad}");
        }
    }

    #[test]
    fn p01_without_a_mask_what_is_set_counts() {
        let mask = Mask::new(None, &KNOWN, |path| path == "labels").unwrap();
        assert!(mask.has("labels") && !mask.has("name"));
    }
}
