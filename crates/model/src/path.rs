//! Paths into payloads, in the grammar of Qdrant's keys.
//!
//! ```text
//!   path  = name *step
//!   step  = "." name | "[" digits "]" | "[]"
//!   name  = 1*( letter | digit | "_" | "-" )       letters and digits of any script
//!         | DQUOTE *( any character but DQUOTE and "\" ) DQUOTE
//! ```
//!
//! A name selects the value of an object under that name, `[n]` the element of an array at that index from 0, `[]` each
//! element of an array. A step on any other kind of value selects nothing.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::BehaviorVersion;

/// Longest path, in bytes of its text.
pub const MAX_PATH_BYTES: usize = 1_024;

/// A path into a payload. It is encoded as its text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PayloadPath {
    /// The first one is a name.
    steps: Vec<PathStep>,
}

/// One step of a [`PayloadPath`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathStep {
    /// The value of an object under this name.
    Key(String),
    /// The element of an array at this index, from 0.
    Index(usize),
    /// Each element of an array.
    Each,
}

/// Text that is no [`PayloadPath`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Empty, or too long.
    #[error("a payload path must have between 1 and {MAX_PATH_BYTES} bytes (got {0})")]
    Length(usize),
    /// Not of the grammar.
    #[error("a payload path must be of the form a.b, a[], a[1] or \"a.b\" (got {text:?}, wrong from byte {at})")]
    Grammar {
        /// The whole text.
        text: String,
        /// Where the first step starts that cannot be read, in bytes from 0.
        at: usize,
    },
}

impl PayloadPath {
    /// Its steps; the first one is a [`PathStep::Key`].
    #[must_use]
    pub fn steps(&self) -> &[PathStep] {
        &self.steps
    }

    /// The behavior version that evaluating a condition on the path needs.
    #[must_use]
    pub(crate) fn needs(&self) -> BehaviorVersion {
        #[cfg(debug_assertions)]
        {
            crate::artificial::needed_by_path(self)
        }
        #[cfg(not(debug_assertions))]
        {
            BehaviorVersion::FIRST
        }
    }

    /// True when the path selects array elements by index.
    #[must_use]
    pub fn has_index(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, PathStep::Index(_)))
    }
}

impl FromStr for PayloadPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        if text.is_empty() || text.len() > MAX_PATH_BYTES {
            return Err(PathError::Length(text.len()));
        }
        let mut rest = text;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let read = if steps.is_empty() { name(rest) } else { step(rest) };
            let Some((step, behind)) = read else {
                return Err(PathError::Grammar { text: text.into(), at: text.len() - rest.len() });
            };
            steps.push(step);
            rest = behind;
        }
        Ok(Self { steps })
    }
}

/// Reads `.name`, `[n]` or `[]`.
fn step(text: &str) -> Option<(PathStep, &str)> {
    if let Some(behind) = text.strip_prefix('.') {
        return name(behind);
    }
    let (index, behind) = text.strip_prefix('[')?.split_once(']')?;
    if index.is_empty() {
        return Some((PathStep::Each, behind));
    }
    // `parse` alone would accept a sign.
    let is_number = index.bytes().all(|digit| digit.is_ascii_digit());
    let index = index.parse().ok().filter(|_| is_number)?;
    Some((PathStep::Index(index), behind))
}

fn name(text: &str) -> Option<(PathStep, &str)> {
    let (name, behind) = match text.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"').filter(|(name, _)| !name.contains('\\'))?,
        None => text.split_at(text.find(|c| !is_plain(c)).unwrap_or(text.len())),
    };
    let is_there = !name.is_empty() || text.starts_with('"');
    is_there.then(|| (PathStep::Key(name.into()), behind))
}

/// Whether a name needs no quotes around this character.
fn is_plain(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-')
}

