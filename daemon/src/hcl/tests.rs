//! Notations, errors and limits of the config language.

use super::{MAX_DEPTH, MAX_LEN_BYTES, Object, UnknownKey, decode::Labelled, parse};

fn parsed(text: &str) -> Object {
    parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn string(text: &str) -> Option<String> {
    parsed(text).take_string("a").unwrap()
}

#[test]
fn scalars_are_read_in_every_notation() {
    for (text, expected) in [
        ("a = \"x\"", "x"),
        ("\"a\" = \"x\"", "x"),
        ("a = \"x\",", "x"),
        ("a=\"x\" b=\"y\"", "x"),
        ("# c\na = \"x\" // d\n/* e\n */", "x"),
        ("\u{feff}a = \"x\"", "x"),
        ("a = 12", "12"),
        ("a = \"t\\t\\\"q\\\\ \\x41\\u00e9\"", "t\t\"q\\ Aé"),
        ("a = \"${b {\"c\"} \n}d\"", "${b {\"c\"} \n}d"),
        ("a = <<EOT\n x\n y\nEOT\nb = 1", " x\n y\n"),
        ("a = <<-EOT\n    x\n      y\n    EOT\n", "x\n  y\n"),
        ("a = <<-EOT\n  x\n    EOT", "  x\n"),
        ("a = \"first\"\na = \"last\"", "last"),
        ("{\"a\": \"x\\n\"}", "x\n"),
        ("{\"a\": 12}", "12"),
    ] {
        assert_eq!(string(text).as_deref(), Some(expected), "{text}");
    }
    assert_eq!(string("{\"a\": null}"), None);
    assert_eq!(string(""), None);
}

#[test]
fn numbers_and_truth_values_may_be_strings() {
    for (text, expected) in [
        ("n = 8081", 8081),
        ("n = \"8081\"", 8081),
        ("n = 0x1F", 31),
        ("n = 010", 8),
        ("n = -5", -5),
        ("{\"n\": -5}", -5),
    ] {
        assert_eq!(parsed(text).take_integer("n"), Ok(Some(expected)), "{text}");
    }
    for (text, expected) in [
        ("b = true", true),
        ("b = \"false\"", false),
        ("b = 1", true),
    ] {
        assert_eq!(parsed(text).take_bool("b"), Ok(Some(expected)), "{text}");
    }
    let list = parsed("l = [\"a\", \"b\",]").take_list("l");
    assert_eq!(list, Ok(Some(vec!["a".to_owned(), "b".to_owned()])));
}

#[test]
fn blocks_are_the_same_in_every_notation() {
    for text in [
        "p { N \"j\" { d { x = 1 } } N \"k\" {} }",
        "p = { N \"j\" { d = { x = 1 } }\n N \"k\" {}, }",
        "\"p\" { \"N\" \"j\" { \"d\" { x = 1, y = 2 } } }\np { N { k = {} } }",
        "{\"p\": {\"N\": [{\"j\": {\"d\": {\"x\": 1}}}, {\"k\": {}}]}}",
        "{\"p\": [{\"N\": {\"j\": [{\"d\": [{\"x\": \"1\"}]}], \"k\": [{}]}}]}",
    ] {
        let mut document = parsed(text);
        let mut plugins = document.take_block("p").unwrap().unwrap();
        let mut blocks = plugins.take_labelled("N").unwrap();
        let labels: Vec<_> = blocks.iter().map(|block| block.label.as_str()).collect();
        assert_eq!(labels, ["j", "k"], "{text}");
        let mut data = blocks[0].body.take_block("d").unwrap().unwrap();
        assert_eq!(data.take_integer("x"), Ok(Some(1)), "{text}");
        assert!(document.is_empty() && plugins.is_empty());
    }
}

#[test]
fn what_nobody_takes_is_known_by_name_and_line() {
    let mut document = parsed("a = 1\nb {\n}\n\"c d\" = 2");
    assert_eq!(document.take_integer("a"), Ok(Some(1)));
    let key = |name: &str, line| UnknownKey {
        name: name.to_owned(),
        line,
    };
    assert_eq!(document.unknown(), [key("b", 2), key("c d", 4)]);
    assert_eq!(document.line_of("b"), 2);
    assert_eq!(document.take_any("b"), [2]);
    let mut json = parsed("{\n\"a\": 1,\n\n\"b\": 2}");
    json.take_any("a");
    assert_eq!(json.unknown(), [key("b", 4)]);
}

#[test]
fn wrong_types_name_key_line_and_need() {
    let text =
        "\na = [1]\nn = \"x\"\nb = 2\n\nl = \"x\"\np = 1\nq \"l\" {}\nN {}\nM \"a\" \"b\" {}";
    let mut document = parsed(text);
    let mut errors = vec![
        document.take_string("a").unwrap_err(),
        document.take_integer("n").unwrap_err(),
        document.take_bool("b").unwrap_err(),
        document.take_list("l").unwrap_err(),
        document.take_block("p").unwrap_err(),
        document.take_block("q").unwrap_err(),
    ];
    assert_eq!(document.take_labelled("N"), Ok(Vec::<Labelled>::new()));
    errors.push(document.take_labelled("M").unwrap_err());
    let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "a (line 2) must be a string",
            "n (line 3) must be a whole number",
            "b (line 4) must be true or false",
            "l (line 6) must be a list of strings",
            "p (line 7) must be a block",
            "q (line 8) must be a block",
            "M (line 10) must be a block with one label",
        ]
    );
}

