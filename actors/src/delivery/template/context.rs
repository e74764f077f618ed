//! What an event brings to a template, under the names that authors use (T-22).

use super::variable::{Field, Root};
use crate::json::Json;

/// The roots that paths lead into.
pub struct Context<'a> {
    trigger_type: Json<'a>,
    timestamp: Json<'a>,
    event_type: Json<'a>,
    event_id: Json<'a>,
    data: &'a Json<'a>,
    metadata: &'a Json<'a>,
    /// Roots given outright; they win over everything that is derived from the event.
    given: &'a Json<'a>,
}

/// The parts of an accepted event.
#[derive(Clone, Copy, Debug)]
pub struct EventFields<'a> {
    /// The pipeline's trigger, `conversion` (T-21).
    pub trigger_type: &'a str,
    /// When the event happened, as it stands in the envelope (T-11).
    pub timestamp: &'a str,
    /// `conversion.created`.
    pub event_type: &'a str,
    /// `evt_…`.
    pub event_id: &'a str,
    /// The event's data.
    pub data: &'a Json<'a>,
    /// Correlation and tenant (AFF-21).
    pub metadata: &'a Json<'a>,
}

impl<'a> Context<'a> {
    /// For the delivery of an event.
    #[must_use]
    pub fn from_event(event: EventFields<'a>) -> Self {
        Self {
            trigger_type: Json::from(event.trigger_type),
            timestamp: Json::from(event.timestamp),
            event_type: Json::from(event.event_type),
            event_id: Json::from(event.event_id),
            data: event.data,
            metadata: event.metadata,
            given: &Json::Null,
        }
    }

    /// For a test run (AFM-63, T-50): `test_data` holds the roots themselves, `{"conversion": {"id": …}}`, or
    /// an event, `{"event": {"type": …, "id": …, "data": {…}}}`, or both; what is given outright wins. The data is that
    /// of the event and nothing else; `event` has what the envelope says.
    #[must_use]
    pub fn from_test_data(test_data: &'a Json<'a>, event: EventFields<'a>) -> Self {
        let data =
            test_data.member("data").or_else(|| test_data.get(&["event", "data"])).unwrap_or(&Json::Null);
        Self { data, given: test_data, ..Self::from_event(event) }
    }

