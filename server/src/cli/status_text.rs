//! The per-item status of a batch call.

use daemon::command_line::code_name;
use proto::spire::api::types::Status;
use tonic::Code;

/// Whether the item went well; an absent status is the OK of proto3.
pub(super) fn is_ok(status: Option<&Status>) -> bool {
    status.is_none_or(|status| code(status) == Code::Ok)
}

/// Why the item failed, if it did.
pub(super) fn failure(status: Option<&Status>) -> Option<&str> {
    let status = status.filter(|status| code(status) != Code::Ok)?;
    Some(&status.message)
}

/// `code: NotFound, msg: "entry not found"`.
pub(super) fn code_and_message(status: Option<&Status>) -> String {
    let (code, message) = status.map_or((Code::Ok, ""), |status| (code(status), &status.message));
    format!("code: {}, msg: {message:?}", code_name(code))
}

fn code(status: &Status) -> Code {
    Code::from_i32(status.code)
}
