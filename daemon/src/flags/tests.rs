//! Spellings, types, errors and usage texts, against what Go prints.

use std::time::Duration;

use super::{FlagError, FlagSet};

fn set() -> FlagSet {
    FlagSet::new("entry create")
        .string("spiffeID", "", "The SPIFFE ID")
        .string("socketPath", "/tmp/api.sock", "Path of the `socket`")
        .integer("ttl", 0, "Lifetime")
        .boolean("node", "Node entry")
        .duration("timeout", Duration::from_secs(5), "Time to answer")
        .duration_value("wait", Duration::from_secs(1), "Time to wait")
        .list("selector", "A selector, may be repeated")
        .alias("lifetime", "ttl")
}

fn arguments(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn message(line: &str) -> String {
    match set().parse(&arguments(line)) {
        Ok(parsed) => panic!("taken: {parsed:?}"),
        Err(FlagError::Help { .. }) => "help".to_owned(),
        Err(FlagError::Invalid { message, .. }) => message,
    }
}

#[test]
fn every_spelling_of_a_flag_is_the_same_flag() {
    for line in [
        "-spiffeID spiffe://a/b",
        "--spiffeID spiffe://a/b",
        "-spiffeID=spiffe://a/b",
        "--spiffe-id spiffe://a/b",
        "-spiffe-ID=spiffe://a/b",
    ] {
        let parsed = set().parse(&arguments(line)).unwrap();
        assert_eq!(parsed.string("spiffeID"), "spiffe://a/b", "{line}");
        assert!(parsed.is_set("spiffeID"));
        assert!(!parsed.is_set("ttl"));
    }
}

#[test]
fn values_have_their_types() {
    let line = "-ttl 0x10 -node -timeout 1m30s -wait=2s -selector a:b -selector=c:d=e -lifetime 7";
    let parsed = set().parse(&arguments(line)).unwrap();
    assert_eq!(parsed.integer("ttl"), 7);
    assert!(parsed.boolean("node"));
    assert_eq!(parsed.duration("timeout"), Duration::from_secs(90));
    assert_eq!(parsed.duration("wait"), Duration::from_secs(2));
    assert_eq!(parsed.list("selector"), ["a:b", "c:d=e"]);
    assert_eq!(parsed.string("socketPath"), "/tmp/api.sock");
    assert_eq!(parsed.string_if_set("socketPath"), None);
    assert_eq!(parsed.aliases_used(), [("lifetime", "ttl")]);
}

#[test]
fn flags_end_at_the_first_positional() {
    let parsed = set().parse(&arguments("-node true -ttl 5")).unwrap();
    assert_eq!(parsed.positionals(), ["true", "-ttl", "5"]);
    assert_eq!(parsed.integer("ttl"), 0);
    let parsed = set().parse(&arguments("-node -- -ttl")).unwrap();
    assert_eq!(parsed.positionals(), ["-ttl"]);
    let parsed = set().parse(&arguments("- -ttl")).unwrap();
    assert_eq!(parsed.positionals(), ["-", "-ttl"]);
}

#[test]
fn positional_is_refused_where_none_is_taken() {
    let parse = |line| set().without_positionals().parse(&arguments(line));
    assert!(parse("-ttl 5").is_ok() && parse("-ttl 5 --").is_ok());
    for line in ["9 -ttl 5", "-ttl 5 9", "-- 9"] {
        let Err(FlagError::Invalid { message, .. }) = parse(line) else {
            panic!("{line} was taken");
        };
        assert!(
            message.ends_with("takes flags only, not \"9\""),
            "{message}"
        );
    }
}

#[test]
fn errors_have_the_words_of_go() {
    for (line, expected) in [
        ("-nosuchflag", "flag provided but not defined: -nosuchflag"),
        ("--nosuch=1", "flag provided but not defined: -nosuch"),
        ("-spiffeid x", "flag provided but not defined: -spiffeid"),
        ("-ttl", "flag needs an argument: -ttl"),
        ("-ttl x", "invalid value \"x\" for flag -ttl: parse error"),
        (
            "-ttl 9223372036854775808",
            "invalid value \"9223372036854775808\" for flag -ttl: value out of range",
        ),
        (
            "-node=maybe",
            "invalid boolean value \"maybe\" for -node: parse error",
        ),
        (
            "-timeout 5",
            "invalid value \"5\" for flag -timeout: parse error",
        ),
        (
            "-wait 5",
            "invalid value \"5\" for flag -wait: time: missing unit in duration \"5\"",
        ),
        ("---x", "bad flag syntax: ---x"),
        ("-=x", "bad flag syntax: -=x"),
        ("-h", "help"),
        ("--help", "help"),
    ] {
        assert_eq!(message(line), expected, "{line}");
    }
}

#[test]
fn usage_is_sorted_and_names_types_and_defaults() {
    let expected = "Usage of entry create:
  -node
    \tNode entry
  -selector value
    \tA selector, may be repeated
  -socketPath socket
    \tPath of the socket (default \"/tmp/api.sock\")
  -spiffeID string
    \tThe SPIFFE ID
  -timeout duration
    \tTime to answer (default 5s)
  -ttl int
    \tLifetime
  -wait value
    \tTime to wait (default 1s)
";
    assert_eq!(set().usage(), expected);
    let error = set().parse(&arguments("-x")).unwrap_err();
    let report = format!("flag provided but not defined: -x\n{expected}");
    assert_eq!(error.report(), report);
}
