use std::net::IpAddr;

use uuid::Uuid;

use super::{Permission, PermissionSet, Role};
use crate::{
    error::{Error, Result},
    id::{OrganizationId, TeamId, UserId},
    idempotency::Claim,
    store::Scope,
};

/// Who acts.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Actor {
    /// A person.
    User(UserId),
    /// A service with an API key of the organization.
    ApiKey(Uuid),
    /// A service with the installation's key (`SERVICE_API_KEY`).
    Service,
    /// The CRM itself: background work, the command line.
    System,
}

impl Actor {
    /// `user`, `api_key`, `service` or `system`.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::ApiKey(_) => "api_key",
            Self::Service => "service",
            Self::System => "system",
        }
    }

    /// The person's or key's id.
    #[must_use]
    pub const fn id(self) -> Option<Uuid> {
        match self {
            Self::User(UserId(id)) | Self::ApiKey(id) => Some(id),
            Self::Service | Self::System => None,
        }
    }
}

/// Which customers somebody sees.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Visibility {
    /// All of the organization.
    All,
    /// Those of the own team, and those owned by the person.
    Team,
    /// Only the record that belongs to the own login.
    Own,
}

/// The request that is answered: where it came from, for the audit trail, and whether it may be sent again.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RequestContext {
    /// The request's id, as in the response and the log.
    pub request_id: Option<String>,
    /// The client's address.
    pub ip: Option<IpAddr>,
    /// The right to carry out a request that may be sent again: every commit in answer to it marks the claim.
    pub claim: Option<Claim>,
}

/// Somebody who acts in an organization: built once at the edge, first argument of every service method.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Principal {
    /// The organization acted in.
    pub organization: OrganizationId,
    /// Who acts.
    pub actor: Actor,
    /// The role; what an API key may do is told by its permissions alone.
    pub role: Role,
    /// What the principal may do.
    pub permissions: PermissionSet,
    /// Which customers the principal sees.
    pub visibility: Visibility,
    /// The person's team.
    pub team: Option<TeamId>,
    /// The session, where there is one.
    pub session: Option<Uuid>,
    /// Where the request came from.
    pub context: RequestContext,
}

impl Principal {
    /// The CRM itself in an organization: may do everything, sees everything.
    #[must_use]
    pub fn system(organization: OrganizationId) -> Self {
        Self {
            organization,
            actor: Actor::System,
            role: Role::SuperAdmin,
            permissions: PermissionSet::every(),
            visibility: Visibility::All,
            team: None,
            session: None,
            context: RequestContext::default(),
        }
    }

    /// A person with a role's own permissions and visibility.
    #[must_use]
    pub fn user(organization: OrganizationId, user: UserId, role: Role, team: Option<TeamId>) -> Self {
        Self {
            actor: Actor::User(user),
            role,
            permissions: role.permissions(),
            visibility: role.visibility(),
            team,
            ..Self::system(organization)
        }
    }

    /// The same, acting in answer to a request.
    #[must_use]
    pub fn with_context(mut self, context: RequestContext) -> Self {
        self.context = context;
        self
    }

    /// Whose data the principal reaches.
    #[must_use]
    pub const fn scope(&self) -> Scope {
        Scope::Organization(self.organization)
    }

    /// Goes on only with the permission.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without it.
    pub fn may(&self, permission: Permission) -> Result<()> {
        if self.permissions.has(permission) {
            Ok(())
        } else {
            Err(Error::Forbidden(format!("This needs the permission {permission}.")))
        }
    }

    /// The person who acts.
    ///
    /// # Errors
    /// [`Error::Forbidden`] where a service acts.
    pub fn user_id(&self) -> Result<UserId> {
        match self.actor {
            Actor::User(user) => Ok(user),
            _ => Err(Error::Forbidden("Only a person who is signed in can do this.".to_owned())),
        }
    }
}
