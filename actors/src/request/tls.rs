//! Whom requests trust and what they show: the authorities of steps, and the certificates of tenants, opened and made
//! ready once for the whole process. So sessions are resumed whichever thread sends.

use super::BuildError;
use crate::{
    delivery::tls::{Identity, Trust, TrustError, Trusts},
    domain::{id::TenantId, tenant::Tenant},
    secrets::Secrets,
};
use parking_lot::Mutex;
use rustls::ClientConfig;
use std::{collections::HashMap, sync::Arc};

/// Tenants whose certificates are kept at most; beyond it all are opened anew as they are asked for.
const KEPT: usize = 4_096;

/// What was opened of a tenant, as it was then.
type Opened = (Arc<Tenant>, Arc<Identity>);

/// See the module.
#[derive(Debug)]
pub struct RequestTls {
    trusts: Trusts,
    identities: Mutex<HashMap<TenantId, Opened>>,
}

impl RequestTls {
    /// `shared` is the configuration of requests that bring none along.
    #[must_use]
    pub fn new(shared: Arc<ClientConfig>) -> Self {
        Self { trusts: Trusts::new(shared), identities: Mutex::default() }
    }

    /// What a request of a tenant brings along, whose step trusts `authority` if it names one.
    pub fn of(
        &self,
        tenant: &Arc<Tenant>,
        authority: Option<&Trust>,
        secrets: &Secrets,
    ) -> Result<Option<Trust>, BuildError> {
        let identity = self.identity(tenant, secrets)?;
        Ok(self.trusts.join(authority, identity.as_deref()))
    }

    pub(super) fn authority(&self, pem: &str) -> Result<Trust, TrustError> {
        self.trusts.of_pem(pem)
    }

    fn identity(&self, tenant: &Arc<Tenant>, secrets: &Secrets) -> Result<Option<Arc<Identity>>, BuildError> {
        let Some(own) = &tenant.client_certificate else { return Ok(None) };
        let mut kept = self.identities.lock();
        if let Some((_, identity)) = kept.get(&tenant.id).filter(|(then, _)| same_certificate(then, tenant)) {
            return Ok(Some(Arc::clone(identity)));
        }
        let key = secrets.open(&own.sealed)?;
        let identity = Identity::new(&own.certificate, &key).map_err(|_| BuildError::Identity)?;
        let identity = Arc::new(identity);
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(tenant.id.clone(), (Arc::clone(tenant), Arc::clone(&identity)));
        Ok(Some(identity))
    }

    /// Lets go of the keys of tenants that nobody else has any more: deleted ones, and former states of others.
    pub(super) fn forget_gone(&self) {
        self.identities.lock().retain(|_, (tenant, _)| Arc::strong_count(tenant) > 1);
    }
}

/// A tenant that was renamed has another address and the same certificate. No two seals of a key are the same.
fn same_certificate(then: &Arc<Tenant>, now: &Arc<Tenant>) -> bool {
    fn sealed(tenant: &Tenant) -> Option<&str> {
        tenant.client_certificate.as_ref().map(|own| own.sealed.as_str())
    }
    Arc::ptr_eq(then, now) || sealed(then) == sealed(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        delivery::tls::config_of,
        domain::{client_certificate::ClientCertificate, time::Timestamp},
        secrets::{MasterKey, Secret},
    };
    use rcgen::{CertificateParams, KeyPair};
    use rustls::RootCertStore;

    fn secrets(first: u8) -> Secrets {
        let key: Vec<u8> = (first..first + 32).collect();
        Secrets::new(&MasterKey::parse(&hex::encode(key)).unwrap())
    }

    fn certificate(secrets: &Secrets) -> ClientCertificate {
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(vec![]).unwrap().self_signed(&key).unwrap().pem();
        let key = Secret::new(key.serialize_pem());
        let certificate = Identity::read(&own, &key).unwrap();
        ClientCertificate { certificate, sealed: secrets.seal(key.expose()).unwrap(), set_at: Timestamp(0) }
    }

    fn showing(name: &str, own: Option<ClientCertificate>) -> Arc<Tenant> {
        let tenant = super::super::tests::tenant();
        Arc::new(Tenant { name: name.to_owned(), client_certificate: own, ..tenant })
    }

    #[test]
    fn a_tenants_certificate_is_opened_once_and_kept_as_long_as_the_tenant_is() {
        let (secrets, tls) = (secrets(0), RequestTls::new(config_of(RootCertStore::empty()).unwrap()));
        let of = |tenant: &Arc<Tenant>| tls.of(tenant, None, &secrets);
        assert!(of(&showing("a", None)).unwrap().is_none());
        let own = certificate(&secrets);
        let tenant = showing("a", Some(own.clone()));
        let first = of(&tenant).unwrap().unwrap();
        let renamed = of(&showing("b", Some(own))).unwrap().unwrap();
        let other = of(&showing("b", Some(certificate(&secrets)))).unwrap().unwrap();
        assert_eq!(format!("{first:?}"), format!("{renamed:?}"));
        assert_ne!(format!("{first:?}"), format!("{other:?}"));
        tls.forget_gone();
        assert_eq!(tls.identities.lock().len(), 0, "nobody has the tenant with that one any more");
        of(&tenant).unwrap();
        tls.forget_gone();
        assert_eq!(tls.identities.lock().len(), 1);
        // What is taken away is not shown, though it is kept still.
        assert!(of(&showing("a", None)).unwrap().is_none());
    }

    #[test]
    fn a_key_that_cannot_be_opened_fails_the_attempt() {
        let tls = RequestTls::new(config_of(RootCertStore::empty()).unwrap());
        let tenant = showing("a", Some(certificate(&secrets(1))));
        assert_eq!(tls.of(&tenant, None, &secrets(2)).unwrap_err(), BuildError::Sealed);
    }
}
