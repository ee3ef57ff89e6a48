//! Custom fields.

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use crm_core::{
    Crm,
    access::Principal,
    field::{Changed, ChangedCustomField, CustomField, CustomFieldId, Fields, NewCustomField, Trial},
    list::{List, ListBody},
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    extract::{Body, IfMatch, Pairs, Path},
    listed::{ListParameters, listed},
    problem::Result,
    respond::{self, Created, Json, NoContent, Record},
    state::AppState,
};

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(search)).routes(routes!(get, change, remove))
}

/// What a change of a field answers.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "documents the two answers")]
enum ChangedField {
    /// The field as it is now.
    Field(Box<CustomField>),
    /// With `dry_run=true`: what would become of it.
    Trial(Box<Trial>),
}

/// List custom fields
///
/// By position where no order is asked for. Filter by `key`, `label`, `type`, `applies_to`, `required`, `unique`,
/// `indexed` and `position`.
#[utoipa::path(
    get, path = "/customers/fields", tag = "Custom fields",
    params(ListParameters, ("archived" = Option<bool>, Query, description = "Lists the archived fields instead.")),
    responses((status = 200, description = "A page of fields.", body = List<CustomField>)),
    extensions(("x-permission" = json!("fields:read")))
)]
async fn list(State(crm): State<Crm>, by: Principal, pairs: Pairs) -> Result<Response> {
    let request = Fields::request(&pairs.into_pairs())?;
    let found = crm.fields().list(&by, &request).await?;
    listed(found, &request)
}

/// Search custom fields
///
/// The list with its parameters in a JSON body, for long rules.
#[utoipa::path(
    post, path = "/customers/fields/search", tag = "Custom fields", request_body = ListBody,
    responses((status = 200, description = "A page of fields.", body = List<CustomField>)),
    extensions(("x-permission" = json!("fields:read")))
)]
async fn search(State(crm): State<Crm>, by: Principal, pairs: Pairs, Body(body): Body<ListBody>) -> Result<Response> {
    pairs.only(&[])?;
    let request = Fields::request_of_body(&body)?;
    let found = crm.fields().list(&by, &request).await?;
    listed(found, &request)
}

/// Declare a custom field
///
/// At once it can be given in `custom` of a record, and named as `custom.<key>` in filters, orders and rules. With
/// `indexed`, an index is built in the background; `index_state` tells how far it is, and everything works meanwhile.
/// A key belongs to one field for each kind of record, archived ones among them.
#[utoipa::path(
    post, path = "/customers/fields", tag = "Custom fields", request_body(content = NewCustomField, examples(
        ("text" = (summary = "A membership number", value = json!({
            "key": "member_no", "label": "Membership number", "type": "text", "unique": true,
            "rules": {"pattern": "^[A-Z]{2}[0-9]{6}$"}
        }))),
        ("list" = (summary = "A tier with a default", value = json!({
            "key": "tier", "type": "list", "options": ["gold", "silver", "bronze"], "default": "bronze", "indexed": true
        }))),
        ("required_if" = (summary = "A tax number of those who buy wholesale", value = json!({
            "key": "tax_number", "type": "text",
            "rules": {"required_if": {"field": "type", "op": "==", "value": "wholesale"}}
        })))
    )),
    responses((status = 201, description = "The new field.", body = CustomField), (status = 409)),
    extensions(("x-permission" = json!("fields:write")))
)]
async fn create(
    State(crm): State<Crm>,
    by: Principal,
    pairs: Pairs,
    Body(new): Body<NewCustomField>,
) -> Result<Created<CustomField>> {
    pairs.only(&[])?;
    let field = crm.fields().create(&by, new).await?;
    Ok(Created::new("customers/fields", field.id, field.meta.version, field))
}

/// Get a custom field
#[utoipa::path(
    get, path = "/customers/fields/{id}", tag = "Custom fields", params(("id" = CustomFieldId, Path)),
    responses((status = 200, description = "The field, archived or not.", body = CustomField)),
    extensions(("x-permission" = json!("fields:read")))
)]
async fn get(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<CustomFieldId>,
    pairs: Pairs,
) -> Result<Record<CustomField>> {
    pairs.only(&[])?;
    let field = crm.fields().get(&by, id).await?;
    Ok(Record::new(field.meta.version, field))
}

/// Change a custom field
///
/// What is not given gets its default, but for `label` and `position`, which stay. `required` and `rules` hold for what
/// is written from now on. 409 where stored values stand in the way: another `type` to which one of them does not
/// convert, an option taken away that one of them has, `unique` where two are equal; and where the rule `required_if` of
/// another field would no longer hold together. With `dry_run=true` nothing is written, and the answer lists those
/// values.
///
/// `archived: false` brings an archived field back with its values.
#[utoipa::path(
    put, path = "/customers/fields/{id}", tag = "Custom fields", request_body = ChangedCustomField,
    params(("id" = CustomFieldId, Path),
        ("dry_run" = Option<bool>, Query, description = "Writes nothing; tells what stands in the way.")),
    responses(
        (status = 200, description = "The field as it is now, or, with `dry_run`, as it would be.", body = ChangedField),
        (status = 409),
        (status = 412)
    ),
    extensions(("x-permission" = json!("fields:write")))
)]
async fn change(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<CustomFieldId>,
    IfMatch(version): IfMatch,
    mut pairs: Pairs,
    Body(changed): Body<ChangedCustomField>,
) -> Result<Response> {
    pairs.only(&["dry_run"])?;
    let dry_run = pairs.take_flag("dry_run")?;
    Ok(match crm.fields().update(&by, id, changed, version, dry_run).await? {
        Changed::Done(field) => Record::new(field.meta.version, field).into_response(),
        Changed::Tried(trial) => Json(trial).into_response(),
    })
}

/// Archive or purge a custom field
///
/// Archives: the values stay, but are neither shown nor written any more. With `purge=true` the field is removed for
/// good, with its values from every record.
#[utoipa::path(
    delete, path = "/customers/fields/{id}", tag = "Custom fields",
    params(("id" = CustomFieldId, Path),
        ("purge" = Option<bool>, Query, description = "Removes the field and its values for good.")),
    responses(
        (status = 204, description = "Archived, or gone."),
        (status = 202, description = "The purge goes on in the background; the field is archived until then.", body = CustomField),
        (status = 409),
        (status = 412)
    ),
    extensions(("x-permission" = json!("fields:write")))
)]
async fn remove(
    State(crm): State<Crm>,
    by: Principal,
    Path(id): Path<CustomFieldId>,
    IfMatch(version): IfMatch,
    mut pairs: Pairs,
) -> Result<Response> {
    pairs.only(&["purge"])?;
    if !pairs.take_flag("purge")? {
        crm.fields().archive(&by, id, version).await?;
        return Ok(NoContent.into_response());
    }
    Ok(match crm.fields().purge(&by, id, version).await? {
        None => NoContent.into_response(),
        Some(field) => respond::json(StatusCode::ACCEPTED, &field),
    })
}
