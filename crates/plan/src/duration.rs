//! Durations in resources and on command lines.

use std::time::Duration;

/// Parses an integer with one of `units`, such as `90s`; known units are `us`, `ms`, `s`, `m` and `h`. `None` for any other
/// text, and above [`Duration::MAX`].
///
/// ```
/// use std::time::Duration;
/// use meridian_plan::parse_duration;
///
/// assert_eq!(parse_duration("10m", &["s", "m"]), Some(Duration::from_secs(600)));
/// for refused in ["10h", "10", "m", "-1s", "+1s", "1.5s", "99999999999999999999s"] {
///     assert_eq!(parse_duration(refused, &["s", "m"]), None);
/// }
/// ```
#[must_use]
pub fn parse_duration(text: &str, units: &[&str]) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (count, unit) = text.split_at(digits);
    let count: u64 = count.parse().ok()?;
    match unit {
        _ if !units.contains(&unit) => None,
        "us" => Some(Duration::from_micros(count)),
        "ms" => Some(Duration::from_millis(count)),
        "s" => Some(Duration::from_secs(count)),
        "m" => count.checked_mul(60).map(Duration::from_secs),
        "h" => count.checked_mul(3600).map(Duration::from_secs),
        _ => None,
    }
}
