//! Which Unix socket a command talks to.

use std::{env, ffi::OsString, path::PathBuf};

use anyhow::Context as _;

use crate::flags::{FlagSet, Parsed};

/// The rules by which the commands of a program find their socket: `-socketPath` if it is not the default; with
/// `-instance NAME` the template from the environment, its `%i` replaced by the name; the path from the environment;
/// the default.
#[derive(Clone, Copy, Debug)]
pub struct SocketChoice {
    /// Where the socket is when nothing says otherwise.
    pub default_path: &'static str,
    /// The environment variable that names it.
    pub path_variable: &'static str,
    /// The environment variable with the template for instances.
    pub template_variable: &'static str,
}

impl SocketChoice {
    /// Adds `-socketPath` and `-instance`.
    #[must_use]
    pub fn flags(&self, flags: FlagSet) -> FlagSet {
        flags
            .string("socketPath", self.default_path, "Path of the API's Unix socket.")
            .string(
                "instance",
                "",
                "Name of an instance; it replaces %i in the socket path template of the environment.",
            )
    }

    /// The socket that the command line and the environment name.
    ///
    /// # Errors
    /// An instance without a template that has `%i`.
    pub fn resolve(&self, parsed: &Parsed) -> anyhow::Result<PathBuf> {
        self.resolve_in(parsed, |variable| env::var_os(variable))
    }

    fn resolve_in(
        &self,
        parsed: &Parsed,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> anyhow::Result<PathBuf> {
        let path = parsed.string("socketPath");
        if path != self.default_path {
            return Ok(path.into());
        }
        let named = |name: &str| variable(name).filter(|value| !value.is_empty());
        let instance = parsed.string("instance");
        if !instance.is_empty() {
            let template = named(self.template_variable).with_context(|| {
                format!(
                    "-instance needs the environment variable {}",
                    self.template_variable
                )
            })?;
            let template = template.to_string_lossy();
            anyhow::ensure!(
                template.contains("%i"),
                "environment variable {} has no %i for the instance: {template:?}",
                self.template_variable
            );
            return Ok(template.replace("%i", instance).into());
        }
        Ok(named(self.path_variable).map_or_else(|| path.into(), PathBuf::from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHOICE: SocketChoice = SocketChoice {
        default_path: "/tmp/default.sock",
        path_variable: "SOCKET",
        template_variable: "SOCKET_TEMPLATE",
    };

    fn check(line: &str, environment: &[(&str, &str)], expected: Result<&str, &str>) {
        let arguments: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        let parsed = CHOICE
            .flags(FlagSet::new("test"))
            .parse(&arguments)
            .unwrap();
        let found = CHOICE.resolve_in(&parsed, |variable| {
            let value = environment.iter().find(|(name, _)| *name == variable)?;
            Some(value.1.into())
        });
        let found = found.map_err(|error| error.to_string());
        let expected = expected.map(PathBuf::from).map_err(str::to_owned);
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn the_flag_goes_before_instance_environment_and_default() {
        let both = [("SOCKET", "/e.sock"), ("SOCKET_TEMPLATE", "/i/%i.sock")];
        check("", &[], Ok("/tmp/default.sock"));
        check("", &both, Ok("/e.sock"));
        check("-socketPath /tmp/default.sock", &both, Ok("/e.sock"));
        check("-instance a", &both, Ok("/i/a.sock"));
        check("-instance a -socketPath /f.sock", &both, Ok("/f.sock"));
    }

    #[test]
    fn an_instance_needs_a_template() {
        check(
            "-instance a",
            &[("SOCKET", "/e.sock")],
            Err("-instance needs the environment variable SOCKET_TEMPLATE"),
        );
        check(
            "-instance a",
            &[("SOCKET_TEMPLATE", "/x")],
            Err("environment variable SOCKET_TEMPLATE has no %i for the instance: \"/x\""),
        );
    }
}
