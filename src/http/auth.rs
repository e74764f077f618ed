//! Who calls, for which tenant, and whether the key may do it.
//!
//! Every route is registered with an [`Access`] (see `http/routes.rs`); [`gate`] stands before its handler and
//! before anything of the body is read. Handlers then take [`Caller`] or [`Operator`].

use super::{
    error::{ApiError, ApiResult},
    finish::RequestId,
    idempotency,
    query::Query,
    throttle::Throttle,
};
use actix_web::{
    Error, FromRequest, HttpMessage, HttpRequest,
    body::{BoxBody, MessageBody},
    dev::{Payload, RequestHead, ServiceRequest, ServiceResponse},
    http::{
        Method,
        header::{self, HeaderMap, HeaderName},
    },
    middleware::Next,
    web::Data,
};
use ledgerhook_actors::{
    domain::{
        by::{Asked, By},
        catalog::PipelineEntry,
        id::{PipelineId, TenantId},
        tenant::{Scope, Scopes, Tenant},
    },
    engine::{EngineHandle, KeyOwner, Principal},
    profile::Answers,
};
use std::{
    future::{Ready, ready},
    rc::Rc,
    sync::Arc,
};

/// What a route asks of its callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Nothing: health, and nothing else.
    Public,
    /// A key with this scope.
    Key(Scope),
}

/// What stands before the handler of one route.
pub(crate) struct Gate {
    /// Who may pass.
    pub(crate) access: Access,
    /// The provider's tree that the route is part of.
    pub(crate) tree: Option<Rc<str>>,
    /// The part of the path that names the tenant it is about, if one does.
    pub(crate) tenant_part: Option<&'static str>,
    /// Whether the handler reads the query string, and refuses what it does not know of it.
    pub(crate) reads_query: bool,
}

/// Marks a request for a provider's tree: how its answers look there, known once the caller is.
#[derive(Clone, Copy)]
pub(crate) struct OnTree(pub(crate) Answers);

impl OnTree {
    /// How answers to this request look; elsewhere as everywhere.
    pub(crate) fn answers_of(request: &HttpRequest) -> Answers {
        request.extensions().get::<Self>().map(|on| on.0).unwrap_or_default()
    }
}

static X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
static X_TENANT_ID: HeaderName = HeaderName::from_static("x-tenant-id");

/// Whoever names no tenant with the operator key means this one.
pub(crate) const DEFAULT_TENANT: &str = "tenant_default";

/// Under this id the operator's answers are kept that are about no tenant; no tenant can have it.
pub(crate) const OPERATORS_OWN: &str = "operator";

/// Whoever passed the gate: a key, and the tenant that it acts for if there is one.
#[derive(Clone)]
pub(crate) struct KeyHolder {
    /// Recorded with everything that it changes.
    pub(crate) who: By,
    tenant: Option<Arc<Tenant>>,
    /// What `X-Tenant-Id` said.
    named: Option<TenantId>,
    scopes: Scopes,
}

impl KeyHolder {
    /// Whether this is the operator.
    pub(crate) fn is_operator(&self) -> bool {
        self.scopes.contains(Scope::Operator)
    }

    /// Whose things it is about; to the operator also a tenant that is no more.
    pub(crate) fn tenant_id(&self) -> Option<&TenantId> {
        self.tenant.as_ref().map(|tenant| &tenant.id).or(self.named.as_ref())
    }

    /// The tenant that a path names: the operator's to choose, everybody else's only if it is their own.
    pub(crate) fn addressed(&self, engine: &EngineHandle, id: &str) -> ApiResult<Arc<Tenant>> {
        self.must_reach(id)?;
        engine.catalog().tenant(id).cloned().ok_or_else(|| ApiError::not_found("tenant", id))
    }

    /// Refuses a path that names a tenant out of this key's reach. It says nothing of whether there is such a tenant.
    fn must_reach(&self, id: &str) -> ApiResult<()> {
        if self.named.as_ref().is_some_and(|named| named.as_str() != id) {
            return Err(mismatch("the path names another tenant than `X-Tenant-Id`"));
        }
        let own = self.tenant.as_ref().is_some_and(|own| own.id.as_str() == id);
        if own || self.is_operator() { Ok(()) } else { Err(ApiError::not_found("tenant", id)) }
    }

