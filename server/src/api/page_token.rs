//! Owns the page tokens of lists: opaque to clients, stable while rows come and go, because a token
//! names the last row that was read and not a position.

use raft_store::Sequence;

/// What a client asks for of a list.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Page {
    /// Everything in one answer.
    Whole,
    /// Some rows.
    Part {
        /// At most so many.
        size: usize,
        /// Those after this row.
        after: Option<Sequence>,
    },
}

impl Page {
    /// Reads the two request fields: a size of 0 or less asks for everything.
    ///
    /// # Errors
    ///
    /// The token is not one that this server gave out.
    pub fn parse(size: i32, token: &str) -> Result<Self, PageTokenError> {
        match usize::try_from(size) {
            Err(_) | Ok(0) => Ok(Self::Whole),
            Ok(size) => Ok(Self::Part {
                size,
                after: parse_token(token)?,
            }),
        }
    }

    /// The row after which the page starts.
    pub fn after(self) -> Option<Sequence> {
        match self {
            Self::Whole => None,
            Self::Part { after, .. } => after,
        }
    }

    /// How many rows it may have.
    pub fn limit(self) -> usize {
        match self {
            Self::Whole => usize::MAX,
            Self::Part { size, .. } => size,
        }
    }

    /// The token that follows a page whose last row is `last`. Only an empty page has none: clients
    /// ask until they see it.
    pub fn next_token(self, last: Option<Sequence>) -> String {
        match (self, last) {
            (Self::Whole, _) | (_, None) => String::new(),
            (Self::Part { .. }, Some(last)) => format!("{PREFIX}{:x}", last.as_u64()),
        }
    }
}

fn parse_token(token: &str) -> Result<Option<Sequence>, PageTokenError> {
    if token.is_empty() {
        return Ok(None);
    }
    let digits = token
        .strip_prefix(PREFIX)
        .filter(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    digits
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .map(|number| Some(Sequence::new(number)))
        .ok_or_else(|| PageTokenError {
            token: token.chars().take(MAX_SHOWN_CHARS).collect(),
        })
}

/// A page token that this server never gave out.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("could not parse token '{token}'")]
pub struct PageTokenError {
    token: String,
}

/// Makes a token of another server or another time recognisable as foreign.
const PREFIX: &str = "c1-";

const MAX_SHOWN_CHARS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_leads_to_the_row_after_the_last() {
        let first = Page::parse(2, "").unwrap();
        assert_eq!(
            first,
            Page::Part {
                size: 2,
                after: None
            }
        );
        let token = first.next_token(Some(Sequence::new(300)));
        let second = Page::parse(2, &token).unwrap();
        assert_eq!(second.after(), Some(Sequence::new(300)));
        assert_eq!(second.next_token(None), "");
    }

    #[test]
    fn size_of_zero_or_less_asks_for_everything() {
        for size in [0, -1, i32::MIN] {
            let page = Page::parse(size, "garbage").unwrap();
            assert_eq!(page, Page::Whole);
            assert_eq!(page.next_token(Some(Sequence::new(7))), "");
        }
    }

    #[test]
    fn foreign_tokens_are_refused_by_name() {
        for token in [
            "garbage",
            "2",
            "c1-",
            "c1-xyz",
            "c1-+1",
            "c1-11112222333344445",
        ] {
            let error = Page::parse(2, token).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("could not parse token '{token}'")
            );
        }
    }
}
