//! What templates make, held against what Go makes of them.

use super::*;

fn facts() -> Value {
    Value::fields([
        ("Name", "host-1.example".into()),
        ("Empty", "".into()),
        ("Count", Value::Int(3)),
        ("Yes", Value::Bool(true)),
        ("List", Value::list(["b", "a", "b"])),
        (
            "Map",
            Value::fields([("k", "v".into()), ("n", Value::Int(7))]),
        ),
    ])
}

const FIELDS: [&str; 6] = ["Name", "Empty", "Count", "Yes", "List", "Map"];

fn render(template: &str) -> Result<String, String> {
    let parsed = Template::parse(template, &FIELDS).map_err(|error| error.to_string())?;
    parsed.render(&facts()).map_err(|error| error.to_string())
}

#[track_caller]
fn check(cases: &[(&str, &str)]) {
    for (template, expected) in cases {
        assert_eq!(render(template).as_deref(), Ok(*expected), "{template}");
    }
}

#[track_caller]
fn refused(cases: &[(&str, &str)]) {
    for (template, expected) in cases {
        let error = render(template).unwrap_err();
        assert!(error.contains(expected), "{template}: {error}");
    }
}

#[test]
fn text_and_fields_are_written() {
    check(&[
        ("", ""),
        ("/a/b", "/a/b"),
        ("/{{ .Name }}/{{.Count}}", "/host-1.example/3"),
        ("{{ .Map.k }}{{ .Map.n }}", "v7"),
        ("{{ .List }}", "[b a b]"),
        ("{{ .Map }}", "map[k:v n:7]"),
    ]);
    check(&[
        ("a {{- .Count -}} b", "a3b"),
        ("a {{/* no }} here */}} b", "a  b"),
        ("a {{- /* c */ -}} b", "ab"),
        ("{{ \"a\\\"}}b\" }}{{ `c\\` }}", "a\"}}bc\\"),
        ("{{ -5 }}{{ 7 }}{{ true }}", "-57true"),
    ]);
}

#[test]
fn blocks_and_variables_work() {
    check(&[
        (
            "{{ if .Empty }}a{{ else if .Yes }}b{{ else }}c{{ end }}",
            "b",
        ),
        ("{{ if not .Yes }}a{{ else }}c{{ end }}", "c"),
        (
            "{{ with .Map }}{{ .k }}{{ $.Name }}{{ end }}",
            "vhost-1.example",
        ),
        ("{{ with .Empty }}a{{ else }}{{ .Count }}{{ end }}", "3"),
        ("{{ range .List }}<{{ . }}>{{ end }}", "<b><a><b>"),
        (
            "{{ range $at, $one := .List }}{{ $at }}{{ $one }}{{ end }}",
            "0b1a2b",
        ),
        (
            "{{ range $k, $v := .Map }}{{ $k }}={{ $v }};{{ end }}",
            "k=v;n=7;",
        ),
        (
            "{{ range .Empty | splitList \",\" | compact }}a{{ else }}b{{ end }}",
            "b",
        ),
        (
            "{{ $x := .Count }}{{ if .Yes }}{{ $x = 4 }}{{ end }}{{ $x }}",
            "4",
        ),
        ("{{ if $n := .Name }}{{ $n }}{{ end }}", "host-1.example"),
        (
            "{{ if and .Yes (eq .Count 3) }}a{{ end }}{{ or .Empty .Name }}",
            "ahost-1.example",
        ),
        // What is not needed is not looked at.
        ("{{ or .Yes .Map.nope }}{{ and .Empty .Map.nope }}", "true"),
    ]);
}