    /// Whose idempotency keys it uses in a call about the tenant that a path names, or about its own. What the operator
    /// was answered is the operator's alone, whatever tenant it acted for (I30).
    fn key_owner(&self, scope: Scope, addressed: Option<&str>) -> KeyOwner {
        let about = match addressed {
            // Not in the stream of a tenant: such calls take any id, also of one that is yet to be made.
            _ if scope == Scope::Operator => None,
            Some(id) => Some(TenantId::new(id)),
            None => self.tenant.as_ref().map(|tenant| tenant.id.clone()),
        };
        let tenant = about.unwrap_or_else(|| TenantId::new(OPERATORS_OWN));
        KeyOwner { tenant, operator: self.is_operator() }
    }
}

impl FromRequest for KeyHolder {
    type Error = ApiError;
    type Future = Ready<ApiResult<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(identity(request))
    }
}

/// The key of a request, and the tenant that it acts for.
#[derive(Clone)]
pub(crate) struct Caller {
    /// Recorded with everything that it changes.
    pub(crate) who: By,
    /// Whose things it sees.
    pub(crate) tenant: Arc<Tenant>,
}

impl Caller {
    /// The tenant's id.
    pub(crate) fn tenant_id(&self) -> &TenantId {
        &self.tenant.id
    }

    /// The pipeline with this id, if it is the tenant's. What is not looks like what does not exist (TEN.2).
    pub(crate) fn pipeline(&self, engine: &EngineHandle, id: &str) -> ApiResult<Arc<PipelineEntry>> {
        let entry = engine.catalog().pipeline(&PipelineId::new(id)).cloned();
        let own = entry.filter(|entry| entry.tenant == self.tenant.id);
        own.ok_or_else(|| ApiError::not_found("pipeline", id))
    }
}

impl FromRequest for Caller {
    type Error = ApiError;
    type Future = Ready<ApiResult<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(identity(request).and_then(Self::try_from))
    }
}

impl TryFrom<KeyHolder> for Caller {
    type Error = ApiError;

    fn try_from(KeyHolder { who, tenant, named, .. }: KeyHolder) -> ApiResult<Self> {
        let named = named.as_ref().map_or(DEFAULT_TENANT, TenantId::as_str);
        Ok(Self { who, tenant: tenant.ok_or_else(|| ApiError::not_found("tenant", named))? })
    }
}

/// A caller of a route that is about no tenant in particular.
pub(crate) struct Operator {
    /// Recorded with everything that it changes.
    pub(crate) who: By,
}

impl FromRequest for Operator {
    type Error = ApiError;
    type Future = Ready<ApiResult<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(identity(request).and_then(|holder| {
            permit(holder.scopes, Scope::Operator)?;
            Ok(Self { who: holder.who })
        }))
    }
}

fn identity(request: &HttpRequest) -> ApiResult<KeyHolder> {
    let identity = request.extensions().get::<KeyHolder>().cloned();
    // Only a public route has none, and its handler must not ask.
    identity.ok_or_else(|| ApiError::internal(&"a handler asked for the caller of a public route"))
}

/// Stands before the handler of one route.
pub(crate) async fn gate<B: MessageBody + 'static>(
    gate: Rc<Gate>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let owner = match admit(&gate, &request) {
        Ok(owner) => owner,
        Err(error) => return Ok(request.error_response(error)),
    };
    match (owner, engine_of(&request)) {
        (Some(owner), Ok(engine)) => idempotency::once(&engine, &owner, request, next).await,
        _ => Ok(next.call(request).await?.map_into_boxed_body()),
    }
}

fn engine_of(request: &ServiceRequest) -> ApiResult<Data<EngineHandle>> {
    let engine = request.app_data::<Data<EngineHandle>>().cloned();
    engine.ok_or_else(|| ApiError::internal(&"the engine is not set up"))
}

/// Lets a caller in, and tells whose idempotency keys it uses, where answers are kept. Everything that who calls and
/// what the path names can decide is decided here: a kept answer is given again without asking the handler.
fn admit(gate: &Gate, request: &ServiceRequest) -> ApiResult<Option<KeyOwner>> {
    let Access::Key(needed) = gate.access else { return Ok(None) };
    if gate.tree.is_some() {
        request.extensions_mut().insert(OnTree(Answers::default()));
    }
    let engine = &engine_of(request)?;
    let throttle = request.app_data::<Data<Throttle>>().map(|throttle| &***throttle);
    let identity = holder(engine, throttle, needed, request.head(), request.extensions().get())?;
    if let Some(tree) = &gate.tree {
        let answers = find_tree(engine, &identity, tree)?;
        request.extensions_mut().insert(OnTree(answers));
    }
    let addressed = gate.tenant_part.and_then(|part| request.match_info().get(part));
    addressed.map_or(Ok(()), |id| identity.must_reach(id))?;
    check_content_type(request.head())?;
    if !gate.reads_query {
        no_query(request.head())?;
    }
    // The key of an event becomes its id; its answer needs not be kept.
    let kept = request.method() == Method::POST && needed != Scope::EventsWrite;
    let owner = kept.then(|| identity.key_owner(needed, addressed));
    request.extensions_mut().insert(identity);
    Ok(owner)
}

