//! What the store knows of who has which e-mail, phone, login and unique value.

use std::collections::{BTreeSet, HashMap};

use super::{
    ContactKey, ContactPoint, Customer, Customers,
    ask::Ask,
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
        upserted: &[Option<ContactKey>],
        holders: &Holders,
    ) -> Result<UniqueHolders> {
        let set = chunk.setting.fields;
        let mut wanted: HashMap<CustomFieldId, BTreeSet<String>> = HashMap::new();
        if set.has_unique() {
            for (ask, key) in asks.iter().zip(upserted) {
                let decided = chunk.decide(*self, ask, key.is_some(), meant(ask, key.as_ref(), holders));
                if let Ok(Some((_, after, _))) = decided
                    && after.deleted_at.is_none()
                {
                    for (field, value) in set.unique_values(&after.custom) {
                        wanted.entry(field).or_default().insert(value);
                    }
                }
            }
        }
        let mut found = Vec::new();
        for (field, values) in wanted {
            let count = values.len();
            let filter = UniqueValue::field_id.equals(field).and(UniqueValue::value.one_of(values));
            let query = Query::new(filter, count);
            found.extend(self.crm.repo::<UniqueValue>().find(chunk.by.scope(), &query).await?.records);
        }
        Ok(UniqueHolders::new(found))
    }

    /// The refusal, naming the customers in the way as far as the principal sees them.
    pub(super) async fn duplicate(&self, by: &Principal, clash: &Clash, chunk: &Chunk<'_>) -> Result<Error> {
        let fields: Vec<String> = clash.fields.iter().cloned().collect();
        let ids: Vec<CustomerId> = clash.customers.iter().copied().take(100).collect();
        let customers = self.crm.repo::<Customer>().get_many(by.scope(), &ids).await?;
        let stored = customers.iter().filter(|customer| customer.is_reached_by(by)).map(|customer| customer.id.0);
        let written_with_it = ids.iter().filter(|id| !chunk.options.atomic && chunk.is_new(**id)).map(|id| id.0);
        Ok(Error::Duplicate {
            message: format!("There is a customer with the same {} already.", fields.join(" and ")),
            matches: stored.chain(written_with_it).collect(),
            fields,
        })
    }
}
