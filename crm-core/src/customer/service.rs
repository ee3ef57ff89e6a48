use std::sync::Arc;

use serde_json::json;

use super::{
    ContactKey, ContactPoint, Customer, CustomerGroup, CustomerInput, CustomerMerge, NewCustomer, OwnProfileInput,
    ask::{Ask, WriteOptions, Written},
    decide::{References, differences},
    merge::merged_into,
    write::is_race,
};
use crate::{
    access::{Principal, permissions},
    account::User,
    contact::Country,
    crm::Crm,
    error::{Error, Result},
    field::{AppliesTo, FieldSet},
    id::{CustomerId, TeamId, UserId},
    input::{Members, Patch},
    operation::Operation,
    personal_data::{Going, remove_of},
    record::Record as _,
    store::{Change, Filter, Json},
    tenancy::Team,
};

/// What the refusal of a record that is not there, or not in sight, calls it.
pub(crate) const CUSTOMER: &str = "customer";

/// The customers of an organization.
#[derive(Clone, Copy, Debug)]
pub struct Customers<'a> {
    pub(crate) crm: &'a Crm,
}

/// What inputs are read with, of the organization.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) country: Option<Country>,
    pub(crate) types: Arc<[String]>,
    /// Keys of the custom fields that customers may change of their own record.
    pub(crate) own_fields: Arc<[String]>,
    pub(crate) fields: Arc<FieldSet>,
}

impl Crm {
    /// The customers.
    #[must_use]
    pub const fn customers(&self) -> Customers<'_> {
        Customers { crm: self }
    }
}

