//! Web pages that may call the API from a browser (CORS).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Origins in the list: an application has a few, one for each of its stages.
pub const MAX_ORIGINS: usize = 32;
/// Longest origin, in bytes: a host name of 253 with scheme and port.
const MAX_BYTES: usize = 280;

/// Cross-origin requests (CORS, WHATWG Fetch 3.2).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cors {
    /// Origins of pages that may call the API. Default: none, so browsers refuse to.
    pub allow_origins: Vec<CorsOrigin>,
}

impl Cors {
    /// Whether no page of another origin may call the API.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.allow_origins.is_empty()
    }
}

/// An origin as browsers send it: `scheme://host[:port]`, lowercase; or `*`, any.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CorsOrigin(String);

/// Text that is no [`CorsOrigin`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an origin must be * or scheme://host[:port] in lowercase, without a path (got {0:?})")]
pub struct CorsOriginError(String);

impl CorsOrigin {
    /// Whether it is `*`.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.0 == "*"
    }

    /// The origin as browsers send it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CorsOrigin {
    type Err = CorsOriginError;

    fn from_str(text: &str) -> Result<Self, CorsOriginError> {
        if text == "*" || text.len() <= MAX_BYTES && is_origin(text) {
            return Ok(Self(text.into()));
        }
        Err(CorsOriginError(text.chars().take(MAX_BYTES).collect()))
    }
}

fn is_origin(text: &str) -> bool {
    let Some((scheme, authority)) = text.split_once("://") else { return false };
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b));
    // The colons of an IPv6 address stand in brackets.
    let behind_address = authority.rfind(']').map_or(0, |at| at + 1);
    let (host, port) = match authority[behind_address..].find(':') {
        Some(at) => (&authority[..behind_address + at], Some(&authority[behind_address + at + 1..])),
        None => (authority, None),
    };
    let is_host = match host.strip_prefix('[') {
        Some(address) => address.strip_suffix(']').is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok()),
        None => {
            !host.is_empty()
                && host.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b))
        }
    };
    let is_port =
        |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    is_scheme && is_host && port.is_none_or(is_port)
}

impl fmt::Display for CorsOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for CorsOrigin {
    type Error = CorsOriginError;

    fn try_from(text: String) -> Result<Self, CorsOriginError> {
        text.parse()
    }
}

impl From<CorsOrigin> for String {
    fn from(origin: CorsOrigin) -> Self {
        origin.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_those_that_browsers_send() {
        for text in [
            "*",
            "https://app.example.com",
            "http://localhost:3000",
            "http://[::1]:8080",
            "http://10.0.0.1",
            "chrome-extension://abcdefgh",
        ] {
            assert_eq!(text.parse::<CorsOrigin>().map(String::from), Ok(text.into()));
        }
        let long = format!("https://{}", "a".repeat(MAX_BYTES));
        for text in [
            "",
            "**",
            "null",
            "https://",
            "https://*.example.com",
            "https://app.example.com/",
            "https://App.example.com",
            "app.example.com",
            "https://a:b",
            "https://a:0",
            "https://a:65536",
            "https://a:",
            "https://a b",
            "https://[::g]",
            "https://[::1",
            "https://a\n",
            "https://user@a",
            &long,
        ] {
            assert!(text.parse::<CorsOrigin>().is_err(), "{text:?}");
        }
    }
}
