//! The TLS configuration that a request brings along: whom it trusts, and which certificate it shows.

use super::{Identity, config_of};
use parking_lot::Mutex;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};
use tokio_rustls::TlsConnector;

/// Whom a request trusts, and what it shows: a configuration of TLS with a name of its own.
#[derive(Clone)]
pub struct Trust {
    pub(super) config: Arc<ClientConfig>,
    pub(super) name: Arc<str>,
}

/// Why a text names nobody to trust.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// Not PEM, or nothing of it.
    #[error("holds no certificate in PEM form")]
    Empty,
    /// The text is stored and shown as it is.
    #[error("holds a private key; this is public, and shown")]
    PrivateKey,
    /// A certificate cannot serve as a root.
    #[error("holds a certificate that cannot serve as an authority")]
    Unusable,
}

impl Trust {
    /// Whether a text names somebody to trust, and nothing else.
    pub fn check_pem(text: &str) -> Result<(), TrustError> {
        if holds_private_key(text) { Err(TrustError::PrivateKey) } else { roots(text).map(drop) }
    }

    /// Tells it from others: connections are not shared between those that trust or show something else.
    pub(in crate::delivery) fn name(&self) -> &str {
        &self.name
    }

    pub(in crate::delivery) fn connector(&self) -> TlsConnector {
        Arc::clone(&self.config).into()
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Trust").field(&self.name).finish()
    }
}

/// One configuration for each authority, for as long as somebody has it: those who name the same one resume each
/// other's sessions.
pub struct Trusts {
    shared: Trust,
    known: Mutex<HashMap<Arc<str>, Weak<ClientConfig>>>,
}

impl Trusts {
    /// `shared` is the configuration of requests that bring none along.
    #[must_use]
    pub fn new(shared: Arc<ClientConfig>) -> Self {
        Self { shared: Trust { config: shared, name: "".into() }, known: Mutex::default() }
    }

    /// Reads certificates in PEM form. They are trusted as roots, and nobody else is: an authority's, or the receiver's
    /// own if it signed itself as one.
    pub fn of_pem(&self, text: &str) -> Result<Trust, TrustError> {
        let name: Arc<str> = name_of([text.as_bytes()]).into();
        let mut known = self.known.lock();
        if let Some(config) = known.get(&name).and_then(Weak::upgrade) {
            return Ok(Trust { config, name });
        }
        let config = config_of(roots(text)?).map_err(|_| TrustError::Unusable)?;
        known.retain(|_, config| config.strong_count() > 0);
        known.insert(Arc::clone(&name), Arc::downgrade(&config));
        Ok(Trust { config, name })
    }

    /// What a request brings along that trusts `authority`, if it names one, and shows `identity`, if it has one.
    #[must_use]
    pub fn join(&self, authority: Option<&Trust>, identity: Option<&Identity>) -> Option<Trust> {
        match identity {
            Some(identity) => Some(identity.towards(authority.unwrap_or(&self.shared))),
            None => authority.cloned(),
        }
    }
}

impl fmt::Debug for Trusts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trusts").finish_non_exhaustive()
    }
}

/// Whether a text in PEM form has a private key in it, of whatever kind.
pub(super) fn holds_private_key(text: &str) -> bool {
    text.contains("PRIVATE KEY-----")
}

fn roots(text: &str) -> Result<RootCertStore, TrustError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
        roots.add(certificate.map_err(|_| TrustError::Empty)?).map_err(|_| TrustError::Unusable)?;
    }
    if roots.is_empty() { Err(TrustError::Empty) } else { Ok(roots) }
}

/// 128 bits: whoever found another text with the name of this one would share its connections.
pub(super) fn name_of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let digest = parts.into_iter().fold(Sha256::new(), Digest::chain_update).finalize();
    hex::encode(&digest[..16])
}

#[cfg(test)]
mod tests {
    use super::super::client_config;
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    fn authority() -> String {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
    }

    fn trusts() -> Trusts {
        Trusts::new(client_config(&[]).unwrap())
    }

    #[test]
    fn trust_is_read_from_certificates_alone() {
        let read = |text: &str| trusts().of_pem(text).unwrap_err();
        assert_eq!(read(""), TrustError::Empty);
        assert_eq!(read("nothing"), TrustError::Empty);
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(read(broken), TrustError::Unusable);
    }

    /// SEC.1: what is shown to everybody who may read is not to have a key in it.
    #[test]
    fn a_private_key_is_no_part_of_what_is_shown() {
        let both = authority() + &KeyPair::generate().unwrap().serialize_pem();
        assert_eq!(Trust::check_pem(&both), Err(TrustError::PrivateKey));
        assert_eq!(Trust::check_pem(&authority()), Ok(()));
    }

    #[test]
    fn one_authority_has_one_configuration_until_nobody_has_it() {
        let (trusts, one, other) = (trusts(), authority(), authority());
        let (first, second) = (trusts.of_pem(&one).unwrap(), trusts.of_pem(&one).unwrap());
        assert!(Arc::ptr_eq(&first.config, &second.config));
        let different = trusts.of_pem(&other).unwrap();
        assert_ne!(first.name(), different.name());
        drop((first, second, different));
        trusts.of_pem(&one).unwrap();
        assert_eq!(trusts.known.lock().len(), 1, "what nobody has is forgotten");
    }
}
