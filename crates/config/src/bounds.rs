//! Bounds of numbers, checked during deserialization, so that the error names the line.

use std::fmt::Display;

use serde::{Deserialize, Deserializer, de::Error};

/// Deserializes a number from `MIN` to `MAX`.
///
/// # Errors
/// The value is not a number, or is out of range.
pub fn between<'de, D, T, const MIN: u64, const MAX: u64>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Copy + Display + TryInto<u64>,
{
    let number = T::deserialize(deserializer)?;
    match number.try_into() {
        Ok(wide) if (MIN..=MAX).contains(&wide) => Ok(number),
        _ => Err(D::Error::custom(format_args!("{number} is not between {MIN} and {MAX}"))),
    }
}

/// Deserializes a number from `MIN` to `MAX`, or nothing.
///
/// # Errors
/// The value is not a number, or is out of range.
pub fn maybe_between<'de, D, const MIN: u64, const MAX: u64>(deserializer: D) -> Result<Option<u64>, D::Error>
where
    D: Deserializer<'de>,
{
    match Option::<u64>::deserialize(deserializer)? {
        Some(number) if !(MIN..=MAX).contains(&number) => {
            Err(D::Error::custom(format_args!("{number} is not between {MIN} and {MAX}")))
        }
        other => Ok(other),
    }
}
