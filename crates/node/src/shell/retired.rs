//! Folders of replicas that this pod was before: moved aside, never over one another.
//!
//! All are kept while the pod's new replica has not caught up, for until then one of them may be the only copy of something;
//! then the newest is kept and the others go, so that a volume does not fill up with them.

use std::fs;
use std::io;
use std::path::Path;

use meridian_model::ReplicaId;

const PREFIX: &str = "retired-";

/// Renames the folder of a replica that is over.
///
/// # Errors
/// When the system refuses, or a folder of that id stands there already.
pub(super) fn move_aside(data_dir: &Path, folder: &str, replica: ReplicaId) -> io::Result<()> {
    let to = data_dir.join(format!("{PREFIX}{replica}"));
    if to.exists() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} is there already", to.display())));
    }
    fs::rename(data_dir.join(folder), to)?;
    fs::File::open(data_dir)?.sync_all()
}

/// Deletes all but that of the greatest id.
///
/// # Errors
/// When the system refuses.
pub(super) fn keep_newest(data_dir: &Path) -> io::Result<()> {
    let mut found = Vec::new();
    for entry in fs::read_dir(data_dir)? {
        let entry = entry?;
        let number = entry.file_name().to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse::<u64>().ok());
        found.extend(number.map(|number| (number, entry.path())));
    }
    found.sort_unstable();
    found.pop();
    found.into_iter().try_for_each(|(_, path)| fs::remove_dir_all(path))
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
            move_aside(data.path(), "replica", ReplicaId(id)).unwrap();
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
        assert!(move_aside(data.path(), "replica", ReplicaId(3)).is_err());
        assert_eq!(names(data.path()), ["replica", "retired-3"]);
    }
}
