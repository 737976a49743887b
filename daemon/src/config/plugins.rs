//! The `plugins` block: which plugins a file configures, and what is wrong with them.

use std::{
    io, mem,
    path::{Path, PathBuf},
};

use super::Findings;
use crate::bounded_file;
use crate::command_line::path_error_text;
use crate::hcl::{self, DecodeError, Object};

/// One enabled `KIND "name" { … }` block.
#[derive(Clone, Debug, PartialEq)]
pub struct Plugin {
    /// `NodeAttestor`, `KeyManager` and so on.
    pub kind: &'static str,
    /// The name.
    pub name: String,
    /// The block's line.
    pub line: usize,
    /// The program that it is, unless it is built in.
    pub program: Option<PluginProgram>,
    /// What stands in `plugin_data`, or in the file that `plugin_data_file` names.
    pub data: Object,
    /// Why there is no data to judge: the file cannot be read.
    pub data_problem: Option<String>,
}

/// The program of a plugin that is not built in, none of it judged yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PluginProgram {
    /// `plugin_cmd`
    pub command: PathBuf,
    /// `plugin_args`
    pub args: Vec<String>,
    /// `plugin_checksum`
    pub checksum: Option<String>,
    /// `plugin_data_file`, which only the program understands, and reads again when told so.
    pub data_file: Option<PathBuf>,
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
/// When a block is malformed. Kinds that are not given are unknown keys. A file of settings that cannot
/// be read is no error here, but the plugin's [`Plugin::data_problem`].
pub fn take_plugins(
    document: &mut Object,
    kinds: &[&'static str],
    findings: &mut Findings,
) -> Result<Vec<Plugin>, TakePluginsError> {
    let Some(mut block) = document.take_block("plugins")? else {
        return Ok(Vec::new());
    };
    let mut plugins = Vec::new();
    for kind in kinds {
        for mut labelled in block.take_labelled(kind)? {
            let section = format!("plugins.{kind}.{}", labelled.label);
            let body = &mut labelled.body;
            let is_enabled = body.take_bool("enabled")?.unwrap_or(true);
            let mut program = take_program(body)?;
            let line_of_file = body.line_of("plugin_data_file");
            let data = body.take_block("plugin_data")?;
            let file = body.take_string("plugin_data_file")?;
            findings.finish(&section, body);
            if data.is_some() && file.is_some() {
                let name = format!("{kind:?}/{:?}", labelled.label);
                return Err(TakePluginsError::BothData {
                    name,
                    line: line_of_file,
                });
            }
            if is_enabled {
                let mut file = file.map(PathBuf::from);
                if let Some(program) = &mut program {
                    program.data_file = file.take();
                }
                let read = file.map(|file| data_in(&file));
                let (in_file, data_problem) = match read {
                    Some(Ok(data)) => (Some(data), None),
                    Some(Err(problem)) => (None, Some(problem)),
                    None => (None, None),
                };
                plugins.push(Plugin {
                    kind,
                    name: labelled.label,
                    line: labelled.line,
                    program,
                    data: data.or(in_file).unwrap_or_default(),
                    data_problem,
                });
            }
        }
    }
    findings.finish("plugins", &block);
    Ok(plugins)
}

/// Why a `plugins` block cannot be taken apart.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TakePluginsError {
    /// Something has the wrong shape.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A plugin has its settings twice.
    #[error(
        "failed to create plugin config for {name}: only one of [plugin_data, plugin_data_file] can \
         be used (line {line})"
    )]
    BothData {
        /// Its kind and name.
        name: String,
        /// The line of the file's name.
        line: usize,
    },
}

fn take_program(body: &mut Object) -> Result<Option<PluginProgram>, DecodeError> {
    let command = body.take_string("plugin_cmd")?;
    let args = body.take_list("plugin_args")?.unwrap_or_default();
    let checksum = body.take_string("plugin_checksum")?;
    let command = command.filter(|command| !command.is_empty());
    Ok(command.map(|command| PluginProgram {
        command: command.into(),
        args,
        checksum: checksum.filter(|checksum| !checksum.is_empty()),
        data_file: None,
    }))
}

/// The settings in a file of their own: what would stand in the braces of `plugin_data`.
fn data_in(path: &Path) -> Result<Object, String> {
    let failed = |cause: String| format!("failed to read plugin configuration: {cause}");
    let text = match read_data(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            return Err(failed(format!("{}: {error}", path.display())));
        }
        Err(error) => return Err(failed(path_error_text("open", path, &error))),
    };
    let parsed = hcl::parse(&text);
    parsed.map_err(|error| failed(format!("{}: {error}", path.display())))
}

/// The text of a file that `plugin_data_file` names.
///
/// # Errors
/// It cannot be read, or is longer than 1 MiB.
pub fn read_data(path: &Path) -> io::Result<String> {
    let mut text = bounded_file::read_text(path, MAX_DATA_LEN_BYTES)?;
    Ok(mem::take(&mut *text))
}

/// The longest file of settings that is read.
const MAX_DATA_LEN_BYTES: usize = 1024 * 1024;

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
