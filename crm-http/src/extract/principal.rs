use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};
use crm_core::{
    access::{Actor, Principal, RequestContext},
    account::Credentials,
    error::Error,
};

use crate::{
    cookies, csrf,
    edge::{exchange::Exchange, limits},
    problem::Problem,
    state::AppState,
};

/// Names the organization in which a `SuperAdmin` or the installation's own key acts.
const ORGANIZATION: &str = "x-organization-id";

/// Who acts, where that was found out before the handler is called.
#[derive(Clone, Debug)]
pub(crate) struct Authenticated(pub(crate) Principal);

/// Who acts: by the token or key of `Authorization`, by `X-API-Key`, or by cookie. Where several are sent, the first
/// of them counts alone.
impl FromRequestParts<AppState> for Principal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        if let Some(Authenticated(principal)) = parts.extensions.get() {
            return Ok(principal.clone());
        }
        let exchange = parts.extensions.get::<Exchange>().cloned();
        let exchange = exchange.ok_or_else(Problem::internal)?;
        match authenticate(parts, state, &exchange).await {
            Ok(principal) => {
                exchange.note_principal(&principal);
                limits::of_principal(state, &principal, &exchange).await?;
                Ok(principal)
            }
            Err(problem) => {
                // Guessing is counted as what anybody can do, where the request was not counted yet.
                if exchange.notes().limits.is_empty() {
                    limits::of_anybody(state, &exchange).await?;
                }
                Err(problem)
            }
        }
    }
}

/// Who acts by these headers now: for answers that go on for long.
pub(crate) async fn authenticate_again(
    state: &AppState,
    headers: &HeaderMap,
    context: RequestContext,
) -> Result<Principal, Problem> {
    let (credentials, _) = credentials(headers, state.options().https)?;
    let organization = text(headers, ORGANIZATION)?;
    Ok(state.crm().accounts().authenticate(credentials.acting_in(organization), context).await?)
}

async fn authenticate(parts: &Parts, state: &AppState, exchange: &Exchange) -> Result<Principal, Problem> {
    let headers = &parts.headers;
    let (credentials, by_cookie) = credentials(headers, state.options().https)?;
    let organization = text(headers, ORGANIZATION)?;
    let principal =
        state.crm().accounts().authenticate(credentials.acting_in(organization), exchange.context()).await?;
    if by_cookie && !csrf::is_safe(&parts.method) {
        let session = principal.session.map(|session| session.to_string()).unwrap_or_default();
        csrf::check(state.crm(), state.options(), headers, &session)?;
    }
    Ok(principal)
}

/// What is shown, and whether it is a cookie, which a browser sends by itself.
fn credentials(headers: &HeaderMap, https: bool) -> Result<(Credentials<'_>, bool), Problem> {
    if let Some(authorization) = text(headers, header::AUTHORIZATION.as_str())? {
        return match authorization.split_once(' ') {
            Some((scheme, secret)) if scheme.eq_ignore_ascii_case("bearer") => {
                Ok((Credentials::bearer(secret.trim()), false))
            }
            _ => Err(Error::Unauthenticated("The Authorization header must be Bearer and a token.").into()),
        };
    }
    for name in ["x-api-key", "x-service-key"] {
        if let Some(key) = text(headers, name)? {
            return Ok((Credentials::api_key(key), false));
        }
    }
    match cookies::access_token(headers, https) {
        Some(token) => Ok((Credentials::access_token(token), true)),
        None => Err(Error::Unauthenticated("Sign in first.").into()),
    }
}

/// A header that stands at most once.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) if value.to_str().is_ok() => Ok(value.to_str().ok()),
        _ => Err(Error::Unauthenticated("The credentials cannot be read.").into()),
    }
}

/// Where a request comes from whose sender is not known yet.
#[derive(Debug)]
pub(crate) struct Caller(pub(crate) RequestContext);

impl FromRequestParts<AppState> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, Problem> {
        Ok(Self(parts.extensions.get::<Exchange>().map(Exchange::context).unwrap_or_default()))
    }
}

/// Whether a request shows anything to be let in by.
pub(crate) fn shows_credentials(headers: &HeaderMap, https: bool) -> bool {
    headers.contains_key(header::AUTHORIZATION)
        || headers.contains_key("x-api-key")
        || headers.contains_key("x-service-key")
        || cookies::access_token(headers, https).is_some()
}

/// Under which a principal's requests are counted.
pub(crate) fn key_of(principal: &Principal) -> String {
    match principal.actor {
        Actor::User(_) | Actor::ApiKey(_) => format!("{:?}", principal.actor.id()),
        _ => format!("{} {}", principal.actor.kind(), principal.organization),
    }
}
