//! Tokens that hold, and every way in which one does not.

use super::*;
use crate::{domain::id::KeyId, secrets::MasterKey};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
};
use std::collections::BTreeMap;

const NOW: u64 = 1_800_000_000;
const SECRET: &[u8] = b"a-shared-secret-of-32-bytes-and-more";

fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn secrets() -> Secrets {
    let key: Vec<u8> = (0..32).collect();
    Secrets::new(&MasterKey::parse(&hex::encode(key)).unwrap())
}

fn key(verifying: VerifyingKey) -> JwtKey {
    JwtKey {
        id: KeyId::new("jwk_1"),
        kid: "k1".into(),
        verifying,
        scopes: vec![Scope::EventsWrite, Scope::Read, Scope::Manage],
        claims: BTreeMap::new(),
        name: None,
        expires_at: None,
    }
}

fn hmac_key(secrets: &Secrets) -> JwtKey {
    key(VerifyingKey::Hmac { sealed: secrets.seal(&base64(SECRET)).unwrap() })
}

fn hmac(message: &[u8]) -> Vec<u8> {
    Hmac::<Sha256>::new_from_slice(SECRET).unwrap().chain_update(message).finalize().into_bytes().to_vec()
}

fn token(header: &str, claims: &str, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let signed = format!("{}.{}", base64(header), base64(claims));
    let signature = base64(sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn scopes_of(token: &str, key: &JwtKey, secrets: &Secrets) -> Option<Vec<Scope>> {
    Token::read(token)?.scopes(key, secrets, Timestamp(NOW * 1000))
}

const HS256: &str = r#"{"alg":"HS256","typ":"JWT","kid":"k1"}"#;

fn with_claims(claims: &str) -> Option<Vec<Scope>> {
    let secrets = secrets();
    scopes_of(&token(HS256, claims, hmac), &hmac_key(&secrets), &secrets)
}

/// APX-02, T-44
#[test]
fn a_token_that_its_key_signed_has_the_scopes_of_the_key() {
    let all = vec![Scope::EventsWrite, Scope::Read, Scope::Manage];
    assert_eq!(with_claims(r#"{"exp":1800000060}"#), Some(all.clone()));
    let within = r#"{"exp":1800000060,"iat":1799999990,"nbf":1800000030,"sub":"acc"}"#;
    assert_eq!(with_claims(within), Some(all));
}

#[test]
fn a_scope_claim_takes_away_and_never_gives() {
    let with = |scope: &str| with_claims(&format!(r#"{{"exp":1800000060,"scope":{scope}}}"#)).unwrap();
    assert_eq!(with("\"read\""), [Scope::Read]);
    assert_eq!(with("\"openid read events:write\""), [Scope::EventsWrite, Scope::Read]);
    assert_eq!(with("[\"manage\"]"), [Scope::Manage]);
    for nothing in ["\"\"", "\"operator\"", "[]", "7", "null", "{}"] {
        assert_eq!(with(nothing), [], "{nothing}");
    }
}

/// RFC 7519 §4.1: the time of a token, with a minute for clocks that differ.
#[test]
fn a_token_has_an_end_and_holds_until_then() {
    for good in [r#"{"exp":1799999941}"#, r#"{"exp":1.8e9}"#, r#"{"exp":1800000060.5}"#] {
        assert!(with_claims(good).is_some(), "{good}");
    }
    for bad in [
        "{}",
        r#"{"exp":null}"#,
        r#"{"exp":"1800000060"}"#,
        r#"{"exp":1799999940}"#,
        r#"{"exp":-1}"#,
        r#"{"exp":1800000060,"nbf":1800000061}"#,
        r#"{"exp":1800000060,"iat":1800000061}"#,
        r#"{"exp":1800000060,"nbf":"x"}"#,
        r#"{"exp":1,"exp":1800000060}"#,
        "[]",
        "1",
        "",
    ] {
        assert_eq!(with_claims(bad), None, "{bad}");
    }
}

#[test]
fn claims_that_the_key_asks_for_are_there() {
    let secrets = secrets();
    let mut key = hmac_key(&secrets);
    key.claims =
        [("account", "acc_1"), ("aud", "webhooks")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let with = |claims: &str| scopes_of(&token(HS256, claims, hmac), &key, &secrets).is_some();
    assert!(with(r#"{"exp":1800000060,"account":"acc_1","aud":"webhooks"}"#));
    assert!(with(r#"{"exp":1800000060,"account":"acc_1","aud":["ads","webhooks"]}"#));
    assert!(!with(r#"{"exp":1800000060,"account":"acc_2","aud":"webhooks"}"#));
    assert!(!with(r#"{"exp":1800000060,"aud":"webhooks"}"#));
}

/// RFC 8725 §3.1: the algorithm is the key's, and `none` is nobody's.
#[test]
fn a_token_does_not_choose_how_it_is_verified() {
    let secrets = secrets();
    let key = hmac_key(&secrets);
    let claims = r#"{"exp":1800000060}"#;
    for header in [
        r#"{"alg":"none","kid":"k1"}"#,
        r#"{"alg":"None","kid":"k1"}"#,
        r#"{"alg":"RS256","kid":"k1"}"#,
        r#"{"alg":"hs256","kid":"k1"}"#,
        r#"{"alg":"HS512","kid":"k1"}"#,
        r#"{"alg":"HS256","kid":"k1","crit":["exp"]}"#,
        r#"{"alg":"HS256","alg":"HS256","kid":"k1"}"#,
        r#"{"alg":"HS256"}"#,
        r#"{"kid":"k1"}"#,
        "[]",
    ] {
        assert_eq!(scopes_of(&token(header, claims, hmac), &key, &secrets), None, "{header}");
    }
    // A public key is no secret: signing with it as one proves nothing.
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let public = pair.public_key().as_ref().to_vec();
    let asymmetric = self::key(VerifyingKey::Ed25519 { x: base64(&public) });
    let sign = |message: &[u8]| {
        Hmac::<Sha256>::new_from_slice(&public)
            .unwrap()
            .chain_update(message)
            .finalize()
            .into_bytes()
            .to_vec()
    };
    assert_eq!(scopes_of(&token(HS256, claims, sign), &asymmetric, &secrets), None);
}

#[test]
fn a_token_is_one_to_the_letter() {
    let secrets = secrets();
    let key = hmac_key(&secrets);
    let good = token(HS256, r#"{"exp":1800000060}"#, hmac);
    assert!(scopes_of(&good, &key, &secrets).is_some());
    let (signed, signature) = good.rsplit_once('.').unwrap();
    for bad in [
        format!("{signed}."),
        signed.to_owned(),
        format!("{good}."),
        format!(".{good}"),
        format!("{good}="),
        format!("{signed}.{}", &signature[1..]),
        format!("{signed}.{}", base64(hmac(b"something else"))),
        good.replacen('.', "..", 1),
        token(HS256, &format!(r#"{{"exp":1800000060,"x":"{}"}}"#, "x".repeat(TOKEN_MAX)), hmac),
    ] {
        assert_eq!(scopes_of(&bad, &key, &secrets), None, "{bad}");
    }
    let mut changed = good.clone().into_bytes();
    let middle = signed.len() - 3;
    changed[middle] = if changed[middle] == b'A' { b'B' } else { b'A' };
    assert_eq!(scopes_of(&String::from_utf8(changed).unwrap(), &key, &secrets), None);
}

/// ES256 and `EdDSA` with keys made here; RS256 with RFC 7515's own example.
#[test]
fn public_keys_verify_what_their_private_halves_signed() {
    let secrets = secrets();
    let claims = r#"{"exp":1800000060}"#;
    let header = |alg: &str| format!(r#"{{"alg":"{alg}","kid":"k1"}}"#);

    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let ed25519 = key(VerifyingKey::Ed25519 { x: base64(pair.public_key()) });
    let signed = token(&header("EdDSA"), claims, |message| pair.sign(message).as_ref().to_vec());
    assert!(scopes_of(&signed, &ed25519, &secrets).is_some());

    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let pair =
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap();
    let point = pair.public_key().as_ref();
    let p256 = key(VerifyingKey::P256 { x: base64(&point[1..33]), y: base64(&point[33..]) });
    assert!(is_p256_point(&point[1..33], &point[33..]));
    assert!(!is_p256_point(&point[33..], &point[1..33]) && !is_p256_point(&[0; 32], &[0; 32]));
    let es256 =
        token(&header("ES256"), claims, |message| pair.sign(&random, message).unwrap().as_ref().to_vec());
    assert!(scopes_of(&es256, &p256, &secrets).is_some());
    assert_eq!(scopes_of(&es256, &ed25519, &secrets), None, "another key");
    assert_eq!(scopes_of(&signed, &p256, &secrets), None);
}

/// RFC 7515, appendix A.2: the example's key, message and signature.
#[test]
fn rs256_agrees_with_the_rfc() {
    let rsa = key(VerifyingKey::Rsa {
        n: concat!(
            "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-",
            "yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-",
            "KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_",
            "h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"
        )
        .into(),
        e: "AQAB".into(),
    });
    let signed = concat!(
        "eyJhbGciOiJSUzI1NiJ9.",
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
    );
    let signature = concat!(
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdb",
        "F9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383",
        "LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWy",
        "wlVmtVrBp0igcN_IoypGlUPQGe77Rw"
    );
    let token = Token {
        kid: "k1".into(),
        algorithm: "RS256".into(),
        claims: Vec::new(),
        signed,
        signature: URL_SAFE_NO_PAD.decode(signature).unwrap(),
    };
    assert!(token.verify(&rsa, &secrets()));
    let changed = Token { signed: "eyJhbGciOiJSUzI1NiJ9.e30", ..token };
    assert!(!changed.verify(&rsa, &secrets()));
}
