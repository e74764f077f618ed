//! What stands between `{{` and `}}`.

use super::{CompileErrorKind, Grant};
use std::fmt;

/// A compiled placeholder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Variable {
    /// `env.NAME`.
    Env(String),
    /// Anything that the event brings.
    Field(Field),
}

/// A path into the event: a root and the names below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) root: Root,
    pub(super) names: Vec<String>,
}

/// Where paths begin (AFM-45 … AFM-51).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Root {
    TriggerType,
    Timestamp,
    Event,
    Data,
    Metadata,
    Click,
    Conversion,
    Offer,
}

impl Root {
    const ALL: [Self; 8] = [
        Self::TriggerType,
        Self::Timestamp,
        Self::Event,
        Self::Data,
        Self::Metadata,
        Self::Click,
        Self::Conversion,
        Self::Offer,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::TriggerType => "trigger_type",
            Self::Timestamp => "timestamp",
            Self::Event => "event",
            Self::Data => "data",
            Self::Metadata => "metadata",
            Self::Click => "click",
            Self::Conversion => "conversion",
            Self::Offer => "offer",
        }
    }

    /// Whether these names may stand below it.
    fn takes(self, names: &[&str]) -> bool {
        match self {
            Self::TriggerType | Self::Timestamp => names.is_empty(),
            Self::Event => matches!(names, ["type" | "id"]),
            Self::Data | Self::Metadata => true,
            Self::Click | Self::Conversion | Self::Offer => !names.is_empty(),
        }
    }
}

impl Variable {
    /// Reads the inside of a placeholder.
    pub(super) fn compile(inside: &str, grant: &Grant<'_>) -> Result<Self, CompileErrorKind> {
        let path = inside.trim_matches([' ', '\t']);
        let names: Vec<&str> = path.split('.').collect();
        match names.as_slice() {
            [""] => Err(CompileErrorKind::Empty),
            names if !names.iter().copied().all(is_name) => {
                Err(CompileErrorKind::Path { path: path.to_owned() })
            }
            ["env", name] if grant.allows(name) => Ok(Self::Env((*name).to_owned())),
            ["env", name] => Err(CompileErrorKind::EnvNotAllowed { name: (*name).to_owned() }),
            ["env", ..] => Err(CompileErrorKind::Field { path: path.to_owned() }),
            [root, names @ ..] => match Root::ALL.into_iter().find(|known| known.as_str() == *root) {
                None => Err(CompileErrorKind::Root { root: (*root).to_owned() }),
                Some(root) if root.takes(names) => Ok(Self::Field(Field {
                    root,
                    names: names.iter().map(|&name| name.to_owned()).collect(),
                })),
                Some(_) => Err(CompileErrorKind::Field { path: path.to_owned() }),
            },
            [] => Err(CompileErrorKind::Empty),
        }
    }
}

/// Letters and digits of any script, `_` and `-`.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-')
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.root.as_str())?;
        self.names.iter().try_for_each(|name| write!(f, ".{name}"))
    }
}
