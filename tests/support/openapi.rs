//! The description of the API that a server answers, and a check of values against its schemas: as strict as the
//! engine is, so that a member that no schema names is a mistake.

use super::Api;
use serde_json::Value;
use std::collections::BTreeSet;

/// `GET /openapi.json`
pub(crate) struct Document(pub Value);

/// One operation of it.
#[derive(Clone, Copy)]
pub(crate) struct Operation<'d> {
    pub id: &'d str,
    pub method: &'d str,
    pub path: &'d str,
    pub described: &'d Value,
}

impl Document {
    pub(crate) fn of(api: &Api) -> Self {
        let answer = api.with_key("").get("/openapi.json");
        assert_eq!(answer.status, 200);
        Self(answer.json)
    }

    pub(crate) fn operations(&self) -> Vec<Operation<'_>> {
        let paths = self.0["paths"].as_object().expect("paths");
        paths
            .iter()
            .flat_map(|(path, item)| item.as_object().expect("operations").iter().map(move |one| (path, one)))
            .map(|(path, (method, described))| {
                let id = described["operationId"].as_str().expect("an id");
                Operation { id, method, path, described }
            })
            .collect()
    }

    #[track_caller]
    pub(crate) fn operation(&self, id: &str) -> Operation<'_> {
        let found = self.operations().into_iter().find(|operation| operation.id == id);
        found.unwrap_or_else(|| panic!("no operation is called {id}"))
    }

    /// What a reference leads to, or the thing itself.
    pub(crate) fn resolve<'d>(&'d self, thing: &'d Value) -> &'d Value {
        match thing["$ref"].as_str() {
            Some(reference) => self.0.pointer(&reference[1..]).expect(reference),
            None => thing,
        }
    }

    /// The schema of an operation's body.
    pub(crate) fn body_of<'d>(&'d self, operation: Operation<'d>) -> Option<&'d Value> {
        let schema = operation.described.pointer("/requestBody/content/application~1json/schema")?;
        Some(self.resolve(schema))
    }

    /// Names of an operation's parameters in this place.
    pub(crate) fn parameters(&self, operation: Operation<'_>, place: &str) -> BTreeSet<String> {
        let all = operation.described["parameters"].as_array().into_iter().flatten();
        let here = all.map(|one| self.resolve(one)).filter(|one| one["in"] == place);
        here.map(|one| one["name"].as_str().expect("a name").to_owned()).collect()
    }

    /// `None` if the value has the form of the schema, else where it has not.
    pub(crate) fn mismatch(&self, schema: &Value, value: &Value) -> Option<String> {
        self.fits(schema, value, "", true).err()
    }

    fn fits(&self, schema: &Value, value: &Value, at: &str, closed: bool) -> Result<(), String> {
        let schema = self.resolve(schema);
        let wrong = |what: String| Err(format!("{at}: {what}, and not {value}"));
        if schema.get("const").is_some_and(|only| only != value) {
            return wrong(format!("is to be {}", schema["const"]));
        }
        if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
            return wrong(format!("is to be one of {}", schema["enum"]));
        }
        let types: Vec<&str> = match &schema["type"] {
            Value::String(one) => vec![one],
            Value::Array(some) => some.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        if !types.is_empty() && !types.iter().any(|name| is_of(name, value)) {
            return wrong(format!("is to be {}", types.join(" or ")));
        }
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.fits(part, value, at, false)?;
        }
        if let Some(parts) = schema["oneOf"].as_array() {
            let tried: Vec<_> = parts.iter().map(|part| self.fits(part, value, at, closed)).collect();
            if let (Some(Err(first)), true) = (tried.first(), tried.iter().all(Result::is_err)) {
                return Err(first.clone());
            }
        }
        if let (Value::Array(elements), Some(items)) = (value, schema.get("items")) {
            for (index, element) in elements.iter().enumerate() {
                self.fits(items, element, &format!("{at}/{index}"), true)?;
            }
        }
        let Value::Object(members) = value else { return Ok(()) };
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !members.contains_key(name) {
                return Err(format!("{at}/{name}: is required"));
            }
        }
        for (name, member) in members {
            let others = schema.get("additionalProperties").filter(|others| others.is_object());
            if let Some(schema) = schema["properties"].get(name).or(others) {
                self.fits(schema, member, &format!("{at}/{name}"), true)?;
            }
        }
        match self.members(schema).filter(|_| closed) {
            Some(known) => members
                .keys()
                .find(|name| !known.contains(name.as_str()))
                .map_or(Ok(()), |name| Err(format!("{at}/{name}: is described nowhere"))),
            None => Ok(()),
        }
    }

    /// The members that an object may have; `None` for any.
    fn members<'d>(&'d self, schema: &'d Value) -> Option<BTreeSet<&'d str>> {
        let schema = self.resolve(schema);
        let parts = ["allOf", "oneOf"].iter().filter_map(|key| schema[*key].as_array()).flatten();
        let parts: Vec<_> = parts.filter(|part| part["type"] != "null").collect();
        if schema["additionalProperties"].is_object()
            || (parts.is_empty() && schema.get("properties").is_none())
        {
            return None;
        }
        let mut known: BTreeSet<&str> =
            schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        for part in parts {
            known.extend(self.members(part)?);
        }
        Some(known)
    }
}

fn is_of(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}
