//! The status of one item of a batch.

use tonic::Code;

use crate::spire::api::types;

/// The status of an item that succeeded.
pub fn ok() -> types::Status {
    types::Status {
        code: Code::Ok.into(),
        message: "OK".to_owned(),
    }
}

/// The status of an item that did not.
pub fn failed(code: Code, message: impl Into<String>) -> types::Status {
    types::Status {
        code: code.into(),
        message: message.into(),
    }
}

/// Whether an item succeeded; what a missing status means is for the caller to say.
pub fn code(status: &types::Status) -> Code {
    Code::from_i32(status.code)
}
