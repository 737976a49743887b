//! Questions and answers over TLS, one a connection.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{Shared, Vice, held};

/// A question.
pub(super) struct Question {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) body: Vec<u8>,
}

/// An answer.
pub(super) struct Answer {
    pub(super) status: &'static str,
    pub(super) location: Option<String>,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn ok(body: impl ToString) -> Self {
        Self {
            status: "200 OK",
            location: None,
            body: body.to_string(),
        }
    }

    pub(super) fn problem(kind: &str, detail: &str) -> Self {
        let body = serde_json::json!({
            "type": format!("urn:ietf:params:acme:error:{kind}"),
            "detail": detail,
        });
        Self {
            status: "400 Bad Request",
            ..Self::ok(body)
        }
    }
}

pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let acceptor = TlsAcceptor::from(shared.issuer.server_config());
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        while connections.try_join_next().is_some() {}
        let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
        connections.spawn(async move {
            // Whoever hangs up early is what tests are about.
            talk(stream, acceptor, shared).await.ok();
        });
    }
}

async fn talk(stream: TcpStream, acceptor: TlsAcceptor, shared: Arc<Shared>) -> io::Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    let question = hear(&mut stream).await?;
    shared.questions.fetch_add(1, Ordering::SeqCst);
    let mut vice = shared.vice.subscribe();
    let vice = vice.wait_for(|vice| *vice != Some(Vice::Delay)).await;
    let vice = vice.map_or(None, |vice| *vice);
    match vice {
        Some(Vice::Silence) => {
            stream.read_to_end(&mut Vec::new()).await?;
        }
        Some(Vice::Endless) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
            let chunk = vec![b' '; 64 * 1024];
            for _ in 0..ENDLESS_LEN_BYTES / chunk.len() {
                stream.write_all(&chunk).await?;
            }
        }
        Some(Vice::Garbage) => say(&mut stream, &shared, Answer::ok("<html>")).await?,
        vice => {
            let answer = shared.answer(&question, vice).await;
            say(&mut stream, &shared, answer).await?;
        }
    }
    stream.shutdown().await
}

async fn hear(stream: &mut TlsStream<TcpStream>) -> io::Result<Question> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let len_bytes = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; len_bytes];
    stream.read_exact(&mut body).await?;
    let mut words = head.split(' ');
    let mut word = || words.next().unwrap_or_default().to_owned();
    Ok(Question {
        method: word(),
        path: word(),
        body,
    })
}

async fn say(stream: &mut TlsStream<TcpStream>, shared: &Shared, answer: Answer) -> io::Result<()> {
    let nonce = held(&shared.orders).new_nonce();
    let Answer { status, body, .. } = &answer;
    let location = answer.location.as_ref();
    let location = location.map_or(String::new(), |url| format!("Location: {url}\r\n"));
    let wait = match shared.vice() {
        Some(Vice::Wait) => "Retry-After: 18446744073709551615\r\n",
        _ => "",
    };
    let len = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nReplay-Nonce: {nonce}\r\nContent-Length: {len}\r\n{location}{wait}\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await
}

const ENDLESS_LEN_BYTES: usize = 100 * 1024 * 1024;
