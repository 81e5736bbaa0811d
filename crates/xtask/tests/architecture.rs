//! `ARCHITECTURE.md` is current: its picture has the dependencies of the crates, and its table names places that exist.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

type Edges = BTreeMap<String, BTreeSet<String>>;

/// Crates that all others use, or that draw no arrows: the page says that they are left out.
const NOT_DRAWN: &str = "model";

fn page() -> String {
    let page = std::fs::read_to_string(meridian_xtask::root().join("ARCHITECTURE.md"));
    page.expect("the page is in the repository")
}

/// Dependencies of each crate outside of tests, without the prefix `meridian-` and without [`NOT_DRAWN`].
fn dependencies() -> Edges {
    let manifest = meridian_xtask::root().join("Cargo.toml");
    let metadata =
        MetadataCommand::new().manifest_path(manifest).no_deps().exec().expect("the workspace has a manifest");
    let short = |name: &str| name.strip_prefix("meridian-").map(ToOwned::to_owned);
    let used = |package: &cargo_metadata::Package| {
        let normal = package.dependencies.iter().filter(|dependency| dependency.kind != DependencyKind::Development);
        normal.filter_map(|dependency| short(&dependency.name)).filter(|name| name != NOT_DRAWN).collect()
    };
    metadata.packages.iter().filter_map(|package| Some((short(&package.name)?, used(package)))).collect()
}

/// Arrows of the picture. A branch (`├` or `└`) starts at the name left of the `┬` above it; names after an arrow may be a list.
fn arrows(picture: &str) -> Edges {
    let lines: Vec<Vec<char>> = picture.lines().map(|line| line.chars().collect()).collect();
    let mut edges = Edges::new();
    for (row, line) in lines.iter().enumerate() {
        for end in (0..line.len()).filter(|at| line[*at] == '►') {
            let mut start = end;
            while start > 0 && !"├└".contains(line[start]) && !line[start - 1].is_ascii_lowercase() {
                start -= 1;
            }
            let source = match line[start] {
                '├' | '└' => (0..row).rev().find_map(|above| {
                    let line = &lines[above];
                    (line.get(start) == Some(&'┬')).then(|| name_before(line, start))
                }),
                _ => Some(name_before(line, start)),
            };
            let source = source.unwrap_or_else(|| panic!("line {row} of the picture: a branch without a start"));
            let rest: String = line[end + 1..].iter().collect();
            let list = rest.trim_start().split("  ").next().unwrap_or_default().split(" ─").next().unwrap_or_default();
            let targets = list.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
            edges.entry(source).or_default().extend(targets);
        }
    }
    edges
}

/// The last word before column `end`.
fn name_before(line: &[char], end: usize) -> String {
    let word = |at: &usize| line[*at].is_ascii_lowercase();
    let last = (0..end).rev().find(word).expect("a name before the arrow");
    let first = (0..=last).rev().take_while(word).last().unwrap_or(last);
    line[first..=last].iter().collect()
}

/// Crates that `from` uses through others, at any distance of at least `steps`.
fn reachable(edges: &Edges, from: &str, steps: usize) -> BTreeSet<String> {
    let next = |names: &BTreeSet<String>| -> BTreeSet<String> {
        names.iter().filter_map(|name| edges.get(name)).flatten().cloned().collect()
    };
    let mut current = BTreeSet::from([from.to_owned()]);
    for _ in 0..steps {
        current = next(&current);
    }
    let mut found = current.clone();
    while !current.is_empty() {
        current = next(&current).difference(&found).cloned().collect();
        found.extend(current.iter().cloned());
    }
    found
}

#[test]
fn the_picture_shows_the_dependencies_of_the_crates() {
    let page = page();
    let (_, section) = page.split_once("## Crates").expect("the section of the crates");
    let picture = section.split("```").nth(1).and_then(|text| text.strip_prefix("text\n")).expect("the picture");
    let (drawn, real) = (arrows(picture), dependencies());
    let mut faults = Vec::new();
    for (owner, used) in &drawn {
        for name in used {
            if !real.get(owner).is_some_and(|used| used.contains(name)) {
                faults.push(format!("{owner} ─► {name} is drawn and is no dependency"));
            }
            if reachable(&real, owner, 2).contains(name) {
                faults.push(format!("{owner} ─► {name} is drawn and follows from others"));
            }
        }
    }
    for (owner, used) in &real {
        let shown = reachable(&drawn, owner, 1);
        faults.extend(used.difference(&shown).map(|name| format!("{owner} ─► {name} is not drawn")));
    }
    assert!(faults.is_empty(), "ARCHITECTURE.md, Crates: {faults:#?}");
}

/// `a/{b,c}.rs` → `a/b.rs`, `a/c.rs`.
fn expanded(path: &str) -> Vec<String> {
    match path.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?))) {
        Some((before, (list, after))) => list.split(',').map(|name| format!("{before}{name}{after}")).collect(),
        None => vec![path.to_owned()],
    }
}

/// Source text of a file, or of all files of a folder.
fn source(path: &std::path::Path) -> String {
    if path.is_dir() {
        let entries = std::fs::read_dir(path).expect("a folder of the repository").flatten();
        return entries.map(|entry| source(&entry.path())).collect();
    }
    std::fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn the_table_names_places_and_items_that_exist() {
    let (page, root) = (page(), meridian_xtask::root());
    let (_, section) = page.split_once("## Where to find it").expect("the section of the places");
    let section = section.split("\n## ").next().unwrap_or_default();
    let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect::<Vec<_>>();
    let mut faults = Vec::new();
    let rows = section.lines().filter(|line| line.starts_with("| ")).skip(1);
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let [_, places, items] = cells[..] else { continue };
        let mut text = String::new();
        for place in quoted(places).iter().flat_map(|place| expanded(place)) {
            let found = [root.join(&place), root.join("crates").join(&place)].into_iter().find(|path| path.exists());
            match found {
                Some(path) => text.push_str(&source(&path)),
                None => faults.push(format!("`{place}` does not exist")),
            }
        }
        // A link to another section of the page names no file.
        let missing = quoted(items).into_iter().filter(|item| !item.contains('.') && !text.is_empty());
        let missing = missing.filter(|item| !item.split("::").all(|part| text.contains(part)));
        faults.extend(missing.map(|item| format!("`{item}` is not in {places}")));
    }
    assert!(faults.is_empty(), "ARCHITECTURE.md, Where to find it: {faults:#?}");
}
