//! The program with a config file of its own.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) struct Provider {
    folder: tempfile::TempDir,
    child: Child,
}

impl Provider {
    /// Starts it with these lines in its config, `FOLDER` in them being its own folder.
    pub(crate) fn start(folder: tempfile::TempDir, lines: &str) -> Self {
        let socket = "listen_socket_path = \"FOLDER/web.sock\"\n";
        Self::start_believing(folder, &format!("{socket}{lines}"), Path::new(""))
    }

    /// The same, but listening as it is told, and with the roots of a file for those of the machine.
    pub(crate) fn start_believing(folder: tempfile::TempDir, lines: &str, roots: &Path) -> Self {
        let path = folder.path().join("oidc.conf");
        let text = format!("domains = [\"localhost\"]\n{lines}");
        let text = text.replace("FOLDER", &folder.path().display().to_string());
        std::fs::write(&path, text).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_conclave-oidc-provider"))
            .arg("-config")
            .arg(&path)
            .env("SSL_CERT_FILE", roots)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { folder, child }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Ends it, and leaves its folder to another.
    pub(crate) fn end(mut self) -> tempfile::TempDir {
        assert_eq!(self.stop(), Some(0));
        let nothing = tempfile::tempdir().unwrap();
        std::mem::replace(&mut self.folder, nothing)
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("web.sock")
    }

    /// The body of the first answer with this status.
    pub(crate) async fn body_of(&self, path: &str, status: u16) -> String {
        let wanted = format!("HTTP/1.1 {status} ");
        let answer = self
            .answer(path, |answer| answer.starts_with(&wanted))
            .await;
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// Waits for an answer with this in it.
    pub(crate) async fn body_containing(&self, path: &str, text: &str) {
        self.answer(path, |answer| answer.contains(text)).await;
    }

    async fn answer(&self, path: &str, is_wanted: impl Fn(&str) -> bool) -> String {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        loop {
            let answer = ask(&self.socket(), path);
            if let Some(answer) = answer.as_deref().filter(|answer| is_wanted(answer)) {
                return answer.to_owned();
            }
            let now = tokio::time::Instant::now();
            assert!(now < deadline, "{path} is still answered with {answer:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends it as a service manager would, and answers its exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn ask(socket: &Path, path: &str) -> Option<String> {
    let mut stream = UnixStream::connect(socket).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_conclave-oidc-provider"))
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn flags_are_those_of_spires_provider() {
    let (code, output, _) = run(&["-version"]);
    assert_eq!((code, output.trim()), (Some(0), env!("CARGO_PKG_VERSION")));
    let (code, _, errors) = run(&["-nope"]);
    assert_eq!(code, Some(2));
    assert!(
        errors.starts_with("flag provided but not defined: -nope\nUsage of "),
        "{errors}"
    );
    let (code, _, errors) = run(&["a", "b"]);
    assert_eq!(code, Some(1));
    assert!(
        errors.starts_with("Error: unexpected arguments: [a b]\nUsage of "),
        "{errors}"
    );
    let (code, _, errors) = run(&["-config", "/nonexistent/oidc.conf"]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("/nonexistent/oidc.conf"), "{errors}");
}

#[tokio::test]
async fn keys_of_a_file_are_served_as_the_file_changes() {
    let folder = tempfile::tempdir().unwrap();
    let lines = "file { path = \"FOLDER/bundle.json\" poll_interval = \"20ms\" }";
    let mut provider = Provider::start(folder, lines);
    let discovery = "/.well-known/openid-configuration";
    let document = provider.body_of(discovery, 200).await;
    let document: serde_json::Value = serde_json::from_str(&document).unwrap();
    assert_eq!(document["jwks_uri"], "https://localhost/keys");
    assert_eq!(
        provider.body_of("/keys", 500).await,
        "document not available\n"
    );
    let bundle = provider.folder().join("bundle.json");
    std::fs::write(&bundle, "{\"keys\":[]}").unwrap();
    provider.body_of("/keys", 501).await;
    let jwks = crate::sources::bundle("a").to_spiffe_jwks();
    std::fs::write(&bundle, &jwks).unwrap();
    let keys = provider.body_of("/keys", 200).await;
    let keys: serde_json::Value = serde_json::from_str(&keys).unwrap();
    assert_eq!(keys["keys"][0]["kid"], "a");
    // A file that cannot be read any more takes no key away.
    std::fs::write(&bundle, "{").unwrap();
    provider.body_of("/keys", 200).await;
    assert_eq!(provider.stop(), Some(0));
    assert!(!provider.socket().exists());
}