#[test]
fn pipelines_hand_values_on() {
    check(&[
        ("{{ .Name | trimSuffix \".example\" | upper }}", "HOST-1"),
        (
            "{{ printf \"%s/%d/%q/%5s|%-5s|%05d|%x|%.2s|%v%%\" .Name .Count \"q\" \"r\" \"l\" 42 \"hi\" \"abc\" .Yes }}",
            "host-1.example/3/\"q\"/    r|l    |00042|6869|ab|true%",
        ),
        ("{{ print \"a\" 1 2 \"b\" }}", "a1 2b"),
        (
            "{{ (index .List 1) }}{{ (dict \"a\" .Name).a }}",
            "ahost-1.example",
        ),
        ("{{ $m := .Map }}{{ printf \"%v%s\" $m.n $m.k }}", "7v"),
    ]);
}

#[test]
fn functions_do_what_sprigs_do() {
    check(&[
        (
            "{{ lower \"ABC\" }}{{ title \"ab cd\" }}{{ untitle \"Ab\" }}{{ swapcase \"aB\" }}",
            "abcAb CdabAb",
        ),
        (
            "{{ trim \" a \" }}{{ trimAll \"/\" \"/a/\" }}{{ trimPrefix \"a\" \"ab\" }}{{ trimSuffix \"b\" \"ab\" }}",
            "aaba",
        ),
        (
            "{{ trunc 3 \"abcdef\" }}{{ trunc -2 \"abcdef\" }}{{ substr 1 3 \"abcdef\" }}{{ substr 2 -1 \"abc\" }}",
            "abcefbcc",
        ),
        (
            "{{ replace \".\" \"-\" \"a.b.c\" }}{{ repeat 2 \"ab\" }}{{ nospace \"a b\" }}{{ initials \"ab cd\" }}",
            "a-b-cabababac",
        ),
        (
            "{{ contains \"b\" \"abc\" }}{{ hasPrefix \"a\" \"abc\" }}{{ hasSuffix \"a\" \"abc\" }}",
            "truetruefalse",
        ),
        (
            "{{ quote \"a\" 1 }}{{ squote \"b\" }}{{ cat \"a\" 1 }}",
            "\"a\" \"1\"'b'a 1",
        ),
    ]);
}

#[test]
fn functions_choose_list_and_encode() {
    check(&[
        (
            "{{ default \"d\" .Empty }}{{ default \"d\" .Name }}{{ coalesce .Empty \"x\" }}{{ ternary \"t\" \"f\" .Yes }}",
            "dhost-1.examplext",
        ),
        (
            "{{ empty .Empty }}{{ all .Yes .Empty }}{{ any .Yes .Empty }}",
            "truefalsetrue",
        ),
        (
            "{{ join \"-\" .List }}{{ sortAlpha .List | join \"\" }}{{ uniq .List | join \"\" }}{{ reverse .List | len }}",
            "b-a-babbba3",
        ),
        (
            "{{ first .List }}{{ last .List }}{{ rest .List | len }}{{ initial .List | len }}{{ has \"a\" .List }}{{ without .List \"b\" }}",
            "bb22true[a]",
        ),
        (
            "{{ list 1 2 | concat (list 0) | join \",\" }}{{ append .List \"z\" | last }}{{ prepend .List \"y\" | first }}{{ slice .List 1 2 }}",
            "0,1,2zy[a]",
        ),
        (
            "{{ get .Map \"k\" }}{{ hasKey .Map \"x\" }}{{ keys .Map | join \"\" }}{{ pick .Map \"k\" }}{{ omit .Map \"k\" }}",
            "vfalseknmap[k:v]map[n:7]",
        ),
        (
            "{{ base \"/a/b.c\" }}{{ dir \"/a/b\" }}{{ clean \"/a/../b//c/.\" }}{{ ext \"x.y\" }}{{ isAbs \"/\" }}{{ base \"\" }}",
            "b.c/a/b/c.ytrue.",
        ),
        (
            "{{ b64enc \"hi\" }}{{ b64dec \"aGk=\" }}{{ b32enc \"hi\" }}{{ b32dec \"NBUQ====\" }}",
            "aGk=hiNBUQ====hi",
        ),
        (
            "{{ sha1sum \"a\" }} {{ sha256sum \"a\" | trunc 8 }} {{ adler32sum \"Wikipedia\" }}",
            "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8 ca978112 300286872",
        ),
        (
            "{{ regexMatch \"^h\" .Name }}{{ regexFind \"[0-9]+\" .Name }}{{ regexReplaceAll \"o(s)\" .Name \"${1}0\" }}",
            "true1hs0t-1.example",
        ),
        (
            "{{ regexSplit \"[-.]\" .Name -1 | join \"/\" }}{{ regexFindAll \"[a-z]\" .Name 2 | join \"\" }}{{ regexQuoteMeta \"a.b\" }}",
            "host/1/examplehoa\\.b",
        ),
        (
            "{{ eq .Count 1 3 }}{{ ne .Name \"x\" }}{{ lt 1 2 }}{{ ge \"b\" \"a\" }}",
            "truetruetruetrue",
        ),
        (
            "{{ len .Name }}{{ seq 3 }}{{ seq 5 -2 1 }}{{ toString 3 }}",
            "141 2 35 3 13",
        ),
    ]);
}

