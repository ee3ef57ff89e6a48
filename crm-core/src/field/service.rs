use std::sync::Arc;

use uuid::Uuid;

use super::{AppliesTo, CustomField, CustomValues, FieldSet, MAX_FIELDS, Taken, unique};
use crate::{
    crm::Crm,
    error::Result,
    id::OrganizationId,
    operation::Operation,
    store::{Filter, Query, Scope},
};

/// An organization's custom fields.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    pub(super) crm: &'a Crm,
}

impl<'a> Fields<'a> {
    pub(crate) const fn new(crm: &'a Crm) -> Self {
        Self { crm }
    }

    /// The organization's fields of a kind, ready to check values. Kept in memory: a change made in this process is
    /// seen at once, one made in another within 5 s.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn set(&self, organization: OrganizationId, applies_to: AppliesTo) -> Result<Arc<FieldSet>> {
        let load = async {
            let fields = self.stored(organization, applies_to).await?;
            Ok(FieldSet::new(applies_to, applies_to.subject(), fields))
        };
        self.crm.field_sets().get(organization, applies_to, load).await
    }

    /// All fields of a kind, archived ones among them.
    pub(super) async fn stored(&self, organization: OrganizationId, applies_to: AppliesTo) -> Result<Vec<CustomField>> {
        let query = Query::new(Filter::ALL.and(CustomField::applies_to.equals(applies_to)), MAX_FIELDS + 1)
            .sorted(vec![CustomField::position.ascending()]);
        Ok(self.crm.repo::<CustomField>().find(Scope::Organization(organization), &query).await?.records)
    }

    /// Of the unique values that a record is to have now and had not before, those that other records have.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn taken(
        &self,
        organization: OrganizationId,
        set: &FieldSet,
        record_id: Option<Uuid>,
        before: Option<&CustomValues>,
        after: &CustomValues,
    ) -> Result<Vec<Taken>> {
        unique::taken(self.crm, Scope::Organization(organization), set, record_id, before, after).await
    }

    /// Adds to an operation what keeps unique values in step with a record: `before` is what its values were while it
    /// counted, `after` what they are then. A new or restored record has no `before`, a deleted one no `after`.
    ///
    /// Where another record took a value meanwhile, the commit fails so that [`super::is_unique_race`] tells: decide
    /// again, and [`Fields::taken`] names it.
    pub fn keep_unique(
        &self,
        operation: &mut Operation<'_>,
        set: &FieldSet,
        record_id: Uuid,
        before: Option<&CustomValues>,
        after: Option<&CustomValues>,
    ) {
        unique::keep(self.crm, operation, set, record_id, before, after);
    }
}
