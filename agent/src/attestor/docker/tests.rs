//! The attestor against engines that answer as Docker's, refuse, lie, hang and flood, and processes that
//! claim what they are not.

use std::os::unix::fs::symlink;

use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;
use tokio::task::JoinSet;

use super::*;

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const PLACE: &str = "/system.slice/docker-";
const CONTAINER: &str = r#"{
    "Id": "0123", "Image": "sha256:aa", "State": {"Pid": 10, "Running": true},
    "Config": {"Image": "example/web:1", "Labels": {"com.example.name": "web", "empty": ""},
               "Env": ["A=b=c", "EMPTY="]}
}"#;
const SELECTORS: [&str; 6] = [
    "docker:env:A=b=c",
    "docker:env:EMPTY=",
    "docker:image_config_digest:sha256:aa",
    "docker:image_id:example/web:1",
    "docker:label:com.example.name:web",
    "docker:label:empty:",
];

/// A host with an engine, whose container has process 10 as its first and process 11 beside it.
struct Host {
    folder: TempDir,
    asked: Arc<Mutex<Vec<String>>>,
    _engine: JoinSet<()>,
}

/// What an engine answers, or that it does not.
enum Answer {
    Status(u16, String),
    Raw(String),
    Hang,
}

impl Host {
    /// One whose engine answers so to a path.
    fn new(answer: impl Fn(&str) -> Answer + Send + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("docker.sock")).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let mut engine = JoinSet::new();
        let heard = Arc::clone(&asked);
        engine.spawn(async move {
            let mut hanging = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(stream.read_u8().await.unwrap());
                }
                let request = String::from_utf8(request).unwrap();
                let path = request.split(' ').nth(1).unwrap().to_owned();
                let answer = answer(&path);
                heard.lock().push(path);
                let text = match answer {
                    Answer::Status(status, body) => format!(
                        "HTTP/1.1 {status} x\r\nApi-Version: 1.41\r\nContent-Length: {}\r\n\r\n{body}",
                        body.len()
                    ),
                    Answer::Raw(text) => text,
                    Answer::Hang => {
                        hanging.push(stream);
                        continue;
                    }
                };
                // Whoever has read enough hangs up.
                stream.write_all(text.as_bytes()).await.ok();
            }
        });
        let host = Self {
            folder,
            asked,
            _engine: engine,
        };
        fs::create_dir_all(host.process("self").join("ns")).unwrap();
        symlink(FIRST_PID_NAMESPACE, host.process("self").join("ns/pid")).unwrap();
        for pid in ["10", "11"] {
            host.put(pid, &format!("0::{PLACE}{ID}.scope\n"));
        }
        host
    }

    /// One whose engine says this of the container, and knows the image.
    fn with(container: &str) -> Self {
        let container = container.to_owned();
        Self::new(move |path| known(path, Answer::Status(200, container.clone())))
    }

    fn process(&self, name: &str) -> PathBuf {
        self.folder.path().join("proc").join(name)
    }

    /// Puts a process into groups.
    fn put(&self, pid: &str, groups: &str) {
        fs::create_dir_all(self.process(pid)).unwrap();
        fs::write(self.process(pid).join("cgroup"), groups).unwrap();
    }

    fn settings(&self) -> Settings {
        Settings {
            socket: self.folder.path().join("docker.sock"),
            podman_socket: "/nowhere/podman.sock".into(),
            ..Settings::default()
        }
    }

    async fn attest(&self, pid: &str) -> Result<Vec<String>, String> {
        attest(&Docker::new(self.settings()), self.process(pid)).await
    }

    /// What was asked since the last time.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock())
    }
}

async fn attest(docker: &Docker, directory: PathBuf) -> Result<Vec<String>, String> {
    let found = docker.attest(directory).await;
    let found = found.map_err(|error| chain(&error))?;
    Ok(found.iter().map(ToString::to_string).collect())
}

