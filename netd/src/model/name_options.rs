//! What a sandbox may ask for about names: its own, and what is written to its files.

use super::NameOptions;
use crate::error::{Error, Result};

/// Bytes that the kernel keeps of a host name and of a domain name.
const KERNEL: usize = 64;
/// Words that a file may get from one list; more than any resolver reads.
const WORDS: usize = 1024;
const HINT: &str =
    "letters, digits, dots, dashes and underscores, at most 63 between two dots and 253 in all";

/// Whether a text can be asked for by DNS as a name (RFC 1123, 2.1, and the underscores of services).
pub fn is_host_name(text: &str) -> bool {
    let label = |l: &str| {
        let right = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        !l.is_empty() && l.len() <= 63 && l.chars().all(right)
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// Refuses names and options that could not stand in the files, or would stand there as something else.
pub fn check_names(hostname: &str, names: &NameOptions) -> Result<()> {
    for (what, name) in [("hostname", hostname), ("domainname", &names.domainname)] {
        if name.is_empty() {
            continue;
        }
        if !is_host_name(name) {
            return Err(Error::invalid(format!("invalid {what} {name:?}")).hint(HINT));
        }
        if name.len() > KERNEL {
            let text = format!("invalid {what} {name:?}: longer than {KERNEL} characters");
            return Err(Error::invalid(text).hint("the kernel keeps no more"));
        }
    }
    for (what, count) in [
        ("search domains", names.search.len()),
        ("options", names.options.len()),
        ("extra hosts", names.hosts.len()),
        ("name servers", names.servers.len()),
    ] {
        if count > WORDS {
            let text = format!("too many {what}: {count}");
            return Err(Error::invalid(text).hint(format!("at most {WORDS}")));
        }
    }
    for domain in &names.search {
        let bare = domain.strip_suffix('.').unwrap_or(domain);
        if domain != "." && !is_host_name(bare) {
            return Err(
                Error::invalid(format!("{domain:?} is not a valid search domain"))
                    .hint(format!("{HINT}; or a single dot for none")),
            );
        }
    }
    names.options.iter().try_for_each(|o| check_option(o))?;
    for (name, _) in &names.hosts {
        if !is_host_name(name) {
            return Err(Error::invalid(format!(
                "bad format for add-host: {name:?} is no host name"
            ))
            .hint(HINT));
        }
    }
    Ok(())
}

/// An option is one word of resolv.conf(5).
fn check_option(option: &str) -> Result<()> {
    let right = |c: char| c.is_ascii_graphic() && !"#;".contains(c);
    if option.is_empty() || option.len() > 253 || !option.chars().all(right) {
        return Err(Error::invalid(format!("invalid dns option {option:?}"))
            .hint("one word of resolv.conf(5), as ndots:1, timeout:3 or use-vc"));
    }
    let number = option.strip_prefix("ndots");
    match number.map(|n| n.strip_prefix(':').map(str::parse::<u8>)) {
        None | Some(Some(Ok(_))) => Ok(()),
        Some(_) => Err(
            Error::invalid(format!("invalid number for ndots option: {option:?}"))
                .hint("as ndots:1"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{files, resolv_conf::ResolvConf};

    fn names(search: &[&str], options: &[&str], hosts: &[&str]) -> NameOptions {
        let owned = |all: &[&str]| all.iter().map(|s| (*s).to_owned()).collect();
        NameOptions {
            search: owned(search),
            options: owned(options),
            hosts: hosts.iter().map(|h| ((*h).to_owned(), None)).collect(),
            ..NameOptions::default()
        }
    }

    #[test]
    fn s06_names_that_fit_are_taken() {
        let good = names(
            &["corp.example", ".", "a.example."],
            &["ndots:2", "use-vc", "timeout:1"],
            &["db", "_x.example"],
        );
        check_names("web-1.example", &good).unwrap();
        check_names("", &NameOptions::default()).unwrap();
    }

    #[test]
    fn s06_names_that_would_become_something_else_are_refused() {
        for bad in [
            names(&["a b"], &[], &[]),
            names(&["a\nnameserver 192.0.2.1"], &[], &[]),
            names(&[""], &[], &[]),
            names(&[".."], &[], &[]),
            names(&[], &["ndots:1 rotate"], &[]),
            names(&[], &["rotate\n"], &[]),
            names(&[], &["#"], &[]),
            names(&[], &[""], &[]),
            names(&[], &["ndots"], &[]),
            names(&[], &["ndots:-1"], &[]),
            names(&[], &["ndots:many"], &[]),
            names(&[], &[], &["a b"]),
            names(&[], &[], &["a\n192.0.2.1 b"]),
            names(&[], &[], &[""]),
        ] {
            assert!(check_names("", &bad).is_err(), "{bad:?}");
        }
        for bad in ["a b", "-\n", &"a.".repeat(40), &"a".repeat(64), "a..b"] {
            assert!(check_names(bad, &NameOptions::default()).is_err(), "{bad}");
            let domain = NameOptions {
                domainname: (*bad).to_owned(),
                ..NameOptions::default()
            };
            assert!(check_names("", &domain).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn s06_what_is_taken_stands_in_the_file_as_it_is(search in "[a-z.# \n-]{1,6}|\\PC{1,6}", option in "[a-z:0-9;# \n]{1,6}|\\PC{1,6}") {
            let own = names(&[&search], &[&option], &[]);
            if check_names("", &own).is_ok() {
                let conf = ResolvConf::parse(&files::resolv_conf(&ResolvConf::default(), &own));
                let none = search == ".";
                prop_assert_eq!(conf.search, if none { vec![] } else { vec![search] });
                prop_assert!(conf.options.contains(&option) && conf.servers.len() == 1);
            }
        }
    }
}
