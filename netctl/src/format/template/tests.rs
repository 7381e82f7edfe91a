//! N03, N04: templates as Docker's users write them.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn render(text: &str) -> Result<String, String> {
    let value = json!({
        "Name": "front", "Id": "abc", "Internal": false, "Nothing": null,
        "IPAM": {"Driver": "default", "Config": [{"Subnet": "10.0.0.0/8"}, {"Subnet": "fd00::/64"}]},
        "Containers": {"1": {"Name": "a"}, "2": {"Name": "b"}},
        "Labels": {"b": "2", "a.x": "1"}, "Empty": [],
    });
    Template::parse(text)?.render(&value, Missing::Key)
}

#[test]
fn n03_fields() {
    for (text, wanted) in [
        ("{{.Name}}", "front"),
        ("<{{ .ID }}|{{.Internal}}>", "<abc|false>"),
        ("{{.IPAM.Driver}}", "default"),
        ("{{json .Labels}}", r#"{"b":"2","a.x":"1"}"#),
        (
            "{{.IPAM.Config}}",
            "[map[Subnet:10.0.0.0/8] map[Subnet:fd00::/64]]",
        ),
        ("{{.Labels}}", "map[a.x:1 b:2]"),
        (r#"{{index .Labels "a.x"}}"#, "1"),
        (r#"{{index .Labels "no"}}"#, ""),
        ("{{.Labels.no}}", "<no value>"),
        ("{{.Nothing}}", "<no value>"),
        ("plain", "plain"),
        ("{{/* said */}}x", "x"),
    ] {
        assert_eq!(render(text).as_deref(), Ok(wanted), "{text}");
    }
}

#[test]
fn n04_blocks_pipes_and_functions() {
    for (text, wanted) in [
        (
            "{{range .IPAM.Config}}{{.Subnet}} {{end}}",
            "10.0.0.0/8 fd00::/64 ",
        ),
        (
            "{{range $i, $c := .IPAM.Config}}{{$i}}={{$c.Subnet}};{{end}}",
            "0=10.0.0.0/8;1=fd00::/64;",
        ),
        (
            "{{range $id, $c := .Containers}}{{$id}}{{.Name}}{{$c.Name}} {{end}}",
            "1aa 2bb ",
        ),
        ("{{range .Empty}}x{{else}}none{{end}}", "none"),
        ("{{(index .IPAM.Config 0).Subnet}}", "10.0.0.0/8"),
        ("{{with .IPAM}}{{.Driver}}{{$.Name}}{{end}}", "defaultfront"),
        (
            "{{if .Internal}}in{{else if .Name}}{{.Name}}{{else}}out{{end}}",
            "front",
        ),
        ("{{if and .Name (not .Internal)}}yes{{end}}", "yes"),
        ("{{$n := len .Containers}}{{$n}}", "2"),
        ("{{.Name | upper | printf \"%-7s|\"}}", "FRONT  |"),
        ("{{.Name | json}}", "\"front\""),
        ("{{join (split \"a,b\" \",\") \"-\"}}", "a-b"),
        (
            "{{if eq .Name \"back\" \"front\"}}{{title .Name}}{{end}}",
            "Front",
        ),
        ("{{truncate .Name 2}}{{pad \"x\" 1 2}}|", "fr x  |"),
        ("a {{- .ID -}} b", "aabcb"),
        ("{{println .Name 1}}", "front 1\n"),
        ("{{\"}}\"}}{{`a\"b`}}", "}}a\"b"),
        (
            "{{printf \"%q %d %s\" .Name 7}}",
            "\"front\" 7 %!s(MISSING)",
        ),
    ] {
        assert_eq!(render(text).as_deref(), Ok(wanted), "{text}");
    }
}

#[test]
fn n03_errors_in_docker_words() {
    assert_eq!(
        render("{{.Nope}}").unwrap_err(),
        "template parsing error: template: :1:2: executing \"\" at <.Nope>: map has no entry for key \"Nope\""
    );
    let row = Template::parse("{{.Frob}}").unwrap();
    assert_eq!(
        row.render(&json!({}), Missing::Field("*network.networkContext"))
            .unwrap_err(),
        "template parsing error: template: :1:2: executing \"\" at <.Frob>: can't evaluate field Frob in type *network.networkContext"
    );
    assert_eq!(
        render("{{frob .Name}}").unwrap_err(),
        "template parsing error: template: :1: function \"frob\" not defined"
    );
    for text in [
        "{{.Name",
        "{{range .IPAM}}",
        "{{}}",
        "{{Name}}",
        "{{.A..B}}",
        "{{end}}",
        "{{else}}",
        "{{if .Name}}a{{else}}b{{else}}c{{end}}",
        "{{.Name | }}",
        "{{(.Name}}",
        "{{.Name)}}",
        "{{index .IPAM.Config 7}}",
        "{{.Name 1}}",
        "{{$x}}",
        "{{\"a}}",
        "{{.Label \"a\"}}",
        "{{1.2.3}}",
    ] {
        assert!(render(text).is_err(), "{text}");
    }
}

#[test]
fn n03_labels_of_a_row() {
    let template = Template::parse("{{.Label \"tier\"}}").unwrap();
    let label = |key: &str| format!("<{key}>");
    let text = template.render_row(&json!({}), Missing::Field("row"), Some(&label));
    assert_eq!(text.as_deref(), Ok("<tier>"));
}

proptest! {
    #[test]
    fn n03_any_text_renders_or_says_why(
        text in "(\\{\\{|\\}\\}|[-.$|()\"`:=, a-c0-9]|range |end|if |else|index |\\.Name|printf ){0,20}",
    ) {
        if let Err(error) = render(&text) {
            prop_assert!(error.starts_with("template parsing error"), "{error}");
        }
    }
}
