//! An envelope written straight to its bytes, member after member.

use super::{
    Json,
    form::{BodyForm, Fidelity, write, write_string},
};

/// Writes one object without building its tree. Members stand in the order of the calls; the caller gives
/// each key once, and none that JavaScript or PHP takes for an array index.
///
/// ```
/// # use ledgerhook_actors::json::{BodyForm, Json, ObjectWriter};
/// let mut body = Vec::new();
/// let mut envelope = ObjectWriter::new(BodyForm::Python, &mut body);
/// envelope.text("id", "evt_1").value("data", &Json::object([("paid", Json::from(true))]));
/// let fidelity = envelope.finish();
/// assert_eq!(body, br#"{"id": "evt_1", "data": {"paid": true}}"#);
/// assert!(fidelity.is_stable());
/// ```
pub struct ObjectWriter<'o> {
    form: BodyForm,
    out: &'o mut Vec<u8>,
    fidelity: Fidelity,
    empty: bool,
}

impl<'o> ObjectWriter<'o> {
    /// Opens the object.
    pub fn new(form: BodyForm, out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { form, out, fidelity: Fidelity::default(), empty: true }
    }

    /// A member with any value.
    pub fn value(&mut self, key: &str, value: &Json<'_>) -> &mut Self {
        self.key(key);
        let fidelity = write(value, self.form, self.out);
        self.fidelity.join(fidelity);
        self
    }

    /// A member with a string.
    pub fn text(&mut self, key: &str, text: &str) -> &mut Self {
        self.key(key);
        write_string(text, self.form, self.out);
        self
    }

    /// A member whose value is JSON already and goes out byte for byte: event data in [`BodyForm::Raw`].
    pub fn raw(&mut self, key: &str, json: &[u8]) -> &mut Self {
        self.key(key);
        self.out.extend_from_slice(json);
        self
    }

    /// Closes the object.
    #[must_use = "the object is closed by this call, and the caller records what was not kept"]
    pub fn finish(self) -> Fidelity {
        self.out.push(b'}');
        self.fidelity
    }

    fn key(&mut self, key: &str) {
        if !std::mem::take(&mut self.empty) {
            self.out.extend_from_slice(self.form.comma());
        }
        write_string(key, self.form, self.out);
        self.out.extend_from_slice(self.form.colon());
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Limits, parse};
    use super::*;

    /// AFF-15, T-1: what came in raw goes out raw.
    #[test]
    fn raw_members_keep_their_bytes() {
        let mut out = Vec::new();
        let mut envelope = ObjectWriter::new(BodyForm::Raw, &mut out);
        envelope.text("type", "conversion.created").raw("data", b"{ \"payout\": 5.00 }");
        assert!(envelope.finish().is_stable());
        assert_eq!(out, br#"{"type":"conversion.created","data":{ "payout": 5.00 }}"#);
    }

    #[test]
    fn fidelity_of_members_adds_up() {
        let data = parse(b"[9007199254740993]", Limits::EVENT).unwrap();
        let mut out = Vec::new();
        let mut envelope = ObjectWriter::new(BodyForm::Js, &mut out);
        envelope.value("data", &data).value("metadata", &Json::Null);
        assert!(!envelope.finish().is_stable());
        assert_eq!(out, br#"{"data":[9007199254740993],"metadata":null}"#);
    }
}
