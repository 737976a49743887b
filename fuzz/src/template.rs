//! Templates of agents' paths: what an operator writes, on what a stranger's certificate says.

use server::attest::x509pop::parse_path_template;
use server::template::{Template, Value};

use crate::input::{Input, join, plain};

/// A template, then names of a certificate, one a line.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let Ok(text) = std::str::from_utf8(input.piece()) else {
        return;
    };
    let Some(names) = input.text() else {
        return;
    };
    parse_path_template(text).ok();
    let Ok(template) = Template::parse(text, &FIELDS) else {
        return;
    };
    let facts = facts(names);
    let rendered = template.render(&facts);
    if let Ok(path) = &rendered {
        assert!(path.len() <= MAX_OUTPUT_LEN_BYTES);
    }
    assert_eq!(template.render(&facts), rendered);
}

const MAX_OUTPUT_LEN_BYTES: usize = 4096;

const FIELDS: [&str; 4] = ["DNSNames", "IsCA", "Subject", "TrustDomain"];

fn facts(names: &str) -> Value {
    let subject = Value::fields([
        (
            "CommonName",
            names.lines().next().unwrap_or_default().into(),
        ),
        ("Country", Value::list(["US"])),
        ("SerialNumber", Value::Int(4711)),
    ]);
    Value::fields([
        ("DNSNames", Value::list(names.lines())),
        ("IsCA", Value::Bool(false)),
        ("Subject", subject),
        ("TrustDomain", "example.org".into()),
    ])
}

/// Templates with every construct and most functions.
pub fn seeds() -> Vec<Vec<u8>> {
    [
        "/{{ .TrustDomain }}/{{ .Subject.CommonName | lower | replace \" \" \"-\" }}",
        "/{{- if and .IsCA (eq (len .DNSNames) 2) -}}ca{{ else if .DNSNames }}{{ index .DNSNames 0 }}{{ else }}x{{ end }}",
        "{{ range $i, $name := .DNSNames }}/{{ $i }}-{{ $name | trunc 5 | b32enc }}{{ else }}/none{{ end }}",
        "{{ with $x := printf \"%-5s|%05d|%x|%q\" \"a\" 7 \"b\" `c` }}/{{ $x | sha256sum }}{{ end }}{{/* note */}}",
        "{{ $l := list 1 2 3 | uniq | reverse }}{{ $l = append $l 4 }}/{{ join \"-\" $l }}{{ seq 1 3 | splitList \" \" | first }}",
        "/{{ regexReplaceAll \"a(x*)b\" .Subject.CommonName \"${1}W\" }}{{ dict \"a\" 1 | keys | sortAlpha | join \",\" }}",
        "/{{ repeat 3 \"ab\" | substr 1 4 | title | trimPrefix \"B\" }}{{ ternary \"a\" \"b\" .IsCA }}{{ default \"d\" \"\" }}",
    ]
    .map(|text| plain(&join(&[], [text]), "host one\na.example.org\nb.example.org"))
    .to_vec()
}
