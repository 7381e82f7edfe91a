//! Filters of lists and watches: terms joined by AND, a small part of AIP-160. Pure: knows the grammar, and asks the object for
//! the values of its fields. `docs/api.md` has the grammar.

use std::borrow::Cow;

use crate::error::{Error, Result};

/// Terms of one filter.
const TERMS: usize = 32;

const HINT: &str = "terms joined by AND: FIELD=\"VALUE\", FIELD!=\"VALUE\", label.KEY=\"VALUE\" or label.KEY:*, each with NOT \
                    before it or without";

/// What the terms ask of an object.
pub trait Subject {
    /// The values of a field, none or some. `field` is one of those that the filter was parsed with.
    fn values(&self, field: &str) -> Vec<Cow<'_, str>>;
    /// The value of a label.
    fn label(&self, key: &str) -> Option<&str>;
}

/// A parsed filter; without terms it takes everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    name: Name,
    /// `None`: whether there is one at all.
    value: Option<String>,
    /// It must not be so.
    not: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    Field(String),
    Label(String),
}

impl Filter {
    /// Parses; `fields` are those that the objects have besides labels.
    pub fn parse(text: &str, fields: &[&str]) -> Result<Self> {
        let mut rest = text.trim_start();
        let mut terms = Vec::new();
        while !rest.is_empty() {
            if !terms.is_empty() {
                rest = word(rest, "AND").ok_or_else(|| bad(text, rest, "AND is missing"))?;
            }
            let (term, after) = term(rest, fields).map_err(|why| bad(text, rest, &why))?;
            terms.push(term);
            rest = after.trim_start();
        }
        if terms.len() > TERMS {
            let why = format!("more than {TERMS} terms");
            return Err(bad(text, "", &why));
        }
        Ok(Self { terms })
    }

    /// Whether the object has all that is asked.
    pub fn takes(&self, object: &impl Subject) -> bool {
        self.terms.iter().all(|term| {
            let has = match (&term.name, &term.value) {
                (Name::Field(field), Some(value)) => {
                    object.values(field).iter().any(|have| have == value)
                }
                (Name::Field(field), None) => !object.values(field).is_empty(),
                (Name::Label(key), Some(value)) => object.label(key) == Some(value),
                (Name::Label(key), None) => object.label(key).is_some(),
            };
            has != term.not
        })
    }
}

fn bad(text: &str, rest: &str, why: &str) -> Error {
    let at = text.len() - rest.len();
    Error::invalid(format!("invalid filter {text:?}: {why}, at byte {at}"))
        .hint(HINT)
        .about("field", "filter")
}

/// What follows a word and a space.
fn word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let rest = text.strip_prefix(word)?;
    rest.starts_with(char::is_whitespace)
        .then(|| rest.trim_start())
}

fn term<'a>(text: &'a str, fields: &[&str]) -> std::result::Result<(Term, &'a str), String> {
    let (not, text) = match word(text, "NOT") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (name, rest) = if let Some(rest) = text.strip_prefix("label.") {
        let (key, rest) = value(rest, |c| c.is_alphanumeric() || "_.-/".contains(c))?;
        (Name::Label(key), rest)
    } else {
        let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let (field, rest) = text.split_at(end.unwrap_or(text.len()));
        if !fields.contains(&field) {
            let known = fields.join(", ");
            return Err(format!(
                "no field {field:?}; fields are {known} and label.KEY"
            ));
        }
        (Name::Field(field.to_owned()), rest)
    };
    let rest = rest.trim_start();
    if let Some(rest) = rest.strip_prefix(":*") {
        let term = Term {
            name,
            value: None,
            not,
        };
        return Ok((term, rest));
    }
    let (unlike, rest) = match (rest.strip_prefix("!="), rest.strip_prefix('=')) {
        (Some(rest), _) => (true, rest),
        (_, Some(rest)) => (false, rest),
        _ => return Err("=, != or :* is missing".to_owned()),
    };
    let (value, rest) = value(rest.trim_start(), |c| {
        c.is_alphanumeric() || "_.-/:".contains(c)
    })?;
    let term = Term {
        name,
        value: Some(value),
        not: not != unlike,
    };
    Ok((term, rest))
}

