use std::{sync::Arc, time::Duration};

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use super::{
    Accounts, Session, SessionId, User,
    accounts::is_past,
    state::{BELIEVED, Verified},
    token::Claims,
};
use crate::{
    access::{Actor, PermissionSet, Principal, RequestContext, Role, Visibility, permissions as p},
    error::{Error, Result},
    id::OrganizationId,
    record::{Record, UPDATED_AT},
    store::{Change, Scope},
    time::Timestamp,
};

/// How coarse the time is at which a session was last seen.
const SEEN_EVERY: Duration = Duration::from_mins(1);
const INVALID_KEY: Error = Error::Unauthenticated("The API key or token is not valid.");

/// What the installation's own key may do: serve other systems, not govern people.
const SERVICE: PermissionSet = PermissionSet::of(&[
    p::CUSTOMERS_READ,
    p::CUSTOMERS_WRITE,
    p::CUSTOMERS_DELETE,
    p::CUSTOMERS_IMPORT,
    p::ORDERS_READ,
    p::ORDERS_WRITE,
    p::JOBS_READ,
    p::JOBS_WRITE,
    p::TAGS_WRITE,
    p::FIELDS_READ,
    p::TEAMS_READ,
    p::ORGANIZATION_READ,
]);

/// What somebody shows to be let in.
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    kind: Kind,
    secret: &'a str,
    organization: Option<&'a str>,
}

#[derive(Clone, Copy)]
enum Kind {
    AccessToken,
    ApiKey,
}

impl std::fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("organization", &self.organization).finish_non_exhaustive()
    }
}

impl<'a> Credentials<'a> {
    /// An access token.
    #[must_use]
    pub const fn access_token(token: &'a str) -> Self {
        Self { kind: Kind::AccessToken, secret: token, organization: None }
    }

    /// An API key of an organization, or the installation's own.
    #[must_use]
    pub const fn api_key(key: &'a str) -> Self {
        Self { kind: Kind::ApiKey, secret: key, organization: None }
    }

    /// What stands after `Bearer`: an access token, which has three parts, or an API key.
    #[must_use]
    pub fn bearer(secret: &'a str) -> Self {
        if secret.matches('.').count() == 2 { Self::access_token(secret) } else { Self::api_key(secret) }
    }

    /// To act in this organization (its id as text): for a `SuperAdmin` and the installation's own key.
    #[must_use]
    pub const fn acting_in(mut self, organization: Option<&'a str>) -> Self {
        self.organization = organization;
        self
    }

    /// Under which it is remembered. The token itself is not.
    fn fingerprint(self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        let organization = self.organization.unwrap_or_default();
        hasher.update([u8::from(matches!(self.kind, Kind::ApiKey)), u8::from(self.organization.is_some())]);
        hasher.update((organization.len() as u64).to_be_bytes());
        hasher.update(organization);
        hasher.update(self.secret);
        hasher.finalize().into()
    }
}

