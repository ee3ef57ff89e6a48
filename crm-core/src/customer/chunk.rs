//! The decisions of one commit, made one after the other: later ones see what earlier ones made of a customer.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{
    ContactKey, Customer, Customers,
    ask::{Ask, ChunkOptions, Deed, Sought},
    decide::{self, Door, Setting},
    duplicate::{Holders, UniqueHolders, taken_keys},
};
use crate::{
    access::Principal,
    error::{Error, Result},
    id::CustomerId,
    order,
    record::{Meta, Record as _},
    text::Line,
};

/// One customer of a chunk.
pub(super) struct Draft {
    pub(super) before: Option<Customer>,
    pub(super) after: Customer,
    pub(super) deed: Deed,
}

/// The decisions of a chunk so far: later asks see what earlier ones made of a customer.
pub(super) struct Chunk<'a> {
    pub(super) by: &'a Principal,
    pub(super) options: &'a ChunkOptions,
    pub(super) setting: Setting<'a>,
    pub(super) drafts: Vec<Draft>,
    pub(super) places: HashMap<CustomerId, usize>,
    pub(super) stored: HashMap<CustomerId, Customer>,
    /// Who matches of them, where only those are changed who match and their records alone do not say it.
    pub(super) matching: Option<HashSet<CustomerId>>,
}

impl Chunk<'_> {
    /// The customer as it is after the asks so far.
    pub(super) fn current(&self, id: CustomerId) -> Option<&Customer> {
        match self.places.get(&id) {
            Some(place) => self.drafts.get(*place).map(|draft| &draft.after),
            None => self.stored.get(&id),
        }
    }

    /// Whether an earlier ask of the chunk makes the customer.
    pub(super) fn is_new(&self, id: CustomerId) -> bool {
        self.places.get(&id).and_then(|place| self.drafts.get(*place)).is_some_and(|draft| draft.before.is_none())
    }

    /// The state before and after an ask; nothing where the ask does not concern the customer any more.
    pub(super) fn decide(
        &self,
        customers: Customers<'_>,
        ask: &Ask,
        meant: Option<CustomerId>,
    ) -> Result<Option<(Option<Customer>, Customer, Deed)>> {
        let now = self.setting.now;
        let input = ask.input();
        if let Ask::Unreadable(errors) = ask {
            return Err(Error::Invalid(errors.clone()));
        }
        let is_new = match ask {
            Ask::Create(input) => Some(input),
            Ask::Upsert(input) if meant.is_none() => {
                if decide::upsert_key(input, self.setting.country).is_none() && input.wrong.is_empty() {
                    let message = "is required to find the customer, or else a phone";
                    return Err(Error::invalid("email", "REQUIRED", message));
                }
                Some(input)
            }
            Ask::Row(row) if meant.is_none_or(|id| self.current(id).is_none()) => {
                if row.sought.is_none() && row.input.wrong.is_empty() {
                    return Err(Error::invalid(row.field.as_str(), "REQUIRED", "is required to find the customer"));
                }
                if !row.creates && row.input.wrong.is_empty() {
                    return Err(Error::NotFound("customer"));
                }
                Some(row.with_defaults.as_deref().unwrap_or(&row.input))
            }
            _ => None,
        };
        if let Some(input) = is_new {
            let id = self.options.new_id.unwrap_or_else(|| customers.crm.new_id_at::<CustomerId>(now));
            // Stands in until the decision takes the name or says that it is missing.
            let unnamed = Line::parse("?")?;
            let blank = Customer::blank(id, unnamed, Meta::new(self.by.organization, now));
            let after = decide::decide(&blank, input, Door::Create, self.by, &self.setting)?;
            return Ok(Some((None, after, Deed::Created)));
        }
        let before = meant.and_then(|id| self.current(id)).ok_or(Error::NotFound("customer"))?;
        let in_bin = before.deleted_at.is_some();
        if !before.is_reached_by(self.by) || in_bin != matches!(ask, Ask::Restore(_)) {
            return Err(match ask {
                // An upsert names what somebody has whom the principal does not see.
                Ask::Upsert(input) => out_of_sight(if input.email.value().is_some() { "email" } else { "phone" }),
                Ask::Row(row) => match &row.sought {
                    Some(Sought::Contact(key)) => out_of_sight(key.kind.field()),
                    Some(Sought::Unique(..)) => out_of_sight(&row.field),
                    _ => Error::NotFound("customer"),
                },
                _ => Error::NotFound("customer"),
            });
        }
        before.meta.expect(self.options.write.expected_version)?;
        let matches = match (&self.matching, &self.options.only) {
            (Some(matching), _) => matching.contains(&before.id),
            (None, Some(only)) => crate::store::evaluate::matches(Customer::COLLECTION, only, &before.to_row()),
            (None, None) => true,
        };
        if !matches {
            return Ok(None);
        }
        let (after, deed) = match (ask, input) {
            (Ask::Replace(..), Some(input)) => {
                (decide::decide(before, input, Door::Replace, self.by, &self.setting)?, Deed::Updated)
            }
            (Ask::Become(wanted), _) => {
                let mut after = Customer { meta: before.meta, ..(**wanted).clone() };
                order::keep_figures(&mut after, before);
                self.forget_what_is_gone(&mut after);
                (after, Deed::Updated)
            }
            (Ask::Delete(_), _) => (Customer { deleted_at: Some(now), ..before.clone() }, Deed::Deleted),
            (Ask::Restore(_), _) => {
                let mut after = Customer { deleted_at: None, ..before.clone() };
                self.forget_what_is_gone(&mut after);
                (after, Deed::Restored)
            }
            (_, Some(input)) => (decide::decide(before, input, Door::Merge, self.by, &self.setting)?, Deed::Updated),
            (_, None) => return Ok(None),
        };
        Ok(Some((Some(before.clone()), after, deed)))
    }

    /// Groups and teams that were removed since a customer was so are gone.
    fn forget_what_is_gone(&self, customer: &mut Customer) {
        customer.group_ids.retain(|id| id.parse().is_ok_and(|id| self.setting.known.groups.contains(&id)));
        customer.team_id = customer.team_id.filter(|team| self.setting.known.teams.contains(team));
    }

    /// Keeps a decision; answers its place among the drafts.
    pub(super) fn accept(&mut self, after: Customer, deed: Deed) -> usize {
        if let Some(place) = self.places.get(&after.id).copied() {
            if let Some(draft) = self.drafts.get_mut(place) {
                draft.after = after;
                if draft.deed != Deed::Created {
                    draft.deed = deed;
                }
            }
            return place;
        }
        let before = self.stored.get(&after.id).cloned();
        self.places.insert(after.id, self.drafts.len());
        self.drafts.push(Draft { before, after, deed });
        self.drafts.len() - 1
    }

    /// Leaves a customer as it is.
    pub(super) fn leave(&mut self, id: CustomerId) -> Option<usize> {
        let customer = self.current(id)?.clone();
        Some(match self.places.get(&id) {
            Some(place) => *place,
            None => self.accept(customer, Deed::Unchanged),
        })
    }
}

