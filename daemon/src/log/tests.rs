//! Lines against those of logrus, and what changes while a process runs.

use std::path::Path;

use time::macros::datetime;
use tracing::{debug, error, info, info_span, subscriber::with_default, warn};
use tracing_subscriber::{Registry, layer::SubscriberExt};

use super::{
    Format, Level, Options, layer,
    line::{Fields, Line},
};

fn rendered(format: Format, message: &str, fields: &[(&str, serde_json::Value)]) -> String {
    let fields: Fields = fields
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()))
        .collect();
    Line {
        time: datetime!(2026-01-02 03:04:05.000_600 UTC),
        level: Level::Warn,
        message,
        source: None,
        fields: &fields,
    }
    .render(format)
}

#[test]
fn text_lines_are_those_of_logrus() {
    for (message, fields, expected) in [
        ("plain", vec![], "msg=plain"),
        ("two words", vec![], "msg=\"two words\""),
        (
            "m",
            vec![("b", "x:y".into()), ("a", 5.into()), ("c", "".into())],
            "msg=m a=5 b=\"x:y\" c=",
        ),
        (
            "m",
            vec![("path", "/tmp/a-b_c".into())],
            "msg=m path=/tmp/a-b_c",
        ),
        (
            "m",
            vec![("e", "say \"no\"\n\u{1}\u{202e}é".into())],
            "msg=m e=\"say \\\"no\\\"\\n\\x01\\u202eé\"",
        ),
        (
            "m",
            vec![("level", "x".into()), ("ok", true.into())],
            "msg=m fields.level=x ok=true",
        ),
    ] {
        let expected = format!("time=\"2026-01-02T03:04:05Z\" level=warning {expected}\n");
        assert_eq!(rendered(Format::Text, message, &fields), expected);
    }
}

#[test]
fn json_lines_are_sorted_objects() {
    let fields = [("zone", 7.into()), ("error", "a\"b".into())];
    let expected = "{\"error\":\"a\\\"b\",\"level\":\"warning\",\"msg\":\"m\",\"time\":\"2026-01-02T03:04:05.0006Z\",\"zone\":7}\n";
    assert_eq!(rendered(Format::Json, "m", &fields), expected);
}

#[test]
fn level_names_are_case_insensitive_and_the_error_lists_them() {
    assert_eq!("WARN".parse(), Ok(Level::Warn));
    assert_eq!("Warning".parse(), Ok(Level::Warn));
    assert_eq!("trace".parse(), Ok(Level::Trace));
    let error = "LOUD".parse::<Level>().unwrap_err().to_string();
    assert_eq!(
        error,
        "unknown log level \"LOUD\"; must be one of [panic, fatal, error, warn, info, debug, trace]"
    );
    assert_eq!("JSON".parse(), Ok(Format::Json));
    assert!("xml".parse::<Format>().is_err());
}

/// What a file holds after the time stamp of each line.
fn logged(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| line.split_once(' ').unwrap().1.to_owned())
        .collect()
}

#[test]
fn level_and_file_change_while_running() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.log");
    let options = Options {
        file: Some(path.clone()),
        ..Options::default()
    };
    let (layer, control) = layer(options).unwrap();
    with_default(Registry::default().with(layer), || {
        let step = || debug!(step = 1, "quiet at first");
        step();
        assert_eq!(control.level(), Level::Info);
        control.set_level(Level::Debug);
        step();
        let moved = folder.path().join("a.log.1");
        std::fs::rename(&path, &moved).unwrap();
        control.reopen().unwrap();
        info!(target: "h2::codec", "frames are nobody's business");
        warn!(target: "openraft::replication", "nor is every lost heartbeat");
        control.set_level(Level::Fatal);
        error!("silenced");
        control.set_level(control.launch_level());
        info!("back");
        assert_eq!(
            logged(&moved),
            ["level=debug msg=\"quiet at first\" step=1"]
        );
        assert_eq!(logged(&path), ["level=info msg=back"]);
    });
}

#[test]
fn span_fields_and_error_chains_become_keys() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.log");
    let options = Options {
        file: Some(path.clone()),
        ..Options::default()
    };
    let (layer, _) = layer(options).unwrap();
    with_default(Registry::default().with(layer), || {
        let span = info_span!("call", method = "Get", caller = tracing::field::Empty);
        span.record("caller", "x");
        let cause = std::io::Error::other("disk on fire");
        let error = super::LogError::Open {
            path: "f".into(),
            source: cause,
        };
        span.in_scope(|| {
            let error: &(dyn std::error::Error + 'static) = &error;
            error!(error, method = "Set", "failed");
        });
    });
    assert_eq!(
        logged(&path),
        ["level=error msg=failed caller=x error=\"open log file f: disk on fire\" method=Set"]
    );
}
