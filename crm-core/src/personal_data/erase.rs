use std::collections::BTreeMap;

use futures::StreamExt as _;
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::{
    holding::{Going, HOLDINGS, Says, about, blanks, remove_of},
    sweep::{ERASURE_KIND, Traces},
};
use crate::{
    access::{Principal, Role, permissions},
    account::{LoginRecord, RefreshToken, Session, User},
    audit::AuditEntry,
    campaign::CampaignChannel,
    crm::Crm,
    customer::{CUSTOMER, Customer, CustomerMerge, CustomerMergeMove, is_race},
    delivery::Suppression,
    error::{Error, Result},
    field::UniqueValue,
    id::{CustomerId, UserId},
    input::Input,
    job::{JobId, JobPayload, JobPriority, JobProgress, NewJob},
    operation::Operation,
    record::{ID, Record as _},
    store::{Assignment, Change, Filter, Query},
    text::Line,
    time::Timestamp,
};

/// So often is it tried again when somebody changed the customer meanwhile.
const ATTEMPTS: usize = 10;
/// So many records' audit entries are emptied by one commit.
const CHUNK: usize = 500;
/// What of an audit entry tells of a person.
const TELLING: &[&str] = &["ip", "before", "after", "salt"];

/// What is kept of persons.
#[derive(Clone, Copy, Debug)]
pub struct PersonalData<'a> {
    pub(super) crm: &'a Crm,
}

impl Crm {
    /// What is kept of persons.
    #[must_use]
    pub const fn personal_data(&self) -> PersonalData<'_> {
        PersonalData { crm: self }
    }
}

/// That a customer is to be forgotten.
#[derive(Clone, Debug, Input)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(example = json!({
    "confirm": true, "reason": "Request of 12 March"
})))]
pub struct Erasure {
    /// `true`: it cannot be taken back.
    pub confirm: bool,
    /// Why, for the audit trail. Name nobody here.
    pub reason: Line<500>,
}

/// What was erased.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErasureReport {
    /// The customer.
    pub customer_id: CustomerId,
    /// When.
    pub erased_at: Timestamp,
    /// How many records of which kind were removed or emptied.
    #[cfg_attr(feature = "openapi", schema(value_type = std::collections::HashMap<String, u64>))]
    pub records: BTreeMap<&'static str, u64>,
    /// The job that looks for traces elsewhere: in audit entries of other records, in refused rows of imports.
    pub job_id: JobId,
}

