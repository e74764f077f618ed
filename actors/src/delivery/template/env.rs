//! Which environment variables templates may read, and for which hosts (TPL.1, TPL.9, T-25).

use super::{MASK, TemplateError};

/// The operator's list: `--template-env NAME[@HOST]`, repeated. Empty by default: nothing resolves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvPolicy {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    name: String,
    /// `None` is every host.
    host: Option<String>,
}

/// Why an entry cannot stand on the list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvPolicyError {
    /// Letters, digits and `_`, no digit first.
    #[error("`{}` is not the name of a variable", .0.escape_debug())]
    Name(String),
    /// The engine's own variables hold its keys.
    #[error("`{0}` belongs to the engine and cannot be used in templates")]
    Own(String),
    /// Nothing behind the `@`, or not a host.
    #[error("`{}` is not a host", .0.escape_debug())]
    Host(String),
}

impl EnvPolicy {
    /// Reads `NAME` and `NAME@HOST` entries. A name may stand several times, once for each of its hosts.
    pub fn parse(entries: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self, EnvPolicyError> {
        let entries =
            entries.into_iter().map(|entry| Entry::parse(entry.as_ref())).collect::<Result<_, _>>()?;
        Ok(Self { entries })
    }

    /// What a step that calls these hosts (its own, and the failover's) may use.
    #[must_use]
    pub fn grant<'g>(&'g self, hosts: &'g [&'g str]) -> Grant<'g> {
        Grant { policy: self, hosts }
    }

    /// Variables of the list that have no value, each once, in the order of the list (TPL.9).
    pub fn unset(&self, lookup: impl Fn(&str) -> Option<String>) -> impl Iterator<Item = &str> {
        let names = self.entries.iter().map(|entry| entry.name.as_str());
        let names = names
            .enumerate()
            .filter(|(place, name)| !self.entries[..*place].iter().any(|earlier| earlier.name == **name));
        names.map(|(_, name)| name).filter(move |name| value_of(&lookup, name).is_none())
    }

    /// Whether `name` may be sent to `host`.
    #[must_use]
    pub fn permits(&self, name: &str, host: &str) -> bool {
        self.entries.iter().any(|entry| {
            entry.name == name && entry.host.as_ref().is_none_or(|bound| *bound == normal_host(host))
        })
    }
}

impl Entry {
    fn parse(entry: &str) -> Result<Self, EnvPolicyError> {
        let (name, host) = match entry.split_once('@') {
            Some((name, host)) => (name, Some(normal_host(host))),
            None => (entry, None),
        };
        if !is_variable_name(name) {
            return Err(EnvPolicyError::Name(name.to_owned()));
        }
        if name.starts_with("LEDGERHOOK_") {
            return Err(EnvPolicyError::Own(name.to_owned()));
        }
        match host {
            Some(host) if host.is_empty() || host.contains(['/', '@', ' ']) => {
                Err(EnvPolicyError::Host(host))
            }
            host => Ok(Self { name: name.to_owned(), host }),
        }
    }
}

/// The list as one step sees it when it is saved.
#[derive(Clone, Copy, Debug)]
pub struct Grant<'g> {
    policy: &'g EnvPolicy,
    hosts: &'g [&'g str],
}

impl Grant<'_> {
    /// Whether the variable is on the list, for every host that the step calls.
    pub(super) fn allows(&self, name: &str) -> bool {
        let listed = self.policy.entries.iter().any(|entry| entry.name == name);
        listed && self.hosts.iter().all(|host| self.policy.permits(name, host))
    }
}

/// The environment as one request sees it: the list, the target, and where values come from.
#[derive(Clone, Copy)]
pub struct Env<'e> {
    policy: &'e EnvPolicy,
    host: &'e str,
    lookup: &'e (dyn Fn(&str) -> Option<String> + 'e),
    masked: bool,
}

