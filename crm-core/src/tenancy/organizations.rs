use std::{sync::Arc, time::Duration};

use moka::sync::Cache;
use serde_json::json;

use super::{ChangedOrganization, NewOrganization, Organization};
use crate::{
    access::{
        Actor, Principal, Role,
        permissions::{ORGANIZATION_READ, ORGANIZATION_WRITE},
    },
    crm::Crm,
    error::{Error, Result},
    hint::Hint,
    id::OrganizationId,
    operation::Operation,
    store::Scope,
};

/// For how long an organization's settings are believed. Changes of this process are seen at once.
const BELIEVED: Duration = Duration::from_secs(5);
/// How many organizations are kept.
const KEPT: u64 = 10_000;
/// How often a change is made anew because somebody else was faster.
const ATTEMPTS: usize = 5;
const MISSING: Error = Error::NotFound("organization");

/// The organizations used lately.
#[derive(Debug)]
pub(crate) struct OrganizationCache(Cache<OrganizationId, Arc<Organization>>);

impl OrganizationCache {
    pub(crate) fn new() -> Self {
        Self(Cache::builder().max_capacity(KEPT).time_to_live(BELIEVED).build())
    }

    /// Looks at the organization again.
    pub(crate) fn forget(&self, id: OrganizationId) {
        self.0.invalidate(&id);
    }

    /// Looks at every organization again.
    pub(crate) fn forget_all(&self) {
        self.0.invalidate_all();
    }
}

/// Organizations and their settings.
#[derive(Debug)]
pub struct Organizations<'a> {
    crm: &'a Crm,
}

impl<'a> Organizations<'a> {
    pub(crate) const fn new(crm: &'a Crm) -> Self {
        Self { crm }
    }

    /// Creates an organization. For the CRM itself and a `SuperAdmin`; others register.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for anybody else.
    pub async fn create(&self, by: &Principal, new: NewOrganization) -> Result<Organization> {
        if by.actor != Actor::System && by.role != Role::SuperAdmin {
            return Err(Error::Forbidden("Only a SuperAdmin creates organizations.".to_owned()));
        }
        let now = self.crm.now();
        let organization = Organization::new(self.crm.new_id_at(now), new, now);
        let within = Principal { organization: organization.id, ..by.clone() };
        let mut operation = Operation::at(self.crm, &within, now);
        operation.insert(&organization);
        operation.audit::<Organization>("organization.created", organization.id, None, Some(json!(organization)));
        operation.emit("organization.created", &organization, &organization);
        operation.commit().await?;
        Ok(organization)
    }

    /// The organization that the principal acts in.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `organization:read`, [`Error::NotFound`] where the principal acts in none.
    pub async fn get(&self, by: &Principal) -> Result<Organization> {
        by.may(ORGANIZATION_READ)?;
        self.crm.repo::<Organization>().get(by.scope(), by.organization).await?.ok_or(MISSING)
    }

    /// Its settings as every service needs them, at most five seconds old.
    ///
    /// # Errors
    /// [`Error::NotFound`] where the principal acts in none.
    pub async fn settings(&self, by: &Principal) -> Result<Arc<Organization>> {
        self.cached(by.organization).await?.ok_or(MISSING)
    }

    /// Changes the settings of the organization that the principal acts in.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `organization:write`, [`Error::VersionConflict`] where a version is expected and
    /// is not the one stored.
    pub async fn update(
        &self,
        by: &Principal,
        changed: ChangedOrganization,
        expected_version: Option<i64>,
    ) -> Result<Organization> {
        by.may(ORGANIZATION_WRITE)?;
        let mut turn = self.crm.turns().join(by.organization.0).await;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let organizations = self.crm.repo::<Organization>();
            let before = organizations.get(by.scope(), by.organization).await?.ok_or(MISSING)?;
            before.meta.expect(expected_version)?;
            let mut after = before.clone();
            changed.clone().apply(&mut after)?;
            let mut operation = Operation::new(self.crm, by);
            if !operation.update(&before, &mut after) {
                return Ok(before);
            }
            operation.audit::<Organization>("organization.updated", after.id, Some(json!(before)), Some(json!(after)));
            operation.emit("organization.updated", &after, &after);
            match operation.commit().await {
                Ok(_) => {
                    self.crm.has_changed(Hint::Organization(after.id));
                    return Ok(after);
                }
                Err(Error::VersionConflict { .. }) if expected_version.is_none() && attempts < ATTEMPTS => {
                    turn.wait().await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether people of the organization can sign in and act. The installation's own can always.
    pub(crate) async fn is_active(&self, id: OrganizationId) -> Result<bool> {
        if id == OrganizationId::INSTALLATION {
            return Ok(true);
        }
        Ok(self.cached(id).await?.is_some_and(|organization| organization.active))
    }

    async fn cached(&self, id: OrganizationId) -> Result<Option<Arc<Organization>>> {
        let cache = &self.crm.organization_cache().0;
        if let Some(found) = cache.get(&id) {
            return Ok(Some(found));
        }
        let found = self.crm.repo::<Organization>().get(Scope::Installation, id).await?.map(Arc::new);
        if let Some(found) = &found {
            cache.insert(id, Arc::clone(found));
        }
        Ok(found)
    }
}
