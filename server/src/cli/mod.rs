//! The operator's command line: its table of commands.
//!
//! The commands are clients of the server's Unix socket and speak the wire types; they hold no rule that the server
//! does not enforce. Command words, flags, outputs and exit codes are SPIRE's, `cluster` and `dev` are ours.

mod agent;
mod api;
mod bundle;
mod cluster;
mod debug;
mod dev;
mod entry;
mod federation;
mod healthcheck;
mod jwt;
mod localauthority;
mod logger;
mod quantity;
mod run;
mod shared_flags;
mod status_text;
mod token;
mod upstreamauthority;
mod validate;
mod x509;

use daemon::command_line::Program;

/// The program under the name it was called by.
#[must_use]
pub fn program(name: String) -> Program {
    let mut commands = Vec::new();
    commands.extend(entry::commands());
    commands.extend(agent::commands());
    commands.extend(bundle::commands());
    commands.extend(cluster::commands());
    commands.extend(federation::commands());
    commands.extend(localauthority::commands());
    commands.extend(upstreamauthority::commands());
    commands.extend(logger::commands());
    commands.extend([
        debug::command(),
        dev::command(),
        healthcheck::command(),
        jwt::mint_command(),
        run::command(),
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

/// Whether a document that an operator hands over can be read: as entries, as ids, as relationships.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub fn reads_as_documents(document: &[u8]) -> [bool; 3] {
    let [entries, ids] = entry::reads(document);
    [entries, ids, federation::reads(document)]
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: [&str; 57] = [
        "agent ban",
        "agent count",
        "agent evict",
        "agent list",
        "agent purge",
        "agent show",
        "bundle count",
        "bundle delete",
        "bundle list",
        "bundle set",
        "bundle show",
        "cluster backup",
        "cluster init",
        "cluster invite",
        "cluster join",
        "cluster leave",
        "cluster members",
        "cluster recover",
        "cluster remove",
        "cluster restore",
        "cluster rotate-seal",
        "cluster status",
        "cluster transfer",
        "debug getinfo",
        "dev",
        "entry count",
        "entry create",
        "entry delete",
        "entry show",
        "entry update",
        "federation create",
        "federation delete",
        "federation list",
        "federation refresh",
        "federation show",
        "federation update",
        "healthcheck",
        "jwt mint",
        "localauthority jwt activate",
        "localauthority jwt prepare",
        "localauthority jwt revoke",
        "localauthority jwt show",
        "localauthority jwt taint",
        "localauthority x509 activate",
        "localauthority x509 prepare",
        "localauthority x509 revoke",
        "localauthority x509 show",
        "localauthority x509 taint",
        "logger get",
        "logger reset",
        "logger set",
        "run",
        "token generate",
        "upstreamauthority revoke",
        "upstreamauthority taint",
        "validate",
        "x509 mint",
    ];

    #[test]
    fn every_command_is_there_under_its_own_words() {
        let program = program("conclave-server".to_owned());
        let mut words: Vec<_> = program
            .commands
            .iter()
            .map(|command| command.words)
            .collect();
        words.sort_unstable();
        assert_eq!(words, WORDS);
        for command in &program.commands {
            let title = format!("Usage of {}:\n", command.words);
            let usage = (command.flags)().usage();
            assert!(usage.starts_with(&title), "{usage}");
        }
    }
}