#[test]
fn what_is_wrong_is_told_when_the_template_is_read() {
    let wrong = [
        ("{{ nope .Name }}", "function \"nope\" not defined"),
        ("{{ env \"HOME\" }}", "function \"env\" not defined"),
        (
            "{{ uuidv4 }}",
            "function \"uuidv4\" is not supported: every attestation",
        ),
        ("{{ .Nope }}", "no field \"Nope\"; there are Name, Empty"),
        ("{{ if .Yes }}{{ $.Nope }}{{ end }}", "no field \"Nope\""),
        ("{{ .Name", "unclosed action"),
        ("{{ \"a }}", "unclosed action"),
        ("{{ }}", "missing value for command"),
        ("{{ if .Yes }}a", "no end for this block"),
        ("{{ end }}", "unexpected end of a block"),
        ("{{ else }}", "unexpected end of a block"),
        (
            "{{ if .Yes }}a{{ else }}b{{ else }}c{{ end }}",
            "unexpected else",
        ),
        ("{{ template \"x\" }}", "template is not supported"),
        ("{{ (print 1 }}", "unclosed parenthesis"),
        ("{{ print 1) }}", "unexpected word"),
        ("{{ 1.5 }}", "bad number \"1.5\""),
        ("{{ print 1 | }}", "missing value for command"),
        ("{{ \"\\x41\" }}", "unsupported escape"),
        ("{{ .Name; }}", "unexpected character ';'"),
    ];
    for (template, expected) in wrong {
        let error = Template::parse(template, &FIELDS).unwrap_err().to_string();
        assert!(error.contains(expected), "{template}: {error}");
    }
    let deep = "{{ if .Yes }}".repeat(40);
    let error = Template::parse(&deep, &FIELDS).unwrap_err();
    assert!(matches!(error, TemplateError::Syntax { .. }), "{error}");
    let parentheses = format!("{{{{ print {}1{} }}}}", "(".repeat(40), ")".repeat(40));
    assert!(Template::parse(&parentheses, &FIELDS).is_err());
    let long = "a".repeat(MAX_TEMPLATE_LEN_BYTES + 1);
    assert_eq!(
        Template::parse(&long, &FIELDS).unwrap_err(),
        TemplateError::TooLong
    );
}

#[test]
fn what_is_missing_makes_no_text() {
    refused(&[
        ("{{ .Map.nope }}", "no entry for key \"nope\""),
        ("{{ .Name.x }}", "can't evaluate field x in string"),
        (
            "{{ index .List 3 }}",
            "error calling index: index out of range: 3",
        ),
        ("{{ index .Map \"x\" }}", "no entry for key \"x\""),
        ("{{ $x }}", "undefined variable \"$x\""),
        (
            "{{ upper .Count }}",
            "error calling upper: wrong type for value; expected string; got int",
        ),
        ("{{ upper }}", "wrong number of args: want 1 got 0"),
        (
            "{{ .Name 1 }}",
            "can't give an argument to what is no function",
        ),
        ("{{ nil }}", "nil is not a value"),
        ("{{ fail \"no\" }}", "error calling fail: no"),
        ("{{ printf \"%d\" \"a\" }}", "%d of string"),
        ("{{ printf \"%s\" }}", "no value for %s"),
        ("{{ printf \"a\" 1 }}", "more values than verbs"),
        ("{{ eq 1 \"1\" }}", "incompatible types for comparison"),
        (
            "{{ range .Name }}{{ end }}",
            "range can't iterate over string",
        ),
        ("{{ regexMatch \"(\" .Name }}", "error calling regexMatch"),
    ]);
}

