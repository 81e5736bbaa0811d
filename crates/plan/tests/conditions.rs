//! `docs/conditions.md` explains every name that the operator writes, and no other.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::collections::BTreeSet;
use std::fs;

use meridian_crd::conditions::{EventReason, OperationType, Predicate, Reason, Type};

/// The cells of the table below a second-level heading, without its header.
fn table(heading: &str) -> Vec<Vec<String>> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/conditions.md");
    let page = fs::read_to_string(file).unwrap();
    let (_, section) = page.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| ")).skip(1);
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// Every name has one row, every row a name, and no cell is empty.
fn check(heading: &str, names: &[&str]) {
    let rows = table(heading);
    let explained: Vec<&str> = rows.iter().map(|row| row[0].trim_matches('`')).collect();
    assert_eq!(explained.len(), names.len(), "{heading}: {explained:?}");
    let (explained, names): (BTreeSet<_>, BTreeSet<_>) =
        (explained.into_iter().collect(), names.iter().copied().collect());
    assert_eq!(explained, names, "{heading}");
    assert!(rows.iter().flatten().all(|cell| !cell.is_empty()), "{heading}: an empty cell");
}

#[test]
fn every_name_is_explained() {
    check("Condition types", &Type::ALL.iter().map(|name| name.as_str()).collect::<Vec<_>>());
    check("Reasons", &Reason::ALL.iter().map(|name| name.as_str()).collect::<Vec<_>>());
    check("Operations", &OperationType::ALL.iter().map(|name| name.as_str()).collect::<Vec<_>>());
    check("Predicates", &Predicate::ALL.iter().map(|name| name.as_str()).collect::<Vec<_>>());
    check("Events", &EventReason::ALL.iter().map(|name| name.as_str()).collect::<Vec<_>>());
}

#[test]
fn reasons_name_conditions_that_exist() {
    let types: BTreeSet<&str> = Type::ALL.iter().map(|name| name.as_str()).collect();
    for row in table("Reasons").iter().filter(|row| row[1] != "all") {
        for type_ in row[1].split(", ") {
            assert!(types.contains(type_.trim_matches('`')), "{}: {type_}", row[0]);
        }
    }
}
