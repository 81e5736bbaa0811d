//! Rules of the repository: a crate uses only what its row allows. ARCHITECTURE.md draws the rows.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Allowed dependencies of each package, without the prefix `meridian-`.
const EDGES: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("pages", &[]),
    ("ann", &["pages"]),
    ("raft", &[]),
    ("store", &[]),
    ("crd", &[]),
    ("config", &["model"]),
    ("api", &["model", "config"]),
    ("proto", &["model"]),
    ("peer", &["model", "proto"]),
    ("shard", &["model", "ann", "store", "pages"]),
    ("gateway", &["model", "proto"]),
    ("replication", &["model", "proto", "shard"]),
    ("replica", &["model", "shard", "raft", "replication", "proto", "gateway"]),
    ("volume", &["model", "proto", "store", "shard", "replica"]),
    ("node", &["model", "replica", "api", "config", "proto", "store", "volume"]),
    ("plan", &["model", "crd", "config", "proto"]),
    ("operator", &["model", "plan", "crd", "proto"]),
    ("cli", &["model", "plan", "crd", "api", "config", "proto", "ann"]),
    ("sim", &["model", "replica", "store", "volume", "plan"]),
    ("xtask", &["crd", "plan"]),
    ("fuzz", &["model", "ann", "api", "cli", "config", "proto", "raft", "shard", "store"]),
];

/// Further dependencies, each with its reason.
const BESIDE: &[(&str, &str, &str)] = &[
    ("replica", "store", "settings are in log segments, and manifests of snapshots travel between replicas"),
    ("node", "peer", "the transport of the peer port: it answers there"),
    ("cli", "peer", "the transport of the peer port: the demo calls there as the operator does"),
    ("operator", "peer", "the transport of the peer port: it calls there"),
    ("cli", "shard", "`meridian bench formats` measures log entries"),
    ("node", "shard", "search threads read a shard's state beside the machine"),
    ("sim", "shard", "the oracles compare whole states"),
    ("sim", "raft", "faults are aimed at messages of the consensus"),
    ("sim", "proto", "its network carries the messages of real processes, and its operator makes real calls"),
    ("sim", "config", "the spec that its operator decides by names regions as the configuration does"),
];

/// Crates of others that a pure crate must never see: runtimes, sockets, the API server.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("model", &["tokio", "kube", "axum", "hyper", "rdkafka", "rand"]),
    ("pages", &["tokio", "kube", "axum", "hyper", "rdkafka", "rand"]),
    ("ann", &["tokio", "kube", "axum", "hyper", "rdkafka", "serde_json"]),
    ("raft", &["tokio", "kube", "axum", "hyper", "rdkafka"]),
    ("store", &["tokio", "kube", "axum", "hyper", "rdkafka"]),
    ("proto", &["tokio", "kube", "axum", "hyper", "rdkafka", "rand"]),
    ("api", &["tokio", "kube", "axum", "hyper", "rdkafka", "rand"]),
    ("config", &["tokio", "kube", "axum", "hyper", "rdkafka", "rand"]),
    ("shard", &["tokio", "kube", "axum", "hyper", "rdkafka", "rand"]),
    ("gateway", &["tokio", "kube", "axum", "hyper", "rdkafka", "rand"]),
    ("replication", &["tokio", "kube", "axum", "hyper", "rdkafka", "rand"]),
    ("replica", &["tokio", "kube", "axum", "hyper", "rdkafka", "rand"]),
    ("volume", &["tokio", "kube", "axum", "hyper", "rdkafka", "rand"]),
    ("plan", &["tokio", "axum", "hyper", "rdkafka", "rand", "futures"]),
    ("crd", &["tokio", "axum", "hyper", "rdkafka", "rand"]),
];

/// What each package of the workspace uses outside its tests.
fn uses() -> BTreeMap<String, BTreeSet<String>> {
    let manifest = meridian_xtask::root().join("Cargo.toml");
    let metadata =
        MetadataCommand::new().manifest_path(manifest).no_deps().exec().expect("the workspace has a manifest");
    let used = |package: &cargo_metadata::Package| {
        let normal = package.dependencies.iter().filter(|dependency| dependency.kind != DependencyKind::Development);
        normal.map(|dependency| dependency.name.clone()).collect()
    };
    metadata.packages.iter().map(|package| (package.name.to_string(), used(package))).collect()
}

