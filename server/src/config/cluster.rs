//! The `cluster` block: whether this server is one of several, and how it becomes one.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use daemon::config::{Findings, parse_duration};
use daemon::hcl::Object;

/// A member's settings.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Host and port where it listens for other members, and what it tells them.
    pub peer_address: String,
    /// Host and port where agents find it, told to the other members.
    pub api_address: String,
    /// What it does while it has no data.
    pub first_start: FirstStart,
    /// It signs only while it heard of a quorum within this time.
    pub signing_max_staleness: Duration,
}

/// What a member does while it has no data.
#[derive(Clone, Debug)]
pub enum FirstStart {
    /// Nothing: it is a member already.
    Continue,
    /// It is the first member of a new cluster.
    Bootstrap,
    /// It joins a cluster.
    Join(InviteText),
    /// It joins a cluster with the invite in this file.
    JoinFile(PathBuf),
}

/// An invite as it stands in the file: a secret, so `Debug` does not show it.
#[derive(Clone)]
pub struct InviteText(String);

impl InviteText {
    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for InviteText {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for InviteText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("InviteText(…)")
    }
}

/// The block as written.
#[derive(Default)]
pub(super) struct Block {
    pub(super) seal_key_path: Option<String>,
    peer_address: Option<String>,
    bootstrap: bool,
    join: Option<String>,
    join_file: Option<String>,
    signing_max_staleness: Option<String>,
}

impl Block {
    /// Takes the block out of the `server` section.
    ///
    /// # Errors
    /// A value has the wrong type.
    pub(super) fn take(server: &mut Object, findings: &mut Findings) -> anyhow::Result<Self> {
        let Some(mut block) = server.take_block("cluster")? else {
            return Ok(Self::default());
        };
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let mut taken = Self {
            seal_key_path: None,
            peer_address: given(block.take_string("peer_address")?),
            bootstrap: block.take_bool("bootstrap")?.unwrap_or(false),
            join: given(block.take_string("join")?),
            join_file: given(block.take_string("join_file")?),
            signing_max_staleness: block.take_string("signing_max_staleness")?,
        };
        for mut seal in block.take_labelled("seal")? {
            if seal.label == "file" {
                taken.seal_key_path = seal.body.take_string("path")?;
                findings.finish("server.cluster.seal.file", &seal.body);
            } else {
                findings.refuse_key(SECTION, &format!("seal {:?}", seal.label), seal.line);
            }
        }
        findings.finish(SECTION, &block);
        Ok(taken)
    }

    /// The settings; `None` if this server is to be alone. `bind` is where agents reach it.
    ///
    /// # Errors
    /// A value is not acceptable, or does not go with another.
    pub(super) fn check(
        self,
        bind: (&str, u16),
        findings: &mut Findings,
    ) -> anyhow::Result<Option<Cluster>> {
        let staleness = self.signing_max_staleness.as_deref();
        let staleness = parse_duration(staleness, "server.cluster.signing_max_staleness")?;
        let is_given = self.signing_max_staleness.is_some();
        let first_start = first_start(self.bootstrap, self.join, self.join_file)?;
        let Some(peer_address) = self.peer_address else {
            ensure!(
                matches!(first_start, FirstStart::Continue),
                "{SECTION}.peer_address must be configured: it is where the other members reach this one"
            );
            if is_given {
                findings.note(format!(
                    "{SECTION}.signing_max_staleness has no effect without peer_address: a cluster of one is its own quorum and never stale"
                ));
            }
            return Ok(None);
        };
        let (host, _) = host_and_port(&peer_address)
            .with_context(|| format!("invalid {SECTION}.peer_address {peer_address:?}"))?;
        let signing_max_staleness = staleness.unwrap_or(DEFAULT_SIGNING_MAX_STALENESS);
        ensure!(
            signing_max_staleness >= MIN_SIGNING_MAX_STALENESS,
            "{SECTION}.signing_max_staleness must be at least {} s: a member hears of its quorum about once a second",
            MIN_SIGNING_MAX_STALENESS.as_secs()
        );
        Ok(Some(Cluster {
            api_address: api_address(bind, host),
            peer_address,
            first_start,
            signing_max_staleness,
        }))
    }
}

fn first_start(
    bootstrap: bool,
    join: Option<String>,
    join_file: Option<String>,
) -> anyhow::Result<FirstStart> {
    match (bootstrap, join, join_file) {
        (false, None, None) => Ok(FirstStart::Continue),
        (true, None, None) => Ok(FirstStart::Bootstrap),
        (false, Some(text), None) => Ok(FirstStart::Join(text.into())),
        (false, None, Some(path)) => Ok(FirstStart::JoinFile(path.into())),
        _ => anyhow::bail!(
            "{SECTION}: only one of bootstrap, join and join_file can be configured: the first member bootstraps, each further one joins"
        ),
    }
}

