//! A refusal in HTTP: status code, text, `Retry-After`.

use meridian_model::client::Refusal;

/// Seconds after which a request to an overloaded or lagging cluster may be repeated.
const RETRY_AFTER_S: u64 = 1;

/// The HTTP status code of a refusal.
#[must_use]
pub fn status_of(refusal: &Refusal) -> u16 {
    match refusal {
        Refusal::BadInput(_) => 400,
        Refusal::NotFound(_) => 404,
        Refusal::Timeout(_) => 408,
        Refusal::AlreadyExists(_) => 409,
        Refusal::Misdirected { .. } => 421,
        Refusal::Overloaded(_) => 429,
        Refusal::Internal(_) | Refusal::OutcomeUnknown(_) => 500,
        Refusal::Unavailable { .. } | Refusal::TooStale { .. } => 503,
        Refusal::ReadOnly => 507,
    }
}

/// The text of a refusal, with the prefix by which Qdrant's clients distinguish kinds.
#[must_use]
pub fn message_of(refusal: &Refusal) -> String {
    match refusal {
        Refusal::BadInput(_) | Refusal::AlreadyExists(_) => format!("Wrong input: {refusal}"),
        Refusal::NotFound(_) => format!("Not found: {refusal}"),
        Refusal::Timeout(_) => format!("Timeout: {refusal}"),
        Refusal::Overloaded(_) => format!("Rate limit: {refusal}"),
        Refusal::Unavailable { .. } | Refusal::TooStale { .. } => format!("Service unavailable: {refusal}"),
        Refusal::Internal(_) | Refusal::OutcomeUnknown(_) => format!("Service internal error: {refusal}"),
        Refusal::ReadOnly => format!("Insufficient storage: {refusal}"),
        Refusal::Misdirected { .. } => refusal.to_string(),
    }
}

/// Seconds for `Retry-After`; `None` where repeating the same request here cannot help.
#[must_use]
pub fn retry_after_s(refusal: &Refusal) -> Option<u64> {
    let here = !matches!(refusal, Refusal::Misdirected { .. });
    (refusal.invites_repeat() && here).then_some(RETRY_AFTER_S)
}
