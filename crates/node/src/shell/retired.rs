//! Renames and deletes folders of retired replicas, by the names that [`meridian_volume::retired`] defines.

use std::fs;
use std::io;
use std::path::Path;

use meridian_model::ReplicaId;
use meridian_volume::{Retired, retired};

/// Renames the folder of a retired replica: by its id, or by the first free number when the id is unknown. A folder
/// that contains only its lock file is removed.
///
/// # Errors
/// On I/O errors, or when a folder of that id exists.
pub(super) fn move_aside(data_dir: &Path, folder: &str, replica: Option<ReplicaId>) -> io::Result<()> {
    let from = data_dir.join(folder);
    if is_empty(&from)? {
        return Ok(());
    }
    let to = match retired::name_for(replica, &names(data_dir)?) {
        Ok(name) => data_dir.join(name),
        Err(taken) => {
            let path = data_dir.join(taken);
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} exists", path.display())));
        }
    };
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

/// Deletes retired folders that a newer one supersedes.
///
/// # Errors
/// On I/O errors.
pub(super) fn remove_superseded(data_dir: &Path) -> io::Result<()> {
    let superseded = retired::superseded(&names(data_dir)?);
    superseded.into_iter().try_for_each(|name| fs::remove_dir_all(data_dir.join(name)))
}

/// Finds a retired folder next to `folder`: evidence that this pod had a replica before.
///
/// # Errors
/// On I/O errors.
pub(super) fn find_retired(data_dir: &Path, folder: &str) -> io::Result<Option<Retired>> {
    Ok(Retired::find(&names(data_dir)?, folder))
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(folder: &Path) -> Vec<String> {
        let mut names = names(folder).unwrap();
        names.sort();
        names
    }

    #[test]
    fn retired_folders_stay_until_superseded_ones_are_removed() {
        let data = tempfile::tempdir().unwrap();
        for id in [3, 9, 10] {
            fs::create_dir(data.path().join("replica")).unwrap();
            fs::write(data.path().join("replica/log"), id.to_string()).unwrap();
            move_aside(data.path(), "replica", Some(ReplicaId(id))).unwrap();
        }
        fs::create_dir(data.path().join("retired-by-hand")).unwrap();
        assert_eq!(sorted(data.path()), ["retired-10", "retired-3", "retired-9", "retired-by-hand"]);
        remove_superseded(data.path()).unwrap();
        assert_eq!(sorted(data.path()), ["retired-10", "retired-by-hand"]);
        assert_eq!(fs::read_to_string(data.path().join("retired-10/log")).unwrap(), "10");
    }

    #[test]
    fn an_existing_retired_folder_is_not_replaced() {
        let data = tempfile::tempdir().unwrap();
        for folder in ["replica", "retired-3"] {
            fs::create_dir(data.path().join(folder)).unwrap();
        }
        fs::write(data.path().join("replica/log"), "").unwrap();
        assert!(move_aside(data.path(), "replica", Some(ReplicaId(3))).is_err());
        assert_eq!(sorted(data.path()), ["replica", "retired-3"]);
    }

    #[test]
    fn folders_without_an_id_are_numbered_and_the_newest_stays() {
        let data = tempfile::tempdir().unwrap();
        for _ in 0..3 {
            fs::create_dir(data.path().join("replica")).unwrap();
            fs::write(data.path().join("replica/log"), "").unwrap();
            move_aside(data.path(), "replica", None).unwrap();
        }
        remove_superseded(data.path()).unwrap();
        assert_eq!(sorted(data.path()), ["retired-unknown-3"]);
    }
}
