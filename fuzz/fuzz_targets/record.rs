//! Runs `meridian_fuzz::record` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = meridian_fuzz::record::run(bytes);
});
