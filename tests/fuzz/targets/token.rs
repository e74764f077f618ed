//! Any text is a token to be checked, or none; no API key is well formed by chance.

#![no_main]

use ledgerhook_actors::secrets::{is_well_formed, jwt::Token};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = Token::read(text);
    let _ = is_well_formed(text);
});
