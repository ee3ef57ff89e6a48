use crate::{
    account::{ApiKey, LoginRecord, RefreshToken, Session, User},
    audit::AuditEntry,
    campaign::{Campaign, CampaignRun, Communication},
    complaint::Complaint,
    crm::collections,
    customer::{
        BulkChange, BulkNote, ContactPoint, Customer, CustomerGroup, CustomerMerge, CustomerMergeMove, Note,
        import::{CustomerImport, ImportMapping, ImportPart},
    },
    delivery::{ConsentEntry, ContactTally, MockMessage, MockReceipt, ParkedReceipt, Suppression},
    event::Event,
    field::{CustomField, UniqueValue},
    id::CustomerId,
    idempotency::ClaimRecord,
    job::{Firing, Job, JobPayload},
    lease::Lease,
    operation::Operation,
    order::Order,
    record::{Record, UPDATED_AT},
    segment::{Segment, SegmentCount, SegmentMember, SegmentVersion},
    statistics::verification::VerificationProgress,
    store::{Assignment, Change, Collection, FieldKind, FieldRef, Filter, Json, Value},
    tenancy::{Organization, Team},
    webhook::{Webhook, WebhookDelivery, WebhookLane},
};

/// What one kind of record holds of customers.
#[derive(Clone, Copy, Debug)]
pub struct Holding {
    /// The kind of record.
    pub collection: &'static Collection,
    /// What it holds.
    pub says: Says,
    /// Why so, for people.
    pub why: &'static str,
}

/// What a kind of record holds of customers.
#[derive(Clone, Copy, Debug)]
pub enum Says {
    /// Nothing of a customer.
    Nothing,
    /// Something that code of its own sees to.
    Own,
    /// Its field `customer` names the customer that it is about.
    Of {
        /// The field, an id.
        customer: &'static str,
        /// What becomes of it when its customer goes into another.
        merge: Option<Moves>,
        /// What becomes of it when its customer is forgotten.
        erase: Erases,
    },
}

/// What becomes of records when their customer goes into another.
#[derive(Clone, Copy, Debug)]
pub enum Moves {
    /// They are the other's.
    All,
    /// So, but where the other has one with the same value of this field.
    Unless(&'static str),
}

/// What becomes of records when their customer is forgotten.
#[derive(Clone, Copy, Debug)]
pub enum Erases {
    /// They go.
    Deletes,
    /// They stay, with these fields emptied. The id of the customer, of whom nothing is left, tells nobody anything.
    Blanks(&'static [&'static str]),
    /// The same, but where the customer is not forgotten by name but removed for good: then they go.
    BlanksOrGoes(&'static [&'static str]),
}

/// How a customer goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Going {
    /// Removed for good, out of the bin or past it.
    Purged,
    /// Forgotten, because the person asked for it.
    Forgotten,
}

const fn nothing<T: Record>(why: &'static str) -> Holding {
    Holding { collection: T::COLLECTION, says: Says::Nothing, why }
}

const fn own<T: Record>(why: &'static str) -> Holding {
    Holding { collection: T::COLLECTION, says: Says::Own, why }
}

const fn of<T: Record>(customer: &'static str, merge: Option<Moves>, erase: Erases, why: &'static str) -> Holding {
    Holding { collection: T::COLLECTION, says: Says::Of { customer, merge, erase }, why }
}

