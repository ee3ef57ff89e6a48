//! What a vendor says became of a message, and what that makes of it.

use serde_json::value::RawValue;

use crate::{
    campaign::{Communication, CommunicationStage, CommunicationStatus},
    error::FieldErrors,
    input::{FromInput, Input},
    text::Line,
    time::Timestamp,
};

/// The most receipts that are taken at once.
pub(super) const MOST_RECEIPTS: usize = 1000;
/// By so much a vendor's clock is not believed.
const A_DAY: std::time::Duration = std::time::Duration::from_hours(24);
/// What is noted where a vendor said both that a message was sent and that it failed.
const CONFLICT: &str = "The vendor also said that it failed, later: the first word counts.";

/// What a vendor says became of one message.
#[derive(Clone, Debug, Eq, Input, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(example = json!({
    "vendor_message_id": "mock_AZjB3l8AcACAAAAAAAAAqgGYwd5fAHAAgAAAAAAAAAI", "status": "DELIVERED",
    "at": "2026-03-20T09:00:07.000Z"
})))]
pub struct Receipt {
    /// What the vendor calls the message.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub vendor_message_id: Line<200>,
    /// What became of it.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "DELIVERED"))]
    pub status: ReceiptStatus,
    /// Why, where it failed. `hard_bounce` and `complaint` suppress the address.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub reason: Option<Line<500>>,
    /// When; the instant at which the receipt came where it is not said.
    pub at: Option<Timestamp>,
}

/// See [`Receipt::status`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ReceiptStatus {
    /// The vendor sent it.
    Sent,
    /// It arrived.
    Delivered,
    /// It was read.
    Read,
    /// It did not arrive.
    Failed,
    /// The address does not exist: it failed, and the address is suppressed.
    Bounced,
    /// Whoever got it complained: the address is suppressed.
    Complained,
}

impl ReceiptStatus {
    /// Every status with its name on the wire.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Sent, "SENT"),
        (Self::Delivered, "DELIVERED"),
        (Self::Read, "READ"),
        (Self::Failed, "FAILED"),
        (Self::Bounced, "BOUNCED"),
        (Self::Complained, "COMPLAINED"),
    ];

    /// The name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(status, _)| *status == self).map_or("", |(_, name)| name)
    }
}

impl FromInput for ReceiptStatus {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        let text = String::from_input(json)?.to_ascii_uppercase();
        Self::ALL.into_iter().find(|(_, name)| *name == text).map(|(status, _)| status).ok_or_else(|| {
            let message = "must be one of SENT, DELIVERED, READ, FAILED, BOUNCED, COMPLAINED";
            FieldErrors::one("", "INVALID_CHOICE", message)
        })
    }
}

/// One receipt, or an array of at most 1000.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Receipts(pub Vec<Receipt>);

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for Receipts {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::{
            ToSchema as _,
            openapi::{
                Ref,
                schema::{ArrayBuilder, OneOfBuilder},
            },
        };
        let receipt = || Ref::from_schema_name(Receipt::name());
        let several = ArrayBuilder::new().items(receipt()).max_items(Some(MOST_RECEIPTS));
        let either = OneOfBuilder::new().item(receipt()).item(several).build();
        utoipa::openapi::RefOr::T(utoipa::openapi::Schema::OneOf(either))
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for Receipts {
    fn schemas(schemas: &mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::schema::Schema>)>) {
        schemas.push((Receipt::name().into_owned(), <Receipt as utoipa::PartialSchema>::schema()));
        Receipt::schemas(schemas);
    }
}

impl FromInput for Receipts {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        if !json.get().starts_with('[') {
            return Receipt::from_input(json).map(|receipt| Self(vec![receipt]));
        }
        let receipts = Vec::<Receipt>::from_input(json)?;
        if receipts.len() > MOST_RECEIPTS {
            return Err(FieldErrors::one("", "TOO_MANY", format!("must have at most {MOST_RECEIPTS} receipts")));
        }
        Ok(Self(receipts))
    }
}

impl Receipt {
    /// Why the address must not be written to again.
    pub(super) fn suppresses(&self) -> Option<super::SuppressionReason> {
        let said = |word: &str| self.reason.as_ref().is_some_and(|reason| reason.eq_ignore_ascii_case(word));
        match self.status {
            ReceiptStatus::Complained => Some(super::SuppressionReason::Complaint),
            ReceiptStatus::Bounced => Some(super::SuppressionReason::HardBounce),
            ReceiptStatus::Failed if said("hard_bounce") => Some(super::SuppressionReason::HardBounce),
            _ if said("complaint") => Some(super::SuppressionReason::Complaint),
            _ => None,
        }
    }
}

/// What a message is after a receipt. Whatever the order in which receipts come, and however often, it ends the same: of
/// each kind the earliest counts, and of success and failure whichever was first.
pub(super) fn settled(mut message: Communication, receipt: &Receipt, came: Timestamp) -> Communication {
    // What was never handed to anybody cannot have become anything. The number of attempts is written after the first.
    let is_waiting = message.stage == Some(CommunicationStage::Waiting);
    if message.attempts == 0 && (is_waiting || message.status == CommunicationStatus::Suppressed) {
        return message;
    }
    // A vendor's clock may be wrong, but not by a day: nothing becomes of a message before it is written.
    let at = receipt.at.filter(|at| at.since(came) < A_DAY).unwrap_or(came);
    let written = message.meta.created_at;
    let at = if written.since(at) < A_DAY { at } else { written };
    let earliest = |known: Option<Timestamp>| Some(known.map_or(at, |known| known.min(at)));
    match receipt.status {
        ReceiptStatus::Complained => return message,
        ReceiptStatus::Sent => message.confirmed_at = earliest(message.confirmed_at),
        ReceiptStatus::Delivered => message.delivered_at = earliest(message.delivered_at),
        ReceiptStatus::Read => message.read_at = earliest(message.read_at),
        ReceiptStatus::Failed | ReceiptStatus::Bounced => {
            let reason = receipt.reason.as_ref().map_or("The vendor said that it failed.", |reason| reason.as_str());
            // Of two failures at one instant some one counts, whichever came first.
            let replaces = match message.failed_at {
                None => true,
                Some(known) if at == known => {
                    message.reason.as_deref().is_some_and(|known| known != CONFLICT && reason < known)
                }
                Some(known) => at < known,
            };
            if replaces {
                message.failed_at = Some(at);
                message.reason = Some(reason.to_owned());
            }
        }
    }
    let arrived = [message.confirmed_at, message.delivered_at, message.read_at].into_iter().flatten().min();
    let failed = match (message.failed_at, arrived) {
        (Some(failed), Some(arrived)) if failed >= arrived => {
            message.reason = Some(CONFLICT.to_owned());
            false
        }
        (Some(_), _) => true,
        (None, _) => false,
    };
    message.status = if failed {
        CommunicationStatus::Failed
    } else if message.read_at.is_some() {
        CommunicationStatus::Read
    } else if message.delivered_at.is_some() {
        CommunicationStatus::Delivered
    } else {
        CommunicationStatus::Sent
    };
    // What was reported was sent before.
    message.sent_at = message.sent_at.into_iter().chain(arrived).min();
    if message.failed_at.is_none() {
        // What was thought of it before is refuted.
        message.reason = None;
    }
    message.attempts = message.attempts.max(1);
    // Nobody has to send it any more, whoever is at it.
    message.stage = None;
    message.holder = None;
    message.due_at = None;
    message
}
