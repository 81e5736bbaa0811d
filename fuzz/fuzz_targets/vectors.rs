//! Runs `meridian_fuzz::vectors` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = meridian_fuzz::vectors::run(bytes);
});
