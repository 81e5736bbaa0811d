//! Runs `meridian_fuzz::manifest` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = meridian_fuzz::manifest::run(bytes);
});
