//! URLs: values may fill path and query, and can never become anything else (TPL.6).

use super::{
    CompileError, CompileErrorKind, Grant, Scope, TemplateError,
    text::{Piece, Text},
};
use ::url::Url;

/// Longest rendered URL in bytes.
pub const URL_MAX: usize = 8 * 1024;

/// A compiled URL.
#[derive(Clone, Debug)]
pub struct UrlTemplate {
    text: Text,
    /// The URL with nothing in the place of its placeholders: has the host that all its renderings have.
    skeleton: Url,
}

impl UrlTemplate {
    /// Compiles an absolute `http` or `https` URL. Whether it may be called at all is for the egress policy.
    ///
    /// `grant` must be for the host of this very URL, which [`UrlTemplate::host_of`] tells.
    pub fn compile(source: &str, grant: &Grant<'_>) -> Result<Self, CompileError> {
        let unfit = |c: char| c.is_control() || c == '\\';
        if let Some(offset) = source.find(unfit) {
            return Err(CompileErrorKind::Character.at(offset));
        }
        let text = Text::compile(source, grant)?;
        if let Some(space) = text.literals().find(|literal| literal.contains(' ')) {
            return Err(CompileErrorKind::Character.at(source.find(space).unwrap_or(0)));
        }
        check_placement(source, &text)?;
        let skeleton = text.literals().collect::<String>();
        if skeleton.len() > URL_MAX {
            return Err(CompileErrorKind::TooLong { limit: URL_MAX }.at(URL_MAX));
        }
        let Some(skeleton) = Url::parse(&skeleton).ok().filter(|_| has_plain_authority(source)) else {
            return Err(CompileErrorKind::Url.at(0));
        };
        let template = Self { text, skeleton };
        if template.is_fixed() || !has_dot_segment(&template.sample()) {
            Ok(template)
        } else {
            Err(CompileErrorKind::Url.at(0))
        }
    }

    /// The host that a URL template calls, before it is compiled; `None` if it cannot be compiled.
    #[must_use]
    pub fn host_of(source: &str) -> Option<String> {
        let authority = source.get(..authority_end(source)).filter(|text| !text.contains("{{"))?;
        let url = Url::parse(authority).ok().filter(|_| has_plain_authority(source))?;
        url.host_str().map(str::to_owned)
    }

    /// The host that every rendering calls.
    #[must_use]
    pub fn host(&self) -> &str {
        self.skeleton.host_str().unwrap_or_default()
    }

    /// Whether it has no placeholders.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        self.text.fixed().is_some()
    }

    /// The URL for this scope, each value percent-encoded as a component (`encodeURIComponent`).
    pub fn render(&self, scope: &Scope<'_>) -> Result<Url, TemplateError> {
        if self.is_fixed() {
            return Ok(self.skeleton.clone());
        }
        let rendered = self.text.render(scope, encode_component, URL_MAX, "URL")?;
        // Encoding leaves dots alone, and `..` would climb to a neighbour of the path that the author meant.
        if has_dot_segment(&rendered) {
            return Err(TemplateError::Url);
        }
        let url = Url::parse(&rendered).map_err(|_| TemplateError::Url)?;
        if url.origin() != self.skeleton.origin() {
            return Err(TemplateError::Url);
        }
        if url.as_str().len() > URL_MAX {
            return Err(TemplateError::TooLarge { what: "URL", limit: URL_MAX });
        }
        Ok(url)
    }

    /// The URL with a harmless letter in the place of each placeholder.
    fn sample(&self) -> String {
        let pieces = self.text.pieces.iter().map(|piece| match piece {
            Piece::Literal(text) => text.as_str(),
            Piece::Variable(_) => "x",
        });
        pieces.collect()
    }
}

/// Placeholders stand behind the character that ends the authority, and before a fragment.
fn check_placement(source: &str, text: &Text) -> Result<(), CompileError> {
    let Some(first) = source.find("{{").filter(|_| text.fixed().is_none()) else { return Ok(()) };
    let fragment = source.find('#').unwrap_or(source.len());
    let in_fragment = source.rfind("}}").is_some_and(|last| last > fragment);
    if first <= authority_end(source) || in_fragment {
        return Err(CompileErrorKind::Placement.at(first));
    }
    Ok(())
}

/// Where scheme, userinfo, host and port end.
fn authority_end(source: &str) -> usize {
    let start = source.find("://").map_or(source.len(), |at| at + 3);
    source[start..].find(['/', '?', '#']).map_or(source.len(), |length| start + length)
}

/// `http://` or `https://` and a first character of the host. URL parsers also take `https:host` and
/// `https:///host`, and would then find the host elsewhere than we do.
fn has_plain_authority(source: &str) -> bool {
    let scheme = source.find("://").and_then(|at| source.get(..at)).unwrap_or_default();
    let known = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    known && authority_end(source) > scheme.len() + 3
}

