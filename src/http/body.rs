//! What answers look like: the success envelope, pages of the provider lists, and cursored lists of the others.

use super::{
    auth::OnTree,
    error::{ApiError, ApiResult},
    query::Query,
};
use actix_web::{
    HttpRequest, HttpResponse, Responder,
    body::BoxBody,
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ledgerhook_actors::{engine::Answer, profile::Answers};
use serde::Serialize;
use std::fmt::Write as _;
use utoipa::ToSchema;

/// What the answer to an event fits, the most frequent one.
const BODY_LEN: usize = 256;

/// `{"success": true, "data": …}`; on the tree of a provider that answers plainly, the data alone (T-46).
#[derive(Debug)]
pub(crate) struct Success<T> {
    status: StatusCode,
    data: T,
    answers: Answers,
    /// What of the data stands alone; of a list, its items.
    alone: fn(&T) -> serde_json::Result<Vec<u8>>,
    etag: Option<String>,
    location: Option<String>,
    link: Option<String>,
}

impl<T: Serialize> Success<T> {
    /// 200
    pub(crate) fn ok(data: T) -> Self {
        let (answers, alone) = (Answers::default(), serde_json::to_vec::<T>);
        Self { status: StatusCode::OK, data, answers, alone, etag: None, location: None, link: None }
    }

    /// 201, and where the new thing is found.
    pub(crate) fn created(location: String, data: T) -> Self {
        Self { status: StatusCode::CREATED, location: Some(location), ..Self::ok(data) }
    }

    /// 202
    pub(crate) fn accepted(data: T) -> Self {
        Self { status: StatusCode::ACCEPTED, ..Self::ok(data) }
    }

    /// What is kept of it under an idempotency key. Views of ours always have a JSON form.
    pub(crate) fn kept(self) -> Answer {
        let body = self.body().unwrap_or_default().into();
        Answer { status: self.status.as_u16(), location: self.location, body }
    }

    fn body(&self) -> Result<Vec<u8>, serde_json::Error> {
        #[derive(Serialize)]
        struct Envelope<'d, T> {
            success: bool,
            data: &'d T,
        }
        match self.answers {
            Answers::Wrapped => {
                let mut body = Vec::with_capacity(BODY_LEN);
                serde_json::to_writer(&mut body, &Envelope { success: true, data: &self.data })?;
                Ok(body)
            }
            Answers::Plain => (self.alone)(&self.data),
        }
    }

    /// The same in the look of these answers.
    pub(crate) fn looking(self, answers: Answers) -> Self {
        Self { answers, ..self }
    }

    /// The same with an entity tag made of a version number.
    pub(crate) fn version(self, version: u32) -> Self {
        Self { etag: Some(format!("\"{version}\"")), ..self }
    }
}

impl<T: Serialize> Success<Option<T>> {
    /// The same answer, if there is something to show.
    pub(crate) fn present(self) -> ApiResult<Success<T>> {
        let Self { status, data, answers, etag, location, link, .. } = self;
        let data = data.ok_or_else(|| ApiError::internal(&"what was made cannot be shown"))?;
        Ok(Success { status, answers, etag, location, link, ..Success::ok(data) })
    }
}

impl<T: Serialize> Responder for Success<T> {
    type Body = BoxBody;

    fn respond_to(self, request: &HttpRequest) -> HttpResponse {
        let answer = self.looking(OnTree::answers_of(request)).written();
        answer.unwrap_or_else(HttpResponse::from_error)
    }
}

impl<T: Serialize> Success<T> {
    /// As an answer.
    pub(crate) fn written(self) -> ApiResult<HttpResponse> {
        let body = self.body().map_err(|error| ApiError::internal(&error))?;
        let Self { status, etag, location, link, .. } = self;
        let mut answer = HttpResponse::build(status);
        let headers = [(header::ETAG, etag), (header::LOCATION, location), (header::LINK, link)];
        for (name, value) in headers {
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
                answer.insert_header((name, value));
            }
        }
        Ok(answer.content_type(HeaderValue::from_static("application/json")).body(body))
    }
}

/// `pagination` of the provider lists (AFM-31).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Pagination {
    /// From 1.
    pub(crate) page: usize,
    /// Items a page.
    pub(crate) limit: usize,
    /// Items in all.
    pub(crate) total: usize,
}

