//! `meridian render` decides on the specs of tests/admission/cases.yaml as the API server does;
//! tests/e2e/test_0_admission.py checks the API server.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::path::Path;

use meridian_plan::{OfflineError, Settings, render_offline};
use serde_json::Value;

/// The document of a case.
fn document(table: &Value, case: &Value) -> Value {
    let mut document = table["bases"][case["base"].as_str().unwrap()].clone();
    let (parent, field) = case["at"].as_str().unwrap().rsplit_once('/').unwrap();
    let parent = document.pointer_mut(parent).unwrap();
    match (parent, case.get("value")) {
        (Value::Object(fields), None) => drop(fields.remove(field).expect("what is removed is there")),
        (Value::Object(fields), Some(value)) => drop(fields.insert(field.into(), value.clone())),
        (other, _) => panic!("{other} has no fields"),
    }
    document
}

/// The result of `render` for the document, with the other base document so that a link finds its cluster.
fn render(table: &Value, case: &Value) -> Result<String, OfflineError> {
    let cluster = if case["base"] == "link" { table["bases"]["cluster"].clone() } else { Value::Null };
    let documents = [cluster, document(table, case)];
    let yaml: Vec<String> = documents.iter().map(|document| serde_saphyr::to_string(document).unwrap()).collect();
    render_offline(&yaml.join("\n---\n"), &Settings::default())
}

fn table() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/admission/cases.yaml");
    serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn specs_that_the_api_server_refuses_are_not_rendered() {
    let table = table();
    let refused = table["refused"].as_array().unwrap();
    assert!(refused.len() >= 60, "only {} cases", refused.len());
    let rendered: Vec<&Value> = refused.iter().filter(|case| render(&table, case).is_ok()).collect();
    assert!(rendered.is_empty(), "rendered: {rendered:#?}");
    // The schema must refuse it, not the parser behind it: the API server has no parser.
    let missed: Vec<(&Value, String)> = refused
        .iter()
        .filter_map(|case| match render(&table, case) {
            Err(OfflineError::NotAdmitted { .. }) => None,
            Err(other) => Some((&case["what"], other.to_string())),
            Ok(_) => None,
        })
        .collect();
    assert!(missed.is_empty(), "refused, but not by the schema: {missed:#?}");
}

#[test]
fn specs_that_the_api_server_accepts_are_rendered() {
    let table = table();
    for case in table["accepted"].as_array().unwrap() {
        if let Err(error) = render(&table, case) {
            panic!("{}: {error}: {:?}", case["what"], std::error::Error::source(&error));
        }
    }
}
