//! `api validate jwt`.

use daemon::{
    command_line::{Command, OutputFormat, RpcError, Terminal},
    flags::Parsed,
};
use proto::{
    json,
    workload::{ValidateJwtsvidRequest, ValidateJwtsvidResponse},
};
use serde_json::Value;
use tonic::Code;

use super::workload;

pub(super) fn command() -> Command {
    Command {
        words: "api validate jwt",
        synopsis: "Validates a JWT-SVID.",
        error_prefix: "",
        deadline: None,
        flags: || {
            workload::flags("validate jwt")
                .string("audience", "", "Whom the SVID must be for.")
                .string("svid", "", "The JWT-SVID.")
        },
        run: |parsed, terminal| Box::pin(validate(parsed, terminal)),
    }
}

async fn validate(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let format = OutputFormat::chosen(parsed)?;
    let (audience, svid) = (parsed.string("audience"), parsed.string("svid"));
    anyhow::ensure!(!audience.is_empty(), "audience must be specified");
    anyhow::ensure!(!svid.is_empty(), "svid must be specified");
    let asked = ValidateJwtsvidRequest {
        audience: audience.to_owned(),
        svid: svid.to_owned(),
    };
    let answer = workload::within_timeout(parsed, async {
        let mut client = workload::connect(parsed).await?;
        let answer = client.validate_jwtsvid(workload::request(asked)).await;
        // This code is the agent's verdict; any other means that there is none.
        if let Err(status) = &answer {
            anyhow::ensure!(
                status.code() != Code::InvalidArgument,
                "SVID is not valid: {}",
                status.message()
            );
        }
        Ok(answer.map_err(RpcError::from)?.into_inner())
    });
    let response = answer.await?;
    match format {
        OutputFormat::Json => terminal.line(&json::render_message(&response)?),
        OutputFormat::Pretty => terminal.print(&report(&response)?),
    }
    Ok(())
}

fn report(response: &ValidateJwtsvidResponse) -> anyhow::Result<String> {
    let claims = &json::message_value(response)?["claims"];
    Ok(format!(
        "SVID is valid.\nSPIFFE ID : {}\nClaims    : {}\n",
        response.spiffe_id,
        spaced(claims)
    ))
}

/// The claims on one line, with a blank after each comma between them.
fn spaced(claims: &Value) -> String {
    match claims {
        Value::Object(claims) => {
            let members = claims.iter().map(|(name, value)| {
                format!("{}:{}", Value::from(name.as_str()), json::one_line(value))
            });
            format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
        }
        other => json::one_line(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_set_apart_by_blanks() {
        let claims = serde_json::json!({"aud": ["a", "b"], "exp": 1, "sub": "spiffe://a/b"});
        assert_eq!(
            spaced(&claims),
            r#"{"aud":["a","b"], "exp":1, "sub":"spiffe://a/b"}"#
        );
    }
}
