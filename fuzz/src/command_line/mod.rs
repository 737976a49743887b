//! What the command lines of server and agent make of answers: every command, in both forms of output, at a socket
//! where a stranger listens.
//!
//! Must hold: whatever is answered, a command ends in time and with one of its exit codes, JSON is JSON, and files are
//! whole, in their folder, and for the owner alone where they are secret.

mod seeds;
mod server_answers;

pub use seeds::seeds;

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use daemon::command_line::{FAILURE, Program, SUCCESS, Terminal};
use identity::pem::{decode_certificates, decode_private_key};
use identity::secret::SecretBytes;
use parking_lot::Mutex;
use raft_store::FileSeal;
use serde_json::Value;

use crate::foreign::{Answer, Stranger};
use crate::input::Input;
use crate::world::{AUTHORITY, FOLDER, in_time};

/// Which command, whether in JSON, then the answers to its calls.
pub fn run(data: &[u8]) {
    executed(data);
}

/// The exit code.
fn executed(data: &[u8]) -> u8 {
    let mut input = Input::new(data);
    let command = &COMMANDS[usize::from(input.byte()) % COMMANDS.len()];
    let is_json = input.byte() % 2 == 1;
    let answers = input.pieces(MAX_ANSWERS).into_iter().map(Input::new);
    STRANGER.says.set(answers.map(Answer::of));
    command.check(is_json)
}

const MAX_ANSWERS: usize = 8;

static STRANGER: LazyLock<Stranger<Answer>> = LazyLock::new(Stranger::answering);

static SERVER: LazyLock<Program> =
    LazyLock::new(|| server::cli::program("conclave-server".to_owned()));

static AGENT: LazyLock<Program> =
    LazyLock::new(|| agent::cli::program("conclave-agent".to_owned()));

/// The seal key of backups: the same in every run, so that a corpus stays good.
static SEAL: LazyLock<PathBuf> = LazyLock::new(|| {
    let path = FOLDER.path().join("seal");
    let imported = FileSeal::at(&path).import(&SecretBytes::new(vec![7; 32]));
    imported.expect("the key is written");
    path
});

/// One command with flags that make it ask.
struct Asking {
    program: &'static Program,
    words: &'static str,
    /// Separated by blanks; `DIR` is a folder that is empty, `SEAL` the path of [`SEAL`].
    flags: &'static str,
    takes_output: bool,
}

static COMMANDS: LazyLock<Vec<Asking>> = LazyLock::new(|| {
    let server = SERVER_COMMANDS
        .iter()
        .map(|&(words, flags)| Asking::new(&SERVER, words, flags));
    let agent = AGENT_COMMANDS
        .iter()
        .map(|&(words, flags)| Asking::new(&AGENT, words, flags));
    let all: Vec<Asking> = server.chain(agent).collect();
    for program in [&*SERVER, &*AGENT] {
        for command in &program.commands {
            let is_known = |asking: &Asking| {
                asking.program.name == program.name && asking.words == command.words
            };
            assert!(
                all.iter().any(is_known) || ASKING_NOBODY.contains(&command.words),
                "{} {} is not among the commands here",
                program.name,
                command.words
            );
        }
    }
    all
});

/// Commands that call nobody, or for ever.
const ASKING_NOBODY: [&str; 8] = [
    "api watch",
    "cluster init",
    "cluster join",
    "cluster recover",
    "cluster restore",
    "dev",
    "run",
    "validate",
];

const SERVER_COMMANDS: [(&str, &str); 58] = [
    ("agent ban", "-spiffeID spiffe://example.org/spire/agent/a"),
    ("agent count", ""),
    (
        "agent evict",
        "-spiffeID spiffe://example.org/spire/agent/a",
    ),
    ("agent list", ""),
    ("agent purge", "-expiredFor 1s"),
    ("agent purge", "-dryRun"),
    ("agent show", "-spiffeID spiffe://example.org/spire/agent/a"),
    ("bundle count", ""),
    ("bundle delete", "-id spiffe://other.org"),
    ("bundle list", ""),
    ("bundle list", "-format spiffe"),
    ("bundle list", "-id spiffe://other.org"),
    ("bundle set", "-id spiffe://other.org"),
    ("bundle show", ""),
    ("bundle show", "-format spiffe"),
    ("cluster backup", "-file DIR/backup -sealKey SEAL"),
    ("cluster invite", ""),
    ("cluster leave", ""),
    ("cluster members", ""),
    ("cluster remove", "-id 2"),
    ("cluster rotate-seal", ""),
    ("cluster status", ""),
    ("cluster transfer", "-to 2"),
    ("debug getinfo", ""),
    ("entry count", ""),
    (
        "entry create",
        "-parentID spiffe://example.org/p -spiffeID spiffe://example.org/w -selector unix:uid:1",
    ),
    ("entry create", "-data -"),
    ("entry delete", "-entryID a"),
    ("entry delete", "-file -"),
    ("entry show", ""),
    ("entry show", "-entryID a"),
    (
        "entry update",
        "-entryID a -parentID spiffe://example.org/p -spiffeID spiffe://example.org/w -selector unix:uid:1",
    ),
    (
        "federation create",
        "-trustDomain other.org -bundleEndpointURL https://other.org/b -bundleEndpointProfile https_web",
    ),
    ("federation delete", "-id other.org"),
    ("federation list", ""),
    ("federation refresh", "-id other.org"),
    ("federation show", "-trustDomain other.org"),
    (
        "federation update",
        "-trustDomain other.org -bundleEndpointURL https://other.org/b -bundleEndpointProfile https_web",
    ),
    ("healthcheck", "-verbose"),
    (
        "jwt mint",
        "-spiffeID spiffe://example.org/w -audience a -ttl 1m",
    ),
    (
        "jwt mint",
        "-spiffeID spiffe://example.org/w -audience a -write DIR/token",
    ),
    ("localauthority jwt activate", "-authorityID a"),
    ("localauthority jwt prepare", ""),
    ("localauthority jwt revoke", "-authorityID a"),
    ("localauthority jwt show", ""),
    ("localauthority jwt taint", "-authorityID a"),
    ("localauthority x509 activate", "-authorityID a"),
    ("localauthority x509 prepare", ""),
    ("localauthority x509 revoke", "-authorityID a"),
    ("localauthority x509 show", ""),
    ("localauthority x509 taint", "-authorityID a"),
    ("logger get", ""),
    ("logger reset", ""),
    ("logger set", "-level info"),
    ("token generate", "-spiffeID spiffe://example.org/w"),
    ("upstreamauthority revoke", "-subjectKeyID a"),
    ("upstreamauthority taint", "-subjectKeyID a"),
    ("x509 mint", "-spiffeID spiffe://example.org/w -write DIR"),
];