    /// The value behind a path, or `None` if there is none.
    pub(super) fn get(&self, field: &Field) -> Option<&Json<'a>> {
        let names = field.names.as_slice();
        let given = self.given.member(field.root.as_str()).and_then(|root| root.get(names));
        given.or_else(|| match field.root {
            Root::TriggerType => Some(&self.trigger_type),
            Root::Timestamp => Some(&self.timestamp),
            Root::Event if names == ["type"] => Some(&self.event_type),
            Root::Event => Some(&self.event_id),
            Root::Data if names.is_empty() && self.data.is_null() => None,
            Root::Data => self.data.get(names),
            Root::Metadata if names.is_empty() && self.metadata.is_null() => None,
            Root::Metadata => self.metadata.get(names),
            Root::Click | Root::Conversion | Root::Offer => self.mapped(field),
        })
    }

    /// Producers and authors use different names for some fields; producers never see theirs changed.
    fn mapped(&self, field: &Field) -> Option<&Json<'a>> {
        let [name] = field.names.as_slice() else { return self.data.get(&field.names) };
        let sources: &[&str] = match (field.root, name.as_str()) {
            (Root::Click, "id") => &["click_id", "id"],
            (Root::Click, "ip") => &["ip_address", "ip"],
            (Root::Conversion, "id") => &["conversion_id", "id"],
            (Root::Offer, "id") => &["offer_id", "id"],
            (Root::Offer, "title") => &["title", "offer_title"],
            (_, name) => return self.data.member(name),
        };
        let mut found = sources.iter().filter_map(|source| self.data.member(source));
        let first = found.next()?;
        if first.is_null() { found.find(|value| !value.is_null()).or(Some(first)) } else { Some(first) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{EnvPolicy, variable::Variable};
    use super::*;
    use crate::json::{Limits, parse};

    fn json(text: &str) -> Json<'_> {
        parse(text.as_bytes(), Limits::EVENT).unwrap()
    }

    fn look_up(context: &Context<'_>, path: &str) -> Option<String> {
        let Ok(Variable::Field(field)) = Variable::compile(path, &EnvPolicy::default().grant(&[])) else {
            panic!("{path}");
        };
        let bytes = context.get(&field)?.to_bytes(crate::json::BodyForm::Raw);
        Some(String::from_utf8(bytes).unwrap())
    }

    fn in_event(data: &str, path: &str) -> Option<String> {
        let (data, metadata) = (json(data), json(r#"{"tenant_id":"tenant_1"}"#));
        let event = EventFields {
            trigger_type: "conversion",
            timestamp: "2024-01-15T10:30:45Z",
            event_type: "conversion.created",
            event_id: "evt_1",
            data: &data,
            metadata: &metadata,
        };
        look_up(&Context::from_event(event), path)
    }

    /// T-21, T-22, AFF-22, AFF-23, AFM-47 … AFM-49, AFM-72, AFM-73
    #[test]
    fn names_of_authors_find_the_fields_of_producers() {
        let cases = [
            ("{}", "trigger_type", Some(r#""conversion""#)),
            ("{}", "event.type", Some(r#""conversion.created""#)),
            ("{}", "event.id", Some(r#""evt_1""#)),
            ("{}", "timestamp", Some(r#""2024-01-15T10:30:45Z""#)),
            ("{}", "metadata.tenant_id", Some(r#""tenant_1""#)),
            (r#"{"click_id":"clk_1","id":"x"}"#, "click.id", Some(r#""clk_1""#)),
            (r#"{"id":"clk_2"}"#, "click.id", Some(r#""clk_2""#)),
            (r#"{"click_id":null,"id":"clk_2"}"#, "click.id", Some(r#""clk_2""#)),
            (r#"{"click_id":null}"#, "click.id", Some("null")),
            (r#"{"ip_address":"192.0.2.1"}"#, "click.ip", Some(r#""192.0.2.1""#)),
            (r#"{"country":"US"}"#, "click.country", Some(r#""US""#)),
            (r#"{"conversion_id":"conv_1","click_id":"clk_1"}"#, "conversion.id", Some(r#""conv_1""#)),
            (r#"{"id":"conv_2"}"#, "conversion.id", Some(r#""conv_2""#)),
            (r#"{"amount":49.90}"#, "conversion.amount", Some("49.90")),
            (r#"{"offer_id":"off_1"}"#, "offer.id", Some(r#""off_1""#)),
            (r#"{"offer_title":"T"}"#, "offer.title", Some(r#""T""#)),
            ("{}", "offer.title", None),
            (r#"{"custom_params":{"a":[1]}}"#, "conversion.custom_params.a.0", Some("1")),
            (r#"{"x":{"y":true}}"#, "data.x.y", Some("true")),
            (r#"{"x":5.00}"#, "data", Some(r#"{"x":5.00}"#)),
        ];
        for (data, path, expected) in cases {
            assert_eq!(in_event(data, path).as_deref(), expected, "{path} of {data}");
        }
    }

    /// T-50, AFM-63
    #[test]
    fn test_data_is_the_context_itself() {
        let given = json(
            r#"{"conversion":{"id":"test_conv_123","amount":49.99},
                "event":{"type":"conversion.created","data":{"conversion_id":"conv_9","user_id":"usr_9"}}}"#,
        );
        let metadata = json(r#"{"tenant_id":"tenant_1"}"#);
        let event = EventFields {
            trigger_type: "conversion",
            timestamp: "2024-01-15T10:30:45Z",
            event_type: "conversion.created",
            event_id: "evt_test_1",
            data: &given,
            metadata: &metadata,
        };
        let context = Context::from_test_data(&given, event);
        let found = |path| look_up(&context, path);
        assert_eq!(found("conversion.id").as_deref(), Some(r#""test_conv_123""#));
        assert_eq!(found("conversion.user_id").as_deref(), Some(r#""usr_9""#));
        assert_eq!(found("event.type").as_deref(), Some(r#""conversion.created""#));
        assert_eq!(found("trigger_type").as_deref(), Some(r#""conversion""#));
        assert_eq!(found("event.id").as_deref(), Some(r#""evt_test_1""#));
        assert_eq!(found("metadata.tenant_id").as_deref(), Some(r#""tenant_1""#));
        let bare = json(r#"{"data":{"click_id":"clk_1"},"timestamp":"then"}"#);
        let context = Context::from_test_data(&bare, event);
        assert_eq!(look_up(&context, "click.id").as_deref(), Some(r#""clk_1""#));
        assert_eq!(look_up(&context, "timestamp").as_deref(), Some(r#""then""#));
        assert_eq!(look_up(&context, "event.type").as_deref(), Some(r#""conversion.created""#));
    }
}
