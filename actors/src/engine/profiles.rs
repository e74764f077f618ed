//! The profiles that tenants have: all of them have to be there, and whoever changes an envelope is told what it does.

use super::{EngineConfig, EngineError, rules::wrong};
use crate::{
    domain::catalog::Catalog,
    log::snapshot::{read_sealed, write_sealed},
    profile::{Profile, Profiles, Source},
};
use std::{collections::BTreeMap, path::Path};
use tracing::warn;

const MAGIC: [u8; 4] = *b"LHPR";
const FORMAT: u32 = 1;

/// The built-in ones and the operator's own.
pub(super) fn load(config: &EngineConfig) -> Result<Profiles, EngineError> {
    let profiles = match &config.profiles_dir {
        Some(dir) => Profiles::load(dir).map_err(|e| wrong("tenants.profiles_dir", &e))?,
        None => Profiles::builtin(),
    };
    let name = &config.default_profile;
    match profiles.get(name) {
        Some(_) => Ok(profiles),
        None => Err(wrong("tenants.default_profile", &format_args!("there is no profile `{name}`"))),
    }
}

/// Refuses a start without the profile of a tenant: nothing of it could be delivered, and all that waits would end as
/// dead letters.
pub(super) fn check(catalog: &Catalog, profiles: &Profiles) -> Result<(), EngineError> {
    let Some(tenant) = catalog.tenants().find(|tenant| profiles.get(&tenant.profile).is_none()) else {
        return Ok(());
    };
    Err(EngineError::Setup(format!(
        "tenant `{}` has the profile `{}`, which is not there: `tenants.profiles_dir` (`--profiles`) is to name the folder \
         that it is in",
        tenant.id, tenant.profile
    )))
}

/// Warns where the envelope of a tenant's profile is not what it was at the last start, and remembers what it is now.
/// The log does not keep envelopes, so attempts of what began before have the new one.
pub(super) fn tell_changes(kept: &Path, catalog: &Catalog, profiles: &Profiles) {
    let used = catalog.tenants().filter_map(|tenant| profiles.get(&tenant.profile));
    let now: BTreeMap<String, String> =
        used.map(|profile| (profile.name.clone(), outline(profile))).collect();
    // None is kept on a first run. One that cannot be read costs a warning, which is all that it is for.
    let before: BTreeMap<String, String> = read_sealed(kept, MAGIC, FORMAT).unwrap_or_default();
    for profile in changed(&before, &now) {
        let (before, now) = (&before[profile], &now[profile]);
        warn!(
            profile,
            before,
            now,
            "the profile has another envelope than at the last start: pending deliveries that have been tried are \
             tried again with another body"
        );
    }
    if before != now
        && let Err(error) = write_sealed(kept, MAGIC, FORMAT, &now)
    {
        warn!(%error, "cannot keep which envelopes the profiles have");
    }
}

fn changed<'m>(
    before: &'m BTreeMap<String, String>,
    now: &'m BTreeMap<String, String>,
) -> impl Iterator<Item = &'m String> {
    now.keys().filter(|name| before.get(*name).is_some_and(|outline| *outline != now[*name]))
}

/// The envelope in one line, to be compared and to be read.
fn outline(profile: &Profile) -> String {
    let fields = profile.envelope.fields().iter().map(|field| match &field.source {
        Source::Text(text) => format!("{} = {text:?}", field.key),
        source => format!("{} from {source:?}", field.key),
    });
    fields.collect::<Vec<_>>().join(", ")
}
