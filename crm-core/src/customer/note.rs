use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    id::CustomerId,
    input::Input,
    record::{Meta, Record},
    text::Text,
    time::Timestamp,
};

/// A note is edited at most so many times; a further thought is a further note.
pub const MAX_NOTE_EDITS: usize = 50;

crate::record_ids! {
    /// A note about a customer.
    NoteId,
}

/// An internal note about a customer, for staff only.
#[derive(Clone, Debug, PartialEq, Record, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[record(collection = "customer_notes", index(customer_id, -created_at), search(text))]
pub struct Note {
    /// The note's id.
    pub id: NoteId,
    /// Whom it is about.
    pub customer_id: CustomerId,
    /// What it says.
    #[record(folded)]
    pub text: Text<5000>,
    /// Who wrote it: `user`, `api_key`, `service` or `system`.
    pub author_type: String,
    /// The person or key that wrote it.
    pub author_id: Option<Uuid>,
    /// When it was last edited.
    pub edited_at: Option<Timestamp>,
    /// How often it was edited.
    pub edit_count: i64,
    /// What it said before each edit.
    #[serde(skip)]
    pub edits: NoteEdits,
    /// Version and times.
    #[serde(flatten)]
    pub meta: Meta,
}

/// What a note said before an edit.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NoteEdit {
    /// What it said.
    pub text: String,
    /// When that was changed.
    pub edited_at: Timestamp,
    /// Who changed it.
    pub edited_by: Option<Uuid>,
}

/// The edits of a note, the oldest first.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct NoteEdits(pub Vec<NoteEdit>);

crate::json_field_type!(NoteEdits);

/// A note with its history.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NoteWithEdits {
    /// The note.
    #[serde(flatten)]
    pub note: Note,
    /// What it said before each edit, the oldest first.
    pub edits: Vec<NoteEdit>,
}

impl From<Note> for NoteWithEdits {
    fn from(note: Note) -> Self {
        Self { edits: note.edits.0.clone(), note }
    }
}

/// What the CRM alone writes of a note, and shows with it.
const READ_ONLY: &[&str] = &[
    "id",
    "version",
    "created_at",
    "updated_at",
    "customer_id",
    "author_id",
    "author_type",
    "edited_at",
    "edit_count",
    "edits",
];

/// A note to be written.
#[derive(Clone, Debug, Input)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[input(refuse = READ_ONLY)]
pub struct NewNote {
    /// What it says.
    pub text: Text<5000>,
}

/// What a note is to say.
#[derive(Clone, Debug, Input)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[input(ignore = READ_ONLY)]
pub struct EditedNote {
    /// What it says.
    pub text: Text<5000>,
}
