//! No bytes break the reader of log entries; what it accepts is read again from its own encoding, and applying it does not
//! break a state, however little sense it makes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meridian_model::{BehaviorVersion, LogIndex, PrimaryTerm, RegionName, ShardNumber};
use meridian_shard::{Entry, FORMAT_VERSION, Identity, State};

fuzz_target!(|bytes: &[u8]| {
    let region = RegionName::new("us").expect("a good name");
    let identity = Identity {
        region: region.clone(),
        shard: ShardNumber::FIRST,
        shards: 1,
        primary: (PrimaryTerm(1), region),
        behavior: BehaviorVersion::FIRST,
    };
    // Format version and behavior version are seldom found by chance.
    for bytes in [bytes.to_vec(), [&[FORMAT_VERSION, 1, 0], bytes].concat()] {
        if let Ok(entry) = Entry::decode(&bytes) {
            let written = entry.encode();
            assert_eq!(Entry::decode(&written).expect("just written").encode(), written);
            let mut state = State::new(identity.clone()).expect("one shard");
            state.apply(LogIndex(1), &entry);
            state.apply(LogIndex(2), &entry);
        }
    }
});
