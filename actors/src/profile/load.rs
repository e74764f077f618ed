//! Profiles from TOML: strict, and with the place of whatever is wrong.

use super::{
    Defaults, Envelope, FixedHeader, HttpsRule, IdPrefixes, Profile, ProfileHeader, ProfileLimits,
    ResourceRule, Signature, TestEvent, Tree,
    api::ApiFile,
    catalogue::{Catalogue, KindFile},
    fault::Fault,
    text,
};
use crate::{
    domain::{
        endpoint::breaker::{BreakerError, BreakerPolicy, BreakerSetting},
        step::{Gone, ResponseRules},
    },
    json::{Json, Limits, parse},
};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};
use toml::Spanned;

/// File names and texts of the built-in profiles.
pub(super) const BUILTIN: [(&str, &str); 5] = [
    ("builtin/afftok.toml", include_str!("builtin/afftok.toml")),
    ("builtin/apexmediation.toml", include_str!("builtin/apexmediation.toml")),
    ("builtin/attribution.toml", include_str!("builtin/attribution.toml")),
    ("builtin/social.toml", include_str!("builtin/social.toml")),
    ("builtin/standard.toml", include_str!("builtin/standard.toml")),
];

/// Why there is no such profile.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The folder or a file in it cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The text is not a profile.
    #[error("{file}:{line}:{column}: `{field}`: {message}")]
    Invalid { file: String, line: usize, column: usize, field: String, message: String },
    /// Two files make the same profile.
    #[error("{file}: there is a profile `{name}` already")]
    Duplicate { file: String, name: String },
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileFile {
    #[serde(deserialize_with = "text::profile_name")]
    name: String,
    title: String,
    https: HttpsRule,
    envelope: Envelope,
    #[serde(default)]
    api: ApiFile,
    ids: IdPrefixes,
    signature: Signature,
    #[serde(default)]
    headers: Vec<ProfileHeader>,
    failover: Option<FixedHeader>,
    defaults: Defaults,
    #[serde(default)]
    responses: ResponsesFile,
    #[serde(default)]
    breaker: BreakerFile,
    #[serde(default)]
    limits: ProfileLimits,
    #[serde(default)]
    triggers: BTreeMap<String, Vec<Spanned<String>>>,
    any_type: Option<AnyType>,
    test_event: Option<TestEventFile>,
    #[serde(default)]
    events: Vec<KindFile>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ResponsesFile {
    permanent: Vec<StatusRange>,
    retried: Vec<Status>,
    gone: Gone,
}

/// `[breaker]`: the fields of a policy, or `enabled = false`.
#[derive(Default, Deserialize)]
#[serde(try_from = "BreakerFields")]
struct BreakerFile(BreakerSetting);

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct BreakerFields {
    enabled: bool,
    failures: u32,
    resources: u16,
    seconds: u32,
    probe_seconds: u32,
    probe_seconds_max: u32,
}

impl Default for BreakerFields {
    fn default() -> Self {
        let BreakerPolicy { failures, resources, seconds, probe_seconds, probe_seconds_max } =
            BreakerPolicy::default();
        Self { enabled: true, failures, resources, seconds, probe_seconds, probe_seconds_max }
    }
}

impl TryFrom<BreakerFields> for BreakerFile {
    type Error = BreakerError;

    fn try_from(fields: BreakerFields) -> Result<Self, BreakerError> {
        let BreakerFields { enabled, failures, resources, seconds, probe_seconds, probe_seconds_max } =
            fields;
        let policy = BreakerPolicy { failures, resources, seconds, probe_seconds, probe_seconds_max };
        policy.validate()?;
        Ok(Self(if enabled { BreakerSetting::On(policy) } else { BreakerSetting::Off }))
    }
}

#[derive(Deserialize)]
#[serde(try_from = "(u16, u16)")]
struct StatusRange((u16, u16));

#[derive(Deserialize)]
#[serde(try_from = "u16")]
struct Status(u16);

/// The rule for types that are not documented.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnyType {
    resource: ResourceRule,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TestEventFile {
    r#type: Spanned<String>,
    data: Spanned<String>,
}

impl TestEventFile {
    fn build(self) -> Result<TestEvent, Fault> {
        let (at_type, at_data) = (self.r#type.span(), self.data.span());
        let (event_type, data) = (self.r#type.into_inner(), self.data.into_inner());
        if !text::is_event_type(&event_type) {
            let message = format!("`{event_type}` is not an event type");
            return Err(Fault::new(at_type, "test_event.type".to_owned(), message));
        }
        if !matches!(parse(data.as_bytes(), Limits::ADMIN), Ok(Json::Object(_))) {
            return Err(Fault::new(at_data, "test_event.data".to_owned(), "not a JSON object".to_owned()));
        }
        Ok(TestEvent { event_type, data })
    }
}

impl TryFrom<u16> for Status {
    type Error = &'static str;

    fn try_from(status: u16) -> Result<Self, Self::Error> {
        if (100..=599).contains(&status) { Ok(Self(status)) } else { Err("expected a status, 100 to 599") }
    }
}

impl TryFrom<(u16, u16)> for StatusRange {
    type Error = &'static str;

    fn try_from((low, high): (u16, u16)) -> Result<Self, Self::Error> {
        let (Status(low), Status(high)) = (low.try_into()?, high.try_into()?);
        if low <= high { Ok(Self((low, high))) } else { Err("expected the lower status first") }
    }
}

impl Profile {
    /// Reads a profile; `file` is named in errors.
    pub fn parse(file: &str, source: &str) -> Result<Self, ProfileError> {
        Self::parse_beside(file, source, &[])
    }

    /// Reads a profile that is to stand beside others, whose names and trees are given.
    pub(super) fn parse_beside(
        file: &str,
        source: &str,
        others: &[(&str, &Tree)],
    ) -> Result<Self, ProfileError> {
        ProfileFile::parse(source).and_then(|profile| profile.build(others)).map_err(|fault| {
            let (line, column) = position(source, fault.span.start);
            let Fault { field, message, .. } = fault;
            ProfileError::Invalid { file: file.to_owned(), line, column, field, message }
        })
    }
}

impl ProfileFile {
    fn parse(source: &str) -> Result<Self, Fault> {
        let toml = toml::Deserializer::parse(source).map_err(|error| Fault::of_toml(&error, "?"))?;
        serde_path_to_error::deserialize(toml)
            .map_err(|error| Fault::of_toml(error.inner(), &error.path().to_string()))
    }

    /// Checks what concerns several entries at once.
    fn build(self, others: &[(&str, &Tree)]) -> Result<Profile, Fault> {
        let any = self.any_type.map(|any| any.resource);
        let catalogue = Catalogue::new(self.events, any, &self.envelope)?;
        for (alias, wanted) in &self.triggers {
            if let Some(unknown) = wanted.iter().find(|name| !catalogue.takes(name.get_ref())) {
                let message = format!("`{}` is not in the catalogue", unknown.get_ref());
                return Err(Fault::new(unknown.span(), format!("triggers.{alias}"), message));
            }
        }
        let aliases = self
            .triggers
            .into_iter()
            .map(|(alias, types)| (alias, types.into_iter().map(Spanned::into_inner).collect()));
        let ResponsesFile { permanent, retried, gone } = self.responses;
        Ok(Profile {
            name: self.name,
            title: self.title,
            ids: self.ids,
            envelope: self.envelope,
            api: self.api.build(others)?,
            test_event: self.test_event.map(TestEventFile::build).transpose()?,
            signature: self.signature,
            headers: self.headers,
            failover: self.failover,
            defaults: self.defaults,
            https: self.https,
            rules: ResponseRules {
                permanent: permanent.into_iter().map(|StatusRange(range)| range).collect(),
                retried: retried.into_iter().map(|Status(status)| status).collect(),
                gone,
            },
            breaker: self.breaker.0,
            limits: self.limits,
            aliases: aliases.collect(),
            catalogue,
        })
    }
}

/// The profile files of a folder, by ascending name.
pub(super) fn files(dir: &Path) -> Result<Vec<PathBuf>, ProfileError> {
    let failed = |source| ProfileError::Read { path: dir.to_owned(), source };
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

pub(super) fn read(path: &Path) -> Result<String, ProfileError> {
    fs::read_to_string(path).map_err(|source| ProfileError::Read { path: path.to_owned(), source })
}

/// Line and column of a byte, from 1.
fn position(source: &str, at: usize) -> (usize, usize) {
    let before = source.get(..at).unwrap_or(source);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (1 + before.matches('\n').count(), 1 + before[line_start..].chars().count())
}
