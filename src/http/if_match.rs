//! `If-Match`: a write that only counts against the version that its author read (RFC 9110 §13.1.1).

use super::error::{ApiError, ApiResult};
use actix_web::{
    FromRequest, HttpRequest,
    dev::Payload,
    http::{StatusCode, header},
};
use std::future::{Ready, ready};

/// The version that the caller read, if it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IfMatch(Option<u32>);

impl IfMatch {
    /// 412 if another version is in force.
    pub(crate) fn check(self, version: u32) -> ApiResult<()> {
        match self.0 {
            Some(expected) if expected != version => {
                let detail = format!("version {version} is in force; read it and try again");
                Err(ApiError::new(StatusCode::PRECONDITION_FAILED, "version_changed", detail))
            }
            _ => Ok(()),
        }
    }

    /// The version that the caller read, for whoever decides the change.
    pub(crate) fn version(self) -> Option<u32> {
        self.0
    }

    fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self(None));
        }
        text.strip_prefix('"')?.strip_suffix('"')?.parse().ok().map(|version| Self(Some(version)))
    }
}

impl FromRequest for IfMatch {
    type Error = ApiError;
    type Future = Ready<ApiResult<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let Some(value) = request.headers().get(header::IF_MATCH) else { return ready(Ok(Self(None))) };
        let parsed = value.to_str().ok().and_then(Self::parse);
        ready(parsed.ok_or_else(|| {
            ApiError::unreadable(
                "bad_if_match",
                "`If-Match` is to be one `ETag` of this API, such as `\"3\"`, or `*`",
            )
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_version_that_was_read_may_be_replaced() {
        let read = IfMatch::parse("\"3\"").unwrap();
        assert!(read.check(3).is_ok());
        assert_eq!(read.check(4).unwrap_err().problem().status.as_u16(), 412);
        assert!(IfMatch::parse("*").unwrap().check(9).is_ok());
        assert_eq!(IfMatch::parse("3"), None);
        assert_eq!(IfMatch::parse("W/\"3\""), None);
    }
}
