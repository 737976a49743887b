//! `api fetch jwt`.

use std::collections::BTreeMap;

use daemon::{
    command_line::{Command, OutputFormat, RpcError, Terminal},
    flags::Parsed,
};
use proto::{
    json,
    workload::{JwtBundlesRequest, JwtBundlesResponse, JwtsvidRequest, JwtsvidResponse},
};
use serde_json::Value;
use tonic::Status;

use super::workload::{self, WorkloadClient};

pub(super) fn command() -> Command {
    Command {
        words: "api fetch jwt",
        synopsis: "Fetches JWT-SVIDs with the bundles that verify them.",
        error_prefix: "",
        deadline: None,
        flags: || {
            let flags = workload::flags("fetch jwt")
                .list(
                    "audience",
                    "Whom the SVIDs are for. May be repeated, or a list with commas.",
                )
                .string("spiffeID", "", "Only the SVID of this SPIFFE ID.");
            OutputFormat::flag_as(flags, "format", "Older name of -output.")
        },
        run: |parsed, terminal| Box::pin(fetch(parsed, terminal)),
    }
}

async fn fetch(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let format = if parsed.is_set("output") {
        "output"
    } else {
        "format"
    };
    let format = OutputFormat::chosen_as(parsed, format)?;
    let audience = audience(parsed.list("audience"));
    anyhow::ensure!(!audience.is_empty(), "audience must be specified");
    let asked = JwtsvidRequest {
        audience,
        spiffe_id: parsed.string("spiffeID").to_owned(),
    };
    let answers = workload::within_timeout(parsed, async {
        let mut client = workload::connect(parsed).await?;
        let bundles = first_bundles(&mut client).await?;
        let svids = client.fetch_jwtsvid(workload::request(asked)).await;
        Ok((svids.map_err(RpcError::from)?.into_inner(), bundles))
    });
    let (svids, bundles) = answers.await?;
    match format {
        OutputFormat::Json => {
            let both = [json::message_value(&svids)?, json::message_value(&bundles)?];
            terminal.line(&json::one_line(&Value::from(both.to_vec())));
        }
        OutputFormat::Pretty => terminal.print(&report(&svids, bundles)),
    }
    Ok(())
}

/// `-audience a,b` and `-audience a -audience b` are the same.
fn audience(given: &[String]) -> Vec<String> {
    let items = given.iter().flat_map(|list| list.split(','));
    let items = items.map(str::trim).filter(|item| !item.is_empty());
    items.map(str::to_owned).collect()
}

async fn first_bundles(client: &mut WorkloadClient) -> Result<JwtBundlesResponse, RpcError> {
    let request = workload::request(JwtBundlesRequest {});
    let stream = client.fetch_jwt_bundles(request).await?;
    let first = stream.into_inner().message().await?;
    first.ok_or_else(|| Status::unknown("EOF").into())
}

fn report(svids: &JwtsvidResponse, bundles: JwtBundlesResponse) -> String {
    let mut text = String::new();
    let mut item = |kind: &str, id: &str, value: &str| {
        text.push_str(&format!("{kind}({id}):\n\t{value}\n"));
    };
    for svid in &svids.svids {
        item("token", &svid.spiffe_id, &svid.svid);
        if !svid.hint.is_empty() {
            item("hint", &svid.spiffe_id, &svid.hint);
        }
    }
    let bundles: BTreeMap<_, _> = bundles.bundles.into_iter().collect();
    for (trust_domain, bundle) in &bundles {
        item("bundle", trust_domain, &String::from_utf8_lossy(bundle));
    }
    text
}

#[cfg(test)]
mod tests {
    use proto::workload::Jwtsvid;

    use super::*;

    #[test]
    fn audiences_may_be_repeated_or_listed() {
        let given = ["a,b".to_owned(), " c ".to_owned(), String::new()];
        assert_eq!(audience(&given), ["a", "b", "c"]);
    }

    #[test]
    fn a_report_has_tokens_hints_and_bundles_in_order() {
        let svid = |id: &str, hint: &str| Jwtsvid {
            spiffe_id: id.to_owned(),
            svid: "e.y.J".to_owned(),
            hint: hint.to_owned(),
        };
        let svids = JwtsvidResponse {
            svids: vec![svid("spiffe://a/1", "h"), svid("spiffe://a/2", "")],
        };
        let bundle = |id: &str| (id.to_owned(), b"{}".to_vec());
        let bundles = JwtBundlesResponse {
            bundles: [bundle("spiffe://b"), bundle("spiffe://a")].into(),
        };
        let expected = "token(spiffe://a/1):\n\te.y.J\nhint(spiffe://a/1):\n\th\ntoken(spiffe://a/2):\n\te.y.J\n\
                        bundle(spiffe://a):\n\t{}\nbundle(spiffe://b):\n\t{}\n";
        assert_eq!(report(&svids, bundles), expected);
    }
}