fn short(package: &str) -> Option<&str> {
    package.strip_prefix("meridian-")
}

fn beside(owner: &str, used: &str) -> bool {
    BESIDE.iter().any(|(by, of, _)| (*by, *of) == (owner, used))
}

#[test]
fn no_crate_uses_what_it_may_not() {
    let mut faults = Vec::new();
    for (package, used) in uses() {
        let name = short(&package).unwrap_or(&package).to_owned();
        let Some((_, allowed)) = EDGES.iter().find(|(owner, _)| *owner == name) else {
            faults.push(format!("{package} has no row"));
            continue;
        };
        let ours = used.iter().filter_map(|other| short(other));
        faults.extend(
            ours.filter(|other| !allowed.contains(other) && !beside(&name, other))
                .map(|other| format!("{name} uses {other}")),
        );
    }
    assert!(faults.is_empty(), "forbidden edges: {faults:?}");
}

#[test]
fn pure_crates_stay_pure() {
    let uses = uses();
    let mut faults = Vec::new();
    for (name, forbidden) in FORBIDDEN {
        let used = uses.get(&format!("meridian-{name}"));
        faults.extend(
            used.into_iter()
                .flatten()
                .filter(|other| forbidden.contains(&other.as_str()))
                .map(|o| format!("{name} uses {o}")),
        );
    }
    assert!(faults.is_empty(), "forbidden edges: {faults:?}");
}

/// Files below `folder` whose name ends with `suffix`.
fn files(folder: &std::path::Path, suffix: &str, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of the repository").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, suffix, found);
        } else if path.to_string_lossy().ends_with(suffix) {
            found.push(path);
        }
    }
}

#[test]
fn a_format_page_that_is_named_is_there() {
    let mut faults = Vec::new();
    for package in
        std::fs::read_dir(meridian_xtask::root().join("crates")).expect("a folder of the repository").flatten()
    {
        let (mut sources, mut pages) = (Vec::new(), Vec::new());
        files(&package.path(), ".rs", &mut sources);
        files(&package.path(), "FORMAT.md", &mut pages);
        let names = |source: &std::path::PathBuf| {
            !source.ends_with("tests/tidy.rs")
                && std::fs::read_to_string(source).is_ok_and(|text| text.contains("FORMAT.md"))
        };
        faults.extend(sources.into_iter().filter(|source| pages.is_empty() && names(source)));
    }
    assert!(faults.is_empty(), "these name a FORMAT.md that is not there: {faults:?}");
}

#[test]
fn the_rows_have_no_cycle() {
    let mut left: BTreeMap<&str, BTreeSet<&str>> =
        EDGES.iter().map(|(owner, used)| (*owner, used.iter().copied().collect())).collect();
    for (owner, used, _) in BESIDE {
        left.entry(owner).or_default().insert(used);
    }
    while !left.is_empty() {
        let free: Vec<&str> = left.iter().filter(|(_, used)| used.is_empty()).map(|(owner, _)| *owner).collect();
        assert!(!free.is_empty(), "a cycle among {:?}", left.keys());
        for owner in free {
            left.remove(owner);
            left.values_mut().for_each(|used| used.retain(|other| *other != owner));
        }
    }
}

/// Enables the bugs that the simulation puts in on purpose.
const FAULT_INJECTION: &str = "fault-injection";
/// The only package that enables them.
const SIMULATION: &str = "meridian-sim";

/// The crates of ours with `fault-injection`, as cargo resolves features when it builds these packages together.
fn with_fault_injection(packages: &[&str]) -> BTreeSet<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = std::process::Command::new(cargo);
    command.current_dir(meridian_xtask::root());
    command.args(["tree", "--locked", "--edges", "normal,build", "--prefix", "none", "--format", "{p}|{f}"]);
    command.args(packages.iter().flat_map(|package| ["--package", *package]));
    let output = command.output().expect("cargo runs, as it runs this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("names are UTF-8");
    let lines: Vec<(&str, &str)> = text.lines().filter_map(|line| line.split_once('|')).collect();
    for package in packages {
        let listed = lines.iter().any(|(listed, _)| listed.split(' ').next() == Some(package));
        assert!(listed, "{package} is not in its own tree");
    }
    let has = |features: &str| features.split([',', ' ']).any(|feature| feature == FAULT_INJECTION);
    let name = |package: &str| package.split(' ').next().unwrap_or_default().to_owned();
    lines.iter().filter(|(_, features)| has(features)).map(|(package, _)| name(package)).collect()
}

