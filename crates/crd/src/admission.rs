//! Admission as in the API server, without one: [`admit`].
//!
//! ```text
//!   document ─► metadata ─► nulls dropped ─► unknown fields ─► defaults ─► schema, list types ─► rules (CEL) ─► admitted
//! ```
//!
//! It reads the installed definitions, so there is no second set of rules. As in the API server, CEL rules run only on
//! a document that fits the schema.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::cel::{Validator, apply_defaults};
use serde_json::{Map, Value, json};

use crate::{GROUP, VERSION, definitions};

/// A violation in one field of a document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {fault}")]
pub struct Fault {
    /// Its path, for example `spec.resources.requests.cpu`.
    pub field: String,
    /// The violated constraint.
    pub fault: String,
}

/// The document with its defaults, as the API server would store a new one. Its `status`, which only the operator
/// writes, is dropped.
///
/// # Errors
/// All violations for which the API server would refuse it; never empty.
pub fn admit(document: &Value) -> Result<Value, Vec<Fault>> {
    let version = format!("{GROUP}/{VERSION}");
    if document["apiVersion"] != version.as_str() {
        return Err(vec![fault("apiVersion", format!("must be {version} (got {})", document["apiVersion"]))]);
    }
    let Some(Kind { schema, structure }) = document["kind"].as_str().and_then(|kind| KINDS.get(kind)) else {
        return Err(vec![fault("kind", format!("{} is no kind of {version}", document["kind"]))]);
    };
    let mut faults = metadata(&document["metadata"]);
    let mut object = document.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    drop_nulls(schema, &mut object);
    unknown_fields(schema, &object, "", &mut faults);
    let mut object = apply_defaults(schema, &object);
    for error in structure.iter_errors(&object) {
        let pointer = error.instance_path().as_str().trim_start_matches('/').replace('/', ".");
        faults.push(fault(pointer, error.to_string()));
    }
    list_types(schema, &object, "", &mut faults);
    // To rules, a null is an absent field.
    drop_all_nulls(&mut object);
    if faults.is_empty()
        && let Err(broken) = Validator::new().validate(schema, &object, None)
    {
        faults.extend(broken.into_iter().map(|error| fault(error.field_path.trim_start_matches('.'), error.message)));
    }
    if faults.is_empty() { Ok(object) } else { Err(faults) }
}

fn fault(field: impl Into<String>, fault: impl Into<String>) -> Fault {
    Fault { field: field.into(), fault: fault.into() }
}

fn below(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

/// Schema and rules for documents of one kind.
struct Kind {
    /// The installed schema, with the three fields that every object has.
    schema: Value,
    /// Its types, bounds, patterns and required fields.
    structure: jsonschema::Validator,
}

static KINDS: LazyLock<BTreeMap<String, Kind>> = LazyLock::new(|| {
    let options = jsonschema::options()
        .with_draft(jsonschema::Draft::Draft7)
        .with_pattern_options(jsonschema::PatternOptions::regex());
    let kind = |definition: CustomResourceDefinition| {
        let version = definition.spec.versions.into_iter().find(|version| version.name == VERSION)?;
        let schema = serde_json::to_value(version.schema?.open_api_v3_schema?).expect("schemas have text keys only");
        let schema = with_common_fields(schema);
        let structure = options.build(&json_schema(&schema)).expect("the schemas of our definitions are well-formed");
        Some((definition.spec.names.kind, Kind { schema, structure }))
    };
    definitions().into_iter().filter_map(kind).collect()
});

fn with_common_fields(mut schema: Value) -> Value {
    for (field, type_) in [("apiVersion", "string"), ("kind", "string"), ("metadata", "object")] {
        schema["properties"][field] = json!({ "type": type_ });
    }
    // `metadata` is checked separately; rules may read the name.
    schema["properties"]["metadata"]["x-kubernetes-preserve-unknown-fields"] = true.into();
    schema["properties"]["metadata"]["properties"] = json!({ "name": { "type": "string" } });
    schema
}

/// Fields that a user may set, and fields of an object that was read back.
const METADATA: [&str; 15] = [
    "name",
    "generateName",
    "namespace",
    "labels",
    "annotations",
    "finalizers",
    "ownerReferences",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
];

fn metadata(value: &Value) -> Vec<Fault> {
    let Some(fields) = value.as_object() else { return vec![fault("metadata", "must be an object with a name")] };
    let meta: ObjectMeta = match serde_json::from_value(value.clone()) {
        Ok(meta) => meta,
        Err(error) => return vec![fault("metadata", error.to_string())],
    };
    let mut faults = Vec::new();
    for unknown in fields.keys().filter(|field| !METADATA.contains(&field.as_str())) {
        faults.push(fault(format!("metadata.{unknown}"), "unknown field"));
    }
    let label = |text: &str, most: usize| {
        let edge = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let bytes = text.as_bytes();
        let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
        text.len() <= most && bytes.iter().all(inner) && edge(bytes.first()) && edge(bytes.last())
    };
    match &meta.name {
        Some(name) if name.len() <= 253 && name.split('.').all(|part| label(part, 253)) => {}
        None if meta.generate_name.is_some() => {}
        name => faults.push(fault("metadata.name", format!("must be a lower-case DNS name (got {name:?})"))),
    }
    if let Some(namespace) = meta.namespace.filter(|namespace| !label(namespace, 63)) {
        faults.push(fault("metadata.namespace", format!("must be a lower-case DNS label (got {namespace:?})")));
    }
    for (key, value) in meta.labels.into_iter().flatten() {
        if !is_qualified(&key) || !(value.is_empty() || is_label_value(&value)) {
            faults.push(fault("metadata.labels", format!("{key}={value} is no label of Kubernetes")));
        }
    }
    for key in meta.annotations.into_iter().flatten().map(|(key, _)| key).filter(|key| !is_qualified(key)) {
        faults.push(fault("metadata.annotations", format!("{key} is no key of Kubernetes")));
    }
    faults
}

/// A key of a label or an annotation: a name of at most 63 bytes, with or without a DNS name before a slash.
fn is_qualified(key: &str) -> bool {
    let (prefix, name) = key.rsplit_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let is_prefix = |prefix: &str| {
        (1..=253).contains(&prefix.len()) && prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b))
    };
    prefix.is_none_or(is_prefix) && is_label_value(name)
}

