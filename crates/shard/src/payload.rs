//! Selection of the parts of a payload that a read requests.

use meridian_model::{Fields, PathStep, Payload, PayloadPath};
use serde_json::{Map, Value};

/// The payload as a tree; an absent or invalid payload is an empty object.
fn tree(payload: &Payload) -> Value {
    match serde_json::from_str(&payload.0) {
        Ok(value @ Value::Object(_)) => value,
        _ => Value::Object(Map::new()),
    }
}

/// The requested fields; `None` if the payload is not requested.
pub(crate) fn select(payload: &Payload, fields: &Fields) -> Option<Payload> {
    match fields {
        Fields::None => None,
        Fields::All => Some(payload.clone()),
        Fields::Only(paths) => Some(text(include(&tree(payload), &steps(paths)))),
        Fields::Without(paths) => {
            let mut tree = tree(payload);
            exclude(&mut tree, &steps(paths));
            Some(text(tree))
        }
    }
}

fn steps(paths: &[PayloadPath]) -> Vec<&[PathStep]> {
    paths.iter().map(PayloadPath::steps).collect()
}

fn text(value: Value) -> Payload {
    match &value {
        Value::Object(fields) if fields.is_empty() => Payload::default(),
        _ => Payload(value.to_string().into()),
    }
}

/// The rest of those paths that begin with this step.
fn behind<'a>(paths: &[&'a [PathStep]], is_step: impl Fn(&PathStep) -> bool) -> Vec<&'a [PathStep]> {
    paths
        .iter()
        .filter_map(|steps| steps.split_first())
        .filter(|(step, _)| is_step(step))
        .map(|(_, rest)| rest)
        .collect()
}

fn behind_key<'a>(paths: &[&'a [PathStep]], name: &str) -> Vec<&'a [PathStep]> {
    behind(paths, |step| matches!(step, PathStep::Key(key) if key == name))
}

fn behind_each<'a>(paths: &[&'a [PathStep]]) -> Vec<&'a [PathStep]> {
    behind(paths, |step| *step == PathStep::Each)
}

/// Keeps the values at `paths` and the structure that leads to them, as Qdrant does: elements of an array keep their
/// index, and a scalar stays even if a path continues beyond it.
fn include(value: &Value, paths: &[&[PathStep]]) -> Value {
    if paths.iter().any(|steps| steps.is_empty()) {
        return value.clone();
    }
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter_map(|(name, value)| {
                let paths = behind_key(paths, name);
                (!paths.is_empty()).then(|| (name.clone(), include(value, &paths)))
            });
            Value::Object(kept.collect())
        }
        Value::Array(elements) => {
            let paths = behind_each(paths);
            let elements = if paths.is_empty() { &[] } else { elements.as_slice() };
            Value::Array(elements.iter().map(|element| include(element, &paths)).collect())
        }
        scalar => scalar.clone(),
    }
}

/// Removes the values at `paths`, none of which is empty.
fn exclude(value: &mut Value, paths: &[&[PathStep]]) {
    let ends = |paths: &[&[PathStep]]| paths.iter().any(|steps| steps.is_empty());
    match value {
        Value::Object(fields) => fields.retain(|name, value| {
            let paths = behind_key(paths, name);
            let stays = !ends(&paths);
            if stays {
                exclude(value, &paths);
            }
            stays
        }),
        Value::Array(elements) => {
            let paths = behind_each(paths);
            if ends(&paths) {
                elements.clear();
            }
            elements.iter_mut().for_each(|element| exclude(element, &paths));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, fields: Fields, expected: &str) {
        let payload = Payload(text.into());
        let selected = select(&payload, &fields);
        assert_eq!(selected.as_ref().map(|p| &*p.0), Some(expected), "{fields:?}");
    }

    fn paths(texts: &[&str]) -> Vec<PayloadPath> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn only_and_without_follow_paths_as_qdrant_does() {
        let text = r#"{"a":{"b":1,"c":2},"d":[{"e":1,"f":2},{"f":3},4],"g":null,"h.i":[[1],[2]]}"#;
        let only = |texts: &[&str], expected| check(text, Fields::Only(paths(texts)), expected);
        check(text, Fields::All, text);
        only(&["a.b"], r#"{"a":{"b":1}}"#);
        only(&["a.b.z", "a.c"], r#"{"a":{"b":1,"c":2}}"#);
        only(&["d[].e", "g"], r#"{"d":[{"e":1},{},4],"g":null}"#);
        only(&["d.e"], r#"{"d":[]}"#);
        only(&["d[]"], r#"{"d":[{"e":1,"f":2},{"f":3},4]}"#);
        only(&["\"h.i\"[]"], r#"{"h.i":[[1],[2]]}"#);
        only(&["h.i"], "");
        only(&["nowhere", "a[]"], r#"{"a":{}}"#);
        let without = |texts: &[&str], expected| check(text, Fields::Without(paths(texts)), expected);
        without(&["a", "d[].f", "\"h.i\""], r#"{"d":[{"e":1},{},4],"g":null}"#);
        without(&["a.b", "d[]", "\"h.i\"[][]"], r#"{"a":{"c":2},"d":[],"g":null,"h.i":[[],[]]}"#);
        without(&["d.f", "h.i", "a[]"], text);
    }
}