impl fmt::Display for PayloadPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, step) in self.steps.iter().enumerate() {
            match step {
                PathStep::Key(name) => {
                    let dot = if nth == 0 { "" } else { "." };
                    let quote = if name.is_empty() || !name.chars().all(is_plain) { "\"" } else { "" };
                    write!(f, "{dot}{quote}{name}{quote}")?;
                }
                PathStep::Index(index) => write!(f, "[{index}]")?,
                PathStep::Each => f.write_str("[]")?,
            }
        }
        Ok(())
    }
}

impl TryFrom<String> for PayloadPath {
    type Error = PathError;

    fn try_from(text: String) -> Result<Self, PathError> {
        text.parse()
    }
}

impl From<PayloadPath> for String {
    fn from(path: PayloadPath) -> Self {
        path.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(name: &str) -> PathStep {
        PathStep::Key(name.into())
    }

    fn check(text: &str, steps: &[PathStep]) {
        let path: PayloadPath = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(path.steps(), steps, "{text}");
        assert_eq!(path.to_string(), text);
    }

    #[test]
    fn paths_are_read_as_qdrant_reads_them() {
        check("foo", &[key("foo")]);
        check("a.b-c_1", &[key("a"), key("b-c_1")]);
        check("größe.高さ", &[key("größe"), key("高さ")]);
        check("a[]", &[key("a"), PathStep::Each]);
        check("a[][].b", &[key("a"), PathStep::Each, PathStep::Each, key("b")]);
        check(
            "foo[1][50].bar-baz[].\"qux[.]quux\"",
            &[key("foo"), PathStep::Index(1), PathStep::Index(50), key("bar-baz"), PathStep::Each, key("qux[.]quux")],
        );
        check("\"a.b\"[0]", &[key("a.b"), PathStep::Index(0)]);
        check("\"\"", &[key("")]);
        assert_eq!("a[007]".parse::<PayloadPath>().unwrap().steps()[1], PathStep::Index(7));
    }

    #[test]
    fn other_text_is_refused_with_the_byte_it_is_wrong_from() {
        let longest = "a".repeat(MAX_PATH_BYTES);
        assert!(longest.parse::<PayloadPath>().is_ok());
        for text in [String::new(), longest + "a"] {
            assert_eq!(text.parse::<PayloadPath>(), Err(PathError::Length(text.len())));
        }
        let huge = format!("a[{}0]", usize::MAX);
        for (text, at) in [
            (" a", 0),
            ("a b", 1),
            (".a", 0),
            ("a.", 1),
            ("a..b", 1),
            ("[0]", 0),
            ("a[", 1),
            ("a[-1]", 1),
            ("a[+1]", 1),
            ("a[1", 1),
            ("a[*]", 1),
            (huge.as_str(), 1),
            ("a.[0]", 1),
            ("a[0]b", 4),
            ("\"a", 0),
            ("\"a\\\"b\"", 0),
            ("a\"b\"", 1),
            ("a/b", 1),
            ("$.a", 0),
        ] {
            assert_eq!(text.parse::<PayloadPath>(), Err(PathError::Grammar { text: text.into(), at }));
        }
    }

    proptest! {
        #[test]
        fn the_text_of_a_path_is_read_as_that_path(
            first in "[^\"\\\\]{0,8}",
            rest in proptest::collection::vec(
                prop_oneof![
                    "[^\"\\\\]{0,8}".prop_map(PathStep::Key),
                    any::<usize>().prop_map(PathStep::Index),
                    Just(PathStep::Each),
                ],
                0..6,
            ),
        ) {
            let steps: Vec<_> = [PathStep::Key(first)].into_iter().chain(rest).collect();
            let path = PayloadPath { steps };
            prop_assert_eq!(path.to_string().parse(), Ok(path));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}|[a\\[\\]0-9.\"\\\\]{0,12}") {
            if let Ok(path) = text.parse::<PayloadPath>() {
                prop_assert_eq!(path.to_string().parse(), Ok(path));
            }
        }
    }
}
