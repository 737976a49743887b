//! Reading, log settings, health checks, plugins and durations of both config files.

use std::fs;

use super::*;
use crate::{hcl::parse, log};

#[test]
fn missing_and_broken_files_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.conf");
    let error = read(&path, Expand::Nothing).unwrap_err();
    let expected = format!(
        "could not find config file {}: please use the -config flag",
        path.display()
    );
    assert_eq!(error.to_string(), expected);
    fs::write(&path, "a = \n}").unwrap();
    let error = anyhow::Error::from(read(&path, Expand::Nothing).unwrap_err());
    let expected = format!(
        "SPIRE server configuration file is invalid: unable to decode configuration at \"{}\": At 2:1: Unknown token: 2:1 RBRACE }}\n",
        path.display()
    );
    assert_eq!(validation_report("SPIRE server", &error), expected);
    fs::write(&path, "a = \"$$x $CONCLAVE_SET_NOWHERE\"").unwrap();
    let mut document = read(&path, Expand::Environment).unwrap();
    assert_eq!(document.take_string("a"), Ok(Some("$x ".to_owned())));
}

#[test]
fn a_longer_file_than_any_config_is_not_read() {
    let endless = Path::new("/dev/zero");
    let folder = tempfile::tempdir().unwrap();
    let long = folder.path().join("x.conf");
    fs::write(&long, " ".repeat(hcl::MAX_LEN_BYTES)).unwrap();
    read(&long, Expand::Nothing).unwrap();
    fs::write(&long, " ".repeat(hcl::MAX_LEN_BYTES + 1)).unwrap();
    for path in [endless, &*long] {
        let error = anyhow::Error::from(read(path, Expand::Nothing).unwrap_err());
        let expected = format!(
            "unable to read configuration at {path:?}: the file is longer than 1048576 bytes"
        );
        assert_eq!(format!("{error:#}"), expected);
    }
}

#[test]
fn log_settings_of_the_command_line_go_first() {
    let text =
        "log_level = \"warn\" log_format = \"JSON\" log_file = \"\" log_source_location = true";
    let flags = crate::flags::FlagSet::new("run")
        .string("logFile", "", "")
        .string("logFormat", "", "")
        .string("logLevel", "", "")
        .boolean("logSourceLocation", "");
    let parsed = flags
        .parse(&["-logLevel".to_owned(), "debug".to_owned()])
        .unwrap();
    let overrides = LogOverrides::from_flags(&parsed);
    let options = take_log(&mut parse(text).unwrap(), &overrides).unwrap();
    let expected = log::Options {
        format: log::Format::Json,
        level: log::Level::Debug,
        file: None,
        source_location: true,
    };
    assert_eq!(options, expected);
    let mut loud = parse("log_level = \"LOUD\"").unwrap();
    let error = take_log(&mut loud, &LogOverrides::default()).unwrap_err();
    assert!(format!("{error:#}").starts_with("could not start logger: unknown log level \"LOUD\""));
}

#[test]
fn health_checks_count_only_when_enabled() {
    let mut findings = Findings::new();
    let mut take = |text: &str| take_health_checks(&mut parse(text).unwrap(), &mut findings);
    assert_eq!(take("").unwrap(), None);
    assert_eq!(
        take("health_checks { bind_port = \"8080\" }").unwrap(),
        None
    );
    let options = take("health_checks { listener_enabled = true bind_port = \"8080\" }").unwrap();
    assert_eq!(options.unwrap().bind_port, 8080);
    assert!(take("health_checks { bind_port = 99999 }").is_err());
    take("health_checks { port = 1 }").unwrap();
    let refused = findings.into_explanations().unwrap_err();
    assert_eq!(
        refused.to_string(),
        "unknown configuration detected: health_checks.port (line 1)"
    );
}

#[test]
fn plugins_are_listed_when_enabled() {
    let text = "plugins {
        A \"x\" { plugin_data { k = 1 } }
        B \"y\" { enabled = false }
        A \"z\" { plugin_cmd = \"/bin/z\" plugin_checksum = \"0\" }
        C \"n\" {}
    }";
    let mut findings = Findings::new();
    let plugins = take_plugins(&mut parse(text).unwrap(), &["A", "B"], &mut findings).unwrap();
    let listed: Vec<_> = plugins
        .iter()
        .map(|plugin| (plugin.title(), plugin.line, plugin.program.is_some()))
        .collect();
    assert_eq!(
        listed,
        [
            ("A \"x\"".to_owned(), 2, false),
            ("A \"z\"".to_owned(), 4, true)
        ]
    );
    assert_eq!(plugins[0].data.clone().take_integer("k"), Ok(Some(1)));
    let refused = findings.into_explanations().unwrap_err();
    assert_eq!(
        refused.to_string(),
        "unknown configuration detected: plugins.C (line 5)"
    );
    let problems = PluginProblems(vec![plugins[1].problem("not supported yet")]);
    assert_eq!(
        validation_report("SPIRE agent", &problems.into()),
        "SPIRE agent configuration file is invalid.\nValidation errors:\n\tA \"z\":\n\t\tnot supported yet\n"
    );
}

#[test]
fn settings_of_a_plugin_may_stand_in_a_file_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.conf");
    let take = |block: &str| {
        let text = format!("plugins {{ A \"x\" {{\n{block}\n}} }}");
        let mut findings = Findings::new();
        let mut document = parse(&text).unwrap();
        take_plugins(&mut document, &["A"], &mut findings)
    };
    let named = format!("plugin_data_file = {path:?}");
    let missing = take(&named).unwrap()[0].data_problem.clone().unwrap();
    assert_eq!(
        missing,
        format!(
            "failed to read plugin configuration: open {}: no such file or directory",
            path.display()
        )
    );
    fs::write(&path, "k = 1\nlist = [\"a\"]\n").unwrap();
    let mut plugin = take(&named).unwrap().remove(0);
    assert_eq!(plugin.data_problem, None);
    assert_eq!(plugin.data.take_integer("k"), Ok(Some(1)));
    fs::write(&path, "k = {").unwrap();
    let broken = take(&named).unwrap()[0].data_problem.clone().unwrap();
    assert!(
        broken.starts_with("failed to read plugin configuration: "),
        "{broken}"
    );
    fs::write(&path, "#".repeat(1024 * 1024 + 1)).unwrap();
    let long = take(&named).unwrap()[0].data_problem.clone().unwrap();
    assert!(long.ends_with("is longer than 1048576 bytes"), "{long}");
    let both = take(&format!("{named}\nplugin_data {{}}")).unwrap_err();
    assert_eq!(
        both.to_string(),
        "failed to create plugin config for \"A\"/\"x\": only one of [plugin_data, plugin_data_file] \
         can be used (line 2)"
    );
}

#[test]
fn durations_of_settings_are_longer_than_zero() {
    assert_eq!(parse_duration(None, "x").unwrap(), None);
    assert_eq!(parse_duration(Some(""), "x").unwrap(), None);
    for (text, expected) in [
        (
            "soon",
            "could not parse default CA ttl \"soon\": time: invalid duration \"soon\"",
        ),
        (
            "-1h",
            "could not parse default CA ttl \"-1h\": time: negative duration \"-1h\"",
        ),
        ("0s", "default CA ttl must be longer than zero"),
    ] {
        let error = parse_duration(Some(text), "default CA ttl").unwrap_err();
        assert_eq!(format!("{error:#}"), expected);
    }
}
