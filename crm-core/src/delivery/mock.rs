//! The built-in vendor: it sends nothing, remembers what it was given, and says in receipts what became of it, as reliably
//! as vendors do.
//!
//! What it will say is decided by a hash of the message when it takes it, and written in the same commit: a receipt is a
//! row that is due at some time, so that none is lost with a process. Receipts go the same way as those of vendors
//! outside: signed, through [`Deliveries::receive`].

mod plan;

use std::{collections::HashSet, future::Future, time::Duration};

use async_trait::async_trait;
use serde::Serialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::time::sleep;
use uuid::Uuid;

use super::{Deliveries, MockSend, SignedReceipts, VendorMessageId};
use crate::{
    access::{Principal, permissions::CUSTOMERS_WRITE},
    crm::Crm,
    error::{Error, Result},
    id::{CustomerId, OrganizationId, new_uuid, uuid_of_hash},
    port::{Accepted, Channel, OutgoingMessage, SendFailure},
    record::{CREATED_AT, ID, Meta, Record, UPDATED_AT},
    store::{Change, Query, Scope, StoreError, Value},
    time::Timestamp,
};

/// What campaigns call it, and what names of its messages begin with.
const NAME: &str = "mock";
/// So many receipts are told at once.
const BATCH: usize = 500;
/// How long a process that fell silent keeps others from the receipts that it took up.
const HOLD: Duration = Duration::from_secs(10);
/// The longest that a receipt which is due waits.
const POLL: Duration = Duration::from_millis(500);
/// How long telling rests after a failure.
const REST: Duration = Duration::from_secs(2);
/// So often a message is taken anew where another call was faster.
const TRIES: usize = 5;
/// How long messages are remembered.
const MEMORY: Duration = Duration::from_hours(24 * 30);
/// So many are forgotten at once.
const FORGOTTEN: usize = 500;

crate::record_ids! {
    /// A message of the built-in vendor.
    MockMessageId,
    /// A receipt of the built-in vendor.
    MockReceiptId,
}

/// A message that the built-in vendor was given.
#[derive(Clone, Debug, PartialEq, Record, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[expect(clippy::duplicated_attributes, reason = "several indexes have the same column")]
#[record(collection = "mock_messages", index(campaign_id, customer_id), index(customer_id), index(created_at))]
pub struct MockMessage {
    /// Made of the sender's reference, so that a message which is sent again is the same message.
    pub id: MockMessageId,
    /// What its receipts call it.
    pub vendor_message_id: String,
    /// The campaign.
    pub campaign_id: Option<Uuid>,
    /// Who it is for.
    pub customer_id: CustomerId,
    /// Where it would have gone.
    pub address: String,
    /// What it says.
    pub message: String,
    /// Its organization, version and times.
    #[serde(flatten)]
    pub meta: Meta,
}

/// Something that the built-in vendor is going to say.
#[derive(Clone, Debug, PartialEq, Record)]
#[record(collection = "mock_receipts", installation, index(due_at))]
pub struct MockReceipt {
    /// The receipt's id.
    pub id: MockReceiptId,
    /// The message.
    pub vendor_message_id: String,
    /// What became of it.
    pub status: String,
    /// Why.
    pub reason: Option<String>,
    /// When that was.
    pub at: Timestamp,
    /// When it is told.
    pub due_at: Timestamp,
    /// Its organization, version and times.
    pub meta: Meta,
}

/// How the built-in vendor behaves. Rates lie between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MockVendorSettings {
    /// How many messages fail.
    pub failure_rate: f64,
    /// How long each step takes: sent, delivered, read.
    pub latency: Duration,
    /// How many messages have receipts that come much later.
    pub late_rate: f64,
    /// How many have receipts that come twice.
    pub duplicate_rate: f64,
    /// How many have receipts that come in the wrong order.
    pub disorder_rate: f64,
    /// How many have none.
    pub lost_rate: f64,
    /// Another number is another fate for every message.
    pub seed: u64,
}

impl Default for MockVendorSettings {
    fn default() -> Self {
        Self {
            failure_rate: 0.1,
            latency: Duration::from_millis(200),
            late_rate: 0.0,
            duplicate_rate: 0.05,
            disorder_rate: 0.05,
            lost_rate: 0.0,
            seed: 0,
        }
    }
}

/// The built-in vendor as a channel.
#[derive(Clone, Copy, Debug, Default)]
pub struct MockVendor {
    settings: MockVendorSettings,
}