#[test]
fn errors_say_where() {
    for (text, expected) in [
        (
            "server {\n  trust_domain = \n}",
            "At 3:1: Unknown token: 3:1 RBRACE }",
        ),
        ("a = b", "At 1:5: Unknown token: 1:5 IDENT b"),
        ("a {", "At 1:4: object expected closing RBRACE got: EOF"),
        ("a = \"x\n\"", "At 1:5: literal not terminated"),
        ("a = <<X\ny", "At 1:5: heredoc not terminated"),
        (
            "a = [1 2]",
            "At 1:8: error parsing list, expected comma or list end, got: NUMBER",
        ),
        (
            "a b = 1",
            "At 1:5: nested object expected: LBRACE got: ASSIGN",
        ),
        ("= 1", "At 1:1: no object keys found!"),
        (
            "a = 1\n}",
            "At 2:1: expected: IDENT | STRING | ASSIGN | LBRACE got: RBRACE",
        ),
        (
            "a 1",
            "At 1:3: key 'a' expected start of object ('{') or assignment ('='), got: NUMBER",
        ),
        ("a = 09", "At 1:5: illegal number 09"),
        ("a = \"\\q\"", "At 1:5: illegal char escape"),
        ("a = 1 /* x", "At 1:7: comment not terminated"),
        ("a ? 1", "At 1:3: illegal character"),
        ("{\"a\": 1,}", "At 1:9: comma before the end"),
        ("{\"a\" 1}", "At 1:6: expected ':'"),
        ("{\"a\": x}", "At 1:7: expected a value"),
        ("{} x", "At 1:4: text after the document's end"),
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert_eq!(error, expected, "{text}");
    }
}

#[test]
fn size_and_depth_are_bounded() {
    let long = format!("a = \"{}\"", "x".repeat(MAX_LEN_BYTES));
    assert!(parse(&long).is_err());
    for (open, close) in [("a = {", "}"), ("a = [", "]")] {
        let open = open.replace("a = [", "[");
        let nest = |depth| format!("a = {}{}", open.repeat(depth), close.repeat(depth));
        let nest = |depth| nest(depth).replace("a = a = ", "a = ");
        assert!(parse(&nest(MAX_DEPTH)).is_ok(), "{open}");
        assert!(parse(&nest(MAX_DEPTH + 1)).is_err(), "{open}");
    }
    let json = |depth| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert!(parse(&json(MAX_DEPTH - 1)).is_ok());
    assert!(parse(&json(MAX_DEPTH)).is_err());
}

#[test]
fn truncated_and_bent_documents_never_panic() {
    let hcl = "a \"b\" { c = [\"d\\u00e9\", 0x1f, 1.5e3,] } # é\ne = <<-F\n  g\n  F\n/* h */ i = \"${j {\"k\"}}\"";
    let json = "{\"a\": [{\"b\\u00e9\": 1.5e3}, null, true], \"c\": {\"d\": \"\\ud83d\\ude00\"}}";
    for document in [hcl, json] {
        assert!(parse(document).is_ok());
        for end in (0..document.len()).filter(|end| document.is_char_boundary(*end)) {
            parse(&document[..end]).ok();
        }
        let bytes = document.as_bytes();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bent = bytes.to_vec();
                bent[at] ^= 1 << bit;
                parse(&String::from_utf8_lossy(&bent)).ok();
            }
        }
    }
}
