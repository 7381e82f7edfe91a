//! N03: filters and formats of `network ls`.

use super::*;

fn networks() -> Vec<Network> {
    let network = |name: &str, driver: &str, digit: &str| Network {
        id: digit.repeat(64),
        name: name.into(),
        driver: driver.into(),
        scope: "local".into(),
        ..Default::default()
    };
    let mut front = network("front", "bridge", "a");
    front.labels.insert("tier".into(), "web".into());
    front.endpoint_count = 1;
    vec![
        network("none", "null", "1"),
        network("bridge", "bridge", "b"),
        front,
        network("back", "bridge", "c"),
    ]
}

fn flags(filters: &[(&str, &str)], format: Option<&str>) -> List {
    let filters = filters
        .iter()
        .map(|&(name, value)| (name.into(), value.into()));
    List {
        filters: filters.collect(),
        format: format.map(str::to_owned),
        no_trunc: false,
        quiet: false,
    }
}

fn names(filters: &[(&str, &str)]) -> String {
    let text = show(networks(), &flags(filters, Some("{{.Name}}")), Output::Text).unwrap();
    text.lines().collect::<Vec<_>>().join(" ")
}

#[test]
fn n03_filters() {
    assert_eq!(names(&[]), "back bridge front none");
    assert_eq!(names(&[("driver", "null")]), "none");
    assert_eq!(
        names(&[("driver", "null"), ("driver", "bridge")]),
        "back bridge front none"
    );
    assert_eq!(names(&[("name", "b"), ("driver", "bridge")]), "back bridge");
    assert_eq!(
        names(&[("name", "^b"), ("name", "nt$")]),
        "back bridge front"
    );
    assert_eq!(names(&[("name", "^(front|b.*k)$")]), "back front");
    assert_eq!(names(&[("name", "(")]), "");
    assert_eq!(names(&[("id", "aaaa")]), "front");
    assert_eq!(names(&[("label", "tier")]), "front");
    assert_eq!(names(&[("label", "tier=web")]), "front");
    assert_eq!(names(&[("label", "tier=web"), ("label", "no")]), "");
    assert_eq!(names(&[("scope", "swarm")]), "");
    assert_eq!(names(&[("type", "custom")]), "back front");
    assert_eq!(names(&[("type", "builtin")]), "bridge none");
    assert_eq!(names(&[("dangling", "true")]), "back");
    assert_eq!(names(&[("dangling", "0")]), "bridge front none");
}

#[test]
fn n03_refused_filters_and_templates() {
    for (filter, message) in [
        (("foo", "x"), "Invalid filter 'foo'"),
        (("type", "zzz"), "invalid filter: 'type'='zzz'"),
        (("dangling", "x"), "invalid value for filter 'dangling'"),
    ] {
        let error = check(&flags(&[filter], None)).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    let error = check(&flags(&[], Some("{{.Frob}}")))
        .unwrap_err()
        .to_string();
    assert!(error.contains("can't evaluate field Frob"), "{error}");
}

#[test]
fn n03_formats() {
    let one = || networks().into_iter().take(1).collect::<Vec<_>>();
    let text = |format| show(one(), &flags(&[], format), Output::Text).unwrap();
    let table =
        "NETWORK ID     NAME      DRIVER    SCOPE\n111111111111   none      null      local\n";
    assert_eq!(text(None), table);
    assert_eq!(text(Some("table")), table);
    assert_eq!(
        text(Some(r"table {{.Name}}\t{{.IPv4}}")),
        "NAME      IPV4\nnone      false\n"
    );
    assert_eq!(text(Some(r"{{.Name}}\t{{.ID}}")), "none\t111111111111\n");
    let labels = |format| {
        show(
            networks(),
            &flags(&[("name", "front")], Some(format)),
            Output::Text,
        )
    };
    assert_eq!(
        labels(r#"{{.Name}} {{.Label "tier"}} {{.Label "no"}}"#).unwrap(),
        "front web \n"
    );
    assert_eq!(
        labels(r#"table {{.Label "a.tier_of"}}\t{{.Labels}}"#).unwrap(),
        "TIER OF   LABELS\n          tier=web\n"
    );
    assert!(text(Some("json")).starts_with(r#"{"CreatedAt":"#));
    let mut ids = flags(&[], None);
    (ids.quiet, ids.no_trunc) = (true, true);
    assert_eq!(
        show(one(), &ids, Output::Text).unwrap(),
        "1".repeat(64) + "\n"
    );
}