impl PersonalData<'_> {
    /// Forgets a customer: everything that says who it was is removed or emptied, by the rule of each kind of record. Then a
    /// job looks for traces where no index leads to. What was done is noted without saying of whom.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `personal-data:erase`, [`Error::NotFound`] for a customer who is not in reach; one in the
    /// bin is; [`Error::Invalid`] without `confirm`.
    pub async fn erase(&self, by: &Principal, id: CustomerId, erasure: &Erasure) -> Result<ErasureReport> {
        by.may(permissions::PERSONAL_DATA_ERASE)?;
        if !erasure.confirm {
            return Err(Error::invalid("confirm", "INVALID_VALUE", "must be true: it cannot be taken back"));
        }
        let mut turn = self.crm.turns().join(id.0).await;
        for _ in 1..ATTEMPTS {
            match self.try_erase(by, id, erasure).await {
                Err(Error::NotFound(missing)) => return Err(Error::NotFound(missing)),
                Err(error) if is_race(&error) => turn.wait().await,
                done => return done,
            }
        }
        self.try_erase(by, id, erasure).await
    }

    async fn try_erase(&self, by: &Principal, id: CustomerId, erasure: &Erasure) -> Result<ErasureReport> {
        let customer = self.crm.repo::<Customer>().get(by.scope(), id).await?;
        let customer = customer.filter(|customer| customer.is_reached_by(by)).ok_or(Error::NotFound(CUSTOMER))?;
        let (persons, merges) = self.with_duplicates(by, customer).await?;
        let ids: Vec<CustomerId> = persons.iter().map(|person| person.id).collect();
        let logins = self.logins(by, &persons).await?;
        let (records, linked) = self.linked(by, &ids).await?;
        // Before all else, while it is known which records were about the person.
        for ids in linked.chunks(CHUNK) {
            // Values of unique custom fields are kept once more.
            let values = UniqueValue::record_id.one_of(ids.iter().copied());
            let values = Change::DeleteWhere { collection: UniqueValue::COLLECTION, filter: values };
            self.crm.store().commit(by.scope(), vec![emptied(ids), values]).await?;
        }
        let mut operation = Operation::new(self.crm, by);
        let now = operation.now();
        remove_of(&mut operation, &ids, Going::Forgotten);
        let of = |collection, filter: Filter| Change::DeleteWhere { collection, filter };
        operation.change(of(CustomerMergeMove::COLLECTION, CustomerMergeMove::merge_id.one_of(merges.iter().copied())));
        operation.change(of(CustomerMerge::COLLECTION, ID.one_of(merges.iter().map(|merge| merge.0))));
        let addresses: Vec<String> = persons.iter().flat_map(reached_at).collect();
        if !addresses.is_empty() {
            let theirs = Suppression::channel.one_of(CampaignChannel::ALL).and(Suppression::address.one_of(addresses));
            operation.change(of(Suppression::COLLECTION, theirs));
        }
        for login in &logins {
            operation.change(of(LoginRecord::COLLECTION, ID.equals(login.0)));
            operation.change(of(RefreshToken::COLLECTION, RefreshToken::user_id.equals(*login)));
            operation.change(of(Session::COLLECTION, Session::user_id.equals(*login)));
            operation.change(of(User::COLLECTION, ID.equals(login.0)));
        }
        let mut named: Vec<Uuid> = ids.iter().map(|id| id.0).chain(logins.iter().map(|login| login.0)).collect();
        named.dedup();
        operation.change(emptied(&named));
        for person in &persons {
            operation.delete(person);
        }
        let new = NewJob {
            kind: ERASURE_KIND,
            version: 1,
            input: json!({}),
            priority: JobPriority::High,
            about: Some((Customer::COLLECTION.name, id.0)),
            progress: JobProgress { unit: "records".to_owned(), ..JobProgress::default() },
        };
        let job = self.crm.jobs().enqueue(by, &mut operation, new)?;
        let traces = serde_json::to_string(&Traces::of(&persons)).map_err(Error::internal)?;
        operation.insert(&JobPayload::new(&job, traces));
        let after = json!({"reason": erasure.reason, "records": records});
        operation.audit::<Customer>("customer.erased", id, None, Some(after));
        let version = persons.first().map_or(1, |person| person.meta.version) + 1;
        operation.emit_named("customer.erased", Customer::COLLECTION.name, id.0, version, &json!({"id": id}));
        for other in persons.iter().skip(1) {
            let version = other.meta.version + 1;
            operation.emit_named(
                "customer.erased",
                Customer::COLLECTION.name,
                other.id.0,
                version,
                &json!({"id": other.id}),
            );
        }
        operation.commit().await?;
        ids.iter().for_each(|id| self.crm.last_answers().forget(by.organization, *id));
        logins.iter().for_each(|login| self.crm.accounts().forget(*login));
        Ok(ErasureReport { customer_id: id, erased_at: now, records, job_id: job.id })
    }

    /// The customer, with the duplicates in the bin that went into it, and the merges of all of them.
    async fn with_duplicates(
        &self,
        by: &Principal,
        customer: Customer,
    ) -> Result<(Vec<Customer>, Vec<crate::customer::CustomerMergeId>)> {
        let (mut persons, mut merges) = (vec![customer], Vec::new());
        let mut at = 0;
        while let Some(person) = persons.get(at) {
            let id = person.id;
            let into = CustomerMerge::kept_id.equals(id);
            let found = self.all::<CustomerMerge>(by, into).await?;
            for merge in found {
                merges.push(merge.id);
                let seen = persons.iter().any(|person| person.id == merge.duplicate_id);
                if merge.undone_at.is_none() && !seen {
                    let duplicate = self.crm.repo::<Customer>().get(by.scope(), merge.duplicate_id).await?;
                    persons.extend(duplicate.filter(|duplicate| duplicate.deleted_at.is_some()));
                }
            }
            let out_of = CustomerMerge::duplicate_id.equals(id);
            merges.extend(self.all::<CustomerMerge>(by, out_of).await?.into_iter().map(|merge| merge.id));
            at += 1;
        }
        merges.sort_unstable();
        merges.dedup();
        Ok((persons, merges))
    }

    async fn all<T: crate::record::Record>(&self, by: &Principal, filter: Filter) -> Result<Vec<T>> {
        let mut query = Query::new(filter, CHUNK);
        let mut all = Vec::new();
        loop {
            let found = self.crm.repo::<T>().find(by.scope(), &query).await?;
            all.extend(found.records);
            query.after = found.next;
            if query.after.is_none() {
                return Ok(all);
            }
        }
    }

    /// The logins of the persons: those of customers, for staff is no customer.
    async fn logins(&self, by: &Principal, persons: &[Customer]) -> Result<Vec<UserId>> {
        let ids: Vec<UserId> = persons.iter().filter_map(|person| person.user_id).collect();
        if ids.is_empty() {
            return Ok(ids);
        }
        let users = self.crm.repo::<User>().get_many(by.scope(), &ids).await?;
        Ok(users.into_iter().filter(|user| user.role == Role::Customer).map(|user| user.id).collect())
    }

    /// How many records of which kind name the persons, and which.
    async fn linked(&self, by: &Principal, ids: &[CustomerId]) -> Result<(BTreeMap<&'static str, u64>, Vec<Uuid>)> {
        let mut records = BTreeMap::from([(Customer::COLLECTION.name, ids.len() as u64)]);
        let mut linked = Vec::new();
        for holding in HOLDINGS {
            let Says::Of { customer, .. } = holding.says else { continue };
            let query = Query::new(about(customer, ids), 0);
            let before = linked.len();
            let mut rows = std::pin::pin!(self.crm.store().stream(by.scope(), holding.collection, query));
            while let Some(row) = rows.next().await {
                linked.push(row?.id());
            }
            if linked.len() > before {
                records.insert(holding.collection.name, (linked.len() - before) as u64);
            }
        }
        Ok((records, linked))
    }
}

/// Every address by which a customer is reached.
fn reached_at(customer: &Customer) -> impl Iterator<Item = String> {
    let main = customer.email.iter().map(ToString::to_string).chain(customer.phone.iter().map(ToString::to_string));
    main.chain(customer.emails.iter().cloned()).chain(customer.phones.iter().cloned())
}

/// Empties the audit entries of records. Their digests stay, so that the chain is as it was.
fn emptied(records: &[Uuid]) -> Change {
    Change::UpdateWhere {
        collection: AuditEntry::COLLECTION,
        filter: AuditEntry::record_id.one_of(records.iter().copied().map(Some)),
        assignments: emptying(),
    }
}

/// What empties an audit entry.
pub(super) fn emptying() -> Vec<Assignment> {
    blanks(AuditEntry::COLLECTION, TELLING).collect()
}