impl<'e> Env<'e> {
    /// For a request to `host`; `lookup` answers the value of a variable.
    #[must_use]
    pub fn new(policy: &'e EnvPolicy, host: &'e str, lookup: &'e dyn Fn(&str) -> Option<String>) -> Self {
        Self { policy, host, lookup, masked: false }
    }

    /// The same with `***` for every value, which is then not even looked up.
    #[must_use]
    pub fn masked(self) -> Self {
        Self { masked: true, ..self }
    }

    /// The value of a variable; one that is unset or blank is an error, never an empty credential (TPL.9).
    pub fn resolve(&self, name: &str) -> Result<String, TemplateError> {
        if !self.policy.permits(name, self.host) {
            return Err(TemplateError::EnvRefused { name: name.to_owned(), host: self.host.to_owned() });
        }
        if self.masked {
            return Ok(MASK.to_owned());
        }
        value_of(self.lookup, name).ok_or_else(|| TemplateError::EnvUnset { name: name.to_owned() })
    }
}

/// A blank value is none.
fn value_of(lookup: impl Fn(&str) -> Option<String>, name: &str) -> Option<String> {
    lookup(name).filter(|value| !value.trim().is_empty())
}

/// POSIX: letters, digits and `_`, no digit first.
pub(super) fn is_variable_name(name: &str) -> bool {
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    starts_well && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Hosts compare without case, final dot and the brackets of IPv6.
fn normal_host(host: &str) -> String {
    host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> EnvPolicy {
        EnvPolicy::parse(["OPEN", "BOUND@api.example.com", "BOUND@Backup.example.com."]).unwrap()
    }

    /// General rule 8: a bound variable goes to its own hosts only.
    #[test]
    fn bound_variables_stay_with_their_hosts() {
        let policy = policy();
        assert!(policy.permits("OPEN", "anywhere.example"));
        assert!(policy.permits("BOUND", "API.example.com") && policy.permits("BOUND", "backup.example.com"));
        assert!(!policy.permits("BOUND", "evil.example") && !policy.permits("CLOSED", "api.example.com"));
        assert!(policy.grant(&["api.example.com", "backup.example.com"]).allows("BOUND"));
        assert!(!policy.grant(&["api.example.com", "evil.example"]).allows("BOUND"));
        assert!(!policy.grant(&[]).allows("CLOSED"));
    }

    /// TPL.9
    #[test]
    fn a_variable_without_value_is_an_error() {
        let policy = policy();
        let resolve = |value: Option<&str>, host: &str, name: &str| {
            let value = value.map(str::to_owned);
            Env::new(&policy, host, &|_| value.clone()).resolve(name)
        };
        let unset = TemplateError::EnvUnset { name: "OPEN".into() };
        assert_eq!(resolve(Some("key"), "x.example", "OPEN"), Ok("key".into()));
        assert_eq!(unset.to_string(), "variable OPEN is not set");
        assert_eq!(resolve(None, "x.example", "OPEN"), Err(unset.clone()));
        assert_eq!(resolve(Some(" \n"), "x.example", "OPEN"), Err(unset));
        let refused = TemplateError::EnvRefused { name: "BOUND".into(), host: "x.example".into() };
        assert_eq!(resolve(Some("key"), "x.example", "BOUND"), Err(refused));
    }

    /// TPL.9
    #[test]
    fn variables_without_value_are_listed() {
        let lookup = |name: &str| (name == "OPEN").then(|| "x".to_owned());
        assert_eq!(policy().unset(lookup).collect::<Vec<_>>(), ["BOUND"]);
        assert_eq!(policy().unset(|_| Some(" ".into())).collect::<Vec<_>>(), ["OPEN", "BOUND"]);
        assert_eq!(policy().unset(|_| Some("x".into())).count(), 0);
    }

    #[test]
    fn entries_that_make_no_sense_are_refused() {
        for entry in ["", "1A", "A B", "A=B", "é", "LEDGERHOOK_MASTER_KEY", "A@", "A@b/c", "A@b@c"] {
            assert!(EnvPolicy::parse([entry]).is_err(), "{entry}");
        }
    }
}