#[test]
fn the_binaries_are_built_without_fault_injection() {
    let binaries = ["meridian-node", "meridian-operator", "meridian-cli"];
    for binary in binaries {
        assert_eq!(with_fault_injection(&[binary]), BTreeSet::new(), "in {binary}");
    }
    assert_eq!(with_fault_injection(&binaries), BTreeSet::new());
    // The check sees the feature where it is.
    let simulation = with_fault_injection(&[SIMULATION]);
    assert!(simulation.contains("meridian-replica"), "{simulation:?}");
}

/// Test targets and binary of the simulation.
const SIMULATION_TARGETS: [&str; 3] = [SIMULATION, "parts", "simulation"];

/// Whether a cargo call builds programs of other packages with the features that the simulation selects.
fn builds_injected_bugs(call: &str) -> bool {
    let words: Vec<&str> = call.split_whitespace().collect();
    let values = |flag| words.windows(2).filter(move |pair| pair[0] == flag).map(|pair| pair[1]);
    let packages = values("-p").count();
    if packages > 0 {
        return packages > 1 && values("-p").any(|package| package == SIMULATION);
    }
    // Lints and documents make no programs.
    let is_read = ["check", "clippy", "doc"].iter().any(|verb| call.contains(&format!("cargo {verb} ")));
    if is_read || values("--exclude").any(|package| package == SIMULATION) {
        return false;
    }
    let kinds = ["--all-targets", "--bins", "--examples", "--lib", "--tests"];
    let mut targets = values("--bin").chain(values("--test")).peekable();
    targets.peek().is_none()
        || !targets.all(|target| SIMULATION_TARGETS.contains(&target))
        || words.iter().any(|word| kinds.contains(word))
}

/// The cargo calls of a script or Makefile: continued lines are joined, and variables of the Makefile replaced.
fn cargo_calls(text: &str) -> Vec<String> {
    let text = text.replace("\\\n", " ");
    let variables: Vec<(String, &str)> = text
        .lines()
        .filter_map(|line| line.split_once(" := "))
        .map(|(name, value)| (format!("$({name})"), value))
        .collect();
    let verbs = ["build", "check", "clippy", "doc", "run", "test"];
    let calls = text.lines().filter(|line| verbs.iter().any(|verb| line.contains(&format!("cargo {verb} "))));
    let replaced = |line: &str| variables.iter().fold(line.to_owned(), |line, (name, value)| line.replace(name, value));
    calls.map(replaced).collect()
}

/// Cargo unifies the features of all packages of one call, so that a call with the simulation and the binaries would build
/// binaries with injected bugs.
#[test]
fn no_cargo_call_builds_the_simulation_with_the_binaries() {
    let root = meridian_xtask::root();
    let (mut scripts, mut faults) = (vec![root.join("Makefile"), root.join(".ci/run")], Vec::new());
    for folder in ["scripts", ".github", "tests"] {
        files(&root.join(folder), "", &mut scripts);
    }
    for script in scripts {
        // Some files are not text.
        let text = String::from_utf8_lossy(&std::fs::read(&script).expect("a file of the repository")).into_owned();
        for call in cargo_calls(&text).iter().filter(|call| builds_injected_bugs(call)) {
            faults.push(format!("{}: {}", script.display(), call.trim()));
        }
    }
    assert!(faults.is_empty(), "these build {SIMULATION} with other packages: {faults:#?}");
}

#[test]
fn calls_that_would_build_injected_bugs_are_found() {
    for call in [
        "cargo build --workspace",
        "cargo test --locked --workspace --bins --test simulation",
        "cargo test --workspace --test simulation --bin meridian",
        "cargo build --workspace \\\n  --test drift",
        "cargo build -p meridian-node -p meridian-sim",
        "ALL := --workspace\n\tcargo test $(ALL)",
    ] {
        assert!(cargo_calls(call).iter().any(|call| builds_injected_bugs(call)), "{call}");
    }
    for call in [
        "cargo build --workspace --exclude meridian-sim --bins",
        "cargo test --workspace --test simulation --test parts",
        "cargo build -p meridian-node -p meridian-cli",
        "cargo run -p meridian-sim",
        "cargo clippy --workspace --all-targets",
        "ALL := --workspace --exclude meridian-sim\n\tcargo test $(ALL)",
    ] {
        assert!(!cargo_calls(call).iter().any(|call| builds_injected_bugs(call)), "{call}");
    }
}

