use serde_json::json;

use super::{Accounts, LoginRecord, SignedIn, User, accounts::nobody, registration::email_taken};
use crate::{
    access::{RequestContext, Role},
    contact::Email,
    error::{Error, Result},
    id::OrganizationId,
    input::Input,
    operation::Operation,
    record::Meta,
    store::Scope,
    tenancy::{NewOrganization, Organization},
    text::Line,
};

/// The organization of those who are made up for development.
const DEVELOPMENT: &str = "Development";

/// For whom a token is wanted without a password.
#[derive(Clone, Debug, Default, Input)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DevelopmentToken {
    /// Somebody's address; made up from the role where not given.
    pub email: Option<Email>,
    /// The role of somebody who is not there yet; Agent where not given.
    pub role: Option<Role>,
}

impl Accounts<'_> {
    /// Signs somebody in without a password, and makes the person up where there is none: for development only.
    ///
    /// # Errors
    /// [`Error::NotFound`] where that is not switched on, [`Error::Conflict`] where the person has another role.
    pub async fn development_token(&self, wanted: DevelopmentToken, context: RequestContext) -> Result<SignedIn> {
        if !self.state().settings.development_tokens {
            return Err(Error::NotFound("page"));
        }
        let role = wanted.role.unwrap_or(Role::Agent);
        if role == Role::SuperAdmin {
            return Err(Error::invalid(
                "role",
                "NOT_ALLOWED",
                "must not be SuperAdmin: create one on the command line",
            ));
        }
        let email = match wanted.email {
            Some(email) => email,
            None => Email::parse(&format!("dev-{}@example.com", role.name()))?,
        };
        let now = self.crm.now();
        let known = match self.login_of(&email).await? {
            None => None,
            Some(login) => {
                self.crm.repo::<User>().get(Scope::Organization(login.meta.organization_id), login.id).await?
            }
        };
        let (user, is_new, organization) = match known {
            Some(user) if !user.can_act() => {
                return Err(Error::Forbidden("The account is not active.".to_owned()));
            }
            Some(user) if user.role == Role::SuperAdmin || wanted.role.is_some_and(|role| role != user.role) => {
                return Err(Error::Conflict(format!("The account has the role {}.", user.role)));
            }
            Some(user) => (user, false, None),
            None => {
                let (id, organization) = self.development_organization(now).await?;
                let name = Line::parse(&format!("Development {}", role.name()))?;
                (User::new(self.crm.new_id_at(now), name, email.clone(), role, Meta::new(id, now)), true, organization)
            }
        };
        let begun = self.begin(user.clone(), Some("development".to_owned()), &context, now)?;
        let by = nobody(user.meta.organization_id, &context);
        let mut operation = Operation::at(self.crm, &by, now);
        if let Some(organization) = &organization {
            operation.insert(organization);
        }
        if is_new {
            operation.insert(&user);
            operation.insert(&LoginRecord::new(user.id, &email, None, user.meta));
        }
        Self::insert_session(&mut operation, &begun);
        operation.audit::<User>("auth.development_token", user.id, None, Some(json!({ "role": user.role })));
        operation.commit().await.map_err(email_taken)?;
        tracing::warn!(user = %user.id, "gave out a token without a password: development only");
        Ok(begun.signed_in)
    }

    async fn development_organization(
        &self,
        now: crate::time::Timestamp,
    ) -> Result<(OrganizationId, Option<Organization>)> {
        if let Some(id) = self.state().settings.default_organization {
            return Ok((id, None));
        }
        let name = Line::parse(DEVELOPMENT)?;
        let found =
            self.crm.repo::<Organization>().first(Scope::Installation, Organization::name.equals(name.clone())).await?;
        if let Some(organization) = found {
            return Ok((organization.id, None));
        }
        let new = Organization::new(self.crm.new_id_at(now), NewOrganization::named(name), now);
        Ok((new.id, Some(new)))
    }
}