/// The refusal of an upsert that names what somebody has whom the principal does not see.
fn out_of_sight(field: &str) -> Error {
    Error::Duplicate {
        message: format!("There is a customer with the same {field} already."),
        fields: vec![field.to_owned()],
        matches: Vec::new(),
    }
}

/// The keys that an ask may take.
pub(super) fn asked_keys(
    ask: &Ask,
    old: Option<&Customer>,
    country: Option<crate::contact::Country>,
) -> BTreeSet<ContactKey> {
    if let (Ask::Restore(_), Some(old)) = (ask, old) {
        return taken_keys(Some(old), &Customer { deleted_at: None, ..old.clone() });
    }
    if let Ask::Become(wanted) = ask {
        return taken_keys(old, wanted);
    }
    let mut keys: BTreeSet<ContactKey> = ask.inputs().flat_map(|input| input.keys(country)).collect();
    if let Some(old) = old {
        let held = old.held_keys();
        keys.retain(|key| !held.contains(key));
    }
    keys
}

/// The customer that an ask is about, where there is one.
pub(super) fn meant(
    ask: &Ask,
    sought: Option<&Sought>,
    holders: &Holders,
    unique: &UniqueHolders,
) -> Option<CustomerId> {
    match sought {
        Some(Sought::Contact(key)) => holders.holder_of(key),
        Some(Sought::Unique(field, value)) => unique.holder_of(*field, value),
        Some(Sought::Id(id)) => Some(*id),
        None => ask.id(),
    }
}

/// How an ask finds its customer, where that is not said by the id alone.
pub(super) fn sought(ask: &Ask, country: Option<crate::contact::Country>) -> Option<Sought> {
    match ask {
        Ask::Upsert(input) => decide::upsert_key(input, country).map(Sought::Contact),
        Ask::Row(row) => row.sought.clone(),
        _ => None,
    }
}