/// Documents, suites, chart and examples name only metrics that exist: those of the snapshots of node and operator.
#[test]
fn metrics_that_are_named_exist() {
    let root = meridian_xtask::root();
    let read = |path: &std::path::Path| String::from_utf8_lossy(&std::fs::read(path).expect("a file")).into_owned();
    let mut snapshots = Vec::new();
    for folder in ["crates/node/src/metrics", "crates/operator/src"] {
        files(&root.join(folder), "help_texts_are_the_documented_ones.snap", &mut snapshots);
    }
    assert_eq!(snapshots.len(), 2, "{snapshots:?}");
    let described: String = snapshots.iter().map(|path| read(path)).collect();
    let names: BTreeSet<&str> =
        described.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let exists = |word: &str| {
        let suffixes = ["_total", "_count", "_sum", "_bucket"];
        names.contains(word)
            || suffixes.iter().any(|suffix| word.strip_suffix(suffix).is_some_and(|name| names.contains(name)))
    };
    let (mut pages, mut unknown) = (vec![root.join("README.md"), root.join("GLOSSARY.md")], Vec::new());
    for folder in ["docs", "tests", "charts", "examples"] {
        for suffix in [".md", ".py", ".yaml", ".tpl", ".json"] {
            files(&root.join(folder), suffix, &mut pages);
        }
    }
    for page in pages {
        let text = read(&page);
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        unknown.extend(
            words
                .filter(|word| word.starts_with("meridian_") && !exists(word))
                .map(|word| format!("{}: {word}", page.display())),
        );
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
}

/// Parts of the replica: each is lent what it needs, and only the machine knows them all.
const PARTS: &[&str] = &[
    "clock",
    "collections",
    "completeness",
    "consensus",
    "divergence",
    "drain",
    "membership",
    "positions",
    "reads",
    "snapshots",
    "space",
    "versions",
    "writes",
];
/// Modules of the replica that hold decisions and are no parts yet. Each becomes one, and moves up.
const NOT_YET_PARTS: &[&str] = &["machine", "memory"];

#[test]
fn no_part_of_the_replica_names_another_one() {
    let folder = meridian_xtask::root().join("crates/replica/src");
    let mut faults = Vec::new();
    for part in PARTS {
        let mut sources = vec![folder.join(format!("{part}.rs"))];
        if folder.join(part).is_dir() {
            files(&folder.join(part), ".rs", &mut sources);
        }
        for source in sources.iter().filter(|source| !source.ends_with("tests.rs")) {
            let text = std::fs::read_to_string(source).expect("every part has a file of its name");
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
            let others = PARTS.iter().chain(NOT_YET_PARTS).filter(|other| *other != part);
            let named = others.filter(|other| names_module(code, other)).map(|other| (*part, *other));
            faults.extend(named);
            if code.contains("Replica,") || code.contains("impl Replica") {
                faults.push((*part, "the machine"));
            }
        }
    }
    assert!(faults.is_empty(), "these parts name others: {faults:?}");
}

/// Whether code has a path into a module of its crate.
fn names_module(code: &str, module: &str) -> bool {
    let ends = |rest: &str| !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_');
    let direct = code.match_indices(&format!("crate::{module}")).any(|(at, found)| ends(&code[at + found.len()..]));
    let grouped = code.split("use crate::{").skip(1).filter_map(|group| group.split("};").next());
    direct
        || grouped
            .flat_map(|group| group.split([',', '{', '}']))
            .any(|item| item.trim().split("::").next() == Some(module))
}

#[test]
fn a_path_into_another_module_is_seen() {
    for code in ["use crate::reads;", "use crate::{Settings, reads};", "crate::reads::Reads"] {
        assert!(names_module(code, "reads"), "{code}");
    }
    for code in ["use crate::reads_more;", "cx.facts.reads", "use crate::{Settings, Reads};"] {
        assert!(!names_module(code, "reads"), "{code}");
    }
}
