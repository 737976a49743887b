//! In which container a process is, and what an engine says of it: control groups, mounts, patterns,
//! addresses, descriptions, and conversations over HTTP.

use std::sync::LazyLock;

use agent::attestor::docker::decoded::{claim, container_selectors, described, own_container};
use agent::attestor::docker::{ApiVersion, Locator, Patterns, UidTemplate, parse_socket};
use bytes::Bytes;
use identity::selector::SelectorSet;

use crate::foreign::Stranger;
use crate::input::{Input, join};
use crate::world::in_time;

/// A byte that says what the rest is; for patterns a piece with one a line, then control groups.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 6 {
        0 => by_shape(input.rest()),
        1 => by_patterns(input),
        2 => {
            if let Some(id) = own_container(input.rest()) {
                assert!(is_id(&id), "{id}");
            }
        }
        3 => description(input.rest()),
        4 => settings(input),
        _ => conversation(input),
    }
}

fn by_shape(text: &[u8]) {
    let Some((id, stands)) = claim(text, &Locator::ByShape) else {
        return;
    };
    assert!(is_id(&id), "{id}");
    assert!(stands, "a process is not where it is itself");
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn by_patterns(mut input: Input<'_>) {
    let Ok(patterns) = std::str::from_utf8(input.piece()) else {
        return;
    };
    let patterns: Vec<_> = patterns.lines().take(16).map(str::to_owned).collect();
    let Ok(patterns) = Patterns::parse(&patterns) else {
        return;
    };
    if let Some((id, stands)) = claim(input.rest(), &Locator::ByPatterns(patterns)) {
        assert!(!id.is_empty() && !id.contains('/') && stands, "{id:?}");
    }
}

fn description(json: &[u8]) {
    if let Some(selectors) = container_selectors(json, "sha256:aa") {
        assert!(selectors.iter().all(|one| one.kind() == "docker"));
        assert!(selectors.len() <= json.len());
    }
}

fn settings(input: Input<'_>) {
    let Some(text) = input.text() else {
        return;
    };
    if let Ok(path) = parse_socket(text) {
        assert_eq!(format!("unix://{}", path.display()), text);
    }
    if let Some(version) = ApiVersion::parse(text) {
        assert_eq!(ApiVersion::parse(&version.to_string()), Some(version));
    }
    UidTemplate::parse(text).ok();
}

/// What the engine says on one connection after the other.
fn conversation(input: Input<'_>) {
    let words = input.pieces(4).into_iter();
    ENGINE.says.set(words.map(Bytes::copy_from_slice));
    match in_time(described(&ENGINE.socket(), "c0ffee")) {
        Ok(selectors) => {
            let mut all = selectors.iter().flat_map(SelectorSet::iter);
            assert!(all.all(|one| one.kind() == "docker"));
        }
        // A name is shown as it is written, the rest up to a length.
        Err(error) => assert!(error.to_string().len() < 6 * (16 << 10), "{error}"),
    }
}

static ENGINE: LazyLock<Stranger<Bytes>> = LazyLock::new(Stranger::babbling);

/// One of each kind.
pub fn seeds() -> Vec<Vec<u8>> {
    let id = "0123456789abcdef".repeat(4);
    let groups = format!("2:cpu:/docker/{id}\n0::/system.slice/docker-{id}.scope/init\n");
    let mount =
        format!("572 571 0:33 /docker/{id} /sys/fs/cgroup ro master:1 - cgroup cgroup rw\n");
    let description = r#"{"Image": "sha256:aa", "State": {"Pid": 7}, "Config": {"Image": "a", "Labels": {"k": "v"}, "Env": ["A=b"]}}"#;
    let patterns = "/docker/<id>\n/*/<id>/*";
    vec![
        format!("\0{groups}").into_bytes(),
        format!("\0{}", groups.replace("docker-", "libpod-")).into_bytes(),
        [join(&[1], [patterns]), groups.into_bytes()].concat(),
        format!("\u{2}{mount}").into_bytes(),
        format!("\u{3}{description}").into_bytes(),
        b"\x04unix:///run/user/%d/podman.sock".to_vec(),
        b"\x041.41".to_vec(),
        join(
            &[5],
            [
                http(PONG, ""),
                http("", description),
                http("", r#"{"Id":"sha256:aa"}"#),
            ],
        ),
        join(
            &[5],
            [
                http(PONG, ""),
                "HTTP/1.1 404 Not Found\r\nContent-Length: 16\r\n\r\n{\"message\":\"no\"}"
                    .to_owned(),
            ],
        ),
    ]
}

const PONG: &str = "Api-Version: 1.41\r\n";

fn http(headers: &str, body: &str) -> String {
    let len = body.len();
    format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: {len}\r\n\r\n{body}")
}
