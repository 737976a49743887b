//! The configuration language: HCL and JSON into a tree, values out of it, environment variables into it.

use std::collections::BTreeSet;

use daemon::hcl::{MAX_DEPTH, Object, expand_env, parse};

/// One document.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let expanded = expand_env(text, |name| (name.len() == 1).then(|| VALUE.to_owned()));
    // Each variable takes two bytes at least.
    assert!(expanded.len() <= text.len() / 2 * VALUE.len() + text.len());
    assert_eq!(expand_env(&text.replace('$', "$$"), |_| None), text);
    match parse(text) {
        Ok(document) => {
            assert_eq!(parse(text).as_ref(), Ok(&document));
            look_at(&document, 0);
        }
        Err(error) => assert!(error.line > 0 && error.column > 0),
    }
}

const VALUE: &str = "value";

/// Takes each key out in every way that there is, and goes down where it is a block.
fn look_at(object: &Object, depth: usize) {
    assert!(depth <= MAX_DEPTH);
    let names: BTreeSet<String> = object.unknown().into_iter().map(|key| key.name).collect();
    assert_eq!(names.is_empty(), object.is_empty());
    for name in names.iter().take(WIDTH) {
        assert!(object.line_of(name) > 0);
        let mut rest = object.clone();
        rest.take_string(name).ok();
        object.clone().take_integer(name).ok();
        object.clone().take_bool(name).ok();
        object.clone().take_list(name).ok();
        assert!(!object.clone().take_any(name).is_empty());
        let mut taken = object.clone();
        for block in taken.take_labelled(name).unwrap_or_default() {
            assert!(block.line > 0);
        }
        assert_eq!(taken.line_of(name), 0);
        if let Ok(Some(block)) = object.clone().take_block(name) {
            look_at(&block, depth + 1);
        }
    }
}

/// How many keys of an object are looked at.
const WIDTH: usize = 8;

/// Every notation, and a document that ships.
pub fn seeds() -> Vec<Vec<u8>> {
    [
        "a \"b\" { c = [\"d\\u00e9\", 0x1f, 1.5e3,] } # é\ne = <<-F\n  g\n  F\n/* h */ i = \"${j {\"k\"}}\"",
        "{\"a\": [{\"b\\u00e9\": 1.5e3}, null, true], \"c\": {\"d\": \"\\ud83d\\ude00\"}}",
        "p = { N \"j\" { d = { x = 1 } }\n N \"k\" {}, }\nn = 010\nb = \"false\" $A ${B} $$ ${",
        "a = [[[[[1]]]]]\nb { c { d { e {} } } }",
        include_str!("../../deploy/conf/server-full.conf"),
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}
