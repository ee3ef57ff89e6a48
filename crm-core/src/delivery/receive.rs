//! Takes receipts: once they are found to be genuine, an array is one look-up and one commit for each organization.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    time::Duration,
};

use futures::StreamExt as _;
use serde::Serialize;
use serde_json::{json, value::RawValue};

use super::{
    Deliveries, ParkedReceipt, Receipt, ReceiptStatus, Receipts, Suppression, SuppressionReason, VendorMessageId,
    gate::normalised, parked::ParkedReceiptId, receipt::settled,
};
use crate::{
    access::Principal,
    campaign::{CampaignChannel, Communication, CommunicationId},
    customer::is_race,
    error::{Error, FieldErrors, Result},
    id::OrganizationId,
    input::FromInput as _,
    operation::Operation,
    record::{CREATED_AT, Column, ID, Meta, ORGANIZATION_ID, Record as _, UPDATED_AT},
    store::{Assignment, Change, Filter, Outcome, Query, Row, Scope, head},
    text::Line,
    time::Timestamp,
    webhook::SigningSecret,
};

/// How old a signature may be, and how far ahead.
const TOLERANCE: i64 = 5 * 60;
/// So often is a decision made again when others were faster.
const TRIES: usize = 20;
/// So many parked receipts are looked at at once.
const LOOK: usize = 500;
/// How long a receipt waits for its message.
const PATIENCE: Duration = Duration::from_hours(24);
/// So many changes are made by filter, each for all messages that become alike.
const MOST_ALIKE: usize = 8;
const VERSION: Column<i64> = Column::new("version", head::VERSION);
const FORGED: Error = Error::Unauthenticated("The receipts are not signed as agreed.");

/// Receipts as they came, signed by the rules of Standard Webhooks.
#[derive(Clone, Copy, Debug)]
pub struct SignedReceipts<'a> {
    /// The header `webhook-id`.
    pub id: &'a str,
    /// The header `webhook-timestamp`.
    pub timestamp: &'a str,
    /// The header `webhook-signature`.
    pub signature: &'a str,
    /// The organization whose secret they are signed with; the installation's where there is none.
    pub organization: Option<OrganizationId>,
    /// One receipt, or an array.
    pub body: &'a str,
}

/// What became of receipts.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Received {
    /// How many there were.
    pub received: usize,
    /// How many messages are in another state for them.
    pub applied: usize,
    /// How many wait for a message that is not known yet: for a day.
    pub parked: usize,
    /// How many name messages that whoever signed them cannot know of. They are dropped.
    pub unknown: usize,
}

