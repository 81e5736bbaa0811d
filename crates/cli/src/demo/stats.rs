//! Quantiles, and numbers formatted for people.

use std::time::Duration;

/// The `share` quantile (0 to 1) of `times`, nearest rank; sorts the slice. Zero when it is empty.
pub fn quantile(times: &mut [Duration], share: f64) -> Duration {
    times.sort_unstable();
    let last = times.len().saturating_sub(1);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a list, and a share of it")]
    let at = ((last as f64) * share).round() as usize;
    times.get(at).copied().unwrap_or_default()
}

/// Milliseconds with one decimal.
pub fn ms(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1e3)
}

/// Groups digits by thousands: `20,000`.
pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
