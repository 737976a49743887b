//! Asks a plugin what a workload is.

use prost::Message as _;
use proto::spiffe::broker::WorkloadPidReference;
use proto::spire::plugin::agent::workloadattestor::v1::workload_attestor_client::WorkloadAttestorClient;
use proto::spire::plugin::agent::workloadattestor::v1::{AttestReferenceRequest, AttestRequest};
use tonic::Code;

use crate::call::CallError;
use crate::plugin::Plugin;

/// The values of the selectors of process `pid`, as `plugin` has them. Their type is the plugin's name.
///
/// Newer plugins may know references alone, of which a process id is one.
///
/// # Errors
/// The plugin says no, or nothing.
pub async fn attest(plugin: &Plugin, pid: i32) -> Result<Vec<String>, CallError> {
    let by_pid = plugin.call(|channel| async move {
        let mut client = WorkloadAttestorClient::new(channel);
        client.attest(AttestRequest { pid }).await
    });
    match by_pid.await {
        Ok(answer) => Ok(answer.into_inner().selector_values),
        Err(error) if error.code == Code::Unimplemented => by_reference(plugin, pid).await,
        Err(error) => Err(error),
    }
}

async fn by_reference(plugin: &Plugin, pid: i32) -> Result<Vec<String>, CallError> {
    let reference = prost_types::Any {
        type_url: PID_REFERENCE.to_owned(),
        value: WorkloadPidReference { pid }.encode_to_vec(),
    };
    let answer = plugin.call(|channel| async move {
        let mut client = WorkloadAttestorClient::new(channel);
        let reference = Some(reference);
        client
            .attest_reference(AttestReferenceRequest { reference })
            .await
    });
    Ok(answer.await?.into_inner().selector_values)
}

/// As plugins know it.
const PID_REFERENCE: &str = "type.googleapis.com/spiffe.broker.WorkloadPIDReference";
