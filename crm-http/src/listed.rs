//! What the lists of the API share: the parameters as they are documented, and the answer with its picked fields.

use axum::response::{IntoResponse as _, Response};
use crm_core::list::{List, ListRequest};
use serde::Serialize;
use utoipa::IntoParams;

use crate::{problem::Result, respond::Json};

/// The parameters that every list has, besides `field=value` and `field[op]=value` for the fields that it names.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "documents what crm_core::list reads")]
pub(crate) struct ListParameters {
    /// A rule as JSON: `{"field","op","value"}`, `{"and":[…]}`, `{"or":[…]}`, `{"not":…}`.
    #[param(example = json!("{\"field\":\"created_at\",\"op\":\"within_last\",\"value\":\"30d\"}"))]
    filter: Option<String>,
    /// Terms, each of which must occur in some searchable field; case and accents make no difference.
    #[param(max_length = 200)]
    search: Option<String>,
    /// Fields in order, `-` before one that runs downward. Newest first where not given.
    #[param(example = json!("-created_at"), min_length = 1)]
    sort: Option<String>,
    /// Only these fields of each record, separated by commas.
    #[param(min_length = 1)]
    fields: Option<String>,
    /// The most records of the page.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u32>,
    /// What an earlier page gave as `next_cursor`, with the same filter, search and sort.
    #[param(min_length = 1)]
    cursor: Option<String>,
    /// The number of the page, from 1, in place of a cursor; the answer then has `total`.
    #[param(minimum = 1)]
    page: Option<u64>,
    /// Whether to count the matches into `total`.
    count: Option<bool>,
}

/// A page, with only the fields that were asked for.
pub(crate) fn listed<T: Serialize>(list: List<T>, request: &ListRequest) -> Result<Response> {
    if request.fields.is_empty() {
        return Ok(Json(list).into_response());
    }
    Ok(Json(list.pick(&request.fields)?).into_response())
}
