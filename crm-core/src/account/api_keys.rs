use std::sync::LazyLock;

use serde_json::json;

use super::{ApiKey, ApiKeyId, NewApiKey, accounts::is_past, api_key};
use crate::{
    access::{
        Actor, Permission, Principal,
        permissions::{API_KEYS_READ, API_KEYS_WRITE},
    },
    crm::Crm,
    error::{Error, FieldErrors, Result},
    list::{self, List, ListRequest, Listing},
    operation::Operation,
    record::{Meta, ORGANIZATION_ID, Record},
    rule::{Catalog, CatalogField},
    secret::{Secret, fingerprint, hexadecimal, random_token},
};

/// The most keys that an organization has at once.
const MOST_KEYS: u64 = 200;

/// What a list shows.
const SHOWN: [&str; 12] = [
    "id",
    "name",
    "prefix",
    "permissions",
    "read_only",
    "expires_at",
    "revoked_at",
    "last_used_at",
    "created_by",
    "version",
    "created_at",
    "updated_at",
];

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
    Catalog::new(ApiKey::COLLECTION)
        .with(CatalogField::column(ApiKey::name))
        .with(CatalogField::column(ApiKey::prefix))
        .with(CatalogField::column(ApiKey::permissions))
        .with(CatalogField::column(ApiKey::read_only))
        .with(CatalogField::column(ApiKey::expires_at))
        .with(CatalogField::column(ApiKey::revoked_at))
        .with(CatalogField::column(ApiKey::last_used_at))
        .with(CatalogField::column(ApiKey::created_by))
});

/// A key that was just made. It is shown this once.
#[derive(Clone, Debug)]
pub struct CreatedApiKey {
    /// The key itself, to be sent as `X-API-Key`.
    pub key: Secret<String>,
    /// What is kept of it.
    pub record: ApiKey,
}

/// The keys of services.
#[derive(Debug)]
pub struct ApiKeys<'a> {
    crm: &'a Crm,
}

impl<'a> ApiKeys<'a> {
    pub(crate) const fn new(crm: &'a Crm) -> Self {
        Self { crm }
    }

    /// Makes a key, whose holder may do at most what its maker may.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `api-keys:write`, [`Error::Invalid`] for permissions that the maker does not have.
    pub async fn create(&self, by: &Principal, new: NewApiKey) -> Result<CreatedApiKey> {
        by.may(API_KEYS_WRITE)?;
        let now = self.crm.now();
        let mut errors = FieldErrors::new();
        if new.permissions.is_empty() {
            errors.add("permissions", "REQUIRED", "must name at least one permission");
        }
        for (place, permission) in new.permissions.iter().enumerate() {
            if !by.permissions.has(*permission) {
                let message = format!("you do not have {permission} yourself");
                errors.add(format!("permissions[{place}]"), "NOT_ALLOWED", message);
            } else if *permission == API_KEYS_WRITE {
                let message = "a key makes no keys: that is for a person";
                errors.add(format!("permissions[{place}]"), "NOT_ALLOWED", message);
            }
        }
        if is_past(new.expires_at, now) {
            errors.add("expires_at", "OUT_OF_RANGE", "must be in the future");
        }
        errors.or(())?;
        let filter = ORGANIZATION_ID.equals(by.organization).and(ApiKey::revoked_at.missing());
        if self.crm.repo::<ApiKey>().count(by.scope(), &filter).await? >= MOST_KEYS {
            return Err(Error::Conflict(format!("There are {MOST_KEYS} keys already: revoke one first.")));
        }
        let mut public = [0; api_key::PUBLIC_LENGTH / 2];
        self.crm.fill_random(&mut public);
        let prefix = hexadecimal(&public);
        let key = format!("{}{prefix}_{}", api_key::PREFIX, random_token(self.crm.random()));
        let mut permissions: Vec<Permission> = new.permissions;
        permissions.sort_unstable();
        permissions.dedup();
        let record = ApiKey {
            id: self.crm.new_id_at(now),
            name: new.name,
            prefix,
            hash: fingerprint(key.as_bytes()),
            permissions: permissions.into_iter().map(|permission| permission.name().to_owned()).collect(),
            read_only: new.read_only,
            expires_at: new.expires_at,
            revoked_at: None,
            last_used_at: None,
            created_by: match by.actor {
                Actor::User(user) => Some(user),
                _ => None,
            },
            meta: Meta::new(by.organization, now),
        };
        let mut operation = Operation::at(self.crm, by, now);
        operation.insert(&record);
        operation.audit::<ApiKey>("api_key.created", record.id, None, Some(json!(record)));
        operation.commit().await?;
        Ok(CreatedApiKey { key: Secret::new(key), record })
    }

    /// What a list of keys can be asked for.
    #[must_use]
    pub fn listing() -> Listing<'static> {
        Listing::new(&CATALOG).fields(&SHOWN)
    }

    /// The organization's keys, those that were revoked too.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `api-keys:read`; those of the store.
    pub async fn list(&self, by: &Principal, request: &ListRequest) -> Result<List<ApiKey>> {
        by.may(API_KEYS_READ)?;
        list::everything(self.crm, by, request, ORGANIZATION_ID.equals(by.organization)).await
    }

    /// One key of the organization.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `api-keys:read`, [`Error::NotFound`].
    pub async fn get(&self, by: &Principal, id: ApiKeyId) -> Result<ApiKey> {
        by.may(API_KEYS_READ)?;
        let found = self.crm.repo::<ApiKey>().get(by.scope(), id).await?;
        found.filter(|key| key.meta.organization_id == by.organization).ok_or(Error::NotFound("API key"))
    }

    /// Revokes a key. It ends at once. Doing it again changes nothing.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `api-keys:write`, [`Error::NotFound`].
    pub async fn revoke(&self, by: &Principal, id: ApiKeyId) -> Result<()> {
        by.may(API_KEYS_WRITE)?;
        let keys = self.crm.repo::<ApiKey>();
        loop {
            let key = keys.get(by.scope(), id).await?;
            let key =
                key.filter(|key| key.meta.organization_id == by.organization).ok_or(Error::NotFound("API key"))?;
            if key.revoked_at.is_some() {
                return Ok(());
            }
            let mut operation = Operation::new(self.crm, by);
            let mut after = ApiKey { revoked_at: Some(operation.now()), ..key.clone() };
            operation.update(&key, &mut after);
            operation.audit::<ApiKey>("api_key.revoked", id, Some(json!(key)), None);
            match operation.commit().await {
                Ok(_) => break,
                // Its use was noted meanwhile.
                Err(Error::VersionConflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.crm.accounts().forget(id);
        Ok(())
    }
}
