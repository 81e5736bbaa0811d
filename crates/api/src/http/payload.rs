//! Payloads in canonical form: keys sorted by bytes, no spaces. 64-bit integers and doubles keep their value.
//!
//! The text is written while the body is parsed, without a JSON tree, which would take ten times the text and more.

use std::fmt;
use std::ops::Range;

use meridian_model::{MAX_PAYLOAD_BYTES, Payload};
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::meter::{HEADER, Text, charge, charge_push, mark, release};

/// A growing text takes up to twice its length; the copy that sorts keys takes it once more.
const GROWTH: usize = 3;

/// An object in canonical form.
pub struct PayloadText(String);

/// The payload of a point; the empty object is the empty payload.
pub fn payload(object: Option<PayloadText>) -> Payload {
    match object {
        Some(PayloadText(text)) if text != "{}" => Payload(text.into()),
        _ => Payload::default(),
    }
}

impl<'de> Deserialize<'de> for PayloadText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = String;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<String, A::Error> {
                let mut text = String::new();
                Written(&mut text).visit_map(map)?;
                Ok(text)
            }
        }
        let before = mark();
        let text = deserializer.deserialize_map(Object)?;
        // The lists of keys and the spare capacity of the text are freed by now.
        release(before);
        charge::<D::Error>(text.len() + HEADER)?;
        Ok(Self(text))
    }
}

/// Refuses a payload while it is parsed, once it is too long. The shard checks the exact length.
fn within<E: Error>(text: &str) -> Result<(), E> {
    if text.len() > MAX_PAYLOAD_BYTES {
        return Err(E::custom(format_args!("payload must be at most {MAX_PAYLOAD_BYTES} bytes (got more)")));
    }
    Ok(())
}

/// Appends a value in canonical form.
struct Written<'a>(&'a mut String);

impl Written<'_> {
    fn scalar<E: Error>(self, scalar: impl serde::Serialize) -> Result<(), E> {
        let text = serde_json::to_string(&scalar).map_err(E::custom)?;
        within(self.0)?;
        charge::<E>(text.len() * GROWTH)?;
        self.0.push_str(&text);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Written<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Written<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any valid JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.0.push_str("null");
        Ok(())
    }

    fn visit_bool<E: Error>(self, truth: bool) -> Result<(), E> {
        self.0.push_str(if truth { "true" } else { "false" });
        Ok(())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.scalar(number)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.scalar(number)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        self.scalar(number)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.scalar(text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        charge::<A::Error>(2 * GROWTH)?;
        let out = self.0;
        within::<A::Error>(out)?;
        out.push('[');
        let begun = out.len();
        while list.next_element_seed(Separated { out: &mut *out, begun })?.is_some() {}
        out.push(']');
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let out = self.0;
        let begun = out.len();
        let mut entries: Vec<(Text, Range<usize>)> = Vec::new();
        while let Some(name) = map.next_key::<Text>()? {
            let from = out.len();
            Written(&mut *out).scalar::<A::Error>(name.0.as_str())?;
            out.push(':');
            map.next_value_seed(Written(&mut *out))?;
            charge_push::<_, A::Error>(&entries)?;
            entries.push((name, from..out.len()));
        }
        // The last value of a repeated key wins.
        let twice = entries.len();
        entries.reverse();
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        entries.dedup_by(|(later, _), (first, _)| later == first);
        let mut sorted = String::with_capacity(out.len() - begun + twice + 2);
        sorted.push('{');
        for (at, (_, place)) in entries.iter().enumerate() {
            if at > 0 {
                sorted.push(',');
            }
            sorted.push_str(&out[place.clone()]);
        }
        sorted.push('}');
        out.truncate(begun);
        out.push_str(&sorted);
        Ok(())
    }
}

/// An element of a list, preceded by a comma unless it is the first.
struct Separated<'a> {
    out: &'a mut String,
    begun: usize,
}

impl<'de> DeserializeSeed<'de> for Separated<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.out.len() > self.begun {
            self.out.push(',');
        }
        deserializer.deserialize_any(Written(self.out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(&*payload(serde_json::from_str(text).unwrap()).0, expected);
    }

    #[test]
    fn keys_are_sorted_and_the_last_of_two_counts() {
        check(
            r#" { "b" : [ 1 , {"z":null,"a":[]} ] , "a" : "x\u00e9\n" } "#,
            "{\"a\":\"xé\\n\",\"b\":[1,{\"a\":[],\"z\":null}]}",
        );
        check(r#"{"a":1,"b":2,"a":{"c":3}}"#, r#"{"a":{"c":3},"b":2}"#);
        check(r#"{"":[[],[[]],{}],"é":true,"e":-1.5e300}"#, r#"{"":[[],[[]],{}],"e":-1.5e+300,"é":true}"#);
        check("{}", "");
    }

    #[test]
    fn a_payload_that_is_no_object_is_refused() {
        for text in ["[]", "1", "\"x\"", "{\"a\":1e999}"] {
            assert!(serde_json::from_str::<PayloadText>(text).is_err(), "{text}");
        }
    }
}
