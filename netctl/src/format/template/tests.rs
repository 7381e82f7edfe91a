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

/// What Go 1.23 prints.
#[test]
fn n04_variables_are_known_in_their_block() {
    for (text, wanted) in [
        ("{{$n:=1}}{{if true}}{{$n:=2}}{{end}}{{$n}}", "1"),
        ("{{$n:=1}}{{if true}}{{$n:=2}}{{$n}}{{end}}", "2"),
        ("{{$n:=1}}{{if true}}{{$n = 2}}{{end}}{{$n}}", "2"),
        ("{{$n:=1}}{{with .IPAM}}{{$n:=2}}{{end}}{{$n}}", "1"),
        (
            "{{$n:=1}}{{range .IPAM.Config}}{{$n = len .Subnet}}{{end}}{{$n}}",
            "9",
        ),
        ("{{$c:=0}}{{range $c := .IPAM.Config}}{{end}}{{$c}}", "0"),
        (
            "{{$i:=9}}{{range $i, $c := .IPAM.Config}}{{end}}{{$i}}",
            "9",
        ),
        (
            "{{$i:=9}}{{$c:=9}}{{range $i, $c = .IPAM.Config}}{{end}}{{$i}}",
            "1",
        ),
        ("{{if $x := .Name}}{{$x}}{{end}}", "front"),
        ("{{if $x := .Internal}}{{else}}{{$x}}{{end}}", "false"),
        (
            "{{with $x := .IPAM}}{{$x.Driver}}{{.Driver}}{{end}}",
            "defaultdefault",
        ),
        ("{{$x := 1}}{{$x := 2}}{{$x}}", "2"),
        ("{{range .Containers}}{{$s := .Name}}{{$s}}{{end}}", "ab"),
        ("{{with .IPAM}}{{$ := .}}{{end}}{{$.Name}}", "front"),
    ] {
        assert_eq!(render(text).as_deref(), Ok(wanted), "{text}");
    }
    for text in [
        "{{range $i, $c := .IPAM.Config}}{{end}}{{$i}}",
        "{{range $c := .IPAM.Config}}{{end}}{{$c}}",
        "{{if true}}{{$n := 1}}{{end}}{{$n}}",
        "{{if $x := .Name}}{{end}}{{$x}}",
        "{{$n = 1}}",
        "{{if $a, $b := .Name}}{{end}}",
    ] {
        assert!(render(text).is_err(), "{text}");
    }
}

#[test]
fn n04_and_and_or_look_no_further_than_they_must() {
    for (text, wanted) in [
        ("{{and .Internal .Nope}}", "false"),
        ("{{or .Name .Nope}}", "front"),
        ("{{if and .Nothing (index .Empty 5)}}x{{else}}y{{end}}", "y"),
        ("{{or .Internal .Nothing .Name}}", "front"),
        ("{{and .Name .ID}}", "abc"),
        ("{{.Name | and .ID}}", "front"),
        ("{{.Name | or .Internal}}", "front"),
        ("{{or .Internal .Nothing}}", "<no value>"),
    ] {
        assert_eq!(render(text).as_deref(), Ok(wanted), "{text}");
    }
    for text in [
        "{{and .Name .Nope}}",
        "{{or .Internal .Nope}}",
        "{{and}}",
        "{{or}}",
    ] {
        assert!(render(text).is_err(), "{text}");
    }
}

#[test]
fn n04_loops_can_be_left() {
    for (text, wanted) in [
        (
            "{{range .IPAM.Config}}{{.Subnet}}{{break}}x{{end}}!",
            "10.0.0.0/8!",
        ),
        (
            "{{range $i, $c := .IPAM.Config}}{{if eq $i 0}}{{continue}}{{end}}{{$c.Subnet}}{{end}}",
            "fd00::/64",
        ),
        (
            "{{range .IPAM.Config}}{{range $.Containers}}{{.Name}}{{break}}{{end}};{{end}}",
            "a;a;",
        ),
        (
            "{{range .Containers}}{{with .Name}}{{if eq . \"a\"}}{{continue}}{{end}}{{.}}{{end}}{{end}}",
            "b",
        ),
        (
            "{{range .IPAM.Config}}{{range $.Empty}}{{else}}{{break}}{{end}}x{{end}}!",
            "!",
        ),
    ] {
        assert_eq!(render(text).as_deref(), Ok(wanted), "{text}");
    }
    for text in [
        "{{break}}",
        "{{if .Name}}{{continue}}{{end}}",
        "{{range .Empty}}{{break 1}}{{end}}",
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
