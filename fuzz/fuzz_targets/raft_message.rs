//! Runs `meridian_fuzz::raft_message` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = meridian_fuzz::raft_message::run(bytes);
});
