//! Payload text as a tree, and paths into it.

use meridian_model::{Fields, Payload};
use serde_json::{Map, Value};

/// The payload as a tree; no payload, or text that is no JSON, is an empty object: a filter finds nothing in it.
pub(crate) fn tree(payload: &Payload) -> Value {
    match serde_json::from_str(&payload.0) {
        Ok(value @ Value::Object(_)) => value,
        _ => Value::Object(Map::new()),
    }
}

/// Calls `found` for each value under `path` until it says true; says whether one did.
///
/// A path is names joined by dots; `name[]` steps into each element of a list.
pub(crate) fn any_at(value: &Value, path: &str, found: &mut impl FnMut(&Value) -> bool) -> bool {
    let (step, rest) = split(path);
    let (name, each) = match step.strip_suffix("[]") {
        Some(name) => (name, true),
        None => (step, false),
    };
    let Some(value) = value.as_object().and_then(|object| object.get(name)) else { return false };
    let mut go_on = |value: &Value| match rest {
        Some(rest) => any_at(value, rest, found),
        None => found(value),
    };
    match (each, value) {
        (true, Value::Array(elements)) => elements.iter().any(go_on),
        (true, _) => false,
        (false, value) => go_on(value),
    }
}

fn split(path: &str) -> (&str, Option<&str>) {
    path.split_once('.').map_or((path, None), |(step, rest)| (step, Some(rest)))
}

/// The fields that were asked for; `None` when the payload is to be left out.
pub(crate) fn select(payload: &Payload, tree: impl FnOnce() -> Value, fields: &Fields) -> Option<Payload> {
    match fields {
        Fields::None => None,
        Fields::All => Some(payload.clone()),
        Fields::Only(keys) => Some(text(keep(&tree(), keys.iter().map(String::as_str).collect()))),
        Fields::Without(keys) => {
            let mut tree = tree();
            keys.iter().for_each(|key| remove(&mut tree, key));
            Some(text(tree))
        }
    }
}

fn text(value: Value) -> Payload {
    match &value {
        Value::Object(fields) if fields.is_empty() => Payload::default(),
        _ => Payload(value.to_string().into()),
    }
}

/// What stands under any of `paths`, under the same names.
fn keep(value: &Value, paths: Vec<&str>) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter_map(|(name, value)| {
                let split = paths.iter().map(|path| split(path));
                let under = split.filter(|(step, _)| step.strip_suffix("[]").unwrap_or(step) == name);
                let rests: Vec<_> = under.map(|(_, rest)| rest).collect();
                if rests.is_empty() {
                    return None;
                }
                let whole = rests.contains(&None);
                let value = if whole { value.clone() } else { keep(value, rests.into_iter().flatten().collect()) };
                (whole || !is_bare(&value)).then(|| (name.clone(), value))
            });
            Value::Object(kept.collect())
        }
        Value::Array(elements) => {
            Value::Array(elements.iter().map(|e| keep(e, paths.clone())).filter(|e| !is_bare(e)).collect())
        }
        _ => Value::Null,
    }
}

fn is_bare(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(elements) => elements.is_empty(),
        _ => false,
    }
}

fn remove(value: &mut Value, path: &str) {
    if let Value::Array(elements) = value {
        elements.iter_mut().for_each(|element| remove(element, path));
    }
    let Some(fields) = value.as_object_mut() else { return };
    match split(path) {
        (step, None) => drop(fields.remove(step.strip_suffix("[]").unwrap_or(step))),
        (step, Some(rest)) => {
            if let Some(inner) = fields.get_mut(step.strip_suffix("[]").unwrap_or(step)) {
                remove(inner, rest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, fields: Fields, expected: &str) {
        let payload = Payload(text.into());
        let selected = select(&payload, || tree(&payload), &fields);
        assert_eq!(selected.as_ref().map(|p| &*p.0), Some(expected), "{fields:?}");
    }

    fn keys(keys: &[&str]) -> Vec<String> {
        keys.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_and_without_follow_paths() {
        let text = r#"{"a":{"b":1,"c":2},"d":[{"e":1,"f":2},{"f":3}],"g":null}"#;
        check(text, Fields::All, text);
        check(text, Fields::Only(keys(&["a.b"])), r#"{"a":{"b":1}}"#);
        check(text, Fields::Only(keys(&["d[].e", "g"])), r#"{"d":[{"e":1}],"g":null}"#);
        check(text, Fields::Only(keys(&["nowhere"])), "");
        check(text, Fields::Without(keys(&["a", "d[].f"])), r#"{"d":[{"e":1},{}],"g":null}"#);
    }

    #[test]
    fn a_path_steps_into_lists_only_where_it_says_so() {
        let tree = tree(&Payload(r#"{"a":[{"b":1},{"b":2}],"c":{"d":3}}"#.into()));
        let at = |path: &str| {
            let mut seen = Vec::new();
            any_at(&tree, path, &mut |value| {
                seen.push(value.to_string());
                false
            });
            seen
        };
        assert_eq!(at("a[].b"), ["1", "2"]);
        assert!(at("a.b").is_empty());
        assert_eq!(at("c.d"), ["3"]);
        assert!(at("c[].d").is_empty());
        assert!(at("").is_empty());
    }
}