fn known(path: &str, container: Answer) -> Answer {
    match path {
        "/_ping" => Answer::Status(200, "OK".to_owned()),
        _ if path.ends_with("/images/sha256:aa/json") => {
            Answer::Status(200, r#"{"Id": "sha256:aa"}"#.to_owned())
        }
        _ if path.ends_with(&format!("/containers/{ID}/json")) => container,
        _ => Answer::Status(404, format!(r#"{{"message": "page not found: {path}"}}"#)),
    }
}

#[tokio::test]
async fn process_has_the_selectors_of_its_container() {
    let host = Host::with(CONTAINER);
    let docker = Docker::new(host.settings());
    for expected in [
        // The version is agreed upon once.
        &[
            "/_ping",
            "/v1.41/containers/ID/json",
            "/v1.41/images/sha256:aa/json",
        ][..],
        &["/v1.41/containers/ID/json", "/v1.41/images/sha256:aa/json"],
    ] {
        assert_eq!(
            attest(&docker, host.process("11")).await.unwrap(),
            SELECTORS
        );
        let asked: Vec<_> = host
            .asked()
            .iter()
            .map(|path| path.replace(ID, "ID"))
            .collect();
        assert_eq!(asked, expected);
    }
    let version = ApiVersion::parse("1.30");
    let fixed = Settings {
        version,
        ..host.settings()
    };
    let found = attest(&Docker::new(fixed), host.process("11")).await;
    assert_eq!(found.unwrap(), SELECTORS);
    assert_eq!(host.asked()[0], format!("/v1.30/containers/{ID}/json"));
}

#[tokio::test]
async fn container_without_settings_or_image_has_what_there_is() {
    let container = r#"{"State": {"Pid": 10}, "Image": "sha256:gone",
                        "Config": {"Image": "a", "Labels": null, "Env": null}}"#;
    let found = Host::with(container).attest("11").await;
    assert_eq!(found.unwrap(), ["docker:image_id:a"]);
    let container = r#"{"State": {"Pid": 10}, "Config": {"Image": "../../version"}}"#;
    let found = Host::with(container).attest("11").await;
    assert_eq!(found.unwrap(), ["docker:image_id:../../version"]);
}

#[tokio::test]
async fn process_in_no_container_has_no_selectors_and_nobody_is_asked() {
    let host = Host::with(CONTAINER);
    host.put("12", "0::/user.slice/user-7.slice\n");
    assert_eq!(host.attest("12").await.unwrap(), Vec::<String>::new());
    // A user arranged its mounts so that they name a container.
    let mount = format!("1 2 0:3 {PLACE}{ID}.scope /x rw - cgroup2 cgroup rw\n");
    fs::write(host.process("12").join("mountinfo"), &mount).unwrap();
    assert_eq!(host.attest("12").await.unwrap(), Vec::<String>::new());
    // Where the agent's own view begins, the agent's mounts tell.
    host.put("12", "2:cpu:/\n0::/\n");
    let whole = "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
    fs::write(host.process("self").join("mountinfo"), whole).unwrap();
    assert_eq!(host.attest("12").await.unwrap(), Vec::<String>::new());
    assert_eq!(host.asked(), Vec::<String>::new());
    fs::write(host.process("self").join("mountinfo"), &mount).unwrap();
    assert_eq!(host.attest("12").await.unwrap(), SELECTORS);
}

#[tokio::test(start_paused = true)]
async fn claim_of_a_container_that_the_process_is_not_in_is_refused() {
    let host = Host::with(CONTAINER);
    // Users make groups of any name below their own.
    host.put(
        "12",
        &format!("0::/user.slice/user-7.slice/user@7.service/docker-{ID}.scope\n"),
    );
    let refused = host.attest("12").await.unwrap_err();
    assert!(
        refused.ends_with("but not in that of the container's first process 10"),
        "{refused}"
    );
    // Groups below the container's are its own.
    host.put("12", &format!("0::{PLACE}{ID}.scope/app\n"));
    assert_eq!(host.attest("12").await.unwrap(), SELECTORS);
    let container = CONTAINER.replace("\"Pid\": 10", "\"Pid\": 99");
    let host = Host::with(&container);
    let refused = host.attest("11").await.unwrap_err();
    assert!(
        refused.contains("has to run in the pid namespace"),
        "{refused}"
    );
    // An agent that does not see the host's processes cannot compare.
    fs::remove_file(host.process("self").join("ns/pid")).unwrap();
    symlink("pid:[1]", host.process("self").join("ns/pid")).unwrap();
    assert_eq!(host.attest("11").await.unwrap(), SELECTORS);
    let container = CONTAINER.replace("\"Pid\": 10", "\"Pid\": 0");
    let refused = Host::with(&container).attest("11").await.unwrap_err();
    assert_eq!(refused, format!("container {ID} does not run"));
}

#[tokio::test(start_paused = true)]
async fn engine_that_refuses_lies_or_floods_is_told_with_its_cause() {
    let refusal = async |answer: fn() -> Answer| {
        let host = Host::new(move |path| known(path, answer()));
        let refused = host.attest("11").await.unwrap_err();
        let asked = host.asked();
        let tries = asked.iter().filter(|path| path.contains("/containers/"));
        assert_eq!(tries.count(), 4, "{asked:?}");
        refused.replace(ID, "ID")
    };
    let unusable = "unusable answer of the container engine to /containers/ID/json";
    let cases: [(fn() -> Answer, String); 6] = [
        (
            || Answer::Status(404, r#"{"message": "No such container: x\ny"}"#.to_owned()),
            "Error response from daemon: No such container: x y (status 404)".to_owned(),
        ),
        (
            || Answer::Status(500, "no JSON".to_owned()),
            "Error response from daemon: no JSON (status 500)".to_owned(),
        ),
        (
            || Answer::Status(200, "null".to_owned()),
            format!("{unusable} (line 1, column 4)"),
        ),
        (
            // What is wrong with it may be a secret.
            || Answer::Status(200, r#"{"Config": {"Env": "KEY=hunter2"}}"#.to_owned()),
            format!("{unusable} (line 1, column 32)"),
        ),
        (
            || Answer::Raw("HTTP/1.1 200 OK\r\nContent-Length: 4194305\r\n\r\n".to_owned()),
            "the document is longer than 4194304 bytes".to_owned(),
        ),
        (
            || Answer::Raw("SSH-2.0\r\n\r\n".to_owned()),
            "no complete answer: invalid HTTP version parsed".to_owned(),
        ),
    ];
    for (answer, expected) in cases {
        let refused = refusal(answer).await;
        assert!(refused.ends_with(&expected), "{refused}");
    }
}

#[tokio::test(start_paused = true)]
async fn engine_that_hangs_or_does_not_listen_is_told() {
    let host = Host::new(|_| Answer::Hang);
    assert_eq!(
        host.attest("11").await.unwrap_err(),
        "the container engine did not answer within 30s"
    );
    let settings = Settings {
        socket: "/nowhere/docker.sock".into(),
        ..host.settings()
    };
    let refused = attest(&Docker::new(settings), host.process("11")).await;
    assert_eq!(
        refused.unwrap_err(),
        "failed to ask the container engine at unix:///nowhere/docker.sock; check that it runs and that the \
         agent may use its socket: Get \"http://localhost/_ping\": dial unix /nowhere/docker.sock: connect: no \
         such file or directory"
    );
}

#[tokio::test(start_paused = true)]
async fn container_that_is_not_known_yet_is_asked_for_again() {
    let asked = Mutex::new(0);
    let host = Host::new(move |path| {
        let mut asked = asked.lock();
        *asked += usize::from(path.contains("/containers/"));
        match *asked {
            0..=2 => known(path, Answer::Status(404, String::new())),
            _ => known(path, Answer::Status(200, CONTAINER.to_owned())),
        }
    });
    assert_eq!(host.attest("11").await.unwrap(), SELECTORS);
    // Another engine may listen there by now, of another version.
    let asked = host.asked();
    let pings = asked.iter().filter(|path| *path == "/_ping").count();
    assert_eq!(pings, 3, "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn podman_is_asked_for_its_own_containers_and_users_only_if_they_are_believed() {
    let host = Host::with(CONTAINER);
    let group = |place: &str| format!("0::{place}/libpod-{ID}.scope/container\n");
    for pid in ["10", "11"] {
        host.put(pid, &group("/machine.slice"));
    }
    let refused = host.attest("11").await.unwrap_err();
    assert!(refused.contains("unix:///nowhere/podman.sock"), "{refused}");
    let swapped = Settings {
        socket: "/nowhere/docker.sock".into(),
        podman_socket: host.settings().socket,
        ..Settings::default()
    };
    let found = attest(&Docker::new(swapped), host.process("11")).await;
    assert_eq!(found.unwrap(), SELECTORS);

    for pid in ["10", "11"] {
        host.put(pid, &group("/user.slice/user-7.slice/user@7.service"));
    }
    let refused = host.attest("11").await.unwrap_err();
    assert!(
        refused.contains("set podman_socket_path_template"),
        "{refused}"
    );
    let link = host.folder.path().join("user-7.sock");
    symlink(host.settings().socket, link).unwrap();
    let template = format!("unix://{}/user-%d.sock", host.folder.path().display());
    let believed = Settings {
        rootless_podman: RootlessPodman {
            template: UidTemplate::parse(&template).unwrap(),
            is_believed: true,
        },
        ..host.settings()
    };
    let found = attest(&Docker::new(believed), host.process("11")).await;
    assert_eq!(found.unwrap(), SELECTORS);
}

#[tokio::test(start_paused = true)]
async fn patterns_say_where_the_id_is_and_names_lead_nowhere_else() {
    let host = Host::with(CONTAINER);
    for pid in ["10", "11"] {
        host.put(pid, &format!("0::/own/{ID}/x\n"));
    }
    let patterns = |text: &str| Settings {
        locator: Locator::ByPatterns(Patterns::parse(&[text.to_owned()]).unwrap()),
        ..host.settings()
    };
    let found = attest(&Docker::new(patterns("/own/<id>/*")), host.process("11")).await;
    assert_eq!(found.unwrap(), SELECTORS);
    // The shape of an id does not matter then.
    let found = attest(&Docker::new(patterns("/docker/<id>")), host.process("11")).await;
    assert_eq!(found.unwrap(), Vec::<String>::new());
    host.asked();
    for name in ["..", "a?b", "a b", "%2e", "a\u{e9}"] {
        host.put("12", &format!("0::/own/{name}/x\n"));
        let refused = attest(&Docker::new(patterns("/own/<id>/*")), host.process("12")).await;
        let expected = format!("{name:?} is no name of a container or an image");
        assert_eq!(refused.unwrap_err(), expected);
    }
    assert_eq!(host.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn process_that_is_gone_is_told() {
    let host = Host::with(CONTAINER);
    let refused = host.attest("13").await.unwrap_err();
    assert!(
        refused.ends_with("No such file or directory (os error 2)"),
        "{refused}"
    );
}
