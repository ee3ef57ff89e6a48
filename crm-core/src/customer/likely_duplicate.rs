//! A walk through the customers in the order of their names, in which those who are like each other stand near each other.

use std::collections::{HashMap, HashSet, VecDeque};

use serde::Serialize;

use super::{
    ContactKind, ContactPoint, Customer, Customers,
    likeness::{Features, Reason, score},
};
use crate::{
    access::{Principal, permissions},
    error::{Error, Result},
    id::CustomerId,
    list::{Cursor, Digest, List, ListPage, Listing},
    record::Record as _,
    repo::Visible as _,
    rule::Catalog,
    store::{Position, Query, Value},
};

/// Each customer is compared with so many before it.
const NEAR: usize = 20;
/// So many customers are read at once.
const BATCH: usize = 500;
/// So many customers a page looks at.
const MOST: usize = 5000;
/// So many who share a phone are looked at.
const MOST_SHARERS: usize = 20;
/// Parameters that only this list has.
const EXTRA: [&str; 1] = ["min_score"];

static CATALOG: std::sync::LazyLock<Catalog> = std::sync::LazyLock::new(|| Catalog::new(Customer::COLLECTION));

/// What is shown of a customer who may be a duplicate.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CustomerBrief {
    /// The customer's id.
    pub id: CustomerId,
    /// The full name.
    pub name: String,
    /// The main e-mail address.
    pub email: Option<String>,
    /// The main phone number.
    pub phone: Option<String>,
}

/// A customer who may be the same as another.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LikelyDuplicate {
    /// The customer.
    pub customer: CustomerBrief,
    /// How likely it is, between 0 and 1.
    pub score: f64,
    /// Why.
    pub reasons: Vec<Reason>,
}

/// A customer with others who may be the same person, the likeliest first.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(example = json!({
    "customer": {"id": "0198c1de-5f00-7000-8000-000000000002", "name": "Amelie Poulain", "email": null,
        "phone": "+33142685300"},
    "score": 0.76,
    "duplicates": [{"customer": {"id": "0198c1de-5f00-7000-8000-000000000001", "name": "Amélie Poulain",
        "email": "amelie@example.com", "phone": "+33142685300"}, "score": 0.76,
        "reasons": ["same_name", "shared_phone"]}]
})))]
pub struct LikelyDuplicates {
    /// The customer.
    pub customer: CustomerBrief,
    /// The highest score of the others.
    pub score: f64,
    /// The others.
    pub duplicates: Vec<LikelyDuplicate>,
}

impl CustomerBrief {
    fn of(customer: &Customer) -> Self {
        Self {
            id: customer.id,
            name: customer.name.to_string(),
            email: customer.email.as_ref().map(ToString::to_string),
            phone: customer.phone.as_ref().map(ToString::to_string),
        }
    }
}