/// Who calls, if the key may do what needs this scope.
pub(crate) fn holder(
    engine: &EngineHandle,
    throttle: Option<&Throttle>,
    needed: Scope,
    head: &RequestHead,
    id: Option<&RequestId>,
) -> ApiResult<KeyHolder> {
    let presented = presented_key(&head.headers).ok_or_else(ApiError::unauthorized)?;
    let Some(principal) = principal(engine, presented) else {
        let address = head.peer_addr.map(|address| address.ip());
        throttle.zip(address).map_or(Ok(()), |(throttle, address)| throttle.wrong_key(address))?;
        return Err(ApiError::unauthorized());
    };
    permit(principal.scopes, needed)?;
    identify(engine, principal, needed, head, id)
}

/// Whose API key it is, or whose JWT.
fn principal(engine: &EngineHandle, presented: &str) -> Option<Principal> {
    engine.authenticate(presented).or_else(|| engine.authenticate_jwt(presented))
}

/// The key of a request. Two that differ are none.
fn presented_key(headers: &HeaderMap) -> Option<&str> {
    let bearer = match single(headers, &header::AUTHORIZATION).ok()? {
        None => None,
        Some(value) => {
            let (scheme, key) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(Some(key.trim_start()))?
        }
    };
    let plain = single(headers, &X_API_KEY).ok()?;
    match (bearer, plain) {
        (Some(bearer), Some(plain)) if bearer != plain => None,
        (bearer, plain) => bearer.or(plain).filter(|key| !key.is_empty()),
    }
}

/// A header that stands twice, or is not text: two readers could take it for two things.
struct Ambiguous;

/// The one value of a header, if it is there.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Ambiguous> {
    let mut values = headers.get_all(name);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| Ambiguous),
        _ => Err(Ambiguous),
    }
}

/// `operator` may do everything; `manage` includes `read`; everything else stands for itself.
fn permit(scopes: Scopes, needed: Scope) -> ApiResult<()> {
    let manages = needed == Scope::Read && scopes.contains(Scope::Manage);
    if manages || scopes.contains(needed) || scopes.contains(Scope::Operator) {
        return Ok(());
    }
    Err(ApiError::forbidden(
        "missing_scope",
        format!("this call needs a key with the scope `{}`", needed.as_str()),
    ))
}

/// The key's tenant decides; the operator names one. A tenant key that names another tenant is refused, since it
/// means something that will not happen (TEN.5).
fn identify(
    engine: &EngineHandle,
    principal: Principal,
    needed: Scope,
    head: &RequestHead,
    id: Option<&RequestId>,
) -> ApiResult<KeyHolder> {
    let Principal { key, name, hint, tenant, scopes } = principal;
    // What only reads or posts events leaves nothing in the audit.
    let is_told = !matches!(needed, Scope::Read | Scope::EventsWrite);
    let who = By { key, asked: is_told.then(|| Box::new(asked(name, hint, head, id))) };
    let twice = |Ambiguous| {
        ApiError::unreadable("bad_tenant_header", "`X-Tenant-Id` is to be given once, as plain text")
    };
    let named = single(&head.headers, &X_TENANT_ID).map_err(twice)?;
    let tenant = match (tenant, named) {
        (Some(own), Some(named)) if named != own.id.as_str() => {
            return Err(mismatch("the key belongs to another tenant than `X-Tenant-Id` names"));
        }
        (Some(own), _) => Some(own),
        (None, _) => engine.catalog().tenant(named.unwrap_or(DEFAULT_TENANT)).cloned(),
    };
    let named = match (named, &tenant) {
        (None, _) => None,
        (Some(_), Some(tenant)) => Some(tenant.id.clone()),
        // What was done to a tenant outlives it (I32).
        (Some(named), None) if head.uri.path() == "/api/audit" => Some(TenantId::new(named)),
        (Some(named), None) => return Err(ApiError::not_found("tenant", named)),
    };
    Ok(KeyHolder { who, tenant, named, scopes })
}

