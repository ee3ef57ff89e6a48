//! What the store knows of who has which e-mail, phone, login and unique value.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{
    ContactKey, ContactPoint, Customer, Customers,
    ask::{Ask, Sought},
    chunk::{Chunk, meant},
    duplicate::{Clash, Holders, UniqueHolders},
};
use crate::{
    access::Principal,
    error::{Error, Result},
    field::{CustomFieldId, UniqueValue},
    id::CustomerId,
    store::Query,
};

impl Customers<'_> {
    pub(super) async fn load(&self, by: &Principal, ids: &[CustomerId]) -> Result<HashMap<CustomerId, Customer>> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let found = self.crm.repo::<Customer>().get_many(by.scope(), ids).await?;
        Ok(found.into_iter().map(|customer| (customer.id, customer)).collect())
    }

    /// Who has these keys now.
    pub(super) async fn holders(&self, by: &Principal, keys: &BTreeSet<ContactKey>) -> Result<Holders> {
        let mut points = Vec::new();
        let keys: Vec<&ContactKey> = keys.iter().collect();
        for keys in keys.chunk_by(|one, other| one.kind == other.kind) {
            let Some(kind) = keys.first().map(|key| key.kind) else { continue };
            for keys in keys.chunks(500) {
                let values = keys.iter().map(|key| key.value.clone());
                let filter = ContactPoint::kind.equals(kind).and(ContactPoint::value.one_of(values));
                let mut query = Query::new(filter, 1000);
                loop {
                    let found = self.crm.repo::<ContactPoint>().find(by.scope(), &query).await?;
                    points.extend(found.records);
                    query.after = found.next;
                    if query.after.is_none() {
                        break;
                    }
                }
            }
        }
        Ok(Holders::new(points))
    }

    /// Who has the values of unique custom fields that the asks may take. Costs nothing where no field is unique.
    pub(super) async fn unique_holders(
        &self,
        chunk: &Chunk<'_>,
        asks: &[Ask],
        sought: &[Option<Sought>],
        holders: &Holders,
        mut unique: UniqueHolders,
    ) -> Result<UniqueHolders> {
        let set = chunk.setting.fields;
        let mut wanted: HashMap<CustomFieldId, BTreeSet<String>> = HashMap::new();
        if set.has_unique() {
            for (ask, sought) in asks.iter().zip(sought) {
                let decided = chunk.decide(*self, ask, meant(ask, sought.as_ref(), holders, &unique));
                if let Ok(Some((_, after, _))) = decided
                    && after.deleted_at.is_none()
                {
                    for (field, value) in set.unique_values(&after.custom) {
                        wanted.entry(field).or_default().insert(value);
                    }
                }
            }
        }
        unique.extend(self.unique_values(chunk.by, wanted).await?);
        Ok(unique)
    }

    /// Who has the values by which the asks find their customers.
    pub(super) async fn unique_sought(&self, by: &Principal, sought: &[Option<Sought>]) -> Result<UniqueHolders> {
        let mut wanted: HashMap<CustomFieldId, BTreeSet<String>> = HashMap::new();
        for sought in sought {
            if let Some(Sought::Unique(field, value)) = sought {
                wanted.entry(*field).or_default().insert(value.clone());
            }
        }
        Ok(UniqueHolders::new(self.unique_values(by, wanted).await?))
    }

    async fn unique_values(
        &self,
        by: &Principal,
        wanted: HashMap<CustomFieldId, BTreeSet<String>>,
    ) -> Result<Vec<UniqueValue>> {
        let mut found = Vec::new();
        for (field, values) in wanted {
            let count = values.len();
            let filter = UniqueValue::field_id.equals(field).and(UniqueValue::value.one_of(values));
            let query = Query::new(filter, count);
            found.extend(self.crm.repo::<UniqueValue>().find(by.scope(), &query).await?.records);
        }
        Ok(found)
    }

    /// Which of the customers in the way the principal may know of: one look for all refusals of a chunk.
    pub(super) async fn nameable(
        &self,
        by: &Principal,
        clashes: &[&Clash],
        chunk: &Chunk<'_>,
    ) -> Result<HashSet<CustomerId>> {
        let ids: HashSet<CustomerId> =
            clashes.iter().flat_map(|clash| clash.customers.iter().take(MOST_MATCHES)).copied().collect();
        let (new, old): (Vec<CustomerId>, Vec<CustomerId>) = ids.into_iter().partition(|id| chunk.is_new(*id));
        let mut nameable: HashSet<CustomerId> =
            if chunk.options.atomic { HashSet::new() } else { new.into_iter().collect() };
        for ids in old.chunks(LOOK) {
            let customers = self.crm.repo::<Customer>().get_many(by.scope(), ids).await?;
            nameable.extend(customers.iter().filter(|customer| customer.is_reached_by(by)).map(|customer| customer.id));
        }
        Ok(nameable)
    }
}

/// So many customers are looked at at once.
const LOOK: usize = 500;
/// So many customers in the way are named at most.
const MOST_MATCHES: usize = 100;

/// The refusal, naming the customers in the way as far as the principal sees them.
pub(super) fn duplicate(clash: &Clash, nameable: &HashSet<CustomerId>) -> Error {
    let fields: Vec<String> = clash.fields.iter().cloned().collect();
    let matches = clash.customers.iter().take(MOST_MATCHES).filter(|id| nameable.contains(id)).map(|id| id.0);
    Error::Duplicate {
        message: format!("There is a customer with the same {} already.", fields.join(" and ")),
        matches: matches.collect(),
        fields,
    }
}
