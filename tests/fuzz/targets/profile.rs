//! Any text is a profile, or refused with its place.

#![no_main]

use ledgerhook_actors::profile::Profile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(error) = Profile::parse("fuzz.toml", text) {
        assert!(error.to_string().contains("fuzz.toml"), "{error}");
    }
});
