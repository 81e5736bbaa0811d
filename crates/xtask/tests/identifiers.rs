//! No identifier is defined that `LANGUAGE.md` replaces by a standard term.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Former identifiers and the terms to use instead. `fn` restricts a word to functions: the filter clause `must` is Qdrant's. Words that
/// are also ordinary terms, such as `follow`, are not listed.
const REPLACED: &[(&str, &str)] = &[
    // ann
    ("Queued", "BufferedIndex"),
    ("Structure", "ApproximateIndex, Trainable, RecallTunable"),
    ("Ask", "SearchRequest, ApiRequest"),
    ("Survey", "InsertPlan"),
    ("survey", "plan_insert"),
    ("births", "insert_seq"),
    ("born_after", "inserted_after"),
    ("Floors", "level, LowerBounds"),
    ("descend", "search_entry_point"),
    ("scout", "search_layer"),
    ("walk_anywhere", "search_layer"),
    ("walk_within", "search_filtered"),
    ("choose_diverse", "select_neighbors_heuristic"),
    ("link_in", "insert"),
    ("vacate", "free_node"),
    ("adopt", "attach_subtree"),
    ("orphan", "detach"),
    ("rehang", "reparent"),
    ("Judged", "EstimateInput, RecallResult"),
    ("judge", "estimate_distances, check_…"),
    ("Patience", "EarlyTermination"),
    ("Near", "Neighbor"),
    ("nears", "neighbors"),
    ("Nearest", "TopK"),
    ("compare_again", "rerank"),
    ("plausible", "rerank_cutoff"),
    ("Lent", "ScratchPool"),
    ("Course", "BeamParams"),
    ("Walked", "SearchOutcome"),
    ("Tally", "RecallSample"),
    ("owed", "pending_probes"),
    ("take_in", "inserted_since, receive"),
    ("Stranger", "Holdout"),
    ("HeldBack", "HoldoutSampler"),
    ("HOLDS_OUT", "HAS_HOLDOUT"),
    ("STRANGERS", "HOLDOUT_STRIDE"),
    ("Drawing", "ProbeRun"),
    ("go_by", "install"),
    ("come_since_learnt", "inserted_since_training"),
    ("keep_least", "retain_below"),
    ("nth_least", "select_nth"),
    ("Lot", "CodeBatch"),
    ("TOGETHER", "BATCH_SIZE"),
    ("A_PIECE", "QUERIES_PER_STEP"),
    ("DISTANCES_A_PACKING", "PACK_COST_IN_DISTANCES"),
    ("Originals", "VectorStore"),
    ("Marks", "HiddenSet"),
    ("Edition", "ViewRevision"),
    ("Book", "PageGuard, PageGroup"),
    // replica, volume
    ("Asker", "Caller"),
    ("Leg", "SubRequest"),
    ("DropRest", "a phase"),
    ("Detour", "OriginFallback"),
    ("shown_by", "gap_evidence"),
    ("Doubt", "DivergenceCheck"),
    ("vindicate", "clear"),
    ("is_disputed", "check_pending"),
    ("heal_with", "install_peer_state"),
    ("give_birth", "initialize_volume"),
    ("birth_records", "bootstrap_records"),
    // tail
    ("Chaser", "LogFollower"),
    ("chase", "follow"),
    ("chased", "followed"),
    // node
    ("Room", "KafkaThreads"),
    ("Pulse", "Heartbeat"),
    ("fn must", "send_blocking"),
    ("fn may", "try_send"),
    ("silent_for", "since_heartbeat"),
    ("fine", "ok_response, is_valid"),
    ("faulty", "bad_request"),
    ("told", "a noun, such as report"),
    ("Noted", "TrackedBody, FilterCache"),
    ("Unread", "UnreadBody"),
    ("Whole", "BufferedBody"),
    // operator, plan
    ("Sight", "ClusterView"),
    ("ground", "load_prerequisites"),
    ("limping", "first_unhealthy"),
    ("trouble", "failure_reason"),
    ("mending", "reconcile_membership"),
    ("Ledger", "ReplicaIdAllocator, WriteHistory, CommittedLog"),
    // cli
    ("play", "run_demo"),
    ("storm", "kill_leaders_under_load"),
    ("Stage", "DemoContext"),
    ("stage", "context"),
    ("scenes", "steps"),
    // Verbs of people.
    ("tell", "report, send"),
    ("obey", "perform"),
    ("remember", "record, store"),
    ("forget", "remove, reset"),
    // British spelling.
    ("neighbour", "neighbor"),
    ("neighbours", "neighbors"),
    ("normalise", "normalize"),
    ("colour", "color"),
    ("behaviour", "behavior"),
];

