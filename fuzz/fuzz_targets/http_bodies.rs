//! Runs `meridian_fuzz::http_bodies` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = meridian_fuzz::http_bodies::run(bytes);
});
