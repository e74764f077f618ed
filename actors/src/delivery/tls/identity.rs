//! The certificate that a tenant shows to receivers that ask for one, and its key (mutual TLS).

use super::trust::{Trust, holds_private_key, name_of};
use crate::{
    delivery::target::is_hidden,
    domain::{client_certificate::Certificate, time::Timestamp},
    secrets::Secret,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use parking_lot::Mutex;
use rustls::client::Resumption;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use x509_cert::der::Decode;
use x509_cert::{name::Name, time::Time};

/// Most certificates of a chain.
const CHAIN_MAX: usize = 10;
/// Longest name that is shown of a certificate, in characters.
const NAME_CHARS: usize = 500;
/// Configurations that are kept of one identity; beyond it all are made anew as they are asked for.
const KEPT: usize = 256;

/// A certificate ready to be shown.
pub struct Identity {
    name: String,
    certified: Arc<CertifiedKey>,
    /// By the name of whom the request trusts. They go with the identity, and with them its key.
    made: Mutex<HashMap<Arc<str>, Trust>>,
}

/// Why a certificate and a key cannot be shown. Names no part of the key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not PEM, or no certificate in it.
    #[error("holds no certificate in PEM form")]
    NoCertificate,
    /// The key stands where everybody may read.
    #[error("holds a private key, which belongs into `private_key`")]
    KeyInCertificate,
    /// A certificate cannot be read.
    #[error("holds a certificate that cannot be read")]
    Unreadable,
    /// More than anybody needs.
    #[error("holds more than {CHAIN_MAX} certificates")]
    TooMany,
    /// Not PEM, of an unknown kind, or encrypted.
    #[error(
        "holds no private key in PEM form that can be used: RSA, ECDSA on P-256 or P-384, or Ed25519, not encrypted"
    )]
    NoKey,
    /// The key is another certificate's.
    #[error("is not the key of the certificate; the tenant's own certificate comes first")]
    OtherKey,
}

impl IdentityError {
    /// Whether the key is to blame, and not the certificate.
    #[must_use]
    pub fn is_about_the_key(&self) -> bool {
        matches!(self, Self::NoKey | Self::OtherKey)
    }
}

impl Identity {
    /// Reads a certificate, with those that lead to its authority behind it, and its key, all in PEM form.
    pub fn read(certificate: &str, key: &Secret) -> Result<Certificate, IdentityError> {
        if holds_private_key(certificate) {
            return Err(IdentityError::KeyInCertificate);
        }
        let chain = CertificateDer::pem_slice_iter(certificate.as_bytes());
        let chain: Vec<_> = chain.collect::<Result<_, _>>().map_err(|_| IdentityError::NoCertificate)?;
        let own = chain.first().ok_or(IdentityError::NoCertificate)?;
        if chain.len() > CHAIN_MAX {
            return Err(IdentityError::TooMany);
        }
        let parse = |der: &CertificateDer<'_>| {
            x509_cert::Certificate::from_der(der).map_err(|_| IdentityError::Unreadable)
        };
        for other in &chain[1..] {
            parse(other)?;
        }
        let parsed = parse(own)?;
        let told = parsed.tbs_certificate();
        let described = Certificate {
            chain: chain.iter().map(|der| STANDARD.encode(der)).collect(),
            subject: shown(told.subject()),
            issuer: shown(told.issuer()),
            not_before: instant(told.validity().not_before),
            not_after: instant(told.validity().not_after),
            sha256: hex::encode(Sha256::digest(own)),
        };
        certified(chain, key)?;
        Ok(described)
    }

    /// Makes ready what was read before.
    pub fn new(certificate: &Certificate, key: &Secret) -> Result<Self, IdentityError> {
        let der = |text: &String| STANDARD.decode(text).map(CertificateDer::from);
        let chain: Vec<_> = certificate
            .chain
            .iter()
            .map(der)
            .collect::<Result<_, _>>()
            .map_err(|_| IdentityError::Unreadable)?;
        let name = name_of(chain.iter().map(AsRef::as_ref));
        Ok(Self { name, certified: certified(chain, key)?, made: Mutex::default() })
    }

    /// The configuration of a request that shows it to a receiver that `trust` believes.
    pub(super) fn towards(&self, trust: &Trust) -> Trust {
        let mut made = self.made.lock();
        if let Some(known) = made.get(&trust.name) {
            return known.clone();
        }
        let mut config = (*trust.config).clone();
        config.client_auth_cert_resolver =
            Arc::new(SingleCertAndKey::from(CertifiedKey::clone(&self.certified)));
        // Whoever resumed another's session would pass for it.
        config.resumption = Resumption::default();
        let name = format!("{}-{}", trust.name, self.name).into();
        let joined = Trust { config: Arc::new(config), name };
        if made.len() >= KEPT {
            made.clear();
        }
        made.insert(Arc::clone(&trust.name), joined.clone());
        joined
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.name).finish()
    }
}

