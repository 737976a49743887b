//! Downloads from a program of this host, over HTTP on its Unix socket.

use std::path::Path;

use tokio::net::UnixStream;

use super::target::Target;
use super::{Answer, Document, GetCause, GetError, Limits, exchange};

/// Downloads what the program that listens on `socket` has at `url`, which begins with `http://`; the
/// host in it is for the program to read. No redirection is followed: it would lead elsewhere.
///
/// # Errors
/// [`GetError`], in the words of Go's HTTP client where it has some.
pub async fn get_from_socket(
    url: &str,
    socket: &Path,
    limits: Limits,
) -> Result<Document, GetError> {
    let ended = tokio::time::timeout(limits.within, ask(url, socket, limits.max_len_bytes)).await;
    let ended = ended.unwrap_or(Err(GetCause::TimedOut(limits.within)));
    ended.map_err(|cause| GetError::new("Get", url, cause))
}

async fn ask(url: &str, socket: &Path, max_len_bytes: usize) -> Result<Document, GetCause> {
    let rest = url.strip_prefix("http://");
    let rest = rest.ok_or(GetCause::Url("the scheme is not http"))?;
    // But for the scheme it is as any other.
    let target = Target::parse(&format!("https://{rest}"))?;
    let stream = UnixStream::connect(socket).await;
    let stream = stream.map_err(|error| GetCause::Socket {
        path: socket.to_owned(),
        error,
    })?;
    match exchange(&target, stream, max_len_bytes).await? {
        Answer::Document(document) => Ok(document),
        Answer::Elsewhere(_) => Err(GetCause::Url("a redirection away from the socket")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::StatusCode;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixListener;
    use tokio::task::JoinSet;

    use super::*;
    use crate::supervisor::chain;

    const LIMITS: Limits = Limits {
        max_len_bytes: 1000,
        within: Duration::from_secs(20),
    };

    /// What comes of asking a program that answers so, and what it was asked.
    async fn answered(url: &str, answer: &'static str) -> (Result<Document, String>, String) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        let mut program = JoinSet::new();
        program.spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(request).unwrap()
        });
        let document = get_from_socket(url, &socket, LIMITS).await;
        let asked = program.join_next().await.unwrap().unwrap();
        (document.map_err(|error| chain(&error)), asked)
    }

    #[tokio::test]
    async fn document_comes_over_the_socket() {
        let answer = "HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nabc";
        let (document, asked) = answered("http://localhost/b?a=1", answer).await;
        let document = document.unwrap();
        assert_eq!(document.status, StatusCode::NOT_FOUND);
        assert_eq!(&document.body[..], b"abc");
        assert!(
            asked.starts_with("GET /b?a=1 HTTP/1.1\r\nhost: localhost\r\n"),
            "{asked}"
        );
    }

    #[tokio::test]
    async fn neither_redirections_nor_endless_documents_are_followed() {
        let refusal = async |answer| answered("http://h/", answer).await.0.unwrap_err();
        let moved = "HTTP/1.1 302 Found\r\nLocation: https://h/\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(
            refusal(moved).await,
            "Get \"http://h/\": unusable URL: a redirection away from the socket"
        );
        let long = "HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n";
        assert_eq!(
            refusal(long).await,
            "Get \"http://h/\": the document is longer than 1000 bytes"
        );
    }

    #[tokio::test]
    async fn who_does_not_listen_is_named() {
        let error = get_from_socket("http://h/", Path::new("/nowhere/s"), LIMITS).await;
        assert_eq!(
            chain(&error.unwrap_err()),
            "Get \"http://h/\": dial unix /nowhere/s: connect: no such file or directory"
        );
        let error = get_from_socket("https://h/", Path::new("/nowhere/s"), LIMITS).await;
        assert_eq!(
            chain(&error.unwrap_err()),
            "Get \"https://h/\": unusable URL: the scheme is not http"
        );
    }
}
