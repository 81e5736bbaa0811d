//! Values at a path, found in the text of a payload: a filter reads every point once, and trees of all payloads would
//! take ten times the memory.

use std::fmt;

use meridian_model::{PathStep, Payload};
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A value as filters compare it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Leaf<'a> {
    Null,
    Bool(bool),
    Int(i64),
    /// A number outside `i64`.
    Float(f64),
    Text(&'a str),
    /// An object, or an array inside the array that the path selects.
    Nested,
}

/// Returns true if `test` holds for a value that `steps` select, or for an element if that value is an array. In
/// invalid JSON, nothing after the error is found.
pub(crate) fn any_at(payload: &Payload, steps: &[PathStep], mut test: impl FnMut(Leaf<'_>) -> bool) -> bool {
    let mut found = false;
    let mut test = |leaf: Leaf<'_>| found = found || test(leaf);
    let seek = Seek { steps, is_element: false, test: &mut test };
    // To a filter, an error in the text means that there is no value.
    let _ = seek.deserialize(&mut serde_json::Deserializer::from_str(&payload.0));
    found
}

/// Reads one value and calls `test` for the parts that the steps select.
struct Seek<'s, F> {
    steps: &'s [PathStep],
    is_element: bool,
    test: &'s mut F,
}

impl<F: FnMut(Leaf<'_>)> Seek<'_, F> {
    /// A scalar: selected if no step is left.
    fn leaf(self, leaf: Leaf<'_>) {
        if self.steps.is_empty() {
            (self.test)(leaf);
        }
    }
}

impl<'de, F: FnMut(Leaf<'_>)> DeserializeSeed<'de> for Seek<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, F: FnMut(Leaf<'_>)> Visitor<'de> for Seek<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any valid JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.leaf(Leaf::Null);
        Ok(())
    }

    fn visit_bool<E: Error>(self, truth: bool) -> Result<(), E> {
        self.leaf(Leaf::Bool(truth));
        Ok(())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.leaf(Leaf::Int(number));
        Ok(())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.leaf(i64::try_from(number).map_or(Leaf::Float(number as f64), Leaf::Int));
        Ok(())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        self.leaf(Leaf::Float(number));
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.leaf(Leaf::Text(text));
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self { steps, is_element, test } = self;
        let (only, rest) = match steps.split_first() {
            Some((PathStep::Each, rest)) => (None, rest),
            Some((PathStep::Index(index), rest)) => (Some(*index), rest),
            None if !is_element => {
                while list.next_element_seed(Seek { steps, is_element: true, test: &mut *test })?.is_some() {}
                return Ok(());
            }
            _ => {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                if steps.is_empty() {
                    test(Leaf::Nested);
                }
                return Ok(());
            }
        };
        for at in 0.. {
            let is_there = if only.is_none_or(|only| only == at) {
                list.next_element_seed(Seek { steps: rest, is_element: false, test: &mut *test })?.is_some()
            } else {
                list.next_element::<IgnoredAny>()?.is_some()
            };
            if !is_there {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { steps, test, .. } = self;
        let Some((PathStep::Key(name), rest)) = steps.split_first() else {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            if steps.is_empty() {
                test(Leaf::Nested);
            }
            return Ok(());
        };
        while let Some(is_it) = map.next_key_seed(Equals(name))? {
            if is_it {
                map.next_value_seed(Seek { steps: rest, is_element: false, test: &mut *test })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// Compares a key without allocating it.
struct Equals<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Equals<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Equals<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}

#[cfg(test)]
mod tests {
    use meridian_model::PayloadPath;
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// Each leaf that a path selects, as text.
    fn seen(text: &str, path: &str) -> Vec<String> {
        let path: PayloadPath = path.parse().unwrap();
        let mut seen = Vec::new();
        let found = any_at(&Payload(text.into()), path.steps(), |leaf| {
            seen.push(shown(leaf));
            false
        });
        assert!(!found);
        seen
    }

    fn shown(leaf: Leaf<'_>) -> String {
        match leaf {
            Leaf::Text(text) => format!("{text:?}"),
            leaf => format!("{leaf:?}"),
        }
    }

    #[test]
    fn a_path_selects_exactly_the_values_of_its_steps() {
        let text = r#"{"a":[{"b":1},{"b":-2.5}],"c":{"d":3,"":4},"e":[[5,6],[7]],"f.g":18446744073709551615,"h":[null],"k":"x\n\"","l":[true,{}]}"#;
        let check = |path: &str, expected: &[&str]| assert_eq!(seen(text, path), expected, "{path}");
        check("a[].b", &["Int(1)", "Float(-2.5)"]);
        check("a[1].b", &["Float(-2.5)"]);
        check("a[2].b", &[]);
        check("a.b", &[]);
        check("a", &["Nested", "Nested"]);
        check("c", &["Nested"]);
        check("c.d", &["Int(3)"]);
        check("c.\"\"", &["Int(4)"]);
        check("c[].d", &[]);
        check("c[0]", &[]);
        check("e", &["Nested", "Nested"]);
        check("e[]", &["Int(5)", "Int(6)", "Int(7)"]);
        check("e[][]", &["Int(5)", "Int(6)", "Int(7)"]);
        check("e[0][1]", &["Int(6)"]);
        check("e[][1]", &["Int(6)"]);
        check("\"f.g\"", &["Float(1.8446744073709552e19)"]);
        check("f.g", &[]);
        check("h", &["Null"]);
        check("h[]", &["Null"]);
        check("h[0].x", &[]);
        check("k", &[r#""x\n\"""#]);
        check("k.x", &[]);
        check("l", &["Bool(true)", "Nested"]);
    }

    #[test]
    fn nothing_is_found_in_no_payload_or_behind_damage() {
        assert!(seen("", "a").is_empty());
        assert!(seen("[1]", "a").is_empty());
        assert!(seen(r#"{"b":nul,"a":1}"#, "a").is_empty());
    }

    /// The same through a tree.
    fn by_tree(value: &Value, steps: &[PathStep], found: &mut Vec<String>) {
        let shown = |value: &Value| {
            shown(match value {
                Value::Null => Leaf::Null,
                Value::Bool(truth) => Leaf::Bool(*truth),
                Value::Number(number) => {
                    number.as_i64().map_or_else(|| Leaf::Float(number.as_f64().unwrap()), Leaf::Int)
                }
                Value::String(text) => Leaf::Text(text),
                _ => Leaf::Nested,
            })
        };
        match (steps.split_first(), value) {
            (None, Value::Array(elements)) => found.extend(elements.iter().map(shown)),
            (None, value) => found.push(shown(value)),
            (Some((PathStep::Key(name), rest)), Value::Object(fields)) => {
                fields.get(name).into_iter().for_each(|value| by_tree(value, rest, found));
            }
            (Some((PathStep::Index(index), rest)), Value::Array(elements)) => {
                elements.get(*index).into_iter().for_each(|value| by_tree(value, rest, found));
            }
            (Some((PathStep::Each, rest)), Value::Array(elements)) => {
                elements.iter().for_each(|value| by_tree(value, rest, found));
            }
            _ => {}
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            (-1e9..1e9).prop_map(Value::from),
            "[ab\"\\\\\n\u{e9}]{0,3}".prop_map(Value::from),
        ];
        scalar.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[ab]|\u{e9}|", inner, 0..4).prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn text_and_tree_agree(
            fields in prop::collection::btree_map("[ab]", value(), 0..3),
            path in "[ab](\\.[ab]|\\.\u{e9}|\\.\"\"|\\[\\]|\\[[01]\\]){0,3}",
        ) {
            let tree: Value = fields.into_iter().collect();
            let parsed: PayloadPath = path.parse().unwrap();
            let mut expected = Vec::new();
            by_tree(&tree, parsed.steps(), &mut expected);
            prop_assert_eq!(seen(&tree.to_string(), &path), expected);
        }
    }
}
