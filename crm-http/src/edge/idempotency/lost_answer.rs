use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    http::{Method, StatusCode, header, request::Parts},
};
use crm_core::idempotency::{Answer, Effect};
use tower::ServiceExt as _;

use super::LONGEST_ANSWER;
use crate::{edge::exchange::Exchange, extract::Authenticated, router::API};

/// The kind of record that is answered 202 when it is made: work that begins.
const JOBS: &str = "jobs";

/// Answers again what was carried out and whose answer was lost: the record as it is now, read by the routes
/// themselves on behalf of the principal.
#[derive(Clone, Debug)]
pub(crate) struct Lookup(Router);

impl Lookup {
    /// By these routes.
    pub(crate) const fn new(routes: Router) -> Self {
        Self(routes)
    }

    /// The answer; nothing where the record is not found where the request says that it is.
    pub(super) async fn answer(&self, parts: &Parts, path: &str, effect: &Effect) -> Option<Answer> {
        for place in places(&parts.method, path, effect) {
            if let Some(mut answer) = self.read(parts, &place, effect).await {
                if effect.created {
                    answer.status = if effect.record_type == JOBS { 202 } else { 201 };
                    answer.headers.push((header::LOCATION.as_str().to_owned(), format!("{API}{place}")));
                }
                return Some(answer);
            }
        }
        None
    }

    async fn read(&self, parts: &Parts, place: &str, effect: &Effect) -> Option<Answer> {
        let mut request = Request::builder().uri(format!("{API}{place}")).body(Body::empty()).ok()?;
        let (asked, extensions) = (&parts.extensions, request.extensions_mut());
        extensions.insert(asked.get::<Authenticated>()?.clone());
        extensions.insert(asked.get::<Exchange>()?.clone());
        let response = self.0.clone().oneshot(request).await.ok()?;
        if response.status() != StatusCode::OK {
            return None;
        }
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, LONGEST_ANSWER).await.ok()?.to_vec();
        let record: serde_json::Value = serde_json::from_slice(&body).ok()?;
        if record.get("id")?.as_str()? != effect.record_id.to_string() {
            return None;
        }
        let kept = [header::CONTENT_TYPE, header::ETAG];
        let headers = kept
            .iter()
            .filter_map(|name| Some((name.as_str().to_owned(), parts.headers.get(name)?.to_str().ok()?.to_owned())));
        Some(Answer { status: StatusCode::OK.as_u16(), headers: headers.collect(), body })
    }
}

/// Where the record of a request may be. What is found there counts only if it has the record's id.
fn places(method: &Method, path: &str, effect: &Effect) -> Vec<String> {
    let mut places = Vec::new();
    if effect.record_type == JOBS {
        places.push(format!("/{JOBS}/{}", effect.record_id));
    } else if effect.created {
        places.push(format!("{path}/{}", effect.record_id));
    }
    if !effect.created {
        places.push(path.to_owned());
        // An action on a record, such as `/customers/{id}/restore`.
        if *method == Method::POST
            && let Some((record, _)) = path.rsplit_once('/')
            && !record.is_empty()
        {
            places.push(record.to_owned());
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_where_the_request_says() {
        let id = uuid::Uuid::from_u128(7);
        for (method, path, record_type, created, expected) in [
            (Method::POST, "/customers", "customers", true, vec![format!("/customers/{id}")]),
            (Method::POST, "/customers/import", "jobs", true, vec![format!("/jobs/{id}")]),
            (Method::PATCH, "/customers/me", "customers", false, vec!["/customers/me".to_owned()]),
            (
                Method::POST,
                "/customers/5/restore",
                "customers",
                false,
                vec!["/customers/5/restore".to_owned(), "/customers/5".to_owned()],
            ),
            (Method::POST, "/customers", "customers", false, vec!["/customers".to_owned()]),
        ] {
            let effect = Effect { record_type: record_type.to_owned(), record_id: id, created };
            assert_eq!(places(&method, path, &effect), expected, "{method} {path}");
        }
    }
}