impl Deliveries<'_> {
    /// Takes receipts of a vendor.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] where they are not signed, or long ago; [`Error::Invalid`]; those of the store.
    pub async fn receive(&self, signed: SignedReceipts<'_>) -> Result<Received> {
        let secrets = match signed.organization {
            Some(organization) => self.organization_secrets(organization),
            None => self.receipt_secrets(),
        };
        self.verify(&signed, &secrets)?;
        let json: &RawValue = serde_json::from_str(signed.body.trim())
            .map_err(|error| Error::invalid("body", "INVALID_JSON", format!("is not valid JSON: {error}")))?;
        let Receipts(receipts) = Receipts::from_input(json).map_err(FieldErrors::of_body)?;
        self.apply(signed.organization, &receipts).await
    }

    fn verify(self, signed: &SignedReceipts<'_>, secrets: &[SigningSecret]) -> Result<()> {
        let timestamp: i64 = signed.timestamp.parse().map_err(|_| FORGED)?;
        let now = self.crm.now().as_milliseconds().div_euclid(1000);
        let is_fresh = now.saturating_sub(timestamp).saturating_abs() <= TOLERANCE;
        let is_genuine = !signed.id.is_empty()
            && secrets.iter().any(|secret| secret.verifies(signed.id, timestamp, signed.body, signed.signature));
        if is_fresh && is_genuine { Ok(()) } else { Err(FORGED) }
    }

    /// Applies receipts that are known to be genuine: those of one organization, or of any.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn apply(&self, organization: Option<OrganizationId>, receipts: &[Receipt]) -> Result<Received> {
        let mut received = Received { received: receipts.len(), ..Received::default() };
        let mut by_organization: BTreeMap<uuid::Uuid, Vec<Receipt>> = BTreeMap::new();
        for receipt in receipts {
            let named = VendorMessageId::read(&receipt.vendor_message_id).map(|id| id.organization);
            match (named, organization) {
                (Some(named), None) => by_organization.entry(named.0).or_default().push(receipt.clone()),
                (named, Some(own)) if named.is_none_or(|named| named == own) => {
                    by_organization.entry(own.0).or_default().push(receipt.clone());
                }
                _ => received.unknown += 1,
            }
        }
        for (organization, receipts) in by_organization {
            let by = Principal::system(OrganizationId(organization));
            let (applied, parked) = self.apply_here(&by, &receipts, &[]).await?;
            received.applied += applied;
            received.parked += parked.len();
            // The commit that tells of them may have come between the look and the parking.
            if !parked.is_empty() {
                self.apply_parked(&by, &parked).await?;
            }
        }
        if received.unknown > 0 {
            tracing::warn!(count = received.unknown, "receipts name messages that their sender cannot know of");
        }
        Ok(received)
    }

    /// Applies the receipts that came before it was known what the vendor calls these messages. To be called once that is
    /// committed.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn apply_parked(&self, by: &Principal, vendor_message_ids: &[String]) -> Result<()> {
        // What we have named ourselves is found without the name: there is nothing to wait for.
        let theirs: Vec<&String> = vendor_message_ids.iter().filter(|id| VendorMessageId::read(id).is_none()).collect();
        for ids in theirs.chunks(LOOK) {
            let named = ORGANIZATION_ID
                .equals(by.organization)
                .and(ParkedReceipt::vendor_message_id.one_of(ids.iter().map(|id| (*id).clone())));
            let mut query = Query::new(named, LOOK);
            loop {
                let found = self.crm.repo::<ParkedReceipt>().find(by.scope(), &query).await?;
                self.unpark(by, found.records).await?;
                query.after = found.next;
                if query.after.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Suppresses the addresses of messages of which the vendor said at once that there is nobody. To be called once it is
    /// committed what became of them.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn bounced(&self, by: &Principal, messages: &[Communication]) -> Result<()> {
        let known = messages.iter().map(|message| (message.id, message.clone())).collect();
        let bounced = || messages.iter().map(|message| (message.id, SuppressionReason::HardBounce)).collect();
        for _ in 0..TRIES {
            let mut operation = Operation::new(self.crm, by);
            self.suppress(by, &mut operation, &known, bounced()).await?;
            if operation.is_empty() {
                return Ok(());
            }
            match operation.commit().await {
                // A receipt, or somebody of the staff, said so at the same moment.
                Err(error) if is_race(&error) => {}
                done => return done.map(|_| ()),
            }
        }
        Ok(())
    }

    async fn unpark(&self, by: &Principal, parked: Vec<ParkedReceipt>) -> Result<()> {
        if parked.is_empty() {
            return Ok(());
        }
        let receipts: Vec<Receipt> = parked
            .iter()
            .filter_map(|parked| {
                Some(Receipt {
                    vendor_message_id: Line::parse(&parked.vendor_message_id).ok()?,
                    status: ReceiptStatus::ALL.into_iter().find(|(_, name)| *name == parked.status)?.0,
                    reason: parked.reason.as_deref().and_then(|reason| Line::parse(reason).ok()),
                    at: Some(parked.at),
                })
            })
            .collect();
        self.apply_here(by, &receipts, &parked).await?;
        Ok(())
    }

    /// Applies receipts of one organization; answers how many messages changed, and the names of those that are not known,
    /// whose receipts are parked where they were not `waiting` already.
    async fn apply_here(
        &self,
        by: &Principal,
        receipts: &[Receipt],
        waiting: &[ParkedReceipt],
    ) -> Result<(usize, Vec<String>)> {
        let (mut tries, mut applied, mut is_parked) = (0, 0, false);
        loop {
            tries += 1;
            let known = self.named(by, receipts).await?;
            let mut operation = Operation::new(self.crm, by);
            let now = operation.now();
            let mut after = known.clone();
            let mut complaints: Vec<(CommunicationId, SuppressionReason)> = Vec::new();
            let mut unknown: Vec<&Receipt> = Vec::new();
            let places: HashMap<String, CommunicationId> = places(&known);
            for receipt in receipts {
                let Some(message) = place_of(&places, receipt).and_then(|id| after.get_mut(&id)) else {
                    unknown.push(receipt);
                    continue;
                };
                if message.vendor_message_id.is_none() {
                    message.vendor_message_id = Some(receipt.vendor_message_id.to_string());
                }
                let next = settled(message.clone(), receipt, now);
                *message = next;
                complaints.extend(receipt.suppresses().map(|reason| (message.id, reason)));
            }
            let changed = known.iter().filter_map(|(id, before)| Some((before, after.get(id)?)));
            let mut expected = Vec::new();
            for (change, count) in changes(changed, now) {
                expected.push((operation.len(), count));
                operation.change(change);
            }
            self.suppress(by, &mut operation, &known, complaints).await?;
            let names: Vec<String> = unknown.iter().map(|receipt| receipt.vendor_message_id.to_string()).collect();
            if waiting.is_empty() && !is_parked {
                let parked: Vec<ParkedReceipt> = unknown
                    .iter()
                    .map(|receipt| ParkedReceipt {
                        id: self.crm.new_id_at::<ParkedReceiptId>(now),
                        vendor_message_id: receipt.vendor_message_id.to_string(),
                        status: receipt.status.name().to_owned(),
                        reason: receipt.reason.as_ref().map(ToString::to_string),
                        at: receipt.at.unwrap_or(now),
                        meta: Meta::new(by.organization, now),
                    })
                    .collect();
                operation.insert_all(&parked);
            } else if !waiting.is_empty() {
                let still: HashSet<&str> = names.iter().map(String::as_str).collect();
                let done = waiting.iter().filter(|parked| !still.contains(parked.vendor_message_id.as_str()));
                let done: Vec<uuid::Uuid> = done.map(|parked| parked.id.0).collect();
                if !done.is_empty() {
                    operation
                        .change(Change::DeleteWhere { collection: ParkedReceipt::COLLECTION, filter: ID.one_of(done) });
                }
            }
            match operation.commit().await {
                Ok(outcomes) => {
                    is_parked = true;
                    let touched = |place: usize| match outcomes.get(place) {
                        Some(Outcome::Touched(count)) => usize::try_from(*count).unwrap_or(usize::MAX),
                        Some(Outcome::Updated { .. }) => 1,
                        _ => 0,
                    };
                    applied += expected.iter().map(|(place, _)| touched(*place)).sum::<usize>();
                    // Of those that somebody else changed meanwhile it is decided again.
                    if expected.iter().all(|(place, count)| touched(*place) >= *count) || tries >= TRIES {
                        return Ok((applied, names));
                    }
                }
                // Others brought the same complaint, or took up what was parked.
                Err(error) if is_race(&error) && tries < TRIES => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The messages that receipts are about.
    async fn named(&self, by: &Principal, receipts: &[Receipt]) -> Result<HashMap<CommunicationId, Communication>> {
        let (mut ours, mut theirs) = (HashSet::new(), HashSet::new());
        for receipt in receipts {
            match VendorMessageId::read(&receipt.vendor_message_id) {
                Some(id) => {
                    ours.insert(id.communication());
                }
                None => {
                    theirs.insert(receipt.vendor_message_id.to_string());
                }
            }
        }
        let repo = self.crm.repo::<Communication>();
        let mut found = Vec::new();
        if !ours.is_empty() {
            let ids: Vec<CommunicationId> = ours.into_iter().collect();
            found.extend(repo.get_many(by.scope(), &ids).await?);
        }
        let theirs: Vec<Option<String>> = theirs.into_iter().map(Some).collect();
        for ids in theirs.chunks(LOOK) {
            let named = Communication::vendor_message_id.one_of(ids.iter().cloned());
            found.extend(repo.find(by.scope(), &Query::new(named, LOOK)).await?.records);
        }
        Ok(found.into_iter().map(|message| (message.id, message)).collect())
    }

    /// Suppresses the addresses of messages that bounced, or were complained of.
    async fn suppress(
        &self,
        by: &Principal,
        operation: &mut Operation<'_>,
        known: &HashMap<CommunicationId, Communication>,
        complaints: Vec<(CommunicationId, SuppressionReason)>,
    ) -> Result<()> {
        let mut by_channel: HashMap<CampaignChannel, Vec<(String, &Communication, SuppressionReason)>> = HashMap::new();
        let mut seen = HashSet::new();
        for (id, reason) in complaints {
            let Some(message) = known.get(&id) else { continue };
            let address = normalised(message.channel, &message.address);
            if !address.is_empty() && seen.insert((message.channel, address.clone())) {
                by_channel.entry(message.channel).or_default().push((address, message, reason));
            }
        }
        let mut new = Vec::new();
        for (channel, addressed) in by_channel {
            let addresses: Vec<String> = addressed.iter().map(|(address, ..)| address.clone()).collect();
            let suppressed = self.suppressed(by, channel, &addresses).await?;
            new.extend(addressed.into_iter().filter(|(address, ..)| !suppressed.contains(address)));
        }
        // In one order everywhere, so that two commits never wait for each other.
        new.sort_by(|(left, ..), (right, ..)| left.cmp(right));
        for (address, message, reason) in new {
            let now = operation.now();
            let suppression = Suppression {
                id: self.crm.new_id_at(now),
                channel: message.channel,
                address,
                reason,
                note: None,
                customer_id: Some(message.customer_id),
                meta: Meta::new(by.organization, now),
            };
            operation.insert(&suppression);
            let after = Some(json!(suppression));
            operation.audit::<Suppression>("suppression.created", suppression.id, None, after);
        }
        Ok(())
    }
}

/// A message that changes.
struct Changed {
    id: uuid::Uuid,
    version: i64,
    after: Row,
    /// The fields in which it differs from what it was.
    fields: Vec<usize>,
}

impl Changed {
    fn of(before: &Communication, after: &Communication) -> Option<Self> {
        let (old, new) = (before.to_row(), after.to_row());
        let fields: Vec<usize> =
            old.0.iter().zip(&new.0).enumerate().filter(|(_, (old, new))| old != new).map(|(place, _)| place).collect();
        (!fields.is_empty()).then_some(Self { id: before.id.0, version: before.meta.version, after: new, fields })
    }

    fn assignments(&self, fields: &[usize], now: Timestamp) -> Vec<Assignment> {
        let set = |place: &usize| Some(Assignment::Set(*place, self.after.0.get(*place)?.clone()));
        fields.iter().filter_map(set).chain([UPDATED_AT.set(now)]).collect()
    }
}

/// What changes of messages, each change with the number of messages that it is to touch; in the order of their ids, so
/// that two commits never wait for each other. Those that become alike are one change. Where few are alike, as when each
/// has its own instant, every message is a change of its own, and all of them name the same fields: a store can make such
/// changes in one go.
fn changes<'a>(
    changed: impl Iterator<Item = (&'a Communication, &'a Communication)>,
    now: Timestamp,
) -> Vec<(Change, usize)> {
    let mut changed: Vec<Changed> = changed.filter_map(|(before, after)| Changed::of(before, after)).collect();
    changed.sort_unstable_by_key(|message| message.id);
    alike(&changed, now).unwrap_or_else(|| {
        let fields: BTreeSet<usize> = changed.iter().flat_map(|message| &message.fields).copied().collect();
        let fields: Vec<usize> = fields.into_iter().collect();
        let change = |message: &Changed| Change::Update {
            collection: Communication::COLLECTION,
            id: message.id,
            expected_version: Some(message.version),
            condition: None,
            assignments: message.assignments(&fields, now),
        };
        changed.iter().map(|message| (change(message), 1)).collect()
    })
}

/// One change for all messages of one version that become alike, unless there would be too many.
fn alike(changed: &[Changed], now: Timestamp) -> Option<Vec<(Change, usize)>> {
    let mut groups: Vec<(i64, Vec<Assignment>, Vec<uuid::Uuid>)> = Vec::new();
    for message in changed {
        let assignments = message.assignments(&message.fields, now);
        let is_full = groups.len() == MOST_ALIKE;
        let same = groups.iter_mut().find(|group| group.0 == message.version && group.1 == assignments);
        match same {
            Some((.., ids)) => ids.push(message.id),
            None if is_full => return None,
            None => groups.push((message.version, assignments, vec![message.id])),
        }
    }
    let change = |(version, assignments, ids): (i64, Vec<Assignment>, Vec<uuid::Uuid>)| {
        let count = ids.len();
        let filter = ID.one_of(ids).and(VERSION.equals(version));
        (Change::UpdateWhere { collection: Communication::COLLECTION, filter, assignments }, count)
    };
    Some(groups.into_iter().map(change).collect())
}

/// Which message each name stands for.
fn places(known: &HashMap<CommunicationId, Communication>) -> HashMap<String, CommunicationId> {
    known.values().filter_map(|message| Some((message.vendor_message_id.clone()?, message.id))).collect()
}

fn place_of(places: &HashMap<String, CommunicationId>, receipt: &Receipt) -> Option<CommunicationId> {
    match VendorMessageId::read(&receipt.vendor_message_id) {
        Some(id) => Some(id.communication()),
        None => places.get(receipt.vendor_message_id.as_str()).copied(),
    }
}

/// Applies what is parked although its message is known by now, and removes what has waited for a day.
pub(crate) async fn sweep_parked(crm: &crate::crm::Crm) -> Result<()> {
    let deliveries = crm.deliveries();
    let mut by_organization: BTreeMap<uuid::Uuid, Vec<ParkedReceipt>> = BTreeMap::new();
    let mut all = std::pin::pin!(
        crm.repo::<ParkedReceipt>().stream(Scope::Installation, Query::new(Filter::ALL, 0)).chunks(LOOK)
    );
    while let Some(parked) = all.next().await {
        for parked in parked {
            let parked = parked?;
            by_organization.entry(parked.meta.organization_id.0).or_default().push(parked);
        }
        for (organization, parked) in std::mem::take(&mut by_organization) {
            deliveries.unpark(&Principal::system(OrganizationId(organization)), parked).await?;
        }
    }
    let old = CREATED_AT.less_than(crm.now().minus(PATIENCE));
    let change = Change::DeleteWhere { collection: ParkedReceipt::COLLECTION, filter: old };
    crm.store().commit(Scope::Installation, vec![change]).await?;
    Ok(())
}
