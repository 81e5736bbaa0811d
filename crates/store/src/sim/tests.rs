use super::*;

fn content(disk: &SimDisk, path: &str) -> Option<Vec<u8>> {
    let file = disk.open(path).ok()?;
    Some(crate::disk::read_whole(&file, u64::MAX).unwrap())
}

#[test]
fn a_crash_keeps_what_was_synced_and_may_lose_the_rest() {
    let disk = SimDisk::new();
    let file = disk.create("a", 0).unwrap();
    file.write_at(0, b"synced").unwrap();
    file.sync_data().unwrap();
    disk.sync_dir("").unwrap();
    file.write_at(0, b"UNSYNCED").unwrap();
    disk.create("b", 4).unwrap();
    disk.crash(&mut |_| 0);
    assert_eq!(content(&disk, "a").unwrap(), b"synced");
    assert_eq!(content(&disk, "b"), None);
    assert!(file.write_at(0, b"x").is_err(), "a file from before the crash");
}

#[test]
fn writes_tear_between_sectors() {
    let disk = SimDisk::new();
    let file = disk.create("a", 0).unwrap();
    disk.sync_dir("").unwrap();
    file.write_at(500, &[7; 1000]).unwrap();
    // Torn: sector 0 lost, sector 1 kept, sector 2 lost.
    let mut choices = [2, 0, 1, 0].into_iter();
    disk.crash(&mut |_| choices.next().unwrap());
    let found = content(&disk, "a").unwrap();
    assert_eq!(found.len(), 1024);
    assert!(found[..512].iter().all(|b| *b == 0) && found[512..].iter().all(|b| *b == 7));
}

#[test]
fn a_rename_is_lost_or_kept_as_one() {
    for (coin, left) in [(0, ["a"]), (1, ["b"])] {
        let disk = SimDisk::new();
        disk.create("a", 1).unwrap();
        disk.sync_dir("").unwrap();
        disk.rename("a", "b").unwrap();
        disk.crash(&mut |_| coin);
        assert_eq!(disk.list("").unwrap(), left);
    }
}

#[test]
fn a_failed_sync_loses_bytes_that_remain_readable() {
    let disk = SimDisk::new();
    let file = disk.create("a", 2).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir("").unwrap();
    file.write_at(0, b"hi").unwrap();
    disk.fail_next(1, ErrorKind::Other);
    file.sync_data().unwrap_err();
    file.sync_data().unwrap();
    assert_eq!(content(&disk, "a").unwrap(), b"hi");
    disk.crash(&mut |_| 1);
    assert_eq!(content(&disk, "a").unwrap(), [0, 0]);
}

#[test]
fn a_full_disk_says_so_and_recovers() {
    let disk = SimDisk::new();
    disk.limit(10);
    let file = disk.create("a", 8).unwrap();
    assert_eq!(disk.create("b", 3).err().unwrap().kind(), ErrorKind::StorageFull);
    assert_eq!(file.write_at(9, b"xy").unwrap_err().kind(), ErrorKind::StorageFull);
    file.write_at(6, b"abcd").unwrap();
    assert_eq!(disk.free_bytes().unwrap(), 0);
    disk.remove("a").unwrap();
    assert_eq!(disk.free_bytes().unwrap(), 10);
}

#[test]
fn after_a_planned_crash_nothing_works_until_restart() {
    let disk = SimDisk::new();
    disk.crash_at(2);
    disk.create_dir("d").unwrap();
    disk.sync_dir("").unwrap_err();
    assert!(disk.is_down());
    disk.list("").unwrap_err();
    disk.crash(&mut |_| 1);
    assert_eq!(disk.list("").unwrap(), ["d"]);
    disk.wipe();
    assert!(disk.list("").unwrap().is_empty());
}
