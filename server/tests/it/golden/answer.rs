//! The lines of an answer: its code, and its message or what went wrong, masked.

use std::error::Error as _;

use prost::Message as _;
use prost_reflect::DynamicMessage;
use proto::google::rpc;
use serde_json::Value;
use tonic::{Code, Status};

use super::mask::Mask;
use super::render::render;

/// A message in protobuf's JSON form, unset fields left out.
pub(crate) fn json(message: &DynamicMessage) -> anyhow::Result<Value> {
    Ok(serde_json::to_value(message)?)
}

/// The lines of an answer that is a message.
pub(crate) fn message_lines(mask: &Mask, value: Value) -> Vec<String> {
    let rendered = render(&mask.value("", value), "  ");
    let mut lines = vec!["  OK".to_owned()];
    lines.extend(format!("  {rendered}").lines().map(str::to_owned));
    lines
}

/// The lines of an answer that is a failure, with its details.
pub(crate) fn failure_lines(mask: &Mask, status: &Status) -> anyhow::Result<Vec<String>> {
    // A status with a cause was made on this side: no server answered.
    if status.source().is_some() {
        return Ok(vec!["  (no connection)".to_owned()]);
    }
    let message = mask.message(status.message());
    let mut lines = vec![format!("  {} {message:?}", code_name(status.code()))];
    for detail in rpc::Status::decode(status.details())?.details {
        let name = detail.type_url.rsplit('/').next().unwrap_or_default();
        if let Some(descriptor) = proto::descriptors::pool().get_message_by_name(name) {
            let message = DynamicMessage::decode(descriptor, detail.value.as_slice())?;
            lines.push(format!("  detail {name} {}", json(&message)?));
        }
    }
    Ok(lines)
}

fn code_name(code: Code) -> String {
    match code {
        Code::Cancelled => "Canceled".to_owned(),
        other => format!("{other:?}"),
    }
}
