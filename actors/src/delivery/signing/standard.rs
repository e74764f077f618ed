//! Standard Webhooks 1.0.0: three headers that add id, time and rotation to every contract.
//!
//! Signed is `{id}.{timestamp}.{body}`. Verifiers take any signature of the list that fits, so during a
//! rotation the keys of both sides stand in it (SIG.5).

use super::{Signer, key::StandardKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// The event's id: the same on every attempt.
pub const ID_HEADER: &str = "webhook-id";
/// Unix seconds of the attempt.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// One signature of each key, apart by spaces.
pub const SIGNATURE_HEADER: &str = "webhook-signature";

/// The value of `webhook-signature`: `v1` (or `v1a` for a `whsk_` key) for each key, in their order.
///
/// `id` and `timestamp` are the values of the other two headers.
#[must_use]
pub fn standard_signature<'s>(
    signers: impl IntoIterator<Item = &'s Signer>,
    id: &str,
    timestamp: u64,
    body: &[u8],
) -> String {
    let mut out = String::new();
    write_standard_signature(signers, id, timestamp, body, &mut out);
    out
}

/// The same, appended to `out`.
pub fn write_standard_signature<'s>(
    signers: impl IntoIterator<Item = &'s Signer>,
    id: &str,
    timestamp: u64,
    body: &[u8],
    out: &mut String,
) {
    let prefix = format!("{id}.{timestamp}.");
    for (place, signer) in signers.into_iter().enumerate() {
        if place > 0 {
            out.push(' ');
        }
        signer.standard.write_signature(prefix.as_bytes(), body, out);
    }
}

impl StandardKey {
    fn write_signature(&self, prefix: &[u8], body: &[u8], out: &mut String) {
        match self {
            Self::Symmetric(key) => {
                out.push_str("v1,");
                STANDARD.encode_string(key.sign(&[prefix, body]), out);
            }
            Self::Asymmetric(pair) => {
                out.push_str("v1a,");
                STANDARD.encode_string(pair.sign(&[prefix, body].concat()).as_ref(), out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{ED25519, UnparsedPublicKey};

    struct Vector {
        key: &'static str,
        id: &'static str,
        timestamp: u64,
        body: &'static [u8],
        signature: &'static str,
    }

    /// Vectors 1 to 3 of the specification (contracts, §2).
    const VECTORS: [Vector; 3] = [
        Vector {
            key: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
            timestamp: 1_614_265_330,
            body: br#"{"test": 2432232314}"#,
            signature: "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        },
        Vector {
            key: "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
            id: "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
            timestamp: 1_649_367_553,
            body: br#"{"email":"test@example.com","username":"test_user"}"#,
            signature: "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
        },
        Vector {
            key: "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==",
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
            timestamp: 1_614_265_330,
            body: br#"{"test": 2432232314}"#,
            signature: "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==",
        },
    ];
    const PUBLIC_KEY: &str = "1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";

    /// SIG.9
    #[test]
    fn published_vectors_come_out() {
        for vector in &VECTORS {
            let signer = Signer::new(vector.key).unwrap();
            let signature = standard_signature([&signer], vector.id, vector.timestamp, vector.body);
            assert_eq!(signature, vector.signature);
        }
    }

    /// SIG.1: an independent verifier takes `v1a`, and one changed byte anywhere fails.
    #[test]
    fn asymmetric_signatures_verify_with_the_public_key() {
        let Vector { id, timestamp, body, signature, .. } = &VECTORS[2];
        let signature = STANDARD.decode(signature.trim_start_matches("v1a,")).unwrap();
        let public = UnparsedPublicKey::new(&ED25519, STANDARD.decode(PUBLIC_KEY).unwrap());
        let mut message = format!("{id}.{timestamp}.").into_bytes();
        message.extend_from_slice(body);
        public.verify(&message, &signature).unwrap();
        for place in 0..message.len() {
            message[place] ^= 1;
            assert!(public.verify(&message, &signature).is_err(), "byte {place}");
            message[place] ^= 1;
        }
    }

    /// SIG.5, T-6: both keys in one list, the current one first.
    #[test]
    fn rotation_lists_a_signature_of_each_key() {
        let [old, new] = [&VECTORS[1], &VECTORS[0]].map(|vector| Signer::new(vector.key).unwrap());
        let sign = |signers: &[&Signer]| standard_signature(signers.iter().copied(), "evt_1", 1, b"{}");
        assert_eq!(sign(&[&new, &old]), format!("{} {}", sign(&[&new]), sign(&[&old])));
    }

    /// T-54: a plain key is `whsec_` + base64 of its bytes.
    #[test]
    fn plain_keys_have_a_standard_spelling() {
        let plain = "a plain secret of a contract";
        let spelled = format!("whsec_{}", STANDARD.encode(plain));
        let sign = |key: &str| standard_signature([&Signer::new(key).unwrap()], "evt_1", 1, b"{}");
        assert_eq!(sign(plain), sign(&spelled));
    }

    /// SIG.6: another time, another signature.
    #[test]
    fn id_and_time_are_signed() {
        let signer = Signer::new(VECTORS[0].key).unwrap();
        let sign = |id, timestamp| standard_signature([&signer], id, timestamp, b"{}");
        assert_ne!(sign("evt_1", 1), sign("evt_1", 2));
        assert_ne!(sign("evt_1", 1), sign("evt_2", 1));
    }
}
