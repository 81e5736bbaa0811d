//! Runs `meridian_fuzz::frame` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = meridian_fuzz::frame::run(bytes);
});