/// What the vendor is given.
struct Given {
    id: MockMessageId,
    campaign: Option<Uuid>,
    customer: CustomerId,
    address: String,
    message: String,
}

impl MockVendor {
    /// One that behaves so.
    #[must_use]
    pub const fn new(settings: MockVendorSettings) -> Self {
        Self { settings }
    }
}

/// Takes messages, each once: answers what they are called. New ones and what will be said of them are one commit.
async fn take(
    crm: &Crm,
    settings: &MockVendorSettings,
    organization: OrganizationId,
    given: &[Given],
) -> Result<Vec<String>> {
    let scope = Scope::Organization(organization);
    let name = |given: &Given| VendorMessageId { channel: NAME, organization, reference: given.id.0 }.to_string();
    let mut tries = 0;
    loop {
        tries += 1;
        let mut seen: HashSet<MockMessageId> = HashSet::new();
        let ids: Vec<MockMessageId> = given.iter().map(|given| given.id).filter(|id| seen.insert(*id)).collect();
        let known = crm.repo::<MockMessage>().get_many(scope, &ids).await?;
        let mut known: HashSet<MockMessageId> = known.into_iter().map(|message| message.id).collect();
        let now = crm.now();
        let meta = Meta::new(organization, now);
        let (mut messages, mut receipts) = (Vec::new(), Vec::new());
        for given in given {
            if !known.insert(given.id) {
                continue;
            }
            let vendor_message_id = name(given);
            for planned in plan::receipts(settings, given.id.0) {
                let receipt = MockReceipt {
                    id: MockReceiptId(new_uuid(now, crm.random())),
                    vendor_message_id: vendor_message_id.clone(),
                    status: planned.status.to_owned(),
                    reason: planned.reason.map(str::to_owned),
                    at: now.plus(planned.at),
                    due_at: now.plus(planned.due),
                    meta,
                };
                receipts.push(receipt.to_row());
            }
            let message = MockMessage {
                id: given.id,
                vendor_message_id,
                campaign_id: given.campaign,
                customer_id: given.customer,
                address: given.address.clone(),
                message: given.message.clone(),
                meta,
            };
            messages.push(message.to_row());
        }
        if messages.is_empty() {
            break;
        }
        let mut changes = vec![Change::Insert { collection: MockMessage::COLLECTION, rows: messages }];
        if !receipts.is_empty() {
            changes.push(Change::Insert { collection: MockReceipt::COLLECTION, rows: receipts });
        }
        match crm.store().commit(scope, changes).await {
            Ok(_) => break,
            // The same message is being sent twice at once.
            Err(StoreError::Duplicate { .. }) if tries < TRIES => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(given.iter().map(name).collect())
}

#[async_trait]
impl Channel for MockVendor {
    fn name(&self) -> &'static str {
        NAME
    }

    fn repeatable(&self) -> bool {
        true
    }

    async fn send(&self, crm: &Crm, message: OutgoingMessage) -> Result<Accepted, SendFailure> {
        let answer = self.send_all(crm, vec![message]).await.pop();
        answer.unwrap_or_else(|| Err(SendFailure::not_sent("The built-in vendor gave no answer.")))
    }

    async fn send_all(&self, crm: &Crm, messages: Vec<OutgoingMessage>) -> Vec<Result<Accepted, SendFailure>> {
        let Some(organization) = messages.first().map(|message| message.organization) else { return Vec::new() };
        let given: Vec<Given> = messages
            .into_iter()
            .map(|message| Given {
                id: MockMessageId(message.reference),
                campaign: message.campaign,
                customer: message.customer,
                address: message.address,
                message: message.text,
            })
            .collect();
        match take(crm, &self.settings, organization, &given).await {
            Ok(names) => names.into_iter().map(|vendor_message_id| Ok(Accepted { vendor_message_id })).collect(),
            Err(error) => {
                // The store may have it all the same; the same reference makes sending again harmless.
                tracing::warn!(error = &error as &dyn std::error::Error, "the built-in vendor cannot take messages");
                let failure = SendFailure::Ambiguous("The built-in vendor cannot write for now.".to_owned());
                given.iter().map(|_| Err(failure.clone())).collect()
            }
        }
    }
}

impl Deliveries<'_> {
    /// Gives the built-in vendor a message; answers what it calls it.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `customers:write`, [`Error::InvalidState`] where the vendor is switched off.
    pub async fn mock_send(&self, by: &Principal, message: MockSend) -> Result<Accepted> {
        by.may(CUSTOMERS_WRITE)?;
        let Some(vendor) = self.crm.mock_vendor() else {
            return Err(Error::InvalidState("The built-in vendor is switched off on this server.".to_owned()));
        };
        let id = match &message.vendor_ref {
            Some(name) => {
                let hash = Sha256::new().chain_update(by.organization.0.as_bytes()).chain_update(name.as_bytes());
                uuid_of_hash(hash.finalize())
            }
            None => new_uuid(self.crm.now(), self.crm.random()),
        };
        let given = Given {
            id: MockMessageId(id),
            campaign: Some(message.campaign_id),
            customer: message.customer_id,
            address: String::new(),
            message: message.message.to_string(),
        };
        let mut names = take(self.crm, &vendor, by.organization, &[given]).await?;
        names.pop().map(|vendor_message_id| Accepted { vendor_message_id }).ok_or(Error::NotFound("message"))
    }
}

