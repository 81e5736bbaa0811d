//! The freshness headers: names, parsing, rendering.
//!
//! The consistency token is opaque to clients. It is base64url without padding of these bytes:
//!
//! ```text
//!   0     1
//!   ┌─────┬───────────────────────────────────────────────────────────────────┐
//!   │  1  │ postcard: [(region, [(shard: u16, epoch: u32, seq: u64)])]         │
//!   └─────┴───────────────────────────────────────────────────────────────────┘
//!   format version
//! ```

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use meridian_model::client::{Demand, OnStale, OnStaleError};
use meridian_model::{
    Consistency, Epoch, OriginShard, Position, RegionName, RequiredFreshness, Seq, ShardNumber, VersionVector,
};

/// Request header: consistency of a read.
pub const X_CONSISTENCY: &str = "x-consistency";
/// Request header: how old the answer may be, and the fallbacks when it is older.
pub const X_REQUIRED_FRESHNESS: &str = "x-required-freshness";
/// Request and response header: positions that the answer must cover, or covers.
pub const X_CONSISTENCY_TOKEN: &str = "x-consistency-token";
/// Response header: upper bound on the age of what the answer may miss, or [`UNKNOWN_STALENESS`].
pub const X_STALENESS_MS: &str = "x-staleness-ms";
/// Response header: the region that answered.
pub const X_SERVED_REGION: &str = "x-served-region";
/// Response header: `true` when the demand was not met; absent otherwise.
pub const STALE_RESULT: &str = "stale-result";

/// Value of [`X_STALENESS_MS`] when an origin has not sent a statement yet.
pub const UNKNOWN_STALENESS: &str = "unknown";

/// Longest token in bytes of text; with the other headers it has to fit into a 16 KiB head.
pub const TOKEN_TEXT_BYTES: usize = 12 * 1024;
/// Longest duration in a header; a longer one is taken for a mistake.
pub const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);

const TOKEN_FORMAT: u8 = 1;

/// Why a header was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Unknown consistency.
    #[error("X-Consistency: {0:?} is none of strong, bounded, session, eventual")]
    Consistency(String),
    /// Not an integer with a unit.
    #[error("{place}: {text:?} is no duration; write a whole number and us, ms or s, such as 100ms")]
    Duration {
        /// The header and its parameter.
        place: &'static str,
        /// The text found.
        text: String,
    },
    /// More than [`DURATION_MAX`].
    #[error("{place}: {text:?} is more than {}s", DURATION_MAX.as_secs())]
    TooLong {
        /// The header and its parameter.
        place: &'static str,
        /// The text found.
        text: String,
    },
    /// The list of fallbacks is malformed.
    #[error("X-Required-Freshness: on-stale: {0}")]
    OnStale(#[from] OnStaleError),
    /// A parameter that does not exist.
    #[error("X-Required-Freshness: unknown parameter {0:?}; there are on-stale and max-wait")]
    Parameter(String),
    /// A header or parameter is repeated.
    #[error("{0}: given twice")]
    Twice(&'static str),
    /// Not visible ASCII.
    #[error("{0}: holds bytes that are not visible ASCII")]
    NotText(&'static str),
    /// The token cannot be decoded.
    #[error("X-Consistency-Token: {0}")]
    Token(#[from] TokenError),
}

/// Why a token cannot be decoded, or encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Longer than [`TOKEN_TEXT_BYTES`].
    #[error("longer than {TOKEN_TEXT_BYTES} bytes")]
    TooLong,
    /// Not base64url without padding.
    #[error("not base64url")]
    Base64,
    /// A format that this version does not know.
    #[error("format {0} is not known here; format {TOKEN_FORMAT} is")]
    Format(u8),
    /// Truncated, with bytes left over, or with malformed names.
    #[error("damaged")]
    Damaged,
}

/// Parses the demand of a request. `header` returns the values of a header by its lower-case name, in order.
///
/// # Errors
/// When a header is repeated, is not ASCII, or is malformed.
pub fn demand<'a, I>(header: impl Fn(&'static str) -> I) -> Result<Demand, HeaderError>
where
    I: Iterator<Item = &'a [u8]>,
{
    let one = |name, shown| -> Result<Option<&'a str>, HeaderError> {
        let mut values = header(name);
        let Some(first) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(HeaderError::Twice(shown));
        }
        match std::str::from_utf8(first) {
            Ok(text) if text.is_ascii() => Ok(Some(text.trim())),
            _ => Err(HeaderError::NotText(shown)),
        }
    };
    let mut demand = match one(X_REQUIRED_FRESHNESS, "X-Required-Freshness")? {
        Some(text) => parse_required_freshness(text)?,
        None => Demand::default(),
    };
    if let Some(text) = one(X_CONSISTENCY, "X-Consistency")? {
        demand.consistency = Some(parse_consistency(text)?);
    }
    if let Some(text) = one(X_CONSISTENCY_TOKEN, "X-Consistency-Token")? {
        demand.token = Some(decode_token(text)?);
    }
    Ok(demand)
}

/// Parses an `X-Consistency`.
///
/// # Errors
/// When it is none of the four words.
pub fn parse_consistency(text: &str) -> Result<Consistency, HeaderError> {
    Ok(match text {
        "strong" => Consistency::Strong,
        "bounded" => Consistency::Bounded,
        "session" => Consistency::Session,
        "eventual" => Consistency::Eventual,
        other => return Err(HeaderError::Consistency(other.into())),
    })
}

