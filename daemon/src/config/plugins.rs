//! The `plugins` block: which plugins a file configures, and what is wrong with them.

use super::Findings;
use crate::hcl::{DecodeError, Object};

/// One enabled `KIND "name" { … }` block.
#[derive(Clone, Debug, PartialEq)]
pub struct Plugin {
    /// `NodeAttestor`, `KeyManager` and so on.
    pub kind: &'static str,
    /// The name.
    pub name: String,
    /// The block's line.
    pub line: usize,
    /// Whether it names a program of its own.
    pub is_external: bool,
    /// What stands in `plugin_data`.
    pub data: Object,
}

impl Plugin {
    /// What this plugin is called in messages: `NodeAttestor "join_token"`.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{} {:?}", self.kind, self.name)
    }

    /// A complaint about this plugin.
    #[must_use]
    pub fn problem(&self, reason: impl Into<String>) -> PluginProblem {
        PluginProblem {
            plugin: self.title(),
            reason: reason.into(),
        }
    }
}

/// Takes the `plugins` block: the enabled plugins of the given kinds, kind by kind in the order of the file.
///
/// # Errors
/// When a block is malformed. Kinds that are not given are unknown keys.
pub fn take_plugins(
    document: &mut Object,
    kinds: &[&'static str],
    findings: &mut Findings,
) -> Result<Vec<Plugin>, DecodeError> {
    let Some(mut block) = document.take_block("plugins")? else {
        return Ok(Vec::new());
    };
    let mut plugins = Vec::new();
    for kind in kinds {
        for mut labelled in block.take_labelled(kind)? {
            let section = format!("plugins.{kind}.{}", labelled.label);
            let body = &mut labelled.body;
            let is_enabled = body.take_bool("enabled")?.unwrap_or(true);
            let mut is_external = false;
            for key in ["plugin_cmd", "plugin_checksum", "plugin_args"] {
                is_external |= !body.take_any(key).is_empty();
            }
            let data = body.take_block("plugin_data")?;
            findings.refuse(&section, body, &["plugin_data_file"]);
            findings.finish(&section, body);
            if is_enabled {
                plugins.push(Plugin {
                    kind,
                    name: labelled.label,
                    line: labelled.line,
                    is_external,
                    data: data.unwrap_or_default(),
                });
            }
        }
    }
    findings.finish("plugins", &block);
    Ok(plugins)
}

/// One complaint about a plugin, or about how many of a kind there are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PluginProblem {
    /// The plugin's title or its kind.
    pub plugin: String,
    /// What is wrong.
    pub reason: String,
}

/// All that is wrong with a file's plugins.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}", list(.0))]
pub struct PluginProblems(pub Vec<PluginProblem>);

/// A name that no plugin of the kind ever had.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("failed to load plugin {name:?}: no built-in plugin {name:?} for type {kind:?}")]
pub struct UnknownPlugin {
    /// The kind.
    pub kind: &'static str,
    /// The name.
    pub name: String,
}

fn list(problems: &[PluginProblem]) -> String {
    let problems: Vec<_> = problems
        .iter()
        .map(|problem| format!("{}: {}", problem.plugin, problem.reason))
        .collect();
    problems.join("; ")
}