/// Whether a segment of the path is `.` or `..`, also in the spellings that URL parsers take for dots.
fn has_dot_segment(url: &str) -> bool {
    let path = &url[authority_end(url)..];
    let path = path.split(['?', '#']).next().unwrap_or_default();
    path.split('/')
        .any(|segment| matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | ".."))
}

/// ECMA-262 `encodeURIComponent`.
fn encode_component(value: &str, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 0xF)]);
            out.extend(['%', char::from(high), char::from(low)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    fn compile(source: &str) -> Result<UrlTemplate, CompileErrorKind> {
        UrlTemplate::compile(source, &testing::policy().grant(&["api.example.com"]))
            .map_err(|error| error.kind)
    }

    fn rendered(source: &str) -> Result<String, TemplateError> {
        let template = compile(source).unwrap();
        testing::in_scope(|scope| template.render(scope).map(String::from))
    }

    /// General rule 8
    #[test]
    fn values_are_encoded_as_components() {
        assert_eq!(
            rendered("https://api.example.com/c/{{event.id}}?n={{data.amount}}&p={{data.path}}&t={{data.tags}}&x={{data.no}}")
                .unwrap(),
            "https://api.example.com/c/evt_1?n=5&p=a%2Fb%3Fc%3Dd%26e%3Df%23g%20%C3%A9&t=%5B%22a%22%2C%7B%22b%22%3A1%7D%5D&x="
        );
    }

    /// TPL.10
    #[test]
    fn masked_urls_show_no_secret() {
        let template = compile("https://api.example.com/{{env.CRM_API_KEY}}").unwrap();
        let show = |masked: bool| {
            testing::in_scope(|scope| {
                template.render(&if masked { scope.masked() } else { *scope }).unwrap().to_string()
            })
        };
        assert_eq!(show(false), "https://api.example.com/s3cret-value");
        assert_eq!(show(true), "https://api.example.com/***");
    }

    /// TPL.6
    #[test]
    fn only_path_and_query_may_vary() {
        for source in [
            "{{data.url}}",
            "{{data.scheme}}://api.example.com/",
            "https://{{data.host}}/",
            "https://api.{{data.host}}/",
            "https://api.example.com:{{data.port}}/",
            "https://{{data.user}}@api.example.com/",
            "https://api.example.com{{data.path}}",
            "https://api.example.com/#{{data.fragment}}",
        ] {
            assert_eq!(compile(source).unwrap_err(), CompileErrorKind::Placement, "{source}");
        }
        assert!(compile("https://api.example.com?{{data.amount}}").is_ok());
        assert!(compile("https://api.example.com/{{data.amount}}#part").is_ok());
    }

    #[test]
    fn what_is_no_url_is_refused_when_saved() {
        for source in ["", "api.example.com/x", "ftp://api.example.com/", "https://", "https:///x{{data.x}}"]
        {
            assert!(compile(source).is_err(), "{source}");
        }
        for source in ["https://api.example.com/a b", "https://good.example\\@evil.example/", "https://a/\n"]
        {
            assert_eq!(compile(source).unwrap_err(), CompileErrorKind::Character, "{source}");
        }
        assert_eq!(compile("https://a.example/../{{data.x}}").unwrap_err(), CompileErrorKind::Url);
        let long = format!("https://a.example/{}", "x".repeat(URL_MAX));
        assert_eq!(compile(&long).unwrap_err(), CompileErrorKind::TooLong { limit: URL_MAX });
    }

    #[test]
    fn no_value_climbs_out_of_its_place() {
        assert_eq!(rendered("https://api.example.com/users/{{data.up}}/x"), Err(TemplateError::Url));
        assert_eq!(rendered("https://api.example.com/users/.{{data.none}}./x"), Err(TemplateError::Url));
        assert!(rendered("https://api.example.com/users/{{data.up}}a").is_ok());
        assert!(rendered("https://api.example.com/?q={{data.up}}").is_ok());
    }

    /// Default limit 8 KiB
    #[test]
    fn rendered_urls_are_bounded() {
        let too_large = TemplateError::TooLarge { what: "URL", limit: URL_MAX };
        assert_eq!(rendered("https://api.example.com/{{data.large}}"), Err(too_large));
    }

    #[test]
    fn the_host_is_known_before_anything_is_rendered() {
        assert_eq!(
            UrlTemplate::host_of("https://API.example.com/{{env.X}}").as_deref(),
            Some("api.example.com")
        );
        assert_eq!(UrlTemplate::host_of("https://{{data.x}}/"), None);
        assert_eq!(compile("https://API.example.com:8443/{{data.x}}").unwrap().host(), "api.example.com");
    }
}
