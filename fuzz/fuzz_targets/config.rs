//! No text breaks the reader of configurations; what it accepts is read again from its own text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meridian_config::NodeConfig;

fuzz_target!(|text: &str| {
    if let Ok(config) = NodeConfig::parse(text) {
        assert_eq!(NodeConfig::parse(&config.render()).expect("just written"), config);
    }
});
