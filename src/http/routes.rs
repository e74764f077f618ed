//! Registers routes, each with the access that it asks for; a route without one cannot be written, nor one whose
//! answer `/openapi.json` could not describe.

use super::{
    auth::{Access, Gate, gate},
    error::ApiError,
    openapi::{Answered, Extracted, Parts, Schemas},
};
use actix_web::{
    FromRequest, Handler, Resource, Responder,
    http::Method,
    middleware::from_fn,
    web::{self, ServiceConfig},
};
use ledgerhook_actors::domain::tenant::Scope;
use serde_json::Value;
use std::rc::Rc;

/// The table that `http.rs` fills in.
#[derive(Default)]
pub(crate) struct Routes {
    paths: Vec<(String, Vec<Method>, Resource)>,
    tree: Option<Rc<str>>,
    listed: Vec<Route>,
}

/// One route, as the description of the API needs it.
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) access: Access,
    /// Root of the provider's tree that it is part of.
    pub(crate) tree: Option<Rc<str>>,
    /// What its handler reads of a request.
    pub(crate) parts: Parts,
    /// The schema of what its handler answers.
    pub(crate) data: fn(&mut Schemas) -> Option<Value>,
}

impl Routes {
    /// Registers calls below the root of a provider's tree: only tenants whose profile has that tree find them.
    pub(crate) fn tree(&mut self, root: &str, register: impl FnOnce(&mut Self, &str)) {
        self.tree = Some(root.into());
        register(self, root);
        self.tree = None;
    }

    /// `GET` for keys with this scope.
    pub(crate) fn get<A>(&mut self, scope: Scope, path: &str, handler: impl Endpoint<A>)
    where
        A: FromRequest + Extracted + 'static,
    {
        self.add(Method::GET, Access::Key(scope), path, handler);
    }

    /// `POST` for keys with this scope.
    pub(crate) fn post<A>(&mut self, scope: Scope, path: &str, handler: impl Endpoint<A>)
    where
        A: FromRequest + Extracted + 'static,
    {
        self.add(Method::POST, Access::Key(scope), path, handler);
    }

    /// `PUT` for keys with this scope.
    pub(crate) fn put<A>(&mut self, scope: Scope, path: &str, handler: impl Endpoint<A>)
    where
        A: FromRequest + Extracted + 'static,
    {
        self.add(Method::PUT, Access::Key(scope), path, handler);
    }

    /// `PATCH` for keys with this scope.
    pub(crate) fn patch<A>(&mut self, scope: Scope, path: &str, handler: impl Endpoint<A>)
    where
        A: FromRequest + Extracted + 'static,
    {
        self.add(Method::PATCH, Access::Key(scope), path, handler);
    }

    /// `DELETE` for keys with this scope.
    pub(crate) fn delete<A>(&mut self, scope: Scope, path: &str, handler: impl Endpoint<A>)
    where
        A: FromRequest + Extracted + 'static,
    {
        self.add(Method::DELETE, Access::Key(scope), path, handler);
    }

    /// `GET` without a key: health, and public keys.
    pub(crate) fn public<A>(&mut self, path: &str, handler: impl Endpoint<A>)
    where
        A: FromRequest + Extracted + 'static,
    {
        self.add(Method::GET, Access::Public, path, handler);
    }

    fn add<A, E: Endpoint<A>>(&mut self, method: Method, access: Access, path: &str, handler: E)
    where
        A: FromRequest + Extracted + 'static,
    {
        let mut parts = Parts::default();
        A::tell(&mut parts);
        let (tree, data) = (self.tree.clone(), <E::Output as Answered>::data);
        self.listed.push(Route { method: method.clone(), path: path.to_owned(), access, tree, parts, data });
        let asked = Rc::new(Gate {
            access,
            tree: self.tree.clone(),
            tenant_part: tenant_part(path),
            reads_query: parts.query,
        });
        let gate = from_fn(move |request, next| gate(Rc::clone(&asked), request, next));
        let route = web::method(method.clone()).to(handler).wrap(gate);
        let found = self.paths.iter().position(|(known, ..)| *known == path);
        let (methods, resource) = match found.map(|index| self.paths.remove(index)) {
            Some((_, methods, resource)) => (methods, resource),
            None => (Vec::new(), web::resource(path.to_owned())),
        };
        let methods = [methods, vec![method]].concat();
        let place = found.unwrap_or(self.paths.len());
        self.paths.insert(place, (path.to_owned(), methods, resource.route(route)));
    }

    /// All of them, in the order of the table.
    pub(crate) fn listed(&self) -> &[Route] {
        &self.listed
    }

    /// Hands the table to actix. What matches no path is 404, no method 405.
    pub(crate) fn install(self, config: &mut ServiceConfig) {
        // Each is tried in turn, and one without a placeholder is told from others at a glance.
        let (placed, plain): (Vec<_>, Vec<_>) =
            self.paths.into_iter().partition(|(path, ..)| path.contains('{'));
        for (_, methods, resource) in plain.into_iter().chain(placed) {
            let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
            let allow = names.join(", ");
            let refuse = move || {
                let error = ApiError::method_not_allowed(allow.clone());
                async move { Err::<&str, ApiError>(error) }
            };
            config.service(resource.default_service(web::to(refuse)));
        }
        config.default_service(web::to(|| async { Err::<&str, ApiError>(ApiError::no_such_path()) }));
    }
}

/// Whatever lies below a tenant is about that tenant.
fn tenant_part(path: &str) -> Option<&'static str> {
    path.starts_with("/api/tenants/{id}").then_some("id")
}

/// A function that answers requests, in the words of actix.
pub(crate) trait Endpoint<A>: Handler<A, Output: Responder + Answered + 'static> + 'static {}

impl<A, H> Endpoint<A> for H where H: Handler<A, Output: Responder + Answered + 'static> + 'static {}
