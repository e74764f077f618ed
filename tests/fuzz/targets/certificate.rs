//! Any bytes are a certificate that tells of itself what can be seen, or are refused.

#![no_main]

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ledgerhook_actors::{
    delivery::tls::{Identity, IdentityError, Trust},
    secrets::Secret,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|der: &[u8]| {
    let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(der));
    let _ = Trust::check_pem(&pem);
    // Everything is read before the key is.
    let refused = Identity::read(&pem, &Secret::new(String::new())).expect_err("there is no key");
    assert!(matches!(refused, IdentityError::Unreadable | IdentityError::NoKey), "{refused}");
});
