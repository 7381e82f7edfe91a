//! Names, and finding objects by them.

use crate::error::{Error, Result};

/// `[a-zA-Z0-9][a-zA-Z0-9_.-]*`, at most 128 bytes: names become paths and interface aliases.
pub fn check_name(what: &str, name: &str) -> Result<()> {
    let first = name
        .chars()
        .next()
        .is_some_and(|c| c.is_ascii_alphanumeric());
    let rest = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    if first && rest && name.len() <= 128 {
        Ok(())
    } else {
        Err(Error::invalid(format!("invalid {what} name {name:?}"))
            .hint("only [a-zA-Z0-9][a-zA-Z0-9_.-]* are allowed, at most 128 characters"))
    }
}

/// Finds by name, full id or unique id prefix, in this order.
pub fn find<'a, T>(
    what: &str,
    wanted: &str,
    all: impl Iterator<Item = &'a T> + Clone,
    id: impl Fn(&T) -> &str,
    name: impl Fn(&T) -> &str,
) -> Result<&'a T> {
    if wanted.is_empty() {
        return Err(Error::invalid(format!(
            "invalid {what} name or ID supplied: \"\""
        )));
    }
    if let Some(found) = all
        .clone()
        .find(|t| id(t) == wanted)
        .or_else(|| all.clone().find(|t| name(t) == wanted))
    {
        return Ok(found);
    }
    let mut matches = all.filter(|t| id(t).starts_with(wanted));
    match (matches.next(), matches.count()) {
        (Some(found), 0) => Ok(found),
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
    fn names_that_could_be_paths_are_refused() {
        for bad in ["", ".", "..", "-x", "a/b", "../x", "a b", "ü", "a:b"] {
            assert!(check_name("network", bad).is_err(), "{bad}");
        }
        for good in ["a", "web-1", "my_net.2", "9"] {
            assert!(check_name("network", good).is_ok(), "{good}");
        }
    }

    #[test]
    fn n04_lookup_prefers_ids_and_names_to_prefixes() {
        let all = [("aa11", "x"), ("aa22", "aa"), ("bb33", "y")];
        let by = |w: &str| find("network", w, all.iter(), |t| t.0, |t| t.1).map(|t| t.0);
        assert_eq!(by("aa").unwrap(), "aa22");
        assert_eq!(by("b").unwrap(), "bb33");
        assert!(by("aa1").is_ok() && by("zz").unwrap_err().message.contains("not found"));
        assert!(by("a").unwrap_err().message.contains("ambiguous"));
    }
}
