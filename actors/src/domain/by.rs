//! Who asked for what a fact tells, and how the request came.

use super::id::KeyId;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A key, and how it came; nothing of that is known of what the engine does of its own accord, and of facts of before it
/// was recorded.
///
/// In JSON the id alone where nothing else is known, else an object with `key` beside the members of [`Asked`]. In
/// postcard always the id alone: `log/codec.rs` puts the rest behind the fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct By {
    /// The key.
    pub key: KeyId,
    /// How it came.
    pub asked: Option<Box<Asked>>,
}

/// What the audit tells of a request beside its key: keys are taken back, and their ids then say nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The name that the key had.
    pub name: Option<Box<str>>,
    /// Its first characters.
    pub hint: Option<Box<str>>,
    /// The request's id, as its answer and the server's log have it.
    pub request: Box<str>,
    /// The address that it came from; a proxy's own if there is one.
    pub peer: Option<Box<str>>,
}

impl By {
    /// Who stands in the log for what the engine does of its own accord.
    #[must_use]
    pub fn engine() -> Self {
        KeyId::engine().into()
    }
}

impl From<KeyId> for By {
    fn from(key: KeyId) -> Self {
        Self { key, asked: None }
    }
}

#[derive(Serialize)]
struct Whole<'a> {
    key: &'a KeyId,
    #[serde(flatten)]
    asked: &'a Asked,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Read {
    Key(KeyId),
    Whole {
        key: KeyId,
        #[serde(flatten)]
        asked: Asked,
    },
}

impl Serialize for By {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.asked {
            Some(asked) if serializer.is_human_readable() => {
                Whole { key: &self.key, asked }.serialize(serializer)
            }
            _ => self.key.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for By {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return KeyId::deserialize(deserializer).map(Self::from);
        }
        Ok(match Read::deserialize(deserializer)? {
            Read::Key(key) => key.into(),
            Read::Whole { key, asked } => Self { key, asked: Some(Box::new(asked)) },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// TEN.9: what old facts say of a key is read as before, and what new ones say is kept whole.
    #[test]
    fn a_key_alone_is_its_id_and_with_the_rest_an_object() {
        let alone = By::from(KeyId::new("key_1"));
        assert_eq!(serde_json::to_string(&alone).unwrap(), "\"key_1\"");
        assert_eq!(serde_json::from_str::<By>("\"key_1\"").unwrap(), alone);
        let (name, hint) = (Some("ci".into()), Some("lh_abc".into()));
        let asked = Asked { name, hint, request: "req_1".into(), peer: Some("192.0.2.1".into()) };
        let whole = By { asked: Some(Box::new(asked)), ..alone.clone() };
        let text = r#"{"key":"key_1","name":"ci","hint":"lh_abc","request":"req_1","peer":"192.0.2.1"}"#;
        assert_eq!(serde_json::to_string(&whole).unwrap(), text);
        assert_eq!(serde_json::from_str::<By>(text).unwrap(), whole);
        let packed = postcard::to_stdvec(&whole).unwrap();
        assert_eq!(packed, postcard::to_stdvec(&alone.key).unwrap());
        assert_eq!(postcard::from_bytes::<By>(&packed).unwrap(), alone);
    }
}
