use std::collections::HashSet;

use serde_json::json;

use super::{
    CountedGroup, Customer, CustomerGroup, CustomerGroupId, CustomerInput, Customers, Deed, GroupMembers,
    MembershipChange, NewCustomerGroup, ReplacedCustomerGroup,
    ask::{Ask, ChunkOptions},
    write::is_race,
};
use crate::{
    access::{Principal, permissions},
    error::{Error, Result},
    id::CustomerId,
    input::MAX_BATCH,
    operation::Operation,
    record::{Meta, Record as _},
    repo::Visible,
    store::{Aggregation, Filter, Group, Measure, Measured, Value, fold::fold},
    text::Line,
};

/// What the refusal of a group that is not there calls it.
const GROUP: &str = "group";

impl Customers<'_> {
    /// Creates a static group.
    ///
    /// # Errors
    /// [`Error::Duplicate`] where a group has the name, [`Error::Forbidden`] without `customers:write`.
    pub async fn create_group(&self, by: &Principal, new: NewCustomerGroup) -> Result<CountedGroup> {
        by.may(permissions::CUSTOMERS_WRITE)?;
        let now = self.crm.now();
        let group = CustomerGroup {
            id: self.crm.new_id_at(now),
            name_key: name_key(&new.name),
            name: new.name,
            description: new.description,
            removed_at: None,
            meta: Meta::new(by.organization, now),
        };
        let mut operation = Operation::at(self.crm, by, now);
        operation.insert(&group);
        operation.audit::<CustomerGroup>("customer_group.created", group.id, None, serde_json::to_value(&group).ok());
        operation.emit("customer_group.created", &group, &group);
        self.committed(operation, by, &group).await?;
        Ok(CountedGroup { group, member_count: 0 })
    }

    /// The group with the id.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`] without `customers:read`.
    pub async fn get_group(&self, by: &Principal, id: CustomerGroupId) -> Result<CountedGroup> {
        by.may(permissions::CUSTOMERS_READ)?;
        let group = self.group(by, id).await?;
        self.counted(by, group).await
    }

    /// Renames and describes a group.
    ///
    /// # Errors
    /// Those of [`Customers::create_group`], [`Error::NotFound`], [`Error::VersionConflict`].
    pub async fn replace_group(
        &self,
        by: &Principal,
        id: CustomerGroupId,
        input: ReplacedCustomerGroup,
        expected_version: Option<i64>,
    ) -> Result<CountedGroup> {
        by.may(permissions::CUSTOMERS_WRITE)?;
        let mut turn = self.crm.turns().join(id.0).await;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let before = self.group(by, id).await?;
            before.meta.expect(expected_version)?;
            let mut after = CustomerGroup {
                name_key: name_key(&input.name),
                name: input.name.clone(),
                description: input.description.clone(),
                ..before.clone()
            };
            let mut operation = Operation::new(self.crm, by);
            if operation.update(&before, &mut after) {
                let (old, new) = (serde_json::to_value(&before).ok(), serde_json::to_value(&after).ok());
                operation.audit::<CustomerGroup>("customer_group.updated", id, old, new);
                operation.emit("customer_group.updated", &after, &after);
            }
            match self.committed(operation, by, &after).await {
                Err(Error::VersionConflict { .. }) if attempt < 5 => turn.wait().await,
                Err(error) => return Err(error),
                Ok(()) => return self.counted(by, after).await,
            }
        }
    }

    /// Removes a group; its members stay customers. They are let go in commits of 100; should that be interrupted,
    /// removing the group again goes on with it.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::VersionConflict`], [`Error::Forbidden`] without `customers:write`.
    pub async fn delete_group(&self, by: &Principal, id: CustomerGroupId, expected_version: Option<i64>) -> Result<()> {
        by.may(permissions::CUSTOMERS_WRITE)?;
        // Members whom the caller does not see are let go too: nothing may point to a group that is gone.
        let all = Principal { visibility: crate::access::Visibility::All, ..by.clone() };
        let mut attempt = 0;
        loop {
            attempt += 1;
            let found = self.crm.repo::<CustomerGroup>().get(by.scope(), id).await?.ok_or(Error::NotFound(GROUP))?;
            if found.removed_at.is_some() {
                break;
            }
            found.meta.expect(expected_version)?;
            let now = self.crm.now();
            let mut leaving = CustomerGroup { removed_at: Some(now), name_key: id.to_string(), ..found.clone() };
            let mut operation = Operation::at(self.crm, by, now);
            operation.update(&found, &mut leaving);
            operation.audit::<CustomerGroup>("customer_group.deleted", id, serde_json::to_value(&found).ok(), None);
            operation.emit("customer_group.deleted", &leaving, &json!({"id": id}));
            match operation.commit().await {
                Err(error) if is_race(&error) && attempt < 5 => {}
                Err(error) => return Err(error),
                Ok(_) => break,
            }
        }
        let leave = CustomerInput { remove_groups: vec![id.0], ..CustomerInput::default() };
        let options = ChunkOptions {
            entry: Some(("customer_group.members_removed", json!({"group_id": id}))),
            ..ChunkOptions::default()
        };
        // Those in the bin keep the id of the group that is gone; restoring drops it.
        self.change_matching(&all, member_of(id), &leave, options).await?;
        if let Some(group) = self.crm.repo::<CustomerGroup>().get(by.scope(), id).await? {
            let mut operation = Operation::new(self.crm, by);
            operation.delete(&group);
            match operation.commit().await {
                // Somebody else removes it too.
                Err(error) if is_race(&error) => {}
                done => drop(done?),
            }
        }
        Ok(())
    }

    /// Puts customers into a group.
    ///
    /// # Errors
    /// [`Error::NotFound`] for the group, [`Error::Invalid`] for more than 1000 ids, [`Error::Forbidden`] without
    /// `customers:write`.
    pub async fn add_members(
        &self,
        by: &Principal,
        id: CustomerGroupId,
        members: &GroupMembers,
    ) -> Result<MembershipChange> {
        let change = CustomerInput { add_groups: vec![id.0], ..CustomerInput::default() };
        self.change_members(by, id, members, &change, "customer_group.members_added").await
    }

    /// Takes customers out of a group.
    ///
    /// # Errors
    /// Those of [`Customers::add_members`].
    pub async fn remove_members(
        &self,
        by: &Principal,
        id: CustomerGroupId,
        members: &GroupMembers,
    ) -> Result<MembershipChange> {
        let change = CustomerInput { remove_groups: vec![id.0], ..CustomerInput::default() };
        self.change_members(by, id, members, &change, "customer_group.members_removed").await
    }

    async fn change_members(
        &self,
        by: &Principal,
        id: CustomerGroupId,
        members: &GroupMembers,
        change: &CustomerInput,
        action: &'static str,
    ) -> Result<MembershipChange> {
        by.may(permissions::CUSTOMERS_WRITE)?;
        self.group(by, id).await?;
        let count = members.customer_ids.len();
        if !(1..=MAX_BATCH).contains(&count) {
            let (code, message) = if count == 0 {
                ("REQUIRED", "must have at least one element".to_owned())
            } else {
                ("TOO_MANY", format!("must have at most {MAX_BATCH} elements, not {count}"))
            };
            return Err(Error::invalid("customer_ids", code, message));
        }
        let mut seen = HashSet::new();
        let ids: Vec<CustomerId> =
            members.customer_ids.iter().filter(|id| seen.insert(**id)).copied().map(CustomerId).collect();
        let asks: Vec<Ask> = ids.iter().map(|customer| Ask::Merge(*customer, change.clone())).collect();
        let options = ChunkOptions { entry: Some((action, json!({"group_id": id}))), ..ChunkOptions::default() };
        let answers = self.write_chunks(by, &asks, &options).await?;
        let mut report = MembershipChange::default();
        for (customer, answer) in ids.iter().zip(answers) {
            match answer {
                Ok(written) if written.deed == Deed::Unchanged => report.unchanged += 1,
                Ok(_) => report.changed += 1,
                Err(Error::NotFound(_)) => report.not_found.push(customer.0),
                Err(Error::Invalid(_)) => report.refused.push(customer.0),
                Err(error) => return Err(error),
            }
        }
        Ok(report)
    }

    async fn group(&self, by: &Principal, id: CustomerGroupId) -> Result<CustomerGroup> {
        let group = self.crm.repo::<CustomerGroup>().get(by.scope(), id).await?;
        group.filter(|group| group.removed_at.is_none()).ok_or(Error::NotFound(GROUP))
    }

    /// Writes a group; a name that is taken is told with the group that has it.
    async fn committed(&self, operation: Operation<'_>, by: &Principal, group: &CustomerGroup) -> Result<()> {
        let Err(error) = operation.commit().await else { return Ok(()) };
        if !matches!(error, Error::Duplicate { .. }) {
            return Err(error);
        }
        let taken = CustomerGroup::name_key.equals(group.name_key.clone());
        let holder = self.crm.repo::<CustomerGroup>().first(by.scope(), taken).await?;
        Err(Error::Duplicate {
            message: "There is a group of this name already.".to_owned(),
            fields: vec!["name".to_owned()],
            matches: holder.map(|holder| holder.id.0).into_iter().collect(),
        })
    }

    async fn counted(&self, by: &Principal, group: CustomerGroup) -> Result<CountedGroup> {
        let member_count = self.crm.repo::<Customer>().count_visible(by, member_of(group.id)).await?;
        Ok(CountedGroup { group, member_count })
    }

    /// The groups with how many members the principal sees, by one aggregate over all of them.
    pub(crate) async fn with_counts(&self, by: &Principal, groups: Vec<CustomerGroup>) -> Result<Vec<CountedGroup>> {
        if groups.is_empty() {
            return Ok(Vec::new());
        }
        let ids = groups.iter().map(|group| Value::Text(group.id.to_string())).collect();
        let aggregation = Aggregation {
            filter: Customer::visible_to(by).and(Filter::In { field: Customer::group_ids.field(), values: ids }),
            groups: vec![Group::Field(Customer::group_ids.field())],
            measures: vec![Measure::Count],
        };
        let rows = self.crm.store().aggregate(by.scope(), Customer::COLLECTION, &aggregation).await?;
        let counts: std::collections::HashMap<String, u64> = rows
            .into_iter()
            .filter_map(|row| match (row.groups.into_iter().next(), row.measures.into_iter().next()) {
                (Some(Value::Text(id)), Some(Measured::Count(count))) => Some((id, count)),
                _ => None,
            })
            .collect();
        let count_of = |group: &CustomerGroup| counts.get(&group.id.to_string()).copied().unwrap_or(0);
        Ok(groups.into_iter().map(|group| CountedGroup { member_count: count_of(&group), group }).collect())
    }
}

/// What makes two names the same.
fn name_key(name: &Line<100>) -> String {
    fold(name)
}

/// Who is in the group.
fn member_of(id: CustomerGroupId) -> Filter {
    Customer::group_ids.contains(id.to_string())
}