/// Splits `host:port`; an IPv6 address stands in brackets.
fn host_and_port(address: &str) -> anyhow::Result<(&str, u16)> {
    let (host, port) = address
        .rsplit_once(':')
        .context("it must be a host and a port, as in \"10.0.0.1:8083\"")?;
    let port: u16 = port.parse().context("its port is no number up to 65535")?;
    ensure!(port != 0, "its port must not be 0");
    let bare = match host.strip_prefix('[') {
        Some(rest) => {
            let bare = rest.strip_suffix(']').context("a bracket is missing")?;
            bare.parse::<Ipv6Addr>().context("it is no IPv6 address")?;
            bare
        }
        None => {
            ensure!(!host.contains(':'), "an IPv6 address stands in brackets");
            host
        }
    };
    ensure!(!bare.is_empty(), "its host is missing");
    ensure!(
        !is_everywhere(bare),
        "other members cannot connect to {bare}: name the address that they reach this host by"
    );
    Ok((host, port))
}

/// What agents are told: where the API listens, or if that is everywhere, the host that members
/// are told.
fn api_address((bind_address, bind_port): (&str, u16), peer_host: &str) -> String {
    if is_everywhere(bind_address) {
        format!("{peer_host}:{bind_port}")
    } else if bind_address.contains(':') {
        format!("[{bind_address}]:{bind_port}")
    } else {
        format!("{bind_address}:{bind_port}")
    }
}

fn is_everywhere(host: &str) -> bool {
    host.parse::<IpAddr>()
        .is_ok_and(|address| address.is_unspecified())
}

const SECTION: &str = "server.cluster";
const DEFAULT_SIGNING_MAX_STALENESS: Duration = Duration::from_secs(10 * 60);
const MIN_SIGNING_MAX_STALENESS: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn check(block: Block) -> anyhow::Result<Option<Cluster>> {
        block.check(("0.0.0.0", 8081), &mut Findings::new())
    }

    fn at(peer_address: &str) -> Block {
        Block {
            peer_address: Some(peer_address.to_owned()),
            ..Block::default()
        }
    }

    #[test]
    fn agents_are_told_an_address_that_they_can_reach() {
        for (bind, peer, expected) in [
            ("0.0.0.0", "10.0.0.1:8083", "10.0.0.1:8081"),
            ("::", "[fd00::1]:8083", "[fd00::1]:8081"),
            ("10.1.0.1", "10.0.0.1:8083", "10.1.0.1:8081"),
            ("fd00::2", "host.test:8083", "[fd00::2]:8081"),
        ] {
            let checked = at(peer).check((bind, 8081), &mut Findings::new());
            assert_eq!(checked.unwrap().unwrap().api_address, expected);
        }
    }

    #[test]
    fn peer_address_must_be_one_that_others_can_use() {
        for (address, cause) in [
            ("10.0.0.1", "it must be a host and a port"),
            ("10.0.0.1:x", "no number"),
            ("10.0.0.1:0", "must not be 0"),
            ("0.0.0.0:8083", "other members cannot connect to 0.0.0.0"),
            ("[::]:8083", "other members cannot connect to ::"),
            ("fd00::1:8083", "in brackets"),
            ("[fd00::1:8083", "bracket is missing"),
            (":8083", "host is missing"),
        ] {
            let error = format!("{:#}", check(at(address)).unwrap_err());
            assert!(error.contains(cause), "{error}");
        }
    }

    #[test]
    fn first_start_is_one_thing() {
        let both = Block {
            bootstrap: true,
            join: Some("conclave-invite-v1.secret".to_owned()),
            ..at("a.test:8083")
        };
        let error = check(both).unwrap_err().to_string();
        assert!(error.contains("only one of bootstrap, join"), "{error}");
        let nowhere = Block {
            bootstrap: true,
            ..Block::default()
        };
        let error = check(nowhere).unwrap_err().to_string();
        assert!(error.contains("peer_address must be configured"), "{error}");
        let joining = Block {
            join: Some("conclave-invite-v1.secret".to_owned()),
            ..at("a.test:8083")
        };
        let shown = format!("{:?}", check(joining).unwrap());
        assert!(!shown.contains("secret"), "{shown}");
    }
}
