//! Deserialization of request bodies: bounded nesting, and errors that distinguish "unsupported" from "malformed".

use std::fmt::Display;

use meridian_config::Limits;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::Fault;

/// Stands in front of a message of a `Deserialize` of ours that means "not supported" rather than "wrong". A control
/// character, so no field name can be mistaken for it without an escape.
const MARK: char = '\u{1}';

/// Expectation where a number stands; a list of lists is answered with it.
pub const EXPECTED_NUMBER: &str = "a finite number (\u{1}lists of lists, that is multivectors, are not supported)";

/// The error of a `Deserialize` implementation that means "not supported".
pub fn unsupported<E: serde::de::Error>(message: impl Display) -> E {
    E::custom(format_args!("{MARK}{message}"))
}

/// Deserializes a body.
///
/// # Errors
/// [`Fault::Format`] when it is malformed or nested deeper than `limits.json_depth`, [`Fault::Unsupported`] when a
/// `Deserialize` said so.
pub fn parse<T: DeserializeOwned>(bytes: &[u8], limits: &Limits) -> Result<T, Fault> {
    check_depth(bytes, limits.json_depth)?;
    serde_json::from_slice(bytes).map_err(|error| {
        let message = error.to_string();
        match message.split_once(MARK) {
            Some(("", sentence)) => Fault::Unsupported(sentence.into()),
            Some(("invalid type: sequence, expected a finite number (", _)) => {
                Fault::Unsupported(message.replace(MARK, ""))
            }
            Some(_) => Fault::Format(message.replace(MARK, "")),
            None => Fault::Format(message),
        }
    })
}

/// Refuses lists and objects inside each other beyond `most`, before anything is built. Text that is no JSON passes: the
/// parser will say what is wrong with it.
fn check_depth(bytes: &[u8], most: usize) -> Result<(), Fault> {
    let (mut depth, mut in_text, mut escaped) = (0usize, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'[' | b'{' => {
                depth += 1;
                if depth > most {
                    return Err(Fault::Format(format!("lists and objects are nested deeper than {most}")));
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// Refuses a field that is present.
///
/// # Errors
/// [`Fault::Unsupported`] with `sentence`.
pub fn refuse(field: Option<&IgnoredAny>, sentence: &'static str) -> Result<(), Fault> {
    field.map_or(Ok(()), |_| Err(Fault::unsupported(sentence)))
}

/// Refuses a field whose value is not the only supported one, `so`.
///
/// # Errors
/// [`Fault::Unsupported`] with the reason `why`.
pub fn only<T: PartialEq + Display>(name: &str, found: Option<T>, so: T, why: &str) -> Result<(), Fault> {
    match found {
        Some(found) if found != so => {
            Err(Fault::unsupported(format!("{name}: {found} cannot be had, it is always {so}: {why}")))
        }
        _ => Ok(()),
    }
}