const AGENT_COMMANDS: [(&str, &str); 10] = [
    ("api fetch", ""),
    ("api fetch x509", "-write DIR"),
    ("api fetch jwt", "-audience a"),
    ("api validate jwt", "-audience a -svid x"),
    ("debug getinfo", ""),
    ("healthcheck", ""),
    ("healthcheck", "-verbose"),
    ("logger get", ""),
    ("logger reset", ""),
    ("logger set", "-level info"),
];

impl Asking {
    fn new(program: &'static Program, words: &'static str, flags: &'static str) -> Self {
        let command = program.commands.iter().find(|one| one.words == words);
        let command = command.unwrap_or_else(|| panic!("no command {words}"));
        Self {
            program,
            words,
            flags,
            takes_output: (command.flags)().usage().contains("-output"),
        }
    }

    fn check(&self, is_json: bool) -> u8 {
        let is_json = is_json && self.takes_output;
        let folder = tempfile::tempdir().expect("a folder");
        let flags = self.flags.replace("DIR", &folder.path().to_string_lossy());
        let flags = flags.replace("SEAL", &SEAL.to_string_lossy());
        let mut arguments: Vec<_> = self.words.split(' ').map(str::to_owned).collect();
        arguments.extend(flags.split_whitespace().map(str::to_owned));
        let socket = STRANGER.socket().display().to_string();
        arguments.extend(["-socketPath".to_owned(), socket]);
        if is_json {
            arguments.extend(["-output".to_owned(), "json".to_owned()]);
        }
        let printed = Printed::default();
        let mut terminal = Terminal::new(self.typed(), printed.clone(), Printed::default());
        let code = in_time(self.program.execute(&arguments, &mut terminal));
        assert!([SUCCESS, FAILURE].contains(&code), "{}: {code}", self.words);
        if is_json && code == SUCCESS {
            printed.is_json(self.words);
        }
        look_at(folder.path(), self.words == "api fetch x509");
        code
    }

    /// What the operator hands over.
    fn typed(&self) -> io::Cursor<Vec<u8>> {
        io::Cursor::new(match self.words {
            "entry create" => ENTRIES.to_vec(),
            "entry delete" => br#"{"ids":["a","b"]}"#.to_vec(),
            "bundle set" => AUTHORITY.bundle().to_pem().into_bytes(),
            _ => Vec::new(),
        })
    }
}

const ENTRIES: &[u8] =
    br#"{"entries":[{"spiffe_id":"spiffe://example.org/w","parent_id":"spiffe://example.org/p",
    "selectors":[{"type":"unix","value":"uid:1"}]}]}"#;

/// What was printed.
#[derive(Clone, Default)]
struct Printed(Arc<Mutex<Vec<u8>>>);

impl Printed {
    fn is_json(&self, words: &str) {
        let printed = self.0.lock();
        let text = std::str::from_utf8(&printed).expect("text is printed");
        for line in text.lines() {
            let read = serde_json::from_str::<Value>(line);
            assert!(read.is_ok(), "{words} printed {line:?}");
        }
    }
}

impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Looks at the files that were written. Those of a workload were checked before.
fn look_at(folder: &Path, is_checked: bool) {
    for file in fs::read_dir(folder).expect("the folder is there") {
        let file = file.expect("it can be listed");
        let name = file.file_name().into_string().expect("names are ours");
        let content = fs::read(file.path()).expect("it can be read");
        let is_key = name.ends_with("key") || name == "key.pem";
        if is_key || ["backup", "token"].contains(&&*name) {
            let mode = file.metadata().expect("it is there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        if is_key {
            decode_private_key(&content).expect("keys are whole");
        } else if is_checked {
            assert!(name.ends_with(".pem"), "{name}");
            decode_certificates(&content).expect("certificates are whole");
        } else {
            assert!(
                ["svid.pem", "bundle.pem", "token", "backup"].contains(&&*name),
                "{name}"
            );
        }
    }
}
