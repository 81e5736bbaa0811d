//! The freshness headers (DESIGN 3.6): names, parsing, printing.
//!
//! A token is opaque to clients. Its bytes, before base64url without padding:
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
use meridian_model::{
    Consistency, Epoch, OriginShard, Position, RegionName, RequiredFreshness, Seq, ShardNumber, VersionVector,
};

use crate::client::{Demand, OnStale};

/// Request: how a read relates to the writes before it.
pub const X_CONSISTENCY: &str = "x-consistency";
/// Request: how old the answer may be, and what happens when it is older.
pub const X_REQUIRED_FRESHNESS: &str = "x-required-freshness";
/// Request and response: positions that the answer must cover, or covers.
pub const X_CONSISTENCY_TOKEN: &str = "x-consistency-token";
/// Response: upper bound on the age of what the answer may miss, or [`UNKNOWN_STALENESS`].
pub const X_STALENESS_MS: &str = "x-staleness-ms";
/// Response: the region that answered.
pub const X_SERVED_REGION: &str = "x-served-region";
/// Response: `true` when the promise was missed; absent otherwise.
pub const STALE_RESULT: &str = "stale-result";

/// What [`X_STALENESS_MS`] says when an origin was never heard of.
pub const UNKNOWN_STALENESS: &str = "unknown";

/// Longest token text; with the other headers it has to fit into a 16 KiB head.
pub const TOKEN_TEXT_BYTES: usize = 12 * 1024;
/// Largest duration a header may name: a longer one is a slip of the pen.
pub const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);

const TOKEN_FORMAT: u8 = 1;