impl Customers<'_> {
    /// Creates a customer. Who sees only a team's customers becomes its owner, in the own team, unless they say
    /// otherwise.
    ///
    /// # Errors
    /// [`Error::Invalid`] with every wrong field, [`Error::Duplicate`] with the customers who have the same e-mail or
    /// phone, [`Error::Forbidden`] without `customers:write`.
    pub async fn create(&self, by: &Principal, new: NewCustomer, options: WriteOptions) -> Result<Customer> {
        by.may(permissions::CUSTOMERS_WRITE)?;
        Ok(self.write_one(by, Ask::Create(new.0), options).await?.customer)
    }

    /// Changes the customer with this e-mail, else with this phone, as a patch would; creates one where there is none.
    ///
    /// # Errors
    /// Those of [`Customers::create`].
    pub async fn upsert(&self, by: &Principal, new: NewCustomer, options: WriteOptions) -> Result<Written> {
        by.may(permissions::CUSTOMERS_WRITE)?;
        self.write_one(by, Ask::Upsert(new.0), options).await
    }

    /// The customer with the id.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is none in sight, [`Error::Forbidden`] without `customers:read`.
    pub async fn get(&self, by: &Principal, id: CustomerId) -> Result<Customer> {
        by.may(permissions::CUSTOMERS_READ)?;
        self.crm.repo::<Customer>().visible(by, id, CUSTOMER).await
    }

    /// Replaces every writable field; one that is not named gets its default.
    ///
    /// # Errors
    /// Those of [`Customers::create`], [`Error::NotFound`], [`Error::VersionConflict`] where another version was
    /// expected.
    pub async fn replace(
        &self,
        by: &Principal,
        id: CustomerId,
        input: CustomerInput,
        options: WriteOptions,
    ) -> Result<Customer> {
        by.may(permissions::CUSTOMERS_WRITE)?;
        Ok(self.write_one(by, Ask::Replace(id, input), options).await?.customer)
    }

    /// Changes the fields that are named. Lists are replaced, `custom`, `consent` and `metadata` merged by member.
    ///
    /// # Errors
    /// Those of [`Customers::replace`].
    pub async fn patch(
        &self,
        by: &Principal,
        id: CustomerId,
        input: CustomerInput,
        options: WriteOptions,
    ) -> Result<Customer> {
        by.may(permissions::CUSTOMERS_WRITE)?;
        Ok(self.write_one(by, Ask::Merge(id, input), options).await?.customer)
    }

    /// Puts a customer into the bin, from where it can be restored for 30 days. Its e-mails and phones are free for
    /// others at once.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::VersionConflict`], [`Error::Forbidden`] without `customers:delete`.
    pub async fn delete(&self, by: &Principal, id: CustomerId, expected_version: Option<i64>) -> Result<Customer> {
        by.may(permissions::CUSTOMERS_DELETE)?;
        let options = WriteOptions { expected_version, ..WriteOptions::default() };
        Ok(self.write_one(by, Ask::Delete(id), options).await?.customer)
    }

    /// Takes a customer out of the bin.
    ///
    /// # Errors
    /// [`Error::Duplicate`] where somebody else has its e-mail or phone by now, [`Error::NotFound`] where it is not in
    /// the bin, [`Error::InvalidState`] where it was merged into another, [`Error::Forbidden`] without `customers:delete`.
    pub async fn restore(&self, by: &Principal, id: CustomerId, options: WriteOptions) -> Result<Customer> {
        by.may(permissions::CUSTOMERS_DELETE)?;
        if let Some(kept) = merged_into(self.crm, by, id).await? {
            let message = format!("The customer was merged into {kept}: undo the merge instead.");
            return Err(Error::InvalidState(message));
        }
        Ok(self.write_one(by, Ask::Restore(id), options).await?.customer)
    }

    /// Removes a customer, in the bin or not, its notes and complaints for good.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::VersionConflict`], [`Error::Forbidden`] without `customers:purge`.
    pub async fn purge(&self, by: &Principal, id: CustomerId, expected_version: Option<i64>) -> Result<()> {
        by.may(permissions::CUSTOMERS_PURGE)?;
        for attempt in 0.. {
            let customer = self.crm.repo::<Customer>().get(by.scope(), id).await?;
            let customer = customer.filter(|customer| customer.is_reached_by(by)).ok_or(Error::NotFound(CUSTOMER))?;
            customer.meta.expect(expected_version)?;
            let mut operation = Operation::new(self.crm, by);
            remove(&mut operation, &customer);
            self.crm.orders().free_unique(by, &mut operation, &[id]).await?;
            let (before, _) = differences(Some(&customer), None);
            operation.audit::<Customer>("customer.purged", id, before, None);
            match operation.commit().await {
                Err(error) if is_race(&error) && attempt < 4 => {}
                done => return done.map(|_| ()),
            }
        }
        Ok(())
    }

    /// The customer record of the person who acts.
    ///
    /// # Errors
    /// [`Error::NotFound`] where the login has none, [`Error::Forbidden`] without `self:customer`.
    pub async fn me(&self, by: &Principal) -> Result<Customer> {
        by.may(permissions::SELF_CUSTOMER)?;
        let own = Principal { visibility: crate::access::Visibility::Own, ..by.clone() };
        let key = ContactKey::user(by.user_id()?);
        let held = ContactPoint::kind.equals(key.kind).and(ContactPoint::value.equals(key.value));
        let point = self.crm.repo::<ContactPoint>().first(by.scope(), held).await?;
        let id = point.ok_or(Error::NotFound(CUSTOMER))?.customer_id;
        self.crm.repo::<Customer>().visible(&own, id, CUSTOMER).await
    }

    /// Changes what customers may change of their own record: name, phone, consent and custom fields.
    ///
    /// # Errors
    /// Those of [`Customers::patch`] and of [`Customers::me`].
    pub async fn patch_me(
        &self,
        by: &Principal,
        input: OwnProfileInput,
        expected_version: Option<i64>,
    ) -> Result<Customer> {
        let id = self.me(by).await?.id;
        self.only_own_fields(by, &input.0).await?;
        let own = Principal { visibility: crate::access::Visibility::Own, ..by.clone() };
        let options = WriteOptions { expected_version, ..WriteOptions::default() };
        Ok(self.write_one(&own, Ask::Merge(id, input.0), options).await?.customer)
    }

    /// Refuses custom fields that are for staff. Which ones customers may change is the list `self_service_fields` in
    /// the organization's settings.
    async fn only_own_fields(&self, by: &Principal, input: &CustomerInput) -> Result<()> {
        let mut errors = input.wrong.clone();
        match &input.custom {
            Patch::Keep => return Ok(()),
            Patch::Clear => errors.add("custom", "NOT_ALLOWED", "cannot be cleared as a whole"),
            Patch::Set(given) => {
                let context = self.context(by).await?;
                for (key, _) in Members::parse(given)?.into_rest() {
                    if !context.own_fields.iter().any(|own| *own == *key) {
                        let key: String = key.chars().take(100).collect();
                        errors.add(format!("custom.{key}"), "NOT_ALLOWED", "is not a field that customers may change");
                    }
                }
            }
        }
        Ok(errors.or(())?)
    }

    /// What inputs are read with: the organization's country, customer types and custom fields, all at hand.
    pub(crate) async fn context(&self, by: &Principal) -> Result<Context> {
        let organization = match self.crm.organizations().settings(by).await {
            Ok(organization) => Some(organization),
            // An embedder may keep customers without any account.
            Err(Error::NotFound(_)) => None,
            Err(error) => return Err(error),
        };
        let settings = organization.as_ref().map(|organization| &organization.settings);
        Ok(Context {
            country: organization.as_ref().and_then(|organization| organization.country),
            types: settings.and_then(|settings| named_list(settings, "customer_types")).unwrap_or_else(default_types),
            own_fields: settings.and_then(|settings| named_list(settings, "self_service_fields")).unwrap_or_default(),
            fields: self.crm.fields().set(by.organization, AppliesTo::Customer).await?,
        })
    }

    /// Which of the records are there that inputs name, and customers who come back from the bin.
    pub(crate) async fn references<'i>(
        &self,
        by: &Principal,
        inputs: impl Iterator<Item = &'i CustomerInput>,
        restored: &[&Customer],
    ) -> Result<References> {
        let mut known = References {
            groups: restored.iter().flat_map(|customer| customer.groups()).collect(),
            teams: restored.iter().filter_map(|customer| customer.team_id).collect(),
            ..References::default()
        };
        let mut elsewhere = Vec::new();
        for input in inputs {
            elsewhere.extend(input.user_id.value().filter(|_| input.login_elsewhere).copied());
            known.groups.extend(input.group_ids.value().into_iter().flatten().chain(&input.add_groups));
            known.staff.extend(input.owner_id.value());
            known.logins.extend(input.user_id.value());
            known.teams.extend(input.team_id.value());
        }
        if !known.groups.is_empty() {
            let ids: Vec<_> = known.groups.iter().copied().map(super::CustomerGroupId).collect();
            let groups = self.crm.repo::<CustomerGroup>().get_many(by.scope(), &ids).await?;
            known.groups =
                groups.into_iter().filter(|group| group.removed_at.is_none()).map(|group| group.id.0).collect();
        }
        if !known.teams.is_empty() {
            let ids: Vec<TeamId> = known.teams.iter().copied().collect();
            let teams = self.crm.repo::<Team>().get_many(by.scope(), &ids).await?;
            known.teams = teams.into_iter().map(|team| team.id).collect();
        }
        let ids: Vec<UserId> = known.staff.union(&known.logins).copied().collect();
        if !ids.is_empty() {
            let users = self.crm.repo::<User>().get_many(by.scope(), &ids).await?;
            elsewhere.retain(|login| users.iter().all(|user| user.id != *login));
            let (staff, others): (Vec<User>, Vec<User>) =
                users.into_iter().filter(|user| user.removed_at.is_none()).partition(|user| user.role.is_staff());
            known.staff = staff.iter().map(|user| user.id).collect();
            known.logins = others.iter().map(|user| user.id).chain(elsewhere).collect();
        }
        Ok(known)
    }
}

