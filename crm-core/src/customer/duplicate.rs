//! The one duplicate rule, as a plain decision: who has an address or a number already, and who may have it too.

use std::collections::{BTreeSet, HashMap};

use super::{ContactKey, ContactKind, ContactPoint, Customer};
use crate::{
    field::{CustomFieldId, FieldSet, UniqueValue},
    id::CustomerId,
};

/// Who has which contact point, as far as the customers at hand are concerned.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holders(HashMap<ContactKey, Vec<Holder>>);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Holder {
    customer: CustomerId,
    /// Has it beside the first holder, on purpose.
    shares: bool,
}

/// What becomes of a customer's contact points.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct PointChanges {
    /// New ones, and whether they are shared with somebody who has them already.
    pub(crate) added: Vec<(ContactKey, bool)>,
    /// Those given up.
    pub(crate) removed: Vec<ContactKey>,
}

/// Other customers have what one must have alone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Clash {
    /// The fields in which they have it.
    pub(crate) fields: BTreeSet<String>,
    /// Who they are.
    pub(crate) customers: Vec<CustomerId>,
}

impl Holders {
    /// From stored contact points.
    pub(crate) fn new(points: impl IntoIterator<Item = ContactPoint>) -> Self {
        let mut holders = Self::default();
        for point in points {
            let key = ContactKey { kind: point.kind, value: point.value };
            let holder = Holder { customer: point.customer_id, shares: !point.sharer.is_empty() };
            holders.0.entry(key).or_default().push(holder);
        }
        holders
    }

    /// Somebody who has it; the first holder before those who share.
    pub(crate) fn holder_of(&self, key: &ContactKey) -> Option<CustomerId> {
        let holders = self.0.get(key)?;
        holders.iter().min_by_key(|holder| holder.shares).map(|holder| holder.customer)
    }

    /// Whether the customer has it beside a first holder.
    pub(crate) fn shares(&self, key: &ContactKey, customer: CustomerId) -> bool {
        self.0.get(key).into_iter().flatten().any(|holder| holder.customer == customer && holder.shares)
    }

    /// Takes in what was decided, for the decisions that follow in the same commit.
    pub(crate) fn accept(&mut self, customer: CustomerId, changes: &PointChanges) {
        for key in &changes.removed {
            if let Some(holders) = self.0.get_mut(key) {
                holders.retain(|holder| holder.customer != customer);
            }
        }
        for (key, shares) in &changes.added {
            self.0.entry(key.clone()).or_default().push(Holder { customer, shares: *shares });
        }
    }
}

impl Customer {
    /// What the customer has of the things that nobody else may have: nothing in the bin.
    pub(crate) fn held_keys(&self) -> BTreeSet<ContactKey> {
        if self.deleted_at.is_some() { BTreeSet::new() } else { self.contact_keys() }
    }
}

/// The keys that a change takes, which is what holders must be known of.
pub(crate) fn taken_keys(before: Option<&Customer>, after: &Customer) -> BTreeSet<ContactKey> {
    let old = before.map(Customer::held_keys).unwrap_or_default();
    after.held_keys().into_iter().filter(|key| !old.contains(key)).collect()
}

/// Decides on a change from `before` to `after`. A phone may be shared where the caller says so; an e-mail and a login
/// never.
pub(crate) fn decide_points(
    before: Option<&Customer>,
    after: &Customer,
    holders: &Holders,
    allow_duplicate_phone: bool,
) -> Result<PointChanges, Clash> {
    let (old, new) = (before.map(Customer::held_keys).unwrap_or_default(), after.held_keys());
    let mut changes = PointChanges { added: Vec::new(), removed: old.difference(&new).cloned().collect() };
    let mut clash = Clash { fields: BTreeSet::new(), customers: Vec::new() };
    for key in new.difference(&old) {
        let mut others: Vec<Holder> =
            holders.0.get(key).into_iter().flatten().filter(|holder| holder.customer != after.id).copied().collect();
        others.sort_by_key(|holder| holder.shares);
        if others.is_empty() {
            changes.added.push((key.clone(), false));
        } else if key.kind == ContactKind::Phone && allow_duplicate_phone {
            // Where only sharers are left, the first place is free again.
            let first_is_taken = others.iter().any(|holder| !holder.shares);
            changes.added.push((key.clone(), first_is_taken));
        } else {
            clash.fields.insert(key.kind.field().to_owned());
            for holder in others {
                if !clash.customers.contains(&holder.customer) {
                    clash.customers.push(holder.customer);
                }
            }
        }
    }
    if clash.fields.is_empty() { Ok(changes) } else { Err(clash) }
}

/// Who has which value of a unique custom field.
#[derive(Clone, Debug, Default)]
pub(crate) struct UniqueHolders(HashMap<(CustomFieldId, String), uuid::Uuid>);

impl UniqueHolders {
    /// From stored values.
    pub(crate) fn new(values: impl IntoIterator<Item = UniqueValue>) -> Self {
        let mut holders = Self::default();
        holders.extend(values);
        holders
    }

    /// The record that has a value.
    pub(crate) fn holder_of(&self, field: CustomFieldId, value: &str) -> Option<CustomerId> {
        self.0.get(&(field, value.to_owned())).copied().map(CustomerId)
    }

    /// Takes in more stored values.
    pub(crate) fn extend(&mut self, values: impl IntoIterator<Item = UniqueValue>) {
        self.0.extend(values.into_iter().map(|value| ((value.field_id, value.value), value.record_id)));
    }

    /// Takes in a change of custom values, or answers who is in the way.
    pub(crate) fn accept(&mut self, set: &FieldSet, before: Option<&Customer>, after: &Customer) -> Result<(), Clash> {
        let values = |customer: &Customer| {
            if customer.deleted_at.is_some() { Vec::new() } else { set.unique_values(&customer.custom) }
        };
        let (old, new) = (before.map(values).unwrap_or_default(), values(after));
        let mut clash = Clash { fields: BTreeSet::new(), customers: Vec::new() };
        for value in new.iter().filter(|value| !old.contains(value)) {
            if let Some(holder) = self.0.get(value).filter(|holder| **holder != after.id.0) {
                clash
                    .fields
                    .insert(set.key_of(value.0).map_or_else(|| "custom".to_owned(), |key| format!("custom.{key}")));
                clash.customers.push(CustomerId(*holder));
            }
        }
        if !clash.fields.is_empty() {
            return Err(clash);
        }
        for value in &old {
            self.0.remove(value);
        }
        self.0.extend(new.into_iter().map(|value| (value, after.id.0)));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
