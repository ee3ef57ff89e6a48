use axum::{extract::FromRequestParts, http::request::Parts};
use crm_core::{access::Principal, error::Error};

use crate::{problem::Problem, state::AppState};

impl FromRequestParts<AppState> for Principal {
    type Rejection = Problem;

    async fn from_request_parts(_parts: &mut Parts, _state: &AppState) -> Result<Self, Problem> {
        Err(Error::Unauthenticated("Sign in first.").into())
    }
}