fn default_types() -> Arc<[String]> {
    super::DEFAULT_TYPES.iter().map(|name| (*name).to_owned()).collect()
}

/// A list of texts in an organization's free settings, where there is one that is not empty.
fn named_list(settings: &Json, name: &str) -> Option<Arc<[String]>> {
    // Most organizations say nothing, and need no JSON read for each request.
    if !settings.as_str().contains(name) {
        return None;
    }
    let value = settings.to_value();
    let texts: Arc<[String]> =
        value.get(name)?.as_array()?.iter().filter_map(|text| text.as_str()).map(str::to_owned).collect();
    (!texts.is_empty()).then_some(texts)
}

/// Everything that goes with a customer.
pub(super) fn remove(operation: &mut Operation<'_>, customer: &Customer) {
    remove_of(operation, &[customer.id], Going::Purged);
    // Nobody can take back any more what it was merged with.
    let merges =
        Filter::Or(vec![CustomerMerge::kept_id.equals(customer.id), CustomerMerge::duplicate_id.equals(customer.id)]);
    operation.change(Change::DeleteWhere { collection: CustomerMerge::COLLECTION, filter: merges });
    operation.delete(customer);
    let version = customer.meta.version + 1;
    operation.emit_named(
        "customer.purged",
        Customer::COLLECTION.name,
        customer.id.0,
        version,
        &json!({"id": customer.id}),
    );
}
