//! Where a provider's customers call beside `/api/webhooks`, how they say who they are, and how answers look there.
//!
//! ```text
//! [api]
//! webhooks = ["/v1/webhooks"]     trees; every profile's are mounted at once, and the key's tenant decides
//! answers = "plain"               the thing itself instead of {"success": true, "data": …}
//! auth = ["key", "jwt"]           a JWT is taken beside API keys
//! ```

use super::fault::Fault;
use serde::{Deserialize, Deserializer, de::Error as _};
use std::fmt;
use toml::Spanned;

/// Longest path of a tree in bytes.
const TREE_MAX: usize = 64;
/// First segments that are the engine's own. `/api/` is too, but for `/api/v1/…`, `/api/v2/…`.
const RESERVED: [&str; 7] = ["livez", "readyz", "metrics", "docs", "dashboard", "assets", "static"];

/// The calls of a provider's customers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Api {
    /// Paths of the trees of webhooks: `/v1/webhooks`.
    pub webhooks: Vec<Tree>,
    /// How successes look on them.
    pub answers: Answers,
    /// Whether callers may come with a JWT.
    pub takes_jwt: bool,
}

/// The path of a tree: a few plain segments, no slash at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree(String);

impl Tree {
    /// `/v1/webhooks`
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether one lies below the other, so that its path could be taken for an id.
    fn overlaps(&self, other: &Self) -> bool {
        let below = |a: &str, b: &str| a.strip_prefix(b).is_some_and(|rest| rest.starts_with('/'));
        below(&self.0, &other.0) || below(&other.0, &self.0)
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let path = String::deserialize(deserializer)?;
        let Some(segments) = path.strip_prefix('/').filter(|_| path.len() <= TREE_MAX) else {
            return Err(D::Error::custom(format!("expected a path from `/`, at most {TREE_MAX} bytes")));
        };
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        if segments.split('/').any(|segment| segment.is_empty() || !segment.bytes().all(plain)) {
            return Err(D::Error::custom("expected segments of `a`–`z`, `0`–`9`, `-` and `_`"));
        }
        if is_reserved(segments) {
            return Err(D::Error::custom("this path is the engine's own"));
        }
        Ok(Self(path))
    }
}

fn is_reserved(segments: &str) -> bool {
    let (first, rest) = segments.split_once('/').unwrap_or((segments, ""));
    if first != "api" {
        return RESERVED.contains(&first);
    }
    let version = rest.split_once('/').and_then(|(version, _)| version.strip_prefix('v'));
    !version.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// How successes look (T-46).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answers {
    /// `{"success": true, "data": …}`
    #[default]
    Wrapped,
    /// The thing alone; a list is an array.
    Plain,
}

/// The section as it is written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ApiFile {
    webhooks: Vec<Spanned<Tree>>,
    answers: Answers,
    auth: Option<Spanned<Vec<Auth>>>,
}

/// How callers say who they are (T-44).
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Auth {
    /// An API key, in `Authorization: Bearer` or `X-API-Key`. Always taken.
    Key,
    /// A JWT in `Authorization: Bearer`, signed with a key that the tenant registered.
    Jwt,
}

impl ApiFile {
    /// Checks the trees against each other and those of the profiles there are. Two profiles may have the same
    /// tree: whose it is on a call, the caller's tenant decides. A tree below another one would be an id of it.
    pub(super) fn build(self, others: &[(&str, &Tree)]) -> Result<Api, Fault> {
        let mut webhooks: Vec<Tree> = Vec::with_capacity(self.webhooks.len());
        for (place, tree) in self.webhooks.into_iter().enumerate() {
            let (span, tree) = (tree.span(), tree.into_inner());
            let fault = |message| Fault::new(span.clone(), format!("api.webhooks[{place}]"), message);
            if webhooks.contains(&tree) {
                return Err(fault(format!("`{tree}` stands here twice")));
            }
            if let Some(other) = webhooks.iter().find(|other| other.overlaps(&tree)) {
                return Err(fault(format!("`{tree}` and `{other}` lie below one another")));
            }
            if let Some((name, other)) = others.iter().find(|(_, other)| other.overlaps(&tree)) {
                return Err(fault(format!(
                    "`{tree}` and `{other}` of profile `{name}` lie below one another"
                )));
            }
            webhooks.push(tree);
        }
        let takes_jwt = match self.auth {
            Some(auth) if !auth.get_ref().contains(&Auth::Key) => {
                let message = "API keys are always taken: name `key` too".to_owned();
                return Err(Fault::new(auth.span(), "api.auth".to_owned(), message));
            }
            Some(auth) => auth.get_ref().contains(&Auth::Jwt),
            None => false,
        };
        Ok(Api { webhooks, answers: self.answers, takes_jwt })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(path: &str) -> Result<Tree, String> {
        #[derive(Deserialize)]
        struct File {
            at: Tree,
        }
        let file: Result<File, _> = toml::from_str(&format!("at = '{path}'"));
        file.map(|file| file.at).map_err(|error| error.message().to_owned())
    }

    /// T-45
    #[test]
    fn trees_leave_the_engines_own_paths_alone() {
        for good in ["/webhooks", "/v1/webhooks", "/api/v1/webhooks", "/api/v12/hooks", "/apis/x", "/a-b/c_d"]
        {
            assert!(tree(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "/",
            "webhooks",
            "/webhooks/",
            "/a//b",
            "/Webhooks",
            "/{id}",
            "/a b",
            "/api",
            "/api/webhooks",
            "/api/v/x",
            "/api/v1",
            "/api/events",
            "/livez",
            "/metrics/x",
            "/dashboard",
            "/docs",
            &format!("/{}", "x".repeat(64)),
        ] {
            assert!(tree(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_tree_lies_below_another_by_whole_segments() {
        let overlap = |a, b| tree(a).unwrap().overlaps(&tree(b).unwrap());
        assert!(overlap("/v1", "/v1/webhooks") && overlap("/v1/webhooks/x", "/v1/webhooks"));
        assert!(!overlap("/v1/webhooks", "/v1/webhooks") && !overlap("/v1", "/v10"));
    }
}