#[test]
fn what_a_template_makes_is_bounded() {
    refused(&[
        ("{{ repeat 100000 \"ab\" }}", "result is too large"),
        (
            "{{ repeat 5000 \"a\" }}",
            "result is longer than 4096 bytes",
        ),
        ("{{ seq 100000 }}", "too many numbers"),
        (
            "{{ $x := \"aaaaaaaaaaaaaaaa\" }}{{ range (list 1 2 3 4 5 6 7 8 9 10 11 12 13) }}{{ $x = printf \"%s%s\" $x $x }}{{ end }}{{ $x }}",
            "result is too large",
        ),
    ]);
}

#[test]
fn a_few_words_make_no_long_text_on_the_way() {
    let long = "{{ $x := repeat 60000 \"a\" }}";
    for words in [
        "replace \"a\" $x $x",
        "replace \"\" $x $x",
        "join $x (splitList \"\" $x)",
        "regexReplaceAll \"a\" $x \"$0$0$0\"",
        "regexReplaceAll \"\" $x $x",
        "regexReplaceAllLiteral \"a\" $x $x",
    ] {
        let template = format!("{long}{{{{ {words} }}}}");
        refused(&[(template.as_str(), "result is too large")]);
    }
    check(&[
        (
            "{{ regexReplaceAll \"b(.)\" \"abcabd\" \"<$1>\" }}",
            "a<c>a<d>",
        ),
        ("{{ replace \"b\" \"xx\" \"abab\" }}", "axxaxx"),
        ("{{ join \"-\" (uniq (list 1 2 1 3 2)) }}", "1-2-3"),
    ]);
}

#[test]
fn a_template_does_not_go_through_long_lists_again_and_again() {
    let ranges = |depth: usize| {
        let (open, close) = ("{{ range $l }}".repeat(depth), "{{ end }}".repeat(depth));
        format!("{{{{ $l := splitList \"\" (repeat 1000 \"a\") }}}}{open}{close}x")
    };
    check(&[(ranges(1).as_str(), "x")]);
    for costly in [
        ranges(3),
        "{{ range (splitList \"\" (repeat 1000 \"a\")) }}{{ $x := regexMatch \"a\" . }}{{ end }}"
            .to_owned(),
    ] {
        refused(&[(costly.as_str(), "takes too much work")]);
    }
    let uniq = "{{ uniq (splitList \"\" (repeat 10000 \"ab\")) | len }}";
    check(&[(uniq, "3")]);
}

/// Truncated and mutilated templates make an error or a text, and nothing worse.
#[test]
fn no_damaged_template_does_harm() {
    let whole = "/{{- if and (eq .Name \"x\") .Yes }}{{ range $a, $b := .List }}{{ $b | upper }}{{ end }}{{ else }}{{ printf `%s` .Map.k }}{{ end -}}";
    render(whole).unwrap();
    for end in 0..whole.len() {
        if whole.is_char_boundary(end) {
            render(&whole[..end]).ok();
            render(&whole[end..]).ok();
        }
    }
    for (at, _) in whole.char_indices() {
        for replaced in ["{{", "}}", "(", ")", "\"", "|", "$", ".", "é", "-"] {
            let mut damaged = whole.to_owned();
            damaged.replace_range(at..=at, replaced);
            render(&damaged).ok();
        }
    }
}
