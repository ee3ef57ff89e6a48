use axum::extract::State;
use crm_core::{
    Crm,
    access::Principal,
    customer::{EditedNote, NewNote, Note, NoteId, NoteWithEdits},
    id::CustomerId,
    list::{List, ListBody, Picked},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    extract::{Body, IfMatch, Pairs, Path},
    problem::Result,
    respond::{Created, Json, NoContent, Record},
    routes::parameters::ListParameters,
    state::AppState,
};

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(search)).routes(routes!(get, edit, remove))
}

/// List notes about a customer
///
/// Newest first; for staff only.
#[utoipa::path(
    get, path = "/customers/{id}/notes", tag = "Notes", params(("id" = CustomerId, Path), ListParameters),
    responses((status = 200, description = "A page of notes.", body = List<Note>)),
    extensions(("x-permission" = json!("customers:read")))
)]
async fn list(
    State(crm): State<Crm>,
    by: Principal,
    Path(customer): Path<CustomerId>,
    pairs: Pairs,
) -> Result<Json<List<Picked>>> {
    let (notes, fields) = crm.customers().list_notes(&by, customer, &pairs.into_pairs()).await?;
    Ok(Json(notes.pick(&fields)?))
}

/// Search notes about a customer
///
/// The list with its parameters in a JSON body, for long rules.
#[utoipa::path(
    post, path = "/customers/{id}/notes/search", tag = "Notes", request_body = ListBody,
    params(("id" = CustomerId, Path)),
    responses((status = 200, description = "A page of notes.", body = List<Note>)),
    extensions(("x-permission" = json!("customers:read")))
)]
async fn search(
    State(crm): State<Crm>,
    by: Principal,
    Path(customer): Path<CustomerId>,
    pairs: Pairs,
    Body(body): Body<ListBody>,
) -> Result<Json<List<Picked>>> {
    pairs.only(&[])?;
    let (found, fields) = crm.customers().search_notes(&by, customer, &body).await?;
    Ok(Json(found.pick(&fields)?))
}

/// Write a note about a customer
#[utoipa::path(
    post, path = "/customers/{id}/notes", tag = "Notes", request_body = NewNote, params(("id" = CustomerId, Path)),
    responses((status = 201, description = "The new note.", body = NoteWithEdits)),
    extensions(("x-permission" = json!("customers:write")))
)]
async fn create(
    State(crm): State<Crm>,
    by: Principal,
    Path(customer): Path<CustomerId>,
    pairs: Pairs,
    Body(new): Body<NewNote>,
) -> Result<Created<NoteWithEdits>> {
    pairs.only(&[])?;
    let note = crm.customers().add_note(&by, customer, new).await?;
    Ok(Created::new(&format!("customers/{customer}/notes"), note.id, note.meta.version, note.into()))
}

/// Get a note
///
/// With what it said before each edit.
#[utoipa::path(
    get, path = "/customers/{id}/notes/{note_id}", tag = "Notes",
    params(("id" = CustomerId, Path), ("note_id" = NoteId, Path, description = "The note's id.")),
    responses((status = 200, description = "The note.", body = NoteWithEdits)),
    extensions(("x-permission" = json!("customers:read")))
)]
async fn get(
    State(crm): State<Crm>,
    by: Principal,
    Path((customer, id)): Path<(CustomerId, NoteId)>,
    pairs: Pairs,
) -> Result<Record<NoteWithEdits>> {
    pairs.only(&[])?;
    let found = crm.customers().get_note(&by, customer, id).await?;
    Ok(Record::new(found.note.meta.version, found))
}

/// Edit a note
///
/// The own one; Admins edit every one. What it said before is kept, 50 times at most.
#[utoipa::path(
    put, path = "/customers/{id}/notes/{note_id}", tag = "Notes", request_body = EditedNote,
    params(("id" = CustomerId, Path), ("note_id" = NoteId, Path, description = "The note's id.")),
    responses((status = 200, description = "The note as it is now.", body = NoteWithEdits), (status = 409), (status = 412)),
    extensions(("x-permission" = json!("customers:write")))
)]
async fn edit(
    State(crm): State<Crm>,
    by: Principal,
    Path((customer, id)): Path<(CustomerId, NoteId)>,
    IfMatch(version): IfMatch,
    pairs: Pairs,
    Body(input): Body<EditedNote>,
) -> Result<Record<NoteWithEdits>> {
    pairs.only(&[])?;
    let edited = crm.customers().edit_note(&by, customer, id, input, version).await?;
    Ok(Record::new(edited.note.meta.version, edited))
}

/// Delete a note
///
/// The own one; Admins delete every one.
#[utoipa::path(
    delete, path = "/customers/{id}/notes/{note_id}", tag = "Notes",
    params(("id" = CustomerId, Path), ("note_id" = NoteId, Path, description = "The note's id.")),
    responses((status = 204, description = "The note is gone."), (status = 412)),
    extensions(("x-permission" = json!("customers:write")))
)]
async fn remove(
    State(crm): State<Crm>,
    by: Principal,
    Path((customer, id)): Path<(CustomerId, NoteId)>,
    IfMatch(version): IfMatch,
    pairs: Pairs,
) -> Result<NoContent> {
    pairs.only(&[])?;
    crm.customers().delete_note(&by, customer, id, version).await?;
    Ok(NoContent)
}