/// Why a header was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Not one of the four words.
    #[error("X-Consistency: {0:?} is none of strong, bounded, session, eventual")]
    Consistency(String),
    /// Not a whole number with a unit.
    #[error("{place}: {text:?} is no duration; write a whole number and us, ms or s, such as 100ms")]
    Duration {
        /// The header and its parameter.
        place: &'static str,
        /// What stood there.
        text: String,
    },
    /// More than [`DURATION_MAX`].
    #[error("{place}: {text:?} is more than {}s", DURATION_MAX.as_secs())]
    TooLong {
        /// The header and its parameter.
        place: &'static str,
        /// What stood there.
        text: String,
    },
    /// Not one of the four fallbacks.
    #[error("X-Required-Freshness: on-stale: {0:?} is none of wait, redirect, serve, fail")]
    OnStale(String),
    /// A fallback stands twice, or behind one that always ends the search.
    #[error("X-Required-Freshness: on-stale: {0:?} is never reached")]
    Unreachable(&'static str),
    /// A parameter that does not exist.
    #[error("X-Required-Freshness: unknown parameter {0:?}; there are on-stale and max-wait")]
    Parameter(String),
    /// Something stands twice.
    #[error("{0}: given twice")]
    Twice(&'static str),
    /// Not visible ASCII.
    #[error("{0}: holds bytes that are not visible ASCII")]
    NotText(&'static str),
    /// No token of ours.
    #[error("X-Consistency-Token: {0}")]
    Token(#[from] TokenError),
}

/// Why a token could not be read, or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Longer than [`TOKEN_TEXT_BYTES`].
    #[error("longer than {TOKEN_TEXT_BYTES} bytes")]
    TooLong,
    /// Not base64url without padding.
    #[error("not base64url")]
    Base64,
    /// Of a format this version does not know.
    #[error("format {0} is not known here; format {TOKEN_FORMAT} is")]
    Format(u8),
    /// Cut short, too long, or holding impossible names.
    #[error("damaged")]
    Damaged,
}

/// Reads the demand out of the headers. `header` gives the values under a lower-case name, in order.
///
/// # Errors
/// When a header is given twice, is not ASCII, or says what cannot be understood.
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

/// Reads an `X-Consistency`.
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

/// Reads an `X-Required-Freshness`: `<n>(us|ms|s)[; on-stale=a,b,…][; max-wait=<n>(us|ms|s)]`.
///
/// # Errors
/// Names the part that cannot be understood.
pub fn parse_required_freshness(text: &str) -> Result<Demand, HeaderError> {
    let mut parts = text.split(';').map(str::trim);
    let freshness = parse_duration(parts.next().unwrap_or_default(), "X-Required-Freshness")?;
    let mut demand = Demand { freshness: Some(RequiredFreshness(freshness)), ..Demand::default() };
    for part in parts {
        let (name, value) = part.split_once('=').ok_or_else(|| HeaderError::Parameter(part.into()))?;
        match name.trim() {
            "on-stale" if demand.on_stale.is_none() => demand.on_stale = Some(parse_on_stale(value)?),
            "max-wait" if demand.max_wait.is_none() => {
                demand.max_wait = Some(parse_duration(value.trim(), "X-Required-Freshness: max-wait")?);
            }
            "on-stale" | "max-wait" => return Err(HeaderError::Twice("X-Required-Freshness: a parameter")),
            other => return Err(HeaderError::Parameter(other.into())),
        }
    }
    Ok(demand)
}

/// Reads fallbacks with commas between.
///
/// # Errors
/// When a word is unknown, or one can never be reached.
pub fn parse_on_stale(text: &str) -> Result<Vec<OnStale>, HeaderError> {
    let mut fallbacks = Vec::with_capacity(4);
    for word in text.split(',').map(str::trim) {
        let fallback = match word {
            "wait" => OnStale::Wait,
            "redirect" => OnStale::Redirect,
            "serve" => OnStale::Serve,
            "fail" => OnStale::Fail,
            other => return Err(HeaderError::OnStale(other.into())),
        };
        // Serving and failing always end the search.
        let ended = matches!(fallbacks.last(), Some(OnStale::Serve | OnStale::Fail));
        if ended || fallbacks.contains(&fallback) {
            return Err(HeaderError::Unreachable(on_stale_text(fallback)));
        }
        fallbacks.push(fallback);
    }
    Ok(fallbacks)
}

/// Prints one fallback.
#[must_use]
pub fn on_stale_text(fallback: OnStale) -> &'static str {
    match fallback {
        OnStale::Wait => "wait",
        OnStale::Redirect => "redirect",
        OnStale::Serve => "serve",
        OnStale::Fail => "fail",
    }
}

/// Prints the `X-Required-Freshness` of a demand, if it has a freshness.
#[must_use]
pub fn required_freshness_text(demand: &Demand) -> Option<String> {
    let mut text = duration_text(demand.freshness?.0);
    if let Some(fallbacks) = &demand.on_stale {
        let words: Vec<_> = fallbacks.iter().copied().map(on_stale_text).collect();
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
    // Digits only, so the one thing that can go wrong is size.
    let micros = number.parse::<u64>().ok().and_then(|n| n.checked_mul(micros_per_unit));
    match micros.map(Duration::from_micros) {
        Some(duration) if duration <= DURATION_MAX => Ok(duration),
        _ => Err(HeaderError::TooLong { place, text: text.chars().take(40).collect() }),
    }
}

/// Prints a duration in the largest unit that keeps it whole; parts below a microsecond are dropped.
fn duration_text(duration: Duration) -> String {
    match duration.as_micros() {
        micros if micros % 1_000_000 == 0 => format!("{}s", micros / 1_000_000),
        micros if micros % 1_000 == 0 => format!("{}ms", micros / 1_000),
        micros => format!("{micros}us"),
    }
}

/// Prints an `X-Staleness-Ms`, rounded up: it is an upper bound.
#[must_use]
pub fn staleness_text(staleness: Duration) -> String {
    if staleness == Duration::MAX {
        return UNKNOWN_STALENESS.into();
    }
    staleness.as_nanos().div_ceil(1_000_000).to_string()
}

/// Reads an `X-Staleness-Ms`; `None` when it is none.
#[must_use]
pub fn parse_staleness(text: &str) -> Option<Duration> {
    if text == UNKNOWN_STALENESS {
        return Some(Duration::MAX);
    }
    text.parse().ok().map(Duration::from_millis)
}

type Wire = Vec<(RegionName, Vec<(ShardNumber, Epoch, Seq)>)>;

/// Prints a version vector as an `X-Consistency-Token`.
///
/// # Errors
/// When the text would be longer than [`TOKEN_TEXT_BYTES`]; about 1,000 origin shards fit.
pub fn encode_token(vv: &VersionVector) -> Result<String, TokenError> {
    let mut regions: Wire = Vec::new();
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

/// Reads an `X-Consistency-Token`.
///
/// # Errors
/// When it is no token, or one of a later format.
pub fn decode_token(text: &str) -> Result<VersionVector, TokenError> {
    if text.len() > TOKEN_TEXT_BYTES {
        return Err(TokenError::TooLong);
    }
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Base64)?;
    let (format, body) = bytes.split_first().ok_or(TokenError::Damaged)?;
    if *format != TOKEN_FORMAT {
        return Err(TokenError::Format(*format));
    }
    let (regions, rest): (Wire, _) = postcard::take_from_bytes(body).map_err(|_| TokenError::Damaged)?;
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