/// Crates whose identifiers are not renamed yet, with the words that they still define. An entry that is done must go.
const NOT_YET: &[(&str, &[&str])] = &[];

/// Identifiers in a line of Rust outside of comments and strings, each with whether the line defines it.
fn identifiers(line: &str) -> Vec<(&str, bool)> {
    let code = line.split("//").next().unwrap_or_default();
    let trimmed = code.trim_start();
    let mut found: Vec<(&str, bool)> = Vec::new();
    let mut quoted = false;
    let mut start = None;
    let ends = code.char_indices().chain([(code.len(), ' ')]);
    for (at, c) in ends {
        let is_part = c.is_alphanumeric() || c == '_';
        match (start, is_part) {
            (None, true) if !quoted => start = Some(at),
            (Some(from), false) => {
                let word = &code[from..at];
                let keyword =
                    ["fn", "struct", "enum", "trait", "type", "const", "static", "mod", "let", "mut", "union"];
                let after_keyword = found.last().is_some_and(|(before, _)| keyword.contains(before));
                // A field, an argument on its own line, or a variant.
                let is_first = found.iter().all(|(before, _)| ["pub", "crate", "super"].contains(before));
                let rest = &code[at..];
                let is_field = rest.starts_with(':') && !rest.starts_with("::");
                let is_variant =
                    word.starts_with(char::is_uppercase) && trimmed.starts_with(word) && rest.trim() == ",";
                found.push((word, after_keyword || (is_first && is_field) || is_variant));
                start = None;
            }
            _ => {}
        }
        if c == '"' {
            quoted = !quoted;
        }
    }
    found
}

/// Definitions of replaced words in a source file: line number and index in [`REPLACED`].
fn definitions(source: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (number, line) in source.lines().enumerate() {
        for (word, is_defined) in identifiers(line) {
            let is_function = line.contains(&format!("fn {word}"));
            let matches = |old: &str| old == word || (is_function && old.strip_prefix("fn ") == Some(word));
            if let Some(nth) = REPLACED.iter().position(|(old, _)| matches(old)).filter(|_| is_defined) {
                found.push((number + 1, nth));
            }
        }
    }
    found
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of the repository").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn no_replaced_identifier_is_defined() {
    let crates = meridian_xtask::root().join("crates");
    let mut failures = Vec::new();
    let mut unused: BTreeSet<(&str, &str)> =
        NOT_YET.iter().flat_map(|(name, words)| words.iter().map(move |word| (*name, *word))).collect();
    for package in std::fs::read_dir(&crates).expect("the folder of the crates").flatten() {
        let name = package.file_name().to_string_lossy().into_owned();
        let allowed = NOT_YET.iter().find(|(crate_name, _)| *crate_name == name).map_or(&[][..], |(_, words)| *words);
        let mut files = Vec::new();
        sources(&package.path(), &mut files);
        files.sort();
        for file in files {
            let source = std::fs::read_to_string(&file).expect("a source file");
            let path = file.strip_prefix(&crates).expect("a path below the crates").display().to_string();
            for (line, nth) in definitions(&source) {
                let (word, replacement) = REPLACED[nth];
                if allowed.contains(&word) {
                    unused.retain(|(crate_name, exception)| (*crate_name, *exception) != (name.as_str(), word));
                } else {
                    failures.push(format!("crates/{path}:{line}: `{word}`, use {replacement}"));
                }
            }
        }
    }
    failures.extend(unused.iter().map(|(name, word)| format!("NOT_YET lists `{word}` of {name}, which is done")));
    assert!(failures.is_empty(), "{} identifiers that LANGUAGE.md replaces:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn definitions_are_found_and_other_uses_are_not() {
    let source = "struct Chaser {\n    trouble: Option<String>,\n}\nenum Part {\n    Leg,\n}\nfn fine(x: u8) {\n    let told = x;\n    \
                  // let told = 1;\n    let text = \"let told\";\n    other.chase(told);\n    Chaser::new();\n    let must = 1;\nfn must() {}\n";
    let found: Vec<(usize, &str)> =
        definitions(source).into_iter().map(|(line, nth)| (line, REPLACED[nth].0)).collect();
    assert_eq!(found, [(1, "Chaser"), (2, "trouble"), (5, "Leg"), (7, "fine"), (8, "told"), (14, "fn must")]);
}

#[test]
fn no_word_is_listed_twice() {
    let words: BTreeSet<&str> = REPLACED.iter().map(|(word, _)| *word).collect();
    assert_eq!(words.len(), REPLACED.len());
}