/// Tells what is to be told until `stop` resolves.
pub(crate) async fn run(crm: Crm, stop: impl Future<Output = ()> + Send) {
    if crm.mock_vendor().is_none() {
        return;
    }
    let mut stop = std::pin::pin!(stop);
    loop {
        let rest = match tell_some(&crm).await {
            Ok(BATCH) => continue,
            Ok(_) => POLL,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "receipts cannot be told for now");
                REST
            }
        };
        tokio::select! {
            () = &mut stop => return,
            () = sleep(rest) => {}
        }
    }
}

/// Tells everything that the built-in vendor has to tell by now. For tests and for programs with a schedule of their own.
///
/// # Errors
/// Those of the store.
pub async fn deliver_mock_receipts(crm: &Crm) -> Result<()> {
    while tell_some(crm).await? > 0 {}
    Ok(())
}

/// Tells some of what is due; answers how many there were. They are forgotten once they were taken: a process that dies
/// in between is followed by another that tells them again.
async fn tell_some(crm: &Crm) -> Result<usize> {
    let now = crm.now();
    let due = MockReceipt::due_at.at_most(now);
    // Nearly always there are none, and looking costs less than claiming.
    if crm.repo::<MockReceipt>().first(Scope::Installation, due.clone()).await?.is_none() {
        return Ok(0);
    }
    let held = now.plus(HOLD);
    let set =
        [(MockReceipt::due_at.position(), Value::Timestamp(held)), (UPDATED_AT.position(), Value::Timestamp(now))];
    let order = [MockReceipt::due_at.ascending()];
    let rows = crm.store().claim(Scope::Installation, MockReceipt::COLLECTION, &due, &order, BATCH, &set).await?;
    let count = rows.len();
    let (mut ids, mut told) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for row in rows {
        ids.push(row.id());
        let receipt = MockReceipt::from_row(row).map_err(Error::internal)?;
        told.push(json!({
            "vendor_message_id": receipt.vendor_message_id, "status": receipt.status, "reason": receipt.reason,
            "at": receipt.at,
        }));
    }
    if told.is_empty() {
        return Ok(0);
    }
    let body = serde_json::Value::Array(told).to_string();
    let deliveries = crm.deliveries();
    let id = format!("mock_{}", new_uuid(now, crm.random()));
    let timestamp = crm.now().as_milliseconds().div_euclid(1000);
    let Some(signature) = deliveries.receipt_secrets().first().map(|secret| secret.sign(&id, timestamp, &body)) else {
        return Err(Error::internal("there is no key to sign receipts with"));
    };
    let timestamp = timestamp.to_string();
    let signed =
        SignedReceipts { id: &id, timestamp: &timestamp, signature: &signature, organization: None, body: &body };
    deliveries.receive(signed).await?;
    let told = Change::DeleteWhere { collection: MockReceipt::COLLECTION, filter: ID.one_of(ids) };
    crm.store().commit(Scope::Installation, vec![told]).await?;
    Ok(count)
}

/// Forgets messages that were sent a month ago.
pub(crate) async fn forget_old(crm: &Crm, by: &Principal) -> Result<()> {
    let old = CREATED_AT.less_than(crm.now().minus(MEMORY));
    let query = Query::new(old, FORGOTTEN).sorted(vec![CREATED_AT.ascending()]);
    loop {
        let found = crm.repo::<MockMessage>().find(by.scope(), &query).await?;
        if !found.records.is_empty() {
            let filter = ID.one_of(found.records.iter().map(|message| message.id.0));
            let remove = Change::DeleteWhere { collection: MockMessage::COLLECTION, filter };
            crm.store().commit(by.scope(), vec![remove]).await?;
        }
        if !found.has_more {
            return Ok(());
        }
    }
}
