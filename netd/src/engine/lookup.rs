//! Finding an object by what a client calls it.

use std::sync::Arc;

use crate::{
    by_id::ById,
    error::{Error, Result},
};

/// Finds by id, name or unique id prefix, in this order.
pub(super) fn find<'a, T>(
    what: &str,
    wanted: &str,
    all: &'a ById<Arc<T>>,
    names: &ById<Arc<str>>,
) -> Result<&'a Arc<T>> {
    if wanted.is_empty() {
        return Err(Error::invalid(format!(
            "invalid {what} name or ID supplied: \"\""
        )));
    }
    let named = || all.get(names.get(wanted)?);
    if let Some(found) = all.get(wanted).or_else(named) {
        return Ok(found);
    }
    let mut matches = all.beginning(wanted);
    match (matches.next(), matches.count()) {
        (Some((_, found)), 0) => Ok(found),
        (Some(_), more) => Err(Error::invalid(format!(
            "{what} {wanted} is ambiguous ({} matches found based on ID prefix)",
            more + 1
        ))
        .hint("give more digits")),
        (None, _) => Err(Error::not_found(format!("{what} {wanted} not found"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n04_lookup_prefers_ids_and_names_to_prefixes() {
        let mut all = ById::default();
        let mut names = ById::default();
        for (id, name) in [("aa11", "x"), ("aa22", "aa"), ("bb33", "y")] {
            all.insert(id, Arc::new(id));
            names.insert(name, id.into());
        }
        let by = |w: &str| find("network", w, &all, &names).map(|t| **t);
        assert_eq!(by("aa").unwrap(), "aa22");
        assert_eq!(by("b").unwrap(), "bb33");
        assert!(by("aa1").is_ok() && by("zz").unwrap_err().message.contains("not found"));
        assert!(by("a").unwrap_err().message.contains("ambiguous"));
    }
}
