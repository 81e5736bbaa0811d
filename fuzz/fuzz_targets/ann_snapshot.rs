//! Runs `meridian_fuzz::ann_snapshot` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = meridian_fuzz::ann_snapshot::run(bytes);
});
