//! Folders of earlier replicas of a pod: moved aside, never over one another.
//!
//! All of them are kept until the pod's new replica has caught up, because one of them may be the only copy of a write. Then
//! only the newest is kept, so that they do not fill the volume. The functions here decide on names; a shell lists, renames
//! and deletes.

use meridian_model::ReplicaId;

const PREFIX: &str = "retired-";

/// Takes the place of the id in the name of a folder whose replica is not known.
const UNKNOWN: &str = "unknown-";

/// Evidence in a data directory that the pod was a replica before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retired {
    /// The greatest id of a retired folder.
    pub newest: Option<ReplicaId>,
    /// Name of a file or folder that shows it.
    pub name: String,
}

impl Retired {
    /// Finds evidence among the names in a data directory, whose replica is in `folder`. `lost+found` and hidden names do
    /// not count.
    #[must_use]
    pub fn find(names: &[String], folder: &str) -> Option<Self> {
        let counts = |name: &&String| *name != folder && *name != "lost+found" && !name.starts_with('.');
        let id = |name: &String| name.strip_prefix(PREFIX)?.parse().ok().map(ReplicaId);
        let newest = names.iter().filter(counts).filter_map(id).max();
        names.iter().filter(counts).min().map(|name| Self { newest, name: name.clone() })
    }
}

/// The name for the folder of a replica that is moved aside; without an id, the first free number.
///
/// # Errors
/// The name, when it is taken.
pub fn name_for(replica: Option<ReplicaId>, names: &[String]) -> Result<String, String> {
    let is_taken = |name: &String| names.contains(name);
    match replica {
        Some(replica) => {
            let name = format!("{PREFIX}{replica}");
            if is_taken(&name) { Err(name) } else { Ok(name) }
        }
        None => {
            let mut numbered = (1_u64..).map(|number| format!("{PREFIX}{UNKNOWN}{number}"));
            Ok(numbered.find(|name| !is_taken(name)).expect("there are more numbers than names"))
        }
    }
}

/// The retired folders to delete: all but that of the greatest id, and all but the newest of those without an id.
/// `names`: the retired folders, in any order.
#[must_use]
pub fn superseded(names: &[String]) -> Vec<String> {
    let mut superseded = Vec::new();
    for prefix in [PREFIX.to_owned(), format!("{PREFIX}{UNKNOWN}")] {
        let number = |name: &String| name.strip_prefix(&prefix)?.parse::<u64>().ok();
        let mut numbered: Vec<_> = names.iter().filter_map(|name| Some((number(name)?, name.clone()))).collect();
        numbered.sort_unstable();
        numbered.pop();
        superseded.extend(numbered.into_iter().map(|(_, name)| name));
    }
    superseded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_folder_is_named_by_its_replica_or_by_the_first_free_number() {
        let taken = names(&["replica", "retired-3", "retired-unknown-1"]);
        assert_eq!(name_for(Some(ReplicaId(9)), &taken), Ok("retired-9".into()));
        assert_eq!(name_for(Some(ReplicaId(3)), &taken), Err("retired-3".into()));
        assert_eq!(name_for(None, &taken), Ok("retired-unknown-2".into()));
    }

    #[test]
    fn the_newest_folder_with_an_id_and_the_newest_without_are_kept() {
        let all = ["replica", "retired-10", "retired-3", "retired-9", "retired-by-hand"];
        assert_eq!(superseded(&names(&all)), ["retired-3", "retired-9"]);
        let all = ["retired-4", "retired-unknown-1", "retired-unknown-10", "retired-unknown-2"];
        assert_eq!(superseded(&names(&all)), ["retired-unknown-1", "retired-unknown-2"]);
    }

    #[test]
    fn an_earlier_replica_is_evident_and_lost_and_found_is_not() {
        let fresh = ["replica", "lost+found", ".snapshot"];
        assert_eq!(Retired::find(&names(&fresh), "replica"), None);
        let used = [&fresh[..], &["retired-3", "retired-10", "retired-unknown-1"]].concat();
        let found = Retired { newest: Some(ReplicaId(10)), name: "retired-10".into() };
        assert_eq!(Retired::find(&names(&used), "replica"), Some(found));
        let strange = Retired { newest: None, name: "notes.txt".into() };
        assert_eq!(Retired::find(&names(&["notes.txt"]), "replica"), Some(strange));
    }
}
