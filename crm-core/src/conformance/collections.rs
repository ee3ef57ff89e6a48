//! The collections that the suite declares.

use crate::{
    record::HEAD,
    store::{Collection, Field, FieldKind, Index, IndexField, Placement, UniqueKey},
};

const fn field(name: &'static str, kind: FieldKind) -> Field {
    Field { name, kind, optional: false, folded: false, custom: false }
}

const fn optional(name: &'static str, kind: FieldKind) -> Field {
    Field { optional: true, ..field(name, kind) }
}

const fn folded(field: Field) -> Field {
    Field { folded: true, ..field }
}

const fn custom(field: Field) -> Field {
    Field { custom: true, ..field }
}

const fn up(name: &'static str) -> IndexField {
    IndexField { name, descending: false }
}

const fn down(name: &'static str) -> IndexField {
    IndexField { name, descending: true }
}

/// An organization's records with a field of every kind, once required and once optional.
pub(super) static THINGS: Collection = Collection {
    name: "conformance_things",
    placement: Placement::Tenant,
    fields: &[
        HEAD[0],
        HEAD[1],
        HEAD[2],
        HEAD[3],
        HEAD[4],
        field("flag", FieldKind::Bool),
        optional("maybe_flag", FieldKind::Bool),
        field("number_of", FieldKind::Integer),
        optional("maybe_number_of", FieldKind::Integer),
        field("ratio", FieldKind::Number),
        optional("maybe_ratio", FieldKind::Number),
        field("price", FieldKind::Money),
        optional("maybe_price", FieldKind::Money),
        folded(field("name", FieldKind::Text)),
        folded(optional("nick", FieldKind::Text)),
        field("code", FieldKind::Text),
        optional("maybe_code", FieldKind::Text),
        field("seen_at", FieldKind::Timestamp),
        optional("maybe_seen_at", FieldKind::Timestamp),
        field("day", FieldKind::Date),
        optional("maybe_day", FieldKind::Date),
        field("owner_id", FieldKind::Id),
        optional("maybe_owner_id", FieldKind::Id),
        field("labels", FieldKind::TextList),
        optional("maybe_labels", FieldKind::TextList),
        field("notes", FieldKind::Json),
        optional("maybe_notes", FieldKind::Json),
        custom(field("fields", FieldKind::Json)),
        custom(optional("maybe_fields", FieldKind::Json)),
        // Named as SQL's own words are, which a store has to quote.
        optional("order", FieldKind::Integer),
        optional("select", FieldKind::Text),
    ],
    unique: &[],
    indexes: &[
        Index { name: "by_name", fields: &[up("name")], covers: &[] },
        Index { name: "by_nick_downward", fields: &[down("nick")], covers: &[] },
        Index { name: "by_maybe_number", fields: &[down("maybe_number_of")], covers: &[] },
        Index { name: "by_flag_and_seen_at", fields: &[up("flag"), down("seen_at")], covers: &[] },
        Index { name: "by_label", fields: &[up("labels")], covers: &[] },
        Index { name: "by_owner", fields: &[up("maybe_owner_id"), up("name")], covers: &[] },
    ],
    search: &["name", "nick", "code", "labels"],
};

/// An organization's records that point to [`THINGS`].
pub(super) static PARTS: Collection = Collection {
    name: "conformance_parts",
    placement: Placement::Tenant,
    fields: &[
        HEAD[0],
        HEAD[1],
        HEAD[2],
        HEAD[3],
        HEAD[4],
        optional("thing_id", FieldKind::Id),
        optional("cost", FieldKind::Money),
        field("weight", FieldKind::Integer),
        folded(field("label", FieldKind::Text)),
        field("made_at", FieldKind::Timestamp),
    ],
    unique: &[],
    indexes: &[Index { name: "by_thing", fields: &[up("thing_id"), down("made_at")], covers: &[] }],
    search: &[],
};

/// An organization's records with unique keys.
pub(super) static KEYED: Collection = Collection {
    name: "conformance_keyed",
    placement: Placement::Tenant,
    fields: &[
        HEAD[0],
        HEAD[1],
        HEAD[2],
        HEAD[3],
        HEAD[4],
        optional("mail", FieldKind::Text),
        field("series", FieldKind::Text),
        optional("serial", FieldKind::Integer),
        optional("amount", FieldKind::Integer),
        optional("price", FieldKind::Money),
        optional("ratio", FieldKind::Number),
        folded(field("name", FieldKind::Text)),
        field("labels", FieldKind::TextList),
        custom(field("fields", FieldKind::Json)),
    ],
    unique: &[
        UniqueKey { name: "mail", fields: &["mail"] },
        UniqueKey { name: "series_serial", fields: &["series", "serial"] },
    ],
    indexes: &[Index { name: "by_amount", fields: &[down("amount")], covers: &[] }],
    search: &["name", "labels"],
};

/// The places of [`KEYED`]'s fields.
pub(super) mod keyed {
    pub(in crate::conformance) const MAIL: usize = 5;
    pub(in crate::conformance) const SERIES: usize = 6;
    pub(in crate::conformance) const SERIAL: usize = 7;
    pub(in crate::conformance) const AMOUNT: usize = 8;
    pub(in crate::conformance) const PRICE: usize = 9;
    pub(in crate::conformance) const RATIO: usize = 10;
    pub(in crate::conformance) const NAME: usize = 11;
    pub(in crate::conformance) const LABELS: usize = 12;
}

/// The installation's records: work to be done.
pub(super) static TASKS: Collection = Collection {
    name: "conformance_tasks",
    placement: Placement::Installation,
    fields: &[
        HEAD[0],
        HEAD[1],
        HEAD[2],
        HEAD[3],
        HEAD[4],
        field("due_at", FieldKind::Timestamp),
        optional("claimed_by", FieldKind::Text),
        optional("token", FieldKind::Text),
        field("attempts", FieldKind::Integer),
    ],
    unique: &[UniqueKey { name: "token", fields: &["token"] }],
    indexes: &[Index { name: "by_due", fields: &[up("due_at")], covers: &[] }],
    search: &[],
};

/// The places of [`TASKS`]' fields.
pub(super) mod task {
    pub(in crate::conformance) const DUE_AT: usize = 5;
    pub(in crate::conformance) const CLAIMED_BY: usize = 6;
    pub(in crate::conformance) const TOKEN: usize = 7;
    pub(in crate::conformance) const ATTEMPTS: usize = 8;
}

pub(super) static ALL: &[&Collection] = &[&THINGS, &PARTS, &KEYED, &TASKS];