impl Pagination {
    /// What stands on the page. `total` is filled in.
    pub(crate) fn cut<T>(self, items: impl ExactSizeIterator<Item = T>) -> (Vec<T>, Self) {
        let total = items.len();
        let skipped = (self.page - 1).saturating_mul(self.limit);
        (items.skip(skipped).take(self.limit).collect(), Self { total, ..self })
    }
}

/// A list outside the provider paths: the same cursors stand in the body and in `Link`.
#[derive(Debug, Serialize)]
pub(crate) struct List<T> {
    /// One page of it.
    pub(crate) items: Vec<T>,
    /// What follows, if anything does.
    pub(crate) next: Option<String>,
    /// What came before.
    pub(crate) prev: Option<String>,
}

impl<T: Serialize> List<T> {
    /// The answer, with `Link` for the cursors; they are made by [`cursor`].
    pub(crate) fn respond(self, query: &Query) -> Success<Self> {
        let mut link = String::new();
        for (cursor, rel) in [(&self.next, "next"), (&self.prev, "prev")] {
            let Some(cursor) = cursor else { continue };
            let comma = if link.is_empty() { "" } else { ", " };
            let _ = write!(link, "{comma}<{}>; rel=\"{rel}\"", query.with_cursor(cursor));
        }
        let link = (!link.is_empty()).then_some(link);
        Success { link, alone: |list| serde_json::to_vec(&list.items), ..Success::ok(self) }
    }

    /// One page out of `limit + 1` items, so that it is known whether more follow; `key` makes the cursor of the
    /// last one shown. For lists that only go forward.
    pub(crate) fn forward(
        mut items: Vec<T>,
        limit: usize,
        list: &'static str,
        key: impl Fn(&T) -> String,
    ) -> Self {
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(|last| cursor(list, &key(last)));
        Self { items, next, prev: None }
    }
}

/// An opaque cursor: the name of the list that it belongs to, and a place in it.
pub(crate) fn cursor(list: &'static str, place: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{list}:{place}"))
}

/// The place that a cursor of this list names.
pub(crate) fn cursor_place(list: &'static str, cursor: &str) -> Option<String> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    text.strip_prefix(list)?.strip_prefix(':').map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::{body::to_bytes, test::TestRequest};

    #[actix_web::test]
    async fn success_is_wrapped_and_tells_where_and_which_version() {
        let request = TestRequest::default().to_http_request();
        let answer = Success::created("/api/webhooks/wh_1".into(), 7).version(3).respond_to(&request);
        assert_eq!(answer.status(), 201);
        assert_eq!(answer.headers().get("etag").unwrap(), "\"3\"");
        assert_eq!(answer.headers().get("location").unwrap(), "/api/webhooks/wh_1");
        assert_eq!(to_bytes(answer.into_body()).await.unwrap(), r#"{"success":true,"data":7}"#);
    }

    /// AFM-30, AFM-31
    #[test]
    fn a_page_behind_the_end_is_empty_and_still_counts() {
        let page = |page, limit| Pagination { page, limit, total: 0 }.cut(0..5_usize);
        assert_eq!(page(1, 2), (vec![0, 1], Pagination { page: 1, limit: 2, total: 5 }));
        assert_eq!(page(3, 2).0, [4]);
        assert_eq!(page(1_000_000, 100), (vec![], Pagination { page: 1_000_000, limit: 100, total: 5 }));
    }

    #[test]
    fn a_cursor_belongs_to_its_list() {
        let text = cursor("lanes", "conv:1");
        assert_eq!(cursor_place("lanes", &text).as_deref(), Some("conv:1"));
        assert_eq!(cursor_place("events", &text), None);
        assert_eq!(cursor_place("lanes", "!!"), None);
    }

    #[actix_web::test]
    async fn lists_link_to_what_follows() {
        let query = Query::new("/api/events", "limit=2&type=a.b").unwrap();
        let list = List::forward(vec![1, 2, 3], 2, "events", |n: &i32| n.to_string());
        let next = list.next.clone().unwrap();
        let answer = list.respond(&query).respond_to(&TestRequest::default().to_http_request());
        let link = format!("</api/events?limit=2&type=a.b&cursor={next}>; rel=\"next\"");
        assert_eq!(answer.headers().get("link").unwrap(), link.as_str());
    }
}
