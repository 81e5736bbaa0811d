//! Fallbacks of a read whose region is staler than the request accepts, and their spelling in headers and configurations.

use serde::{Deserialize, Serialize};

/// What a gateway tries when its region is staler than the request accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnStale {
    /// Wait until the demand is met, where that can succeed in time.
    Wait,
    /// Relay the request to the primary region.
    Redirect,
    /// Answer with the header `Stale-Result: true`.
    Serve,
    /// Refuse the request.
    Fail,
}

/// Why a list of fallbacks was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OnStaleError {
    /// The word names no fallback.
    #[error("{0:?} is none of wait, redirect, serve, fail")]
    Unknown(String),
    /// The fallback is listed twice, or after one that always succeeds.
    #[error("{0:?} is never reached")]
    Unreachable(&'static str),
}

impl OnStale {
    /// The word for it: `wait`, `redirect`, `serve` or `fail`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Redirect => "redirect",
            Self::Serve => "serve",
            Self::Fail => "fail",
        }
    }

    /// Parses words separated by commas, in the order in which they are tried. Spaces around a word are ignored.
    ///
    /// # Errors
    /// When a word is unknown, or a fallback can never be reached.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, OnStaleError> {
        let mut fallbacks = Vec::with_capacity(4);
        for word in text.split(',').map(str::trim) {
            let fallback = match word {
                "wait" => Self::Wait,
                "redirect" => Self::Redirect,
                "serve" => Self::Serve,
                "fail" => Self::Fail,
                other => return Err(OnStaleError::Unknown(other.into())),
            };
            // Serving and failing always end the search.
            let ended = matches!(fallbacks.last(), Some(Self::Serve | Self::Fail));
            if ended || fallbacks.contains(&fallback) {
                return Err(OnStaleError::Unreachable(fallback.as_str()));
            }
            fallbacks.push(fallback);
        }
        Ok(fallbacks)
    }
}

#[cfg(test)]
mod tests {
    use super::OnStale::{Fail, Redirect, Serve, Wait};
    use super::*;

    #[test]
    fn a_list_is_parsed_from_the_words_that_it_prints() {
        for list in [vec![Wait], vec![Wait, Redirect, Serve], vec![Redirect, Wait, Fail]] {
            let words: Vec<_> = list.iter().map(|fallback| fallback.as_str()).collect();
            assert_eq!(OnStale::parse_list(&words.join(" , ")), Ok(list));
        }
    }

    #[test]
    fn a_list_with_an_unknown_or_unreachable_fallback_is_refused_by_name() {
        let check = |text: &str, says: &str| {
            assert_eq!(OnStale::parse_list(text).unwrap_err().to_string(), says, "{text:?}");
        };
        check("", "\"\" is none of wait, redirect, serve, fail");
        check("wait,panic", "\"panic\" is none of wait, redirect, serve, fail");
        check("serve,wait", "\"wait\" is never reached");
        check("fail,serve", "\"serve\" is never reached");
        check("wait,wait", "\"wait\" is never reached");
    }
}
