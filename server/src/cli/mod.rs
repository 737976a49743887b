//! The operator's command line: its table of commands.
//!
//! The commands are clients of the server's Unix socket and speak the wire types; they hold no rule that the server
//! does not enforce. Command words, flags, outputs and exit codes are SPIRE's, `dev` is ours.

mod agent;
mod api;
mod bundle;
mod entry;
mod healthcheck;
mod jwt;
mod quantity;
mod shared_flags;
mod status_text;
mod token;
mod validate;
mod written_file;
mod x509;

use daemon::command_line::Program;

/// The program under the name it was called by.
#[must_use]
pub fn program(name: String) -> Program {
    let mut commands = Vec::new();
    commands.extend(entry::commands());
    commands.extend(agent::commands());
    commands.extend(bundle::commands());
    commands.extend([
        healthcheck::command(),
        jwt::mint_command(),
        token::generate_command(),
        validate::command(),
        x509::mint_command(),
    ]);
    Program {
        name,
        version: env!("CARGO_PKG_VERSION"),
        commands,
    }
}
