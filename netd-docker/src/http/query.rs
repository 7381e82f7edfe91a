//! Queries of requests, read as Go reads them.

use percent_encoding::percent_decode_str;

/// Keys and values, in order.
#[derive(Clone, Default, Debug)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Of what follows the question mark; bytes that are no UTF-8 are replaced.
    pub fn parse(raw: &str) -> Self {
        let decode = |text: &str| {
            let spaced = text.replace('+', " ");
            percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
        };
        let pairs = raw.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(key), decode(value))
                })
                .collect(),
        )
    }

    /// What Go does not take of a query, in its words.
    pub fn fault(raw: &str) -> Option<String> {
        let fault = |text: &str| {
            let at = text.match_indices('%').map(|(at, _)| at);
            let mut escapes = at.filter_map(|at| text.get(at..));
            escapes.find_map(|escape| {
                let digits = escape.as_bytes().get(1..3);
                if digits.is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit)) {
                    return None;
                }
                let shown: String = escape.chars().take(3).collect();
                Some(format!("invalid URL escape {shown:?}"))
            })
        };
        raw.split('&').find_map(|pair| {
            if pair.contains(';') {
                return Some("invalid semicolon separator in query".to_owned());
            }
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            fault(key).or_else(|| fault(value))
        })
    }

    /// The first value of a key; none: empty.
    pub fn get(&self, key: &str) -> &str {
        let found = self.0.iter().find(|(name, _)| name == key);
        found.map_or("", |(_, value)| value)
    }

    /// Whether the first value of a key means yes: none of Docker's words for no.
    pub fn is_set(&self, key: &str) -> bool {
        let value = self.get(key).trim().to_ascii_lowercase();
        !matches!(value.as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// The same without a key.
    #[must_use]
    pub fn without(&self, key: &str) -> Self {
        Self(
            self.0
                .iter()
                .filter(|(name, _)| name != key)
                .cloned()
                .collect(),
        )
    }

    /// The same with one more pair at its end.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.0.push((key.to_owned(), value.into()));
        self
    }

    /// As it stands in a request's target.
    pub fn encode(&self) -> String {
        let encode = |text: &str| {
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
                .to_string()
        };
        let pairs = self.0.iter();
        let texts = pairs.map(|(key, value)| format!("{}={}", encode(key), encode(value)));
        texts.collect::<Vec<_>>().join("&")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p04_queries_are_read_as_go_reads_them() {
        let query = Query::parse("filters=%7B%22a%22%3A1%7D&all=1&name=a+b&all=0&force");
        assert_eq!(query.get("filters"), r#"{"a":1}"#);
        assert_eq!(query.get("name"), "a b");
        assert!(query.is_set("all"));
        assert!(!query.is_set("force"));
        assert!(!Query::parse("all=False").is_set("all"));
        assert!(Query::parse("all=x").is_set("all"));
        assert_eq!(Query::fault("a=b&c=%41"), None);
        let fault = Query::fault("a=b&c=%zz%y").unwrap();
        assert_eq!(fault, r#"invalid URL escape "%zz""#);
        assert!(Query::fault("a=%4").is_some());
        assert!(Query::fault("a;b").unwrap().contains("semicolon"));
        let again = Query::parse(&query.without("all").with("x", "1&2=3").encode());
        assert_eq!(again.get("x"), "1&2=3");
        assert_eq!(again.get("all"), "");
        assert_eq!(again.get("filters"), r#"{"a":1}"#);
    }
}