/// Parses an `X-Required-Freshness`: `<n>(us|ms|s)[; on-stale=a,b,…][; max-wait=<n>(us|ms|s)]`.
///
/// # Errors
/// Names the malformed part.
pub fn parse_required_freshness(text: &str) -> Result<Demand, HeaderError> {
    let mut parts = text.split(';').map(str::trim);
    let freshness = parse_duration(parts.next().unwrap_or_default(), "X-Required-Freshness")?;
    let mut demand = Demand { freshness: Some(RequiredFreshness(freshness)), ..Demand::default() };
    for part in parts {
        let (name, value) = part.split_once('=').ok_or_else(|| HeaderError::Parameter(part.into()))?;
        match name.trim() {
            "on-stale" if demand.on_stale.is_none() => demand.on_stale = Some(OnStale::parse_list(value)?),
            "max-wait" if demand.max_wait.is_none() => {
                demand.max_wait = Some(parse_duration(value.trim(), "X-Required-Freshness: max-wait")?);
            }
            "on-stale" | "max-wait" => return Err(HeaderError::Twice("X-Required-Freshness: a parameter")),
            other => return Err(HeaderError::Parameter(other.into())),
        }
    }
    Ok(demand)
}

/// Renders the `X-Required-Freshness` of a demand; `None` if it has no freshness.
#[must_use]
pub fn required_freshness_text(demand: &Demand) -> Option<String> {
    let mut text = duration_text(demand.freshness?.0);
    if let Some(fallbacks) = &demand.on_stale {
        let words: Vec<_> = fallbacks.iter().map(|fallback| fallback.as_str()).collect();
        text = format!("{text}; on-stale={}", words.join(","));
    }
    if let Some(wait) = demand.max_wait {
        text = format!("{text}; max-wait={}", duration_text(wait));
    }
    Some(text)
}

fn parse_duration(text: &str, place: &'static str) -> Result<Duration, HeaderError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let micros_per_unit = match unit {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        _ => return Err(HeaderError::Duration { place, text: text.into() }),
    };
    if number.is_empty() {
        return Err(HeaderError::Duration { place, text: text.into() });
    }
    // Digits only, so parsing can fail only by size.
    let micros = number.parse::<u64>().ok().and_then(|n| n.checked_mul(micros_per_unit));
    match micros.map(Duration::from_micros) {
        Some(duration) if duration <= DURATION_MAX => Ok(duration),
        _ => Err(HeaderError::TooLong { place, text: text.chars().take(40).collect() }),
    }
}

/// Renders a duration in the largest unit that keeps it an integer; parts below a microsecond are dropped.
fn duration_text(duration: Duration) -> String {
    match duration.as_micros() {
        micros if micros % 1_000_000 == 0 => format!("{}s", micros / 1_000_000),
        micros if micros % 1_000 == 0 => format!("{}ms", micros / 1_000),
        micros => format!("{micros}us"),
    }
}

/// Renders an `X-Staleness-Ms`, rounded up because it is an upper bound.
#[must_use]
pub fn staleness_text(staleness: Duration) -> String {
    if staleness == Duration::MAX {
        return UNKNOWN_STALENESS.into();
    }
    staleness.as_nanos().div_ceil(1_000_000).to_string()
}

/// Parses an `X-Staleness-Ms`; `None` when it is malformed.
#[must_use]
pub fn parse_staleness(text: &str) -> Option<Duration> {
    if text == UNKNOWN_STALENESS {
        return Some(Duration::MAX);
    }
    text.parse().ok().map(Duration::from_millis)
}

/// The body of a token.
type TokenBody = Vec<(RegionName, Vec<(ShardNumber, Epoch, Seq)>)>;

/// Encodes a version vector as an `X-Consistency-Token`.
///
/// # Errors
/// When the text would be longer than [`TOKEN_TEXT_BYTES`]; about 1,000 origin shards fit.
pub fn encode_token(vv: &VersionVector) -> Result<String, TokenError> {
    let mut regions: TokenBody = Vec::new();
    for (origin, position) in vv.iter() {
        let entry = (origin.shard, position.epoch, position.seq);
        match regions.last_mut() {
            Some((region, entries)) if *region == origin.region => entries.push(entry),
            _ => regions.push((origin.region.clone(), vec![entry])),
        }
    }
    let bytes = postcard::to_extend(&regions, vec![TOKEN_FORMAT]).expect("a vector grows as far as it must");
    let text = URL_SAFE_NO_PAD.encode(bytes);
    if text.len() > TOKEN_TEXT_BYTES { Err(TokenError::TooLong) } else { Ok(text) }
}

/// Decodes an `X-Consistency-Token`.
///
/// # Errors
/// When it is longer than [`TOKEN_TEXT_BYTES`], malformed, or of an unknown format.
pub fn decode_token(text: &str) -> Result<VersionVector, TokenError> {
    if text.len() > TOKEN_TEXT_BYTES {
        return Err(TokenError::TooLong);
    }
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Base64)?;
    let (format, body) = bytes.split_first().ok_or(TokenError::Damaged)?;
    if *format != TOKEN_FORMAT {
        return Err(TokenError::Format(*format));
    }
    let (regions, rest): (TokenBody, _) = postcard::take_from_bytes(body).map_err(|_| TokenError::Damaged)?;
    if !rest.is_empty() {
        return Err(TokenError::Damaged);
    }
    let positions = regions.into_iter().flat_map(|(region, entries)| {
        entries
            .into_iter()
            .map(move |(shard, epoch, seq)| (OriginShard { region: region.clone(), shard }, Position { epoch, seq }))
    });
    Ok(positions.collect())
}

#[cfg(test)]
mod tests;