impl Customers<'_> {
    /// A page of the customers in sight who may be one person, as a query string asks for it: `min_score`, `limit` and
    /// `cursor`. It looks at 5,000 customers at most, in constant memory.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `customers:read`, [`Error::Invalid`] with every wrong parameter.
    pub async fn likely_duplicates(
        &self,
        by: &Principal,
        pairs: &[(String, String)],
    ) -> Result<List<LikelyDuplicates>> {
        by.may(permissions::CUSTOMERS_READ)?;
        let request = Listing::new(&CATALOG).pages_only().extra(&EXTRA).from_pairs(pairs)?;
        let least = match request.extra("min_score").map(str::parse::<f64>) {
            None => 0.5,
            Some(Ok(least)) if (0.0..=1.0).contains(&least) => least,
            Some(_) => return Err(Error::invalid("min_score", "OUT_OF_RANGE", "must be a number between 0 and 1")),
        };
        let now = self.crm.now();
        let mut named = request.clone();
        named.extra.insert("likely_duplicates".to_owned(), String::new());
        let digest = Digest::of(by.organization, Customer::COLLECTION, &named);
        let cursor = match &request.cursor {
            Some(text) => Some(Cursor::decode(text, digest, 1, self.crm.cursor_key(), now)?),
            None => None,
        };
        let as_of = cursor.as_ref().map_or(now, |cursor| cursor.as_of);
        let mut after = cursor.map(|cursor| cursor.position);
        let mut near = match &after {
            Some(position) => self.before(by, position).await?,
            None => VecDeque::new(),
        };
        let mut data: Vec<LikelyDuplicates> = Vec::new();
        let (mut looked, mut more) = (0, true);
        while more && data.len() < request.limit && looked < MOST {
            let query = Query { after: after.clone(), ..Query::new(Customer::visible_to(by), BATCH) };
            let query = query.sorted(vec![Customer::name.ascending()]);
            let found = self.crm.repo::<Customer>().find(by.scope(), &query).await?;
            more = found.has_more;
            let sharers = self.sharers(by, &found.records).await?;
            let last = found.records.len().saturating_sub(1);
            for (place, customer) in found.records.into_iter().enumerate() {
                looked += 1;
                let features = Features::of(&customer);
                let alike = Self::alike(&customer, &features, &near, sharers.get(&customer.id), least);
                after = Some(Position { keys: vec![Value::Text(customer.name.to_string())], id: customer.id.0 });
                data.extend(alike);
                near.push_front((customer, features));
                near.truncate(NEAR);
                if data.len() >= request.limit {
                    more |= place < last;
                    break;
                }
            }
        }
        let next = after.filter(|_| more).map(|position| Cursor { as_of, position });
        let next_cursor = next.and_then(|next| next.encode(digest, self.crm.cursor_key()));
        let page =
            ListPage { limit: request.limit, has_more: next_cursor.is_some(), next_cursor, ..ListPage::default() };
        Ok(List { data, page })
    }

    /// The customers just before a place and at it, the nearest first.
    async fn before(&self, by: &Principal, place: &Position) -> Result<VecDeque<(Customer, Features)>> {
        let query = Query { after: Some(place.clone()), ..Query::new(Customer::visible_to(by), NEAR) };
        let query = query.sorted(vec![Customer::name.descending()]);
        let found = self.crm.repo::<Customer>().find(by.scope(), &query).await?;
        let own = self.crm.repo::<Customer>().get(by.scope(), CustomerId(place.id)).await?;
        let own = own.filter(|customer| customer.deleted_at.is_none() && customer.is_reached_by(by));
        let near = own.into_iter().chain(found.records).take(NEAR);
        Ok(near
            .map(|customer| {
                let features = Features::of(&customer);
                (customer, features)
            })
            .collect())
    }

    /// Whoever has the same phone as one of these who shares it.
    async fn sharers(&self, by: &Principal, customers: &[Customer]) -> Result<HashMap<CustomerId, Vec<Customer>>> {
        let points = self.crm.repo::<ContactPoint>();
        let shared = ContactPoint::customer_id
            .one_of(customers.iter().map(|customer| customer.id))
            .and(ContactPoint::sharer.equals(String::new()).negated());
        let shared = points.find(by.scope(), &Query::new(shared, BATCH)).await?.records;
        if shared.is_empty() {
            return Ok(HashMap::new());
        }
        let values: HashSet<String> = shared.iter().map(|point| point.value.clone()).collect();
        let same = ContactPoint::kind.equals(ContactKind::Phone).and(ContactPoint::value.one_of(values));
        let holders = points.find(by.scope(), &Query::new(same, BATCH)).await?.records;
        let ids: HashSet<CustomerId> = holders.iter().map(|point| point.customer_id).collect();
        let ids: Vec<CustomerId> = ids.into_iter().collect();
        let known = self.crm.repo::<Customer>().get_many(by.scope(), &ids).await?;
        let known: HashMap<CustomerId, Customer> = known
            .into_iter()
            .filter(|customer| customer.deleted_at.is_none() && customer.is_reached_by(by))
            .map(|customer| (customer.id, customer))
            .collect();
        let mut sharers: HashMap<CustomerId, Vec<Customer>> = HashMap::new();
        for point in &shared {
            let others = holders.iter().filter(|holder| holder.value == point.value);
            // Of two who share it the later one names the other, so that each pair is told once.
            let others = others.filter(|holder| holder.customer_id < point.customer_id || holder.sharer.is_empty());
            let others = others.filter(|holder| holder.customer_id != point.customer_id).take(MOST_SHARERS);
            let others = others.filter_map(|holder| known.get(&holder.customer_id).cloned());
            sharers.entry(point.customer_id).or_default().extend(others);
        }
        Ok(sharers)
    }

    fn alike(
        customer: &Customer,
        features: &Features,
        near: &VecDeque<(Customer, Features)>,
        sharers: Option<&Vec<Customer>>,
        least: f64,
    ) -> Option<LikelyDuplicates> {
        let mut duplicates: Vec<LikelyDuplicate> = Vec::new();
        let mut add = |other: &Customer, theirs: &Features| {
            let reasons = features.likeness(theirs);
            let likely = score(&reasons);
            let seen = other.id == customer.id || duplicates.iter().any(|one| one.customer.id == other.id);
            if !reasons.is_empty() && likely >= least && !seen {
                duplicates.push(LikelyDuplicate { customer: CustomerBrief::of(other), score: likely, reasons });
            }
        };
        for other in sharers.into_iter().flatten() {
            add(other, &Features::of(other));
        }
        near.iter().for_each(|(other, theirs)| add(other, theirs));
        duplicates.sort_by(|one, other| other.score.total_cmp(&one.score));
        let score = duplicates.first()?.score;
        Some(LikelyDuplicates { customer: CustomerBrief::of(customer), score, duplicates })
    }
}
