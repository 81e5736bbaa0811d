//! Runs `meridian_fuzz::freshness` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = meridian_fuzz::freshness::run(bytes);
});