/// What every kind of record holds, a line for each.
pub(super) const HOLDINGS: &[Holding] = &[
    nothing::<Lease>("who does which piece of work"),
    nothing::<ClaimRecord>("answers, sealed, for a day"),
    own::<AuditEntry>("values before and after are emptied, the chain stays"),
    nothing::<Event>("ids and names of fields"),
    nothing::<CustomField>("declarations"),
    of::<UniqueValue>("record_id", None, Erases::Deletes, "values of unique fields; a merge decides on them anew"),
    nothing::<Organization>("settings"),
    own::<User>("the customer's login goes"),
    nothing::<Team>("staff"),
    own::<LoginRecord>("the customer's login goes"),
    own::<Session>("those of the customer's login go"),
    own::<RefreshToken>("those of the customer's login go"),
    nothing::<ApiKey>("services"),
    own::<Customer>("the customer goes, and duplicates that were merged into it"),
    of::<ContactPoint>(
        "customer_id",
        None,
        Erases::Deletes,
        "what makes two customers the same; a merge decides on it",
    ),
    nothing::<CustomerGroup>("names of groups"),
    of::<Note>("customer_id", Some(Moves::All), Erases::Deletes, "what staff wrote about the person"),
    of::<Complaint>("customer_id", Some(Moves::All), Erases::Deletes, "what the person said"),
    of::<Order>(
        "customer_id",
        Some(Moves::All),
        Erases::BlanksOrGoes(&["external_id", "custom", "metadata"]),
        "amounts, dates and items are the organization's books",
    ),
    own::<CustomerMerge>("those of the customer go"),
    own::<CustomerMergeMove>("those of the customer's merges go"),
    nothing::<Job>("what is to be done, by ids"),
    own::<JobPayload>("emptied where it names the person"),
    nothing::<Firing>("times"),
    nothing::<CustomerImport>("numbers and names of columns"),
    own::<ImportPart>("refused rows and what is kept to take an import back, emptied where they name the person"),
    nothing::<ImportMapping>("names of columns"),
    nothing::<BulkChange>("numbers and ids"),
    of::<BulkNote>("customer_id", Some(Moves::All), Erases::Deletes, "what the fields were before a change of many"),
    nothing::<VerificationProgress>("ids and figures, until the job has ended"),
    nothing::<Segment>("rules"),
    nothing::<SegmentCount>("numbers"),
    nothing::<SegmentVersion>("rules"),
    of::<SegmentMember>(
        "customer_id",
        Some(Moves::Unless("segment_id")),
        Erases::Deletes,
        "which static segments the person is in",
    ),
    nothing::<Webhook>("addresses of receivers"),
    nothing::<WebhookDelivery>("events, which hold ids and names of fields"),
    nothing::<WebhookLane>("how far a webhook is"),
    of::<ConsentEntry>("customer_id", Some(Moves::All), Erases::Deletes, "what the person agreed to, and when"),
    of::<ContactTally>("customer_id", None, Erases::Deletes, "how often the person was written to lately"),
    of::<MockMessage>("customer_id", None, Erases::Deletes, "the built-in vendor's own log"),
    nothing::<MockReceipt>("what became of messages, by the vendor's ids"),
    nothing::<ParkedReceipt>("what became of messages, by the vendor's ids"),
    own::<Suppression>("those of the person's addresses go"),
    nothing::<Campaign>("rules and templates"),
    of::<Communication>(
        "customer_id",
        Some(Moves::Unless("campaign_id")),
        Erases::Blanks(&["address", "subject", "message"]),
        "that something was sent counts in the campaign's figures",
    ),
    nothing::<CampaignRun>("how far sending is"),
];

const fn same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    if one.len() != other.len() {
        return false;
    }
    let mut at = 0;
    while at < one.len() {
        if one[at] != other[at] {
            return false;
        }
        at += 1;
    }
    true
}

// Whoever adds a kind of record says here what it holds of customers: one line in the table above.
const _: () = {
    let all = collections();
    let mut at = 0;
    while at < all.len() {
        let (mut said, mut place) = (0, 0);
        while place < HOLDINGS.len() {
            if same(all[at].name, HOLDINGS[place].collection.name) {
                said += 1;
            }
            place += 1;
        }
        assert!(
            said == 1,
            "a kind of record must say once, in HOLDINGS (personal_data/holding.rs), what it holds of customers"
        );
        at += 1;
    }
};

/// What every kind of record holds of customers.
#[must_use]
pub const fn holdings() -> &'static [Holding] {
    HOLDINGS
}

/// The kinds of records that move when their customer goes into another, with the field that names the customer.
pub(crate) fn moving() -> impl Iterator<Item = (&'static Holding, &'static str, Moves)> {
    HOLDINGS.iter().filter_map(|holding| match holding.says {
        Says::Of { customer, merge: Some(moves), .. } => Some((holding, customer, moves)),
        _ => None,
    })
}

/// The records whose field names one of the customers.
pub(super) fn about(field: &'static str, customers: &[CustomerId]) -> Filter {
    let field = FieldRef::declared(field, FieldKind::Id);
    match customers {
        [one] => Filter::equal(field, Value::Id(one.0)),
        many => Filter::In { field, values: many.iter().map(|customer| Value::Id(customer.0)).collect() },
    }
}

/// Removes or empties everything that names the customers, but for what code of its own sees to.
pub(crate) fn remove_of(operation: &mut Operation<'_>, customers: &[CustomerId], going: Going) {
    let now = operation.now();
    for holding in HOLDINGS {
        let Says::Of { customer, erase, .. } = holding.says else { continue };
        let (collection, filter) = (holding.collection, about(customer, customers));
        let fields = match erase {
            Erases::Deletes => None,
            Erases::Blanks(fields) => Some(fields),
            Erases::BlanksOrGoes(fields) => Some(fields).filter(|_| going == Going::Forgotten),
        };
        operation.change(match fields {
            None => Change::DeleteWhere { collection, filter },
            Some(fields) => Change::UpdateWhere {
                collection,
                filter,
                assignments: blanks(collection, fields).chain([UPDATED_AT.set(now)]).collect(),
            },
        });
    }
}

/// Empties fields.
pub(super) fn blanks(
    collection: &'static Collection,
    fields: &'static [&'static str],
) -> impl Iterator<Item = Assignment> {
    fields.iter().filter_map(|name| {
        let position = collection.position(name)?;
        let field = collection.fields.get(position)?;
        let empty = match field.kind {
            _ if field.optional => Value::Null,
            FieldKind::Text => Value::Text(String::new()),
            FieldKind::TextList => Value::TextList(Vec::new()),
            FieldKind::Json => Value::Json(Json::default()),
            // A field of another kind that must be there tells nothing of a person.
            _ => return None,
        };
        Some(Assignment::Set(position, empty))
    })
}
