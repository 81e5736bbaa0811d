//! Runs `meridian_fuzz::wal` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = meridian_fuzz::wal::run(bytes);
});