/// A text in quotes, where `\` takes the next letter as it is, or a word of these letters.
fn value(text: &str, plain: impl Fn(char) -> bool) -> std::result::Result<(String, &str), String> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|c| !plain(c)).unwrap_or(text.len());
        if end == 0 {
            return Err("a name or a value is missing".to_owned());
        }
        return Ok((text[..end].to_owned(), &text[end..]));
    };
    let mut found = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Ok((found, &quoted[at + 1..])),
            '\\' => found.extend(letters.next().map(|(_, letter)| letter)),
            letter => found.push(letter),
        }
    }
    Err("a quote is not closed".to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Thing;

    impl Subject for Thing {
        fn values(&self, field: &str) -> Vec<Cow<'_, str>> {
            match field {
                "name" => vec!["web".into()],
                "network" => vec!["front".into(), "back".into()],
                _ => Vec::new(),
            }
        }
        fn label(&self, key: &str) -> Option<&str> {
            match key {
                "com.example/tier" => Some("a \"b\""),
                "on" => Some(""),
                _ => None,
            }
        }
    }

    const FIELDS: [&str; 3] = ["name", "network", "pid"];

    fn takes(text: &str) -> bool {
        Filter::parse(text, &FIELDS).unwrap().takes(&Thing)
    }

    #[test]
    fn p01_filters_take_what_has_all() {
        for (text, wanted) in [
            ("", true),
            ("  ", true),
            ("name=\"web\"", true),
            ("name=web", true),
            (" name = web ", true),
            ("name=db", false),
            ("name!=db", true),
            ("NOT name=web", false),
            ("NOT name!=web", true),
            ("network=back AND name=web", true),
            ("network=back AND name=db", false),
            ("network!=back", false),
            ("network!=other", true),
            ("pid:*", false),
            ("NOT pid:*", true),
            ("pid=\"\"", false),
            ("label.com.example/tier:*", true),
            (r#"label.com.example/tier="a \"b\"""#, true),
            (r#"label."com.example/tier"!="x""#, true),
            ("label.on=\"\"", true),
            ("label.no=\"\"", false),
            ("label.no!=x AND NOT label.no:*", true),
        ] {
            assert_eq!(takes(text), wanted, "{text}");
        }
    }

    #[test]
    fn p01_filters_that_are_none_say_where() {
        for (text, part) in [
            ("frob=1", "no field \"frob\""),
            ("name", "=, != or :* is missing"),
            ("name=", "missing, at byte 0"),
            ("name=web name=db", "AND is missing, at byte 9"),
            ("name=web AND", "AND is missing"),
            ("name=web AND ", "no field \"\""),
            ("name=\"web", "not closed"),
            ("label.=x", "missing"),
            ("name=web OR name=db", "AND is missing"),
            ("(name=web)", "no field"),
        ] {
            let error = Filter::parse(text, &FIELDS).unwrap_err();
            assert!(error.message.contains(part), "{text}: {}", error.message);
            assert_eq!(error.about["field"], "filter");
        }
        let many = vec!["name=web"; 33].join(" AND ");
        assert!(Filter::parse(&many, &FIELDS).is_err());
        assert!(takes(&vec!["name=web"; 32].join(" AND ")));
    }

    proptest! {
        #[test]
        fn p01_any_text_is_a_filter_or_says_why(text in "(name|label\\.a|=|!=|:\\*|AND|NOT|\"| |\\\\|x){0,12}|\\PC{0,12}") {
            if let Ok(filter) = Filter::parse(&text, &FIELDS) {
                filter.takes(&Thing);
            }
        }

        #[test]
        fn p01_quoted_values_are_found_as_they_are(value in "\\PC{0,12}") {
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
            let filter = Filter::parse(&format!("name=\"{quoted}\""), &FIELDS).unwrap();
            prop_assert_eq!(filter.terms[0].value.as_deref(), Some(&*value));
        }
    }
}
