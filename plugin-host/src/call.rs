//! One call to a plugin: with a deadline, and an error that names the plugin.

use tonic::{Code, Status};

/// The longest text of an error that is taken from a plugin.
const MAX_TEXT_CHARS: usize = 2_000;

/// Why a plugin did not do what it was asked to.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}({name}): {text}", kind.to_ascii_lowercase())]
pub struct CallError {
    /// The kind of the plugin.
    pub kind: &'static str,
    /// The plugin.
    pub name: String,
    /// What it is in gRPC's terms: the plugin's own words, or `Unavailable` if it has none.
    pub code: Code,
    /// What it is in words, without the plugin's name.
    pub text: String,
    /// Whether the plugin says so, and not the connection to it.
    pub is_verdict: bool,
}

impl CallError {
    pub(crate) fn new(kind: &'static str, name: &str, code: Code, text: impl Into<String>) -> Self {
        let text: String = text.into();
        Self {
            kind,
            name: name.to_owned(),
            code,
            text: match text.char_indices().nth(MAX_TEXT_CHARS) {
                None => text,
                Some((end, _)) => format!("{}…", &text[..end]),
            },
            is_verdict: false,
        }
    }

    /// What `status` means, which a plugin answered, or the library in its place.
    pub(crate) fn from_status(kind: &'static str, name: &str, status: &Status) -> Self {
        // Made by the library when the connection broke.
        if std::error::Error::source(status).is_some() {
            return Self::new(kind, name, Code::Unavailable, CONNECTION_LOST);
        }
        let prefix = format!("{}({name}): ", kind.to_ascii_lowercase());
        let old_prefix = format!("{name}: ");
        let text = status.message();
        let text = text.strip_prefix(&prefix).unwrap_or(text);
        let text = text.strip_prefix(&old_prefix).unwrap_or(text);
        let code = match status.code() {
            // A success without an answer.
            Code::Ok => Code::Internal,
            // Only the decoder says so, of a message that is too large.
            Code::OutOfRange if text.contains("decoded message length too large") => {
                Code::ResourceExhausted
            }
            code => code,
        };
        Self {
            is_verdict: true,
            ..Self::new(kind, name, code, text)
        }
    }
}

const CONNECTION_LOST: &str = "connection to the plugin was lost";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_plugin_has_its_name_once_and_an_end() {
        for text in ["no", "mine: no", "nodeattestor(mine): no"] {
            let status = Status::permission_denied(text);
            let error = CallError::from_status("NodeAttestor", "mine", &status);
            assert_eq!(error.to_string(), "nodeattestor(mine): no");
            assert_eq!(error.code, Code::PermissionDenied);
        }
        let long = Status::internal("x".repeat(1 << 20));
        let error = CallError::from_status("NodeAttestor", "mine", &long);
        assert!(error.text.len() < MAX_TEXT_CHARS + 10);
    }

    #[test]
    fn success_is_no_error_code() {
        let status = Status::new(Code::Ok, "");
        let error = CallError::from_status("NodeAttestor", "mine", &status);
        assert_eq!(error.code, Code::Internal);
    }
}
