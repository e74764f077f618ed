//! Any bytes are JSON or refused; what is written is read as the same value.

#![no_main]

use ledgerhook_actors::json::{BodyForm, Limits, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for limits in [Limits::ADMIN, Limits::EVENT] {
        let Ok(json) = parse(data, limits) else { continue };
        let written = json.to_bytes(BodyForm::Raw);
        assert_eq!(parse(&written, limits).expect("what was written is read"), json);
        for form in [BodyForm::Js, BodyForm::Python, BodyForm::Php] {
            let written = json.to_bytes(form);
            let again = parse(&written, limits).expect("every form is JSON");
            // Numbers take the form's spelling once, and keep it.
            assert_eq!(again.to_bytes(form), written);
        }
    }
});