/// How a key came, for the audit.
fn asked(
    name: Option<Arc<str>>,
    hint: Option<Arc<str>>,
    head: &RequestHead,
    id: Option<&RequestId>,
) -> Asked {
    let request = id.map(|id| id.as_str().into()).unwrap_or_default();
    let peer = head.peer_addr.map(|peer| peer.ip().to_canonical().to_string().into());
    let boxed = |text: Option<Arc<str>>| text.as_deref().map(Box::from);
    Asked { name: boxed(name), hint: boxed(hint), request, peer }
}

/// All trees are mounted at once; to a tenant there is the one of its profile, and no other (T-45).
fn find_tree(engine: &EngineHandle, holder: &KeyHolder, tree: &str) -> ApiResult<Answers> {
    let profiles = &engine.tools().profiles;
    let name = holder.tenant.as_ref().map_or("", |tenant| &tenant.profile);
    let Some(profile) = profiles.get(name) else { return Err(ApiError::no_such_path()) };
    let trees = &profile.api.webhooks;
    if trees.iter().any(|own| own.as_str() == tree) {
        return Ok(profile.api.answers);
    }
    let own: Vec<String> =
        trees.iter().map(|own| format!("`{own}`")).chain(["`/api/webhooks`".into()]).collect();
    Err(ApiError::not_on_this_tree(format!(
        "`{tree}` is not for tenants of the profile `{name}`; their webhooks are under {}",
        own.join(" and ")
    )))
}

fn mismatch(detail: &str) -> ApiError {
    ApiError::forbidden("tenant_mismatch", detail)
}

/// For calls that take no parameters: one that is misspelt or misplaced is not passed over.
pub(crate) fn no_query(head: &RequestHead) -> ApiResult<()> {
    head.uri.query().map_or(Ok(()), |query| Query::new(head.uri.path(), query)?.none())
}

/// Whatever writes takes JSON or nothing, so that no form of another page's can reach it (ADM.15, DSH.4).
pub(crate) fn check_content_type(head: &RequestHead) -> ApiResult<()> {
    if matches!(head.method, Method::GET | Method::HEAD) {
        return Ok(());
    }
    let headers = &head.headers;
    let length = headers.get(header::CONTENT_LENGTH).is_some_and(|v| v.as_bytes() != b"0");
    let has_body = length || headers.contains_key(header::TRANSFER_ENCODING);
    match single(headers, &header::CONTENT_TYPE) {
        Ok(None) if !has_body => Ok(()),
        Ok(Some(value)) if super::json_body::is_json(value, &head.method) => Ok(()),
        _ => Err(super::json_body::unsupported_media_type()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::{HeaderName, HeaderValue};

    fn key(pairs: &[(&'static str, &'static str)]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for &(name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        presented_key(&headers).map(str::to_owned)
    }

    /// T-44, TEN.1
    #[test]
    fn a_key_comes_in_either_header() {
        assert_eq!(key(&[("authorization", "Bearer k1")]).as_deref(), Some("k1"));
        assert_eq!(key(&[("authorization", "bearer k1")]).as_deref(), Some("k1"));
        assert_eq!(key(&[("x-api-key", "k1")]).as_deref(), Some("k1"));
        assert_eq!(key(&[("x-api-key", "k1"), ("authorization", "Bearer k1")]).as_deref(), Some("k1"));
    }

    /// TEN.1
    #[test]
    fn no_key_an_empty_one_and_two_different_ones_are_none() {
        for pairs in [
            &[][..],
            &[("authorization", "Bearer ")],
            &[("authorization", "Bearer")],
            &[("authorization", "Basic azE6")],
            &[("x-api-key", "")],
            &[("x-api-key", "k1"), ("x-api-key", "k1")],
            &[("x-api-key", "k1"), ("authorization", "Bearer k2")],
        ] {
            assert_eq!(key(pairs), None, "{pairs:?}");
        }
    }

    /// TEN.4
    #[test]
    fn scopes_permit_what_they_name() {
        use Scope::{EventsWrite, Manage, Operator, Read};
        let allowed = |has, needed| permit([has].as_slice().into(), needed).is_ok();
        assert!(allowed(Operator, Manage) && allowed(Operator, EventsWrite) && allowed(Manage, Read));
        assert!(!allowed(Read, Manage) && !allowed(Read, EventsWrite));
        assert!(!allowed(EventsWrite, Read) && !allowed(EventsWrite, Manage));
        assert!(!allowed(Manage, EventsWrite) && !allowed(Manage, Operator));
        assert!(permit([].as_slice().into(), Read).is_err());
    }
}
