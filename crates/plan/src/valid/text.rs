//! Text that is copied into other files: validated here, so that no file has to quote it.

use meridian_model::{Addresses, TopicName};

use super::Refusal;

/// Longest DNS name, and longest name of most objects, in bytes.
const DNS_NAME_BYTES: usize = 253;
/// Longest image reference, in bytes: the bound of the schema.
const IMAGE_BYTES: usize = 512;
/// Longest quantity, in bytes: the bound of the schema.
const QUANTITY_BYTES: usize = 20;

fn check(holds: bool, field: &'static str, constraint: &str, got: &str) -> Result<String, Refusal> {
    if holds {
        Ok(got.to_owned())
    } else {
        Err(Refusal { field, fault: format!("must be {constraint} (got {got:?})") })
    }
}

pub(super) fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let edge = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    text.len() <= 63 && bytes.iter().all(inner) && edge(bytes.first()) && edge(bytes.last())
}

/// A DNS label of at most `most` bytes.
pub(super) fn label(field: &'static str, text: &str, most: usize) -> Result<String, Refusal> {
    let constraint = format!("a lower-case DNS label of at most {most} characters");
    check(is_label(text) && text.len() <= most, field, &constraint, text)
}

/// A lower-case DNS name, the form of most object names.
pub(super) fn dns_name(field: &'static str, text: &str) -> Result<String, Refusal> {
    let holds = text.len() <= DNS_NAME_BYTES && text.split('.').all(is_label);
    check(holds, field, "a lower-case DNS name of at most 253 characters", text)
}

/// An image reference: printable, without spaces, not starting with `-`.
pub(super) fn image(field: &'static str, text: &str) -> Result<String, Refusal> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/:@".contains(&byte);
    let holds = (1..=IMAGE_BYTES).contains(&text.len())
        && text.bytes().all(legal)
        && text.as_bytes()[0].is_ascii_alphanumeric();
    check(holds, field, "an image reference such as example.com/node:1.0", text)
}

/// A non-negative Kubernetes quantity; `suffixes`: the units it may have.
pub(super) fn quantity(field: &'static str, text: &str, suffixes: &[&str]) -> Result<String, Refusal> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let suffix = &text[number.len()..];
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_number = match number.split_once('.') {
        Some((whole, part)) => digits(whole) && digits(part),
        None => digits(number),
    };
    let holds = text.len() <= QUANTITY_BYTES && is_number && (suffix.is_empty() || suffixes.contains(&suffix));
    check(holds, field, "an amount such as 500m or 4Gi, not negative", text)
}

/// Addresses of brokers.
pub(super) fn addresses(field: &'static str, text: &str) -> Result<Addresses, Refusal> {
    Addresses::new(text).map_err(|fault| Refusal { field, fault: fault.to_string() })
}

/// The name of a topic.
pub(super) fn topic(field: &'static str, text: &str) -> Result<TopicName, Refusal> {
    TopicName::new(text).map_err(|fault| Refusal { field, fault: fault.to_string() })
}
