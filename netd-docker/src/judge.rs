//! What must hold of whatever a client sends: what the engine gets is what was judged here, read by the rules of the engine, which
//! are written down once more and in another way. For the tests and the fuzzer.

use std::fmt;

use http::{HeaderMap, HeaderValue, header};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::{
    containers::{RUNTIME, Rewritten, rewrite},
    filters::Filters,
    http::{Query, Version, head, path::Path},
};

/// A request: its head, and behind that its body, as that of a new container.
///
/// # Panics
/// When something does not hold.
pub fn request(bytes: &[u8]) {
    let end = head::end(bytes).unwrap_or(bytes.len());
    let (head, body) = bytes.split_at(end);
    if let Ok(asked) = head::request(head) {
        let wire = head::write_request(&asked.parts, asked.framing, true);
        let again = head::request(&wire).expect("what goes on can be read");
        assert_eq!(again.framing, asked.framing);
        assert_eq!(again.parts.uri, asked.parts.uri);
        assert_eq!(again.parts.method, asked.parts.method);
        if let Path::Route(_, path) = Path::parse(asked.parts.uri.path()) {
            assert!(path.starts_with('/') && !path.contains("//"), "{path:?}");
            let dots = path.split('/').any(|segment| matches!(segment, "." | ".."));
            assert!(!dots, "{path:?}");
        }
        let query = Query::parse(asked.parts.uri.query().unwrap_or_default());
        let _ = Filters::parse(query.get("filters"));
    }
    for minor in [24, 43, 44, 51] {
        create(body, minor);
    }
}

/// The body of a new container's request in this version.
///
/// # Panics
/// When the engine would connect the container to a network of its own.
pub fn create(body: &[u8], minor: u16) {
    let mut headers = HeaderMap::new();
    let json = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, json);
    match rewrite(&headers, body, Version::new(1, minor)) {
        Err(_) => {}
        Ok(Rewritten::Untouched) => {
            let [mode, _] = decoded(body);
            let foreign = matches!(mode.as_str(), "none" | "host");
            assert!(foreign || mode.starts_with("container:"), "{mode:?}");
        }
        Ok(Rewritten::Ours(_, sent)) => {
            let sent = sent.to_string();
            assert_eq!(decoded(sent.as_bytes()), ["none", RUNTIME], "{sent}");
        }
    }
}

/// Mode and runtime as Go decodes them: field by field in the order of the text, into what is there already.
fn decoded(body: &[u8]) -> [String; 2] {
    let read: Node = serde_json::from_slice(body).expect("JSON");
    let mut found = [String::new(), String::new()];
    let Node::Object(fields) = read else {
        return found;
    };
    for (_, host) in fields.into_iter().filter(|(key, _)| is(key, "hostconfig")) {
        match host {
            // A pointer that is set to nothing.
            Node::Null => found = Default::default(),
            Node::Object(fields) => {
                for (key, value) in fields {
                    for (place, name) in found.iter_mut().zip(["networkmode", "runtime"]) {
                        if let (true, Node::Text(text)) = (is(&key, name), &value) {
                            place.clone_from(text);
                        }
                    }
                }
            }
            Node::Text(_) | Node::Other => {}
        }
    }
    found
}

/// Whether a key is this field's, which is written in small letters.
fn is(key: &str, field: &str) -> bool {
    let small = key.chars().flat_map(char::to_lowercase);
    small
        .map(|c| if c == 'ſ' { 's' } else { c })
        .eq(field.chars())
}

/// As much of a JSON text as is looked at, with all its fields.
enum Node {
    Null,
    Text(String),
    Object(Vec<(String, Self)>),
    Other,
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Nodes)
    }
}

struct Nodes;

impl<'de> Visitor<'de> for Nodes {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        while access.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Node::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = access.next_entry()? {
            fields.push(field);
        }
        Ok(Node::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOST: [&str; 5] = [
        "HostConfig",
        "hostconfig",
        "HOSTCONFIG",
        "Ho\u{17f}tConfig",
        "HostConfigX",
    ];
    const INNER: [&str; 12] = [
        "NetworkMode",
        "networkmode",
        "Networ\u{212a}Mode",
        "NETWORKMODE",
        "Runtime",
        "runtime",
        "RUNTIME",
        "Annotations",
        "PortBindings",
        "Links",
        "NetworkingConfig",
        "X",
    ];
    const VALUES: [&str; 14] = [
        "null",
        "\"none\"",
        "\"host\"",
        "\"bridge\"",
        "\"default\"",
        "\"\"",
        "\"container:x\"",
        "\"front\"",
        "\"runc\"",
        "\"netd\"",
        "{}",
        "[]",
        "1",
        "{\"a\":\"b\"}",
    ];

    fn object(
        keys: &'static [&'static str],
        value: impl Strategy<Value = String>,
    ) -> impl Strategy<Value = String> {
        let field = (prop::sample::select(keys), value, any::<bool>());
        prop::collection::vec(field, 0..5).prop_map(|fields| {
            let fields = fields.into_iter().map(|(key, value, escaped)| {
                let key: String = match escaped {
                    true => key.encode_utf16().map(|u| format!("\\u{u:04x}")).collect(),
                    false => key.to_owned(),
                };
                format!("\"{key}\":{value}")
            });
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

        #[test]
        fn p05_no_spelling_connects_a_container_to_the_engines_networks(
            body in object(&HOST, prop_oneof![
                object(&INNER, prop::sample::select(&VALUES[..]).prop_map(str::to_owned)),
                prop::sample::select(&VALUES[..]).prop_map(str::to_owned),
            ]),
            minor in 24_u16..53,
        ) {
            create(body.as_bytes(), minor);
        }

        #[test]
        fn p05_whatever_comes_is_judged_as_it_goes_on(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            request(&bytes);
        }
    }

    /// The fuzzer's seeds, changed at random, for a fixed time: what a fuzzer does where there is none.
    #[test]
    fn p05_changed_requests_are_judged_as_they_go_on() {
        use proptest::test_runner::{RngAlgorithm, TestRng};
        let seeds =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/docker_request");
        let seeds: Vec<Vec<u8>> = std::fs::read_dir(seeds)
            .unwrap()
            .map(|seed| std::fs::read(seed.unwrap().path()).unwrap())
            .collect();
        let seconds = std::env::var("NETD_MUTATE_SECONDS").ok();
        let seconds = seconds.and_then(|s| s.parse().ok()).unwrap_or(1);
        let end = std::time::Instant::now() + std::time::Duration::from_secs(seconds);
        let mut random = TestRng::from_seed(RngAlgorithm::XorShift, &[7; 16]);
        let mut below = |most: usize| random.next_u64() as usize % most.max(1);
        while std::time::Instant::now() < end {
            let mut bytes = seeds[below(seeds.len())].clone();
            for _ in 0..=below(4) {
                let at = below(bytes.len());
                let other = &seeds[below(seeds.len())];
                let from = below(other.len());
                let length = below(40).min(other.len() - from).min(bytes.len() - at);
                match below(4) {
                    0 => bytes[at] = below(256) as u8,
                    1 => drop(bytes.drain(at..at + length)),
                    2 => drop(bytes.splice(at..at, other[from..from + length].to_vec())),
                    _ => bytes[at..at + length].copy_from_slice(&other[from..from + length]),
                }
                if bytes.is_empty() {
                    bytes.push(b'{');
                }
            }
            request(&bytes);
        }
    }
}
