//! Which server an agent talks to, seen from outside: the bytes that its connections have sent.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use rustix::process::Pid;

use super::process::{run, words};

/// The bytes that a process has sent, by the address that it is connected to.
///
/// # Errors
/// There is no `ss`.
pub async fn sent_bytes(pid: Pid) -> anyhow::Result<BTreeMap<SocketAddr, u64>> {
    let listed = run(&words([&"ss", &"-tinHp"]), DEADLINE).await?;
    Ok(read(&listed, &format!("pid={},", pid.as_raw_nonzero())))
}

const DEADLINE: Duration = Duration::from_secs(5);

/// One connection takes two lines: its ends and owner, and then its counters.
fn read(listed: &str, owner: &str) -> BTreeMap<SocketAddr, u64> {
    let mut sent = BTreeMap::new();
    let lines: Vec<_> = listed.lines().collect();
    for pair in lines.windows(2) {
        let (ends, counters) = (pair[0], pair[1]);
        if !ends.contains(owner) {
            continue;
        }
        let remote = ends
            .split_whitespace()
            .nth(4)
            .and_then(|end| end.parse().ok());
        let bytes = counters
            .split_whitespace()
            .find_map(|word| word.strip_prefix("bytes_sent:"));
        if let (Some(remote), Some(bytes)) =
            (remote, bytes.and_then(|bytes| bytes.parse::<u64>().ok()))
        {
            *sent.entry(remote).or_default() += bytes;
        }
    }
    sent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counters_of_one_process_are_read() {
        let listed = "\
ESTAB 3 0 127.0.0.1:38391 127.0.0.1:49162 users:((\"server\",pid=41,fd=9))
\t ts sack bbr bytes_received:3 segs_out:1
ESTAB 0 0 127.0.0.1:49162 127.0.0.1:38391 users:((\"agent\",pid=4,fd=4))
\t ts sack bbr rto:204 bytes_sent:120 bytes_acked:4
ESTAB 0 0 127.0.0.1:49164 127.0.0.1:38392 users:((\"agent\",pid=4,fd=5))
\t ts sack bbr rto:204 bytes_sent:7 bytes_acked:4
";
        let sent: Vec<_> = read(listed, "pid=4,").into_iter().collect();
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert_eq!(
            sent,
            [
                (address("127.0.0.1:38391"), 120),
                (address("127.0.0.1:38392"), 7)
            ]
        );
    }
}
