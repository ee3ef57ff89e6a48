use serde_json::json;

use super::{
    Customer, Customers, EditedNote, MAX_NOTE_EDITS, NewNote, Note, NoteEdit, NoteId, NoteWithEdits, service::CUSTOMER,
};
use crate::{
    access::{Principal, Role, permissions},
    error::{Error, Result},
    id::CustomerId,
    operation::Operation,
    record::Meta,
};

/// What the refusal of a note that is not there calls it.
const NOTE: &str = "note";

impl Customers<'_> {
    /// Writes a note about a customer.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a customer not in sight, [`Error::Forbidden`] without `customers:write`.
    pub async fn add_note(&self, by: &Principal, customer: CustomerId, new: NewNote) -> Result<Note> {
        by.may(permissions::CUSTOMERS_WRITE)?;
        self.in_sight(by, customer).await?;
        let now = self.crm.now();
        let note = Note {
            id: self.crm.new_id_at(now),
            customer_id: customer,
            text: new.text,
            author_type: by.actor.kind().to_owned(),
            author_id: by.actor.id(),
            edited_at: None,
            edit_count: 0,
            edits: super::NoteEdits::default(),
            meta: Meta::new(by.organization, now),
        };
        let mut operation = Operation::at(self.crm, by, now);
        operation.insert(&note);
        operation.audit::<Note>("customer_note.created", note.id, None, Some(json!(note)));
        operation.emit("customer_note.created", &note, &json!({"id": note.id, "customer_id": customer}));
        operation.commit().await?;
        Ok(note)
    }

    /// A note with its history.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`] without `customers:read`.
    pub async fn get_note(&self, by: &Principal, customer: CustomerId, id: NoteId) -> Result<NoteWithEdits> {
        by.may(permissions::CUSTOMERS_READ)?;
        self.in_sight(by, customer).await?;
        Ok(self.note(by, customer, id).await?.into())
    }

    /// Lets a note say something else; what it said before is kept. Authors edit their own notes, Admins every one.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::VersionConflict`], [`Error::InvalidState`] after 50 edits, [`Error::Forbidden`]
    /// for somebody else's note.
    pub async fn edit_note(
        &self,
        by: &Principal,
        customer: CustomerId,
        id: NoteId,
        input: EditedNote,
        expected_version: Option<i64>,
    ) -> Result<NoteWithEdits> {
        by.may(permissions::CUSTOMERS_WRITE)?;
        self.in_sight(by, customer).await?;
        let mut turn = self.crm.turns().join(id.0).await;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let before = self.note(by, customer, id).await?;
            own(by, &before)?;
            before.meta.expect(expected_version)?;
            if before.text == input.text {
                return Ok(before.into());
            }
            if before.edits.0.len() >= MAX_NOTE_EDITS {
                let message = format!("The note was edited {MAX_NOTE_EDITS} times already: write another.");
                return Err(Error::InvalidState(message));
            }
            let now = self.crm.now();
            let mut after = Note { text: input.text.clone(), edited_at: Some(now), ..before.clone() };
            after.edit_count += 1;
            after.edits.0.push(NoteEdit {
                text: before.text.as_str().to_owned(),
                edited_at: now,
                edited_by: by.actor.id(),
            });
            let mut operation = Operation::at(self.crm, by, now);
            operation.update(&before, &mut after);
            let (old, new) = (json!({"text": before.text}), json!({"text": after.text}));
            operation.audit::<Note>("customer_note.updated", id, Some(old), Some(new));
            operation.emit("customer_note.updated", &after, &json!({"id": id, "customer_id": customer}));
            match operation.commit().await {
                Err(Error::VersionConflict { .. }) if attempt < 5 => turn.wait().await,
                Err(error) => return Err(error),
                Ok(_) => return Ok(after.into()),
            }
        }
    }

    /// Removes a note. Authors remove their own notes, Admins every one.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::VersionConflict`], [`Error::Forbidden`] for somebody else's note.
    pub async fn delete_note(
        &self,
        by: &Principal,
        customer: CustomerId,
        id: NoteId,
        expected_version: Option<i64>,
    ) -> Result<()> {
        by.may(permissions::CUSTOMERS_WRITE)?;
        self.in_sight(by, customer).await?;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let note = self.note(by, customer, id).await?;
            own(by, &note)?;
            note.meta.expect(expected_version)?;
            let mut operation = Operation::new(self.crm, by);
            operation.delete(&note);
            operation.audit::<Note>("customer_note.deleted", id, Some(json!(note)), None);
            let version = note.meta.version + 1;
            let data = json!({"id": id, "customer_id": customer});
            operation.emit_named("customer_note.deleted", "customer_notes", id.0, version, &data);
            match operation.commit().await {
                Err(Error::VersionConflict { .. }) if attempt < 5 => {}
                // Removed by somebody else meanwhile, which is what was asked for.
                Err(Error::NotFound(_)) => return Err(Error::NotFound(NOTE)),
                done => return done.map(|_| ()),
            }
        }
    }

    pub(crate) async fn in_sight(&self, by: &Principal, customer: CustomerId) -> Result<Customer> {
        self.crm.repo::<Customer>().visible(by, customer, CUSTOMER).await
    }

    async fn note(&self, by: &Principal, customer: CustomerId, id: NoteId) -> Result<Note> {
        let note = self.crm.repo::<Note>().get(by.scope(), id).await?;
        note.filter(|note| note.customer_id == customer).ok_or(Error::NotFound(NOTE))
    }
}

fn own(by: &Principal, note: &Note) -> Result<()> {
    let author = note.author_type == by.actor.kind() && note.author_id == by.actor.id();
    if author || matches!(by.role, Role::Admin | Role::SuperAdmin) {
        return Ok(());
    }
    Err(Error::Forbidden("Only its author or an Admin may change a note.".to_owned()))
}
