//! No bytes break the decoder of log entries; what it accepts is decoded again from its own encoding, and applying it does
//! not break a state, however little sense it makes.

use meridian_model::{BehaviorVersion, LogIndex, PrimaryTerm, RegionName, ShardNumber};
use meridian_shard::{Entry, FORMAT_VERSION, Identity, Links, State};

/// Runs the target; returns whether the bytes are an entry.
#[must_use]
pub fn run(bytes: &[u8]) -> bool {
    let region = RegionName::new("us").expect("a good name");
    let identity = Identity {
        region: region.clone(),
        shard: ShardNumber::FIRST,
        shards: 1,
        primary: (PrimaryTerm(1), region),
        behavior: BehaviorVersion::FIRST,
    };
    let mut accepted = false;
    // Format version and behavior version are not worth searching for.
    for bytes in [bytes.to_vec(), [&[FORMAT_VERSION, 1, 0], bytes].concat()] {
        if let Ok(entry) = Entry::decode(&bytes) {
            let written = entry.encode();
            assert_eq!(Entry::decode(&written).expect("just written").encode(), written);
            let mut state = State::new(identity.clone()).expect("one shard");
            state.apply(LogIndex(1), &entry);
            state.apply(LogIndex(2), &entry);
            accepted = true;
        }
    }
    accepted
}

/// An empty entry, a checksum and a list of links.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let links = Links { expects: LogIndex(0), links: Vec::new() };
    let entries = [Entry::Noop, Entry::Checksum { at: LogIndex(1), hash: [7; 32] }, Entry::Links(links)];
    entries.iter().map(Entry::encode).collect()
}