fn is_label_value(text: &str) -> bool {
    let bytes = text.as_bytes();
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._".contains(byte);
    text.len() <= 63 && bytes.iter().all(inner) && edge(bytes.first()) && edge(bytes.last())
}

/// Drops nulls of fields that are not nullable: the API server prunes them before it adds defaults.
fn drop_nulls(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, field| !field.is_null() || schema["properties"][name]["nullable"] == true);
            fields.iter_mut().for_each(|(name, field)| drop_nulls(&schema["properties"][name], field));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| drop_nulls(&schema["items"], item)),
        _ => {}
    }
}

fn drop_all_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(drop_all_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_all_nulls),
        _ => {}
    }
}

/// Fields that the schema does not have. The API server prunes them, or refuses them in strict mode, which kubectl and
/// Argo CD request.
fn unknown_fields(schema: &Value, value: &Value, path: &str, faults: &mut Vec<Fault>) {
    if schema["x-kubernetes-preserve-unknown-fields"] == true {
        return;
    }
    match (value, schema["properties"].as_object()) {
        (Value::Object(fields), Some(known)) => {
            for (name, field) in fields {
                match known.get(name) {
                    Some(schema) => unknown_fields(schema, field, &below(path, name), faults),
                    None => faults.push(fault(below(path, name), "unknown field")),
                }
            }
        }
        // An object without properties, such as `direct: {}`, has no fields.
        (Value::Object(fields), None) if schema["type"] == "object" && schema["additionalProperties"].is_null() => {
            faults.extend(fields.keys().map(|name| fault(below(path, name), "unknown field")));
        }
        (Value::Array(items), _) => {
            for (at, item) in items.iter().enumerate() {
                unknown_fields(&schema["items"], item, &format!("{path}[{at}]"), faults);
            }
        }
        _ => {}
    }
}

/// Converts a structural schema of Kubernetes to JSON Schema: `nullable` and `x-kubernetes-int-or-string` become types.
fn json_schema(schema: &Value) -> Value {
    let Some(fields) = schema.as_object() else { return schema.clone() };
    let mut out = Map::new();
    for (key, value) in fields {
        let value = match key.as_str() {
            "properties" => {
                let fields = value.as_object().into_iter().flatten();
                fields.map(|(name, field)| (name.clone(), json_schema(field))).collect::<Map<_, _>>().into()
            }
            "items" | "additionalProperties" | "not" => json_schema(value),
            "allOf" | "anyOf" | "oneOf" => value.as_array().into_iter().flatten().map(json_schema).collect(),
            // Defaults are already added; formats of numbers say no more than the bounds.
            "nullable" | "default" | "format" | "description" => continue,
            key if key.starts_with("x-kubernetes-") => continue,
            _ => value.clone(),
        };
        out.insert(key.clone(), value);
    }
    if schema["x-kubernetes-int-or-string"] == true {
        out.insert("type".into(), json!(["integer", "string"]));
    }
    if schema["nullable"] == true {
        let types = out.remove("type").map(|types| if types.is_array() { types } else { json!([types]) });
        if let Some(Value::Array(mut types)) = types {
            types.push("null".into());
            out.insert("type".into(), types.into());
        }
    }
    out.into()
}

/// Checks that lists that are sets or maps have no duplicates.
fn list_types(schema: &Value, value: &Value, path: &str, faults: &mut Vec<Fault>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                list_types(&schema["properties"][name], field, &below(path, name), faults);
            }
        }
        Value::Array(items) => {
            let keys: Vec<&str> = schema["x-kubernetes-list-map-keys"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            let mut seen = BTreeSet::new();
            for (at, item) in items.iter().enumerate() {
                let path = format!("{path}[{at}]");
                let key = match schema["x-kubernetes-list-type"].as_str() {
                    Some("set") => Some(item.to_string()),
                    Some("map") => Some(keys.iter().map(|key| item[*key].to_string()).collect::<Vec<_>>().join(",")),
                    _ => None,
                };
                if key.is_some_and(|key| !seen.insert(key)) {
                    faults.push(fault(&path, "stands twice"));
                }
                list_types(&schema["items"], item, &path, faults);
            }
        }
        _ => {}
    }
}