fn certified(chain: Vec<CertificateDer<'static>>, key: &Secret) -> Result<Arc<CertifiedKey>, IdentityError> {
    let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes()).map_err(|_| IdentityError::NoKey)?;
    let provider = rustls::crypto::ring::default_provider();
    let key = provider.key_provider.load_private_key(key).map_err(|_| IdentityError::NoKey)?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) => Ok(Arc::new(certified)),
        Err(rustls::Error::InconsistentKeys(_)) => Err(IdentityError::OtherKey),
        Err(_) => Err(IdentityError::Unreadable),
    }
}

/// A name as RFC 4514 writes it, without what nobody could see.
fn shown(name: &Name) -> String {
    let visible = |c: char| if c.is_control() || is_hidden(c) { char::REPLACEMENT_CHARACTER } else { c };
    name.to_string().chars().take(NAME_CHARS).map(visible).collect()
}

fn instant(time: Time) -> Timestamp {
    let since_epoch: Duration = time.to_unix_duration();
    Timestamp(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::super::{Trusts, client_config};
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ED25519, date_time_ymd};

    struct Pair {
        certificate: String,
        key: Secret,
    }

    fn pair(key: &KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "tenant, of \u{202e}mine");
        change(&mut params);
        let certificate = params.self_signed(key).unwrap().pem();
        Pair { certificate, key: Secret::new(key.serialize_pem()) }
    }

    fn some() -> Pair {
        pair(&KeyPair::generate().unwrap(), |_| ())
    }

    #[test]
    fn a_certificate_tells_of_itself_what_can_be_seen() {
        let made = pair(&KeyPair::generate().unwrap(), |params| {
            params.not_before = date_time_ymd(2020, 1, 2);
            params.not_after = date_time_ymd(2021, 3, 4);
        });
        let read = Identity::read(&made.certificate, &made.key).unwrap();
        assert!(read.subject.contains("CN=tenant\\, of \u{fffd}mine"), "{}", read.subject);
        assert_eq!(read.issuer, read.subject);
        assert_eq!(read.not_before.to_iso_seconds(), "2020-01-02T00:00:00Z");
        assert_eq!(read.not_after.to_iso_seconds(), "2021-03-04T00:00:00Z");
        assert_eq!((read.chain.len(), read.sha256.len()), (1, 64));
    }

    #[test]
    fn keys_of_every_usual_kind_are_taken_and_none_but_the_certificates_own() {
        for key in [KeyPair::generate().unwrap(), KeyPair::generate_for(&PKCS_ED25519).unwrap()] {
            let made = pair(&key, |_| ());
            assert!(Identity::read(&made.certificate, &made.key).is_ok());
        }
        let (one, other) = (some(), some());
        let chain = one.certificate.clone() + &other.certificate;
        assert_eq!(Identity::read(&chain, &one.key).unwrap().chain.len(), 2);
        assert_eq!(Identity::read(&chain, &other.key), Err(IdentityError::OtherKey));
        for nothing in ["", "nothing", &one.certificate] {
            let refused = Identity::read(&one.certificate, &Secret::new(nothing.to_owned()));
            assert_eq!(refused, Err(IdentityError::NoKey), "{nothing}");
        }
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        let made = some();
        let read = |text: &str| Identity::read(text, &made.key).unwrap_err();
        for nothing in ["", "nothing"] {
            assert_eq!(read(nothing), IdentityError::NoCertificate);
        }
        assert_eq!(read(made.key.expose()), IdentityError::KeyInCertificate);
        assert_eq!(read(&(made.certificate.clone() + made.key.expose())), IdentityError::KeyInCertificate);
        assert_eq!(read(&made.certificate.repeat(11)), IdentityError::TooMany);
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(read(broken), IdentityError::Unreadable);
        assert_eq!(read(&(made.certificate.clone() + broken)), IdentityError::Unreadable);
    }

    #[test]
    fn what_trusts_or_shows_something_else_has_another_name_and_other_sessions() {
        let trusts = Trusts::new(client_config(&[]).unwrap());
        let authority = trusts.of_pem(&some().certificate).unwrap();
        let identity = || {
            let made = some();
            Identity::new(&Identity::read(&made.certificate, &made.key).unwrap(), &made.key).unwrap()
        };
        let (mine, theirs) = (identity(), identity());
        let all = [
            trusts.join(None, Some(&mine)).unwrap(),
            trusts.join(None, Some(&theirs)).unwrap(),
            trusts.join(Some(&authority), Some(&mine)).unwrap(),
            trusts.join(Some(&authority), Some(&theirs)).unwrap(),
            authority.clone(),
        ];
        for (place, one) in all.iter().enumerate() {
            for other in &all[place + 1..] {
                assert_ne!(one.name(), other.name());
                assert!(!Arc::ptr_eq(&one.config, &other.config));
            }
        }
        let again = trusts.join(Some(&authority), Some(&mine)).unwrap();
        assert!(Arc::ptr_eq(&all[2].config, &again.config));
        assert!(trusts.join(None, None).is_none());
    }
}