impl Accounts<'_> {
    /// Who shows these credentials. Answered from memory for five seconds after a look-up, unless this process ended
    /// the session, key or rights meanwhile.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] where they are not valid, [`Error::TokenExpired`], [`Error::TokenRevoked`] once the
    /// session or the person's rights have ended; [`Error::NotFound`] for an organization that is not the person's own.
    pub async fn authenticate(&self, credentials: Credentials<'_>, context: RequestContext) -> Result<Principal> {
        let (state, now) = (self.state(), self.crm.now());
        let fingerprint = credentials.fingerprint();
        if let Some(verified) = state.verified.get(&fingerprint) {
            if is_past(verified.expires, now) {
                return Err(match credentials.kind {
                    Kind::AccessToken => Error::TokenExpired,
                    Kind::ApiKey => Error::Unauthenticated("The API key has expired."),
                });
            }
            if now.since(verified.since) <= BELIEVED && state.revocations.stands(verified.stamp) {
                return Ok(verified.principal.clone().with_context(context));
            }
        }
        let verified = match credentials.kind {
            Kind::AccessToken => self.access_token(credentials, &context, now).await?,
            Kind::ApiKey => self.api_key(credentials, now).await?,
        };
        let principal = verified.principal.clone().with_context(context);
        state.verified.insert(fingerprint, Arc::new(verified));
        Ok(principal)
    }

    async fn access_token(
        &self,
        credentials: Credentials<'_>,
        context: &RequestContext,
        now: Timestamp,
    ) -> Result<Verified> {
        let settings = &self.state().settings;
        let claims = settings.signing_keys.check(credentials.secret, &settings.issuer, &settings.audience, now)?;
        let stamp = self.state().revocations.stamp(claims.sid, claims.sub.0);
        let (sessions, users, organizations) =
            (self.crm.repo::<Session>(), self.crm.repo::<User>(), self.crm.organizations());
        let (session, user, active) = futures::try_join!(
            sessions.get(Scope::Installation, SessionId(claims.sid)),
            users.get(Scope::Organization(claims.org), claims.sub),
            organizations.is_active(claims.org),
        )?;
        let session = session.filter(|session| session_stands(session, &claims, now)).ok_or(Error::TokenRevoked)?;
        let user = user.filter(|user| active && user.can_act() && user.epoch == claims.epoch);
        let mut principal = user.ok_or(Error::TokenRevoked)?.principal();
        principal.session = Some(claims.sid);
        principal.organization = self.acting_in(&principal, credentials.organization).await?;
        self.seen(&session, claims.jti, context, now).await;
        let expires = Timestamp::from_milliseconds(claims.exp.saturating_mul(1000));
        Ok(Verified { principal, since: now, expires, stamp })
    }

    /// The organization that a person acts in: the own one, or for a `SuperAdmin` the one asked for.
    async fn acting_in(&self, principal: &Principal, wanted: Option<&str>) -> Result<OrganizationId> {
        let own = principal.organization;
        let Some(wanted) = wanted else { return Ok(own) };
        let wanted: OrganizationId = wanted.parse().map_err(|_| Error::NotFound("organization"))?;
        if wanted == own || principal.role == Role::SuperAdmin && self.crm.organizations().is_active(wanted).await? {
            Ok(wanted)
        } else {
            Err(Error::NotFound("organization"))
        }
    }

    /// Notes that a session is in use. That it cannot be noted is no reason to refuse the request.
    async fn seen(&self, session: &Session, access_id: Uuid, context: &RequestContext, now: Timestamp) {
        let newer = session.newest_access_id.is_none_or(|newest| newest < access_id);
        if !newer && now.since(session.last_seen_at) < SEEN_EVERY {
            return;
        }
        let mut assignments = vec![Session::last_seen_at.set(now), UPDATED_AT.set(now)];
        if newer {
            assignments.push(Session::newest_access_id.set(access_id));
        }
        if let Some(ip) = context.ip {
            assignments.push(Session::ip.set(ip.to_string()));
        }
        let change = Change::Update {
            collection: Session::COLLECTION,
            id: session.id.0,
            expected_version: None,
            condition: None,
            assignments,
        };
        let scope = Scope::Organization(session.meta.organization_id);
        if let Err(error) = self.crm.store().commit(scope, vec![change]).await {
            tracing::warn!(%error, "cannot note that a session is in use");
        }
    }

    async fn api_key(&self, credentials: Credentials<'_>, now: Timestamp) -> Result<Verified> {
        let service_key = self.state().settings.service_key.as_ref();
        if service_key.is_some_and(|key| same(key.expose(), credentials.secret)) {
            return self.service(credentials.organization, now).await;
        }
        let (prefix, _) = super::api_key::split(credentials.secret).ok_or(INVALID_KEY)?;
        let keys = self.crm.repo::<super::ApiKey>();
        let found = keys.first(Scope::Installation, super::ApiKey::prefix.equals(prefix)).await?;
        let key = found.ok_or(INVALID_KEY)?;
        if !same(&key.hash, &crate::secret::fingerprint(credentials.secret.as_bytes())) {
            return Err(INVALID_KEY);
        }
        // Looked up again after the stamp, so that a revocation in between is not missed.
        let stamp = self.state().revocations.stamp(key.id.0, key.id.0);
        let key = keys.get(Scope::Installation, key.id).await?.ok_or(INVALID_KEY)?;
        if key.revoked_at.is_some() {
            return Err(Error::Unauthenticated("The API key was revoked."));
        }
        if is_past(key.expires_at, now) {
            return Err(Error::Unauthenticated("The API key has expired."));
        }
        let organization = key.meta.organization_id;
        if !self.crm.organizations().is_active(organization).await? {
            return Err(INVALID_KEY);
        }
        if credentials.organization.is_some_and(|wanted| wanted.parse() != Ok(organization)) {
            return Err(Error::NotFound("organization"));
        }
        self.key_used(&key, now).await;
        Ok(Verified { principal: key.principal(), since: now, expires: key.expires_at, stamp })
    }

    async fn service(&self, organization: Option<&str>, now: Timestamp) -> Result<Verified> {
        let organization = match organization {
            Some(wanted) => wanted.parse().map_err(|_| Error::NotFound("organization"))?,
            None => self.state().settings.default_organization.ok_or_else(|| {
                let message = "is needed: the service key acts in the organization that this header names";
                Error::invalid("X-Organization-Id", "REQUIRED", message)
            })?,
        };
        if !self.crm.organizations().is_active(organization).await? {
            return Err(Error::NotFound("organization"));
        }
        let principal = service(organization);
        let stamp = self.state().revocations.stamp(organization.0, organization.0);
        Ok(Verified { principal, since: now, expires: None, stamp })
    }

    /// A person with their own rights, for who has the database at hand: the command line.
    ///
    /// # Errors
    /// [`Error::NotFound`] where nobody signs in with the address; [`Error::Forbidden`] where they may not act.
    pub async fn acting_as(&self, email: &crate::contact::Email) -> Result<Principal> {
        let this = super::LoginRecord::email.equals(super::login::login_key(email));
        let login = self.crm.repo::<super::LoginRecord>().first(Scope::Installation, this).await?;
        let login = login.ok_or(Error::NotFound("member of staff"))?;
        self.principal_of(Actor::User(login.id), login.meta.organization_id).await
    }

    /// Somebody who acted before, with the rights that they have now: for work that goes on after the request.
    ///
    /// # Errors
    /// [`Error::Forbidden`] with a sentence where they may no longer act in the organization; those of the store.
    pub(crate) async fn principal_of(&self, actor: Actor, organization: OrganizationId) -> Result<Principal> {
        let no_longer = |who: &str| Error::Forbidden(format!("{who} may no longer act in the organization."));
        if actor != Actor::System && !self.crm.organizations().is_active(organization).await? {
            return Err(no_longer("Nobody"));
        }
        match actor {
            Actor::System => Ok(Principal::system(organization)),
            Actor::Service => Ok(service(organization)),
            Actor::ApiKey(id) => {
                let key = self.crm.repo::<super::ApiKey>().get(Scope::Installation, super::ApiKeyId(id)).await?;
                let stands = |key: &super::ApiKey| {
                    key.meta.organization_id == organization
                        && key.revoked_at.is_none()
                        && !is_past(key.expires_at, self.crm.now())
                };
                key.filter(stands).map(|key| key.principal()).ok_or_else(|| no_longer("The API key that began this"))
            }
            Actor::User(id) => {
                let login = self.crm.repo::<super::LoginRecord>().get(Scope::Installation, id).await?;
                let home = login.map_or(organization, |login| login.meta.organization_id);
                let user = self.crm.repo::<User>().get(Scope::Organization(home), id).await?;
                let user = user.filter(User::can_act).ok_or_else(|| no_longer("Who began this"))?;
                if home != organization && user.role != Role::SuperAdmin {
                    return Err(no_longer("Who began this"));
                }
                Ok(Principal { organization, ..user.principal() })
            }
        }
    }

    async fn key_used(&self, key: &super::ApiKey, now: Timestamp) {
        if key.last_used_at.is_some_and(|last| now.since(last) < SEEN_EVERY) {
            return;
        }
        let change = Change::Update {
            collection: super::ApiKey::COLLECTION,
            id: key.id.0,
            expected_version: None,
            condition: None,
            assignments: vec![super::ApiKey::last_used_at.set(now)],
        };
        let scope = Scope::Organization(key.meta.organization_id);
        if let Err(error) = self.crm.store().commit(scope, vec![change]).await {
            tracing::warn!(%error, "cannot note that an API key is in use");
        }
    }
}

/// The installation's own key in an organization.
fn service(organization: OrganizationId) -> Principal {
    Principal {
        actor: Actor::Service,
        role: Role::Agent,
        permissions: SERVICE,
        visibility: Visibility::All,
        ..Principal::system(organization)
    }
}

fn session_stands(session: &Session, claims: &Claims, now: Timestamp) -> bool {
    session.user_id == claims.sub
        && session.meta.organization_id == claims.org
        && session.revoked_at.is_none()
        && session.expires_at > now
        && !session.denied_access_ids.contains(&claims.jti.to_string())
}

/// Whether two secrets are the same, in a time that tells only whether their lengths are.
fn same(left: &str, right: &str) -> bool {
    left.as_bytes().ct_eq(right.as_bytes()).into()
}
