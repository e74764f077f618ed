//! What the types of a handler tell about its call: the schema of its answer, and the parts of a request that it reads.

use crate::http::{
    auth::{Caller, KeyHolder, Operator},
    body::{List, Success},
    error::ApiResult,
    idempotency::{IdempotencyKey, Kept},
    if_match::IfMatch,
    json_body::{JsonBytes, NoBody, OptionalBody},
    query::Query,
};
use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Path},
};
use serde_json::{Value, json};
use std::{borrow::Cow, collections::BTreeMap};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Object, Ref, RefOr, Schema,
        schema::{ArrayBuilder, ObjectBuilder, SchemaType, Type},
    },
};

/// `components.schemas`, filled as operations refer to them.
#[derive(Default)]
pub(crate) struct Schemas(pub(super) BTreeMap<String, Value>);

impl Schemas {
    /// A reference to a schema, which is kept with everything that it refers to.
    pub(super) fn refer<T: ToSchema>(&mut self) -> Value {
        let mut found = vec![(T::name().into_owned(), T::schema())];
        T::schemas(&mut found);
        for (name, schema) in found {
            self.add(name, &schema);
        }
        reference(&T::name())
    }

    fn add(&mut self, name: String, schema: &RefOr<Schema>) {
        let schema = serde_json::to_value(schema).unwrap_or_default();
        let known = self.0.get(&name).is_none_or(|known| *known == schema);
        debug_assert!(known, "two schemas are called {name}");
        self.0.insert(name, schema);
    }

    /// Of a list that is referred to, the array of its items.
    pub(super) fn items_of(&self, list: &Value) -> Value {
        let name = list["$ref"].as_str().and_then(|reference| reference.rsplit('/').next());
        let list = name.and_then(|name| self.0.get(name));
        list.map(|list| list["properties"]["items"].clone()).unwrap_or_default()
    }

    /// The schema of a change: the same fields, and none that has to be there.
    pub(super) fn refer_change<T: ToSchema>(&mut self) -> Value {
        self.refer::<T>();
        let name = T::name().replace("Body", "ChangeBody");
        let mut schema = self.0.get(&*T::name()).cloned().unwrap_or_default();
        if let Some(members) = schema.as_object_mut() {
            members.shift_remove("required");
        }
        let reference = reference(&name);
        self.0.insert(name, schema);
        reference
    }
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// One schema for each kind of list: `WebhookList`.
impl<T: ToSchema> ToSchema for List<T> {
    fn name() -> Cow<'static, str> {
        format!("{}List", T::name()).into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((T::name().into_owned(), T::schema()));
        T::schemas(schemas);
    }
}

impl<T: ToSchema> PartialSchema for List<T> {
    fn schema() -> RefOr<Schema> {
        let item = Ref::from_schema_name(T::name());
        let cursor = || Object::with_type(SchemaType::from_iter([Type::String, Type::Null]));
        let list = ObjectBuilder::new()
            .property("items", ArrayBuilder::new().items(item))
            .property("next", cursor())
            .property("prev", cursor());
        list.required("items").required("next").required("prev").into()
    }
}

/// What a handler returns.
pub(crate) trait Answered {
    /// The schema of `data`, where the answer is JSON of the usual form.
    fn data(_: &mut Schemas) -> Option<Value> {
        None
    }
}

impl<T: ToSchema> Answered for ApiResult<Success<T>> {
    fn data(schemas: &mut Schemas) -> Option<Value> {
        Some(schemas.refer::<T>())
    }
}

impl Answered for ApiResult<HttpResponse> {}

impl Answered for HttpResponse {}

/// What a handler reads of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parts {
    /// A query string, if only to refuse what it does not know.
    pub(crate) query: bool,
    /// `If-Match`
    pub(super) if_match: bool,
    /// A body, which must be there or may be left out.
    pub(super) body: Option<Presence>,
}

/// Whether a body has to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    Required,
    Optional,
}

/// One argument of a handler, or all of them.
pub(crate) trait Extracted {
    /// Adds what it reads.
    fn tell(_: &mut Parts) {}
}

impl<T> Extracted for Data<T> {}
impl<T> Extracted for Path<T> {}
impl Extracted for HttpRequest {}
impl Extracted for Caller {}
impl Extracted for KeyHolder {}
impl Extracted for Operator {}
impl Extracted for Kept {}
impl Extracted for IdempotencyKey {}
impl Extracted for NoBody {}

impl Extracted for Query {
    fn tell(parts: &mut Parts) {
        parts.query = true;
    }
}

impl Extracted for IfMatch {
    fn tell(parts: &mut Parts) {
        parts.if_match = true;
    }
}

impl<const LIMIT: usize> Extracted for JsonBytes<LIMIT> {
    fn tell(parts: &mut Parts) {
        parts.body = Some(Presence::Required);
    }
}

impl Extracted for OptionalBody {
    fn tell(parts: &mut Parts) {
        parts.body = Some(Presence::Optional);
    }
}

macro_rules! arguments {
    ($($name:ident)*) => {
        impl<$($name: Extracted),*> Extracted for ($($name,)*) {
            fn tell(_parts: &mut Parts) {
                $($name::tell(_parts);)*
            }
        }
    };
}

arguments!();
arguments!(A);
arguments!(A B);
arguments!(A B C);
arguments!(A B C D);
arguments!(A B C D E);
arguments!(A B C D E F);
