//! Runs `meridian_fuzz::entry` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = meridian_fuzz::entry::run(bytes);
});
