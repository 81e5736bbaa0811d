//! Folders of replicas that this pod was before: moved aside, never over one another.
//!
//! All are kept while the pod's new replica has not caught up, for until then one of them may be the only copy of something;
//! then the newest is kept and the others go, so that a volume does not fill up with them.

use std::fs;
use std::io;
use std::path::Path;

use meridian_model::ReplicaId;

const PREFIX: &str = "retired-";

/// Stands for the id in the name of a folder whose replica is not known.
const UNKNOWN: &str = "unknown-";

/// Renames the folder of a replica that is over; where its id is not known, to the first free number. One that is empty, but
/// for its lock, goes away.
///
/// # Errors
/// When the system refuses, or a folder of that id is there already.
pub(super) fn move_aside(data_dir: &Path, folder: &str, replica: Option<ReplicaId>) -> io::Result<()> {
    let from = data_dir.join(folder);
    if is_empty(&from)? {
        return Ok(());
    }
    let to = match replica {
        Some(replica) => data_dir.join(format!("{PREFIX}{replica}")),
        None => {
            let free = (1..).map(|number: u64| data_dir.join(format!("{PREFIX}{UNKNOWN}{number}")));
            free.into_iter().find(|path| !path.exists()).expect("numbers do not end")
        }
    };
    if to.exists() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} is there already", to.display())));
    }
    fs::rename(from, to)?;
    fs::File::open(data_dir)?.sync_all()
}

fn is_empty(folder: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(folder)? {
        if entry?.file_name() != ".lock" {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Deletes all but that of the greatest id, and all but the newest of those without an id.
///
/// # Errors
/// When the system refuses.
pub(super) fn keep_newest(data_dir: &Path) -> io::Result<()> {
    for prefix in [PREFIX.to_owned(), format!("{PREFIX}{UNKNOWN}")] {
        let mut found = Vec::new();
        for entry in fs::read_dir(data_dir)? {
            let entry = entry?;
            let number = entry.file_name().to_str().and_then(|name| name.strip_prefix(&prefix)?.parse::<u64>().ok());
            found.extend(number.map(|number| (number, entry.path())));
        }
        found.sort_unstable();
        found.pop();
        found.into_iter().try_for_each(|(_, path)| fs::remove_dir_all(path))?;
    }
    Ok(())
}

/// Something in the data directory that shows that this pod was a replica before: its name, and the greatest id of a folder
/// that was moved aside. `lost+found` and hidden names do not count.
///
/// # Errors
/// When the system refuses.
pub(super) fn beside(data_dir: &Path, folder: &str) -> io::Result<Option<(Option<ReplicaId>, String)>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(data_dir)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.retain(|name| name != folder && name != "lost+found" && !name.starts_with('.'));
    names.sort_unstable();
    let id = |name: &String| name.strip_prefix(PREFIX)?.parse().ok().map(ReplicaId);
    let newest = names.iter().filter_map(id).max();
    Ok(names.into_iter().next().map(|name| (newest, name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_moved_aside_stays_until_the_newest_is_asked_to_stay_alone() {
        let data = tempfile::tempdir().unwrap();
        for id in [3, 9, 10] {
            fs::create_dir(data.path().join("replica")).unwrap();
            fs::write(data.path().join("replica/log"), id.to_string()).unwrap();
            move_aside(data.path(), "replica", Some(ReplicaId(id))).unwrap();
        }
        fs::create_dir(data.path().join("retired-by-hand")).unwrap();
        assert_eq!(names(data.path()), ["retired-10", "retired-3", "retired-9", "retired-by-hand"]);
        keep_newest(data.path()).unwrap();
        assert_eq!(names(data.path()), ["retired-10", "retired-by-hand"]);
        assert_eq!(fs::read_to_string(data.path().join("retired-10/log")).unwrap(), "10");
    }

    #[test]
    fn nothing_is_moved_over_what_is_there() {
        let data = tempfile::tempdir().unwrap();
        for folder in ["replica", "retired-3"] {
            fs::create_dir(data.path().join(folder)).unwrap();
        }
        fs::write(data.path().join("replica/log"), "").unwrap();
        assert!(move_aside(data.path(), "replica", Some(ReplicaId(3))).is_err());
        assert_eq!(names(data.path()), ["replica", "retired-3"]);
    }

    #[test]
    fn folders_without_an_id_are_numbered_and_the_newest_stays() {
        let data = tempfile::tempdir().unwrap();
        for _ in 0..3 {
            fs::create_dir(data.path().join("replica")).unwrap();
            fs::write(data.path().join("replica/log"), "").unwrap();
            move_aside(data.path(), "replica", None).unwrap();
        }
        keep_newest(data.path()).unwrap();
        assert_eq!(names(data.path()), ["retired-unknown-3"]);
    }

    #[test]
    fn an_earlier_replica_shows_and_lost_and_found_does_not() {
        let data = tempfile::tempdir().unwrap();
        for folder in ["replica", "lost+found", ".snapshot"] {
            fs::create_dir(data.path().join(folder)).unwrap();
        }
        assert_eq!(beside(data.path(), "replica").unwrap(), None);
        for folder in ["retired-3", "retired-10", "retired-unknown-1"] {
            fs::create_dir(data.path().join(folder)).unwrap();
        }
        assert_eq!(beside(data.path(), "replica").unwrap(), Some((Some(ReplicaId(10)), "retired-10".into())));
    }
}
