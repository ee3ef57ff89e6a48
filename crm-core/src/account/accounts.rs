use uuid::Uuid;

use super::{LoginRecord, RefreshToken, Session, SessionId, User, login::login_key, state::AccountState};
use crate::{
    access::{Actor, Principal, RequestContext},
    contact::Email,
    crm::Crm,
    error::{Error, Result},
    hint::Hint,
    id::{OrganizationId, UserId},
    limit::Bucket,
    operation::Operation,
    record::Record,
    store::{Change, Filter, Scope},
    time::Timestamp,
};

/// People and their sessions. See [`crate::account`].
#[derive(Debug)]
pub struct Accounts<'a> {
    pub(super) crm: &'a Crm,
}

impl<'a> Accounts<'a> {
    pub(crate) const fn new(crm: &'a Crm) -> Self {
        Self { crm }
    }

    pub(super) fn state(&self) -> &'a AccountState {
        self.crm.account_state()
    }

    /// The public keys that access tokens can be checked with, as a JWK set.
    #[must_use]
    pub fn jwks(&self) -> serde_json::Value {
        self.state().settings.signing_keys.jwks()
    }

    /// Counts one attempt, and refuses it where there were too many.
    pub(super) async fn attempt(&self, key: &str) -> Result<()> {
        let policy = self.state().settings.login_limit.as_ref();
        self.crm.limits().attempt(self.crm.now(), policy.map(|policy| Bucket { policy, key }).as_slice()).await
    }

    /// Counts one attempt to sign in, for the account from this address and for the account from anywhere, and refuses
    /// it where there were too many of either.
    pub(super) async fn attempt_sign_in(&self, email: &Email, address: &str) -> Result<()> {
        let (settings, account) = (&self.state().settings, login_key(email));
        let here = format!("{account}|{address}");
        let here = settings.login_limit.as_ref().map(|policy| Bucket { policy, key: &here });
        let anywhere = settings.account_limit.as_ref().map(|policy| Bucket { policy, key: &account });
        let buckets: Vec<Bucket<'_>> = here.into_iter().chain(anywhere).collect();
        self.crm.limits().attempt(self.crm.now(), &buckets).await
    }

    /// Forgets the attempts on an account from anywhere: somebody knew the password, or it is a new one.
    pub(super) async fn forgive(&self, email: &Email) {
        if let Some(policy) = &self.state().settings.account_limit {
            self.crm.limits().forgive(&Bucket { policy, key: &login_key(email) }).await;
        }
    }

    /// The login of an address, in whichever organization.
    pub(crate) async fn login_of(&self, email: &Email) -> Result<Option<LoginRecord>> {
        self.crm.repo::<LoginRecord>().first(Scope::Installation, LoginRecord::email.equals(login_key(email))).await
    }

    /// The login and the record of the person who acts, wherever the person is acting.
    pub(super) async fn own(&self, by: &Principal) -> Result<(LoginRecord, User)> {
        let user = by.user_id()?;
        let login = self.crm.repo::<LoginRecord>().get(Scope::Installation, user).await?.ok_or(Error::TokenRevoked)?;
        let scope = Scope::Organization(login.meta.organization_id);
        let user = self.crm.repo::<User>().get(scope, user).await?.ok_or(Error::TokenRevoked)?;
        Ok((login, user))
    }

    /// Ends sessions in an operation: those of the user, or the one given. [`Self::forget`] follows the commit.
    pub(crate) fn end_sessions(operation: &mut Operation<'_>, user: UserId, which: Which) {
        let now = operation.now();
        let (mut sessions, mut tokens) = (Session::user_id.equals(user), RefreshToken::user_id.equals(user));
        match which {
            Which::All => {}
            Which::One(session) => {
                sessions = sessions.and(crate::record::ID.equals(session.0));
                tokens = tokens.and(RefreshToken::session_id.equals(session));
            }
            Which::AllBut(session) => {
                sessions = sessions.and(crate::record::ID.equals(session.0).negated());
                tokens = tokens.and(RefreshToken::session_id.equals(session).negated());
            }
        }
        operation.change(Change::UpdateWhere {
            collection: Session::COLLECTION,
            filter: sessions.and(Session::revoked_at.missing()),
            assignments: vec![Session::revoked_at.set(now), crate::record::UPDATED_AT.set(now)],
        });
        operation.change(Change::DeleteWhere { collection: RefreshToken::COLLECTION, filter: tokens });
    }

    /// Makes every process look anew at a user, session or key, because a commit has changed it: this one at once.
    pub(crate) fn forget(&self, id: impl Into<Uuid>) {
        self.crm.has_changed(Hint::Access(id.into()));
    }

    /// How many people of a role an organization has who can act.
    pub(crate) async fn count_active(&self, organization: OrganizationId, filter: Filter) -> Result<u64> {
        let filter = User::active.equals(true).and(User::removed_at.missing()).and(filter);
        self.crm.repo::<User>().count(Scope::Organization(organization), &filter).await
    }
}

/// Which of a user's sessions.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Which {
    /// Every one.
    All,
    /// This one.
    One(SessionId),
    /// Every one but this.
    AllBut(SessionId),
}

/// The CRM itself, answering a request of somebody who is not known yet.
pub(super) fn nobody(organization: OrganizationId, context: &RequestContext) -> Principal {
    Principal { actor: Actor::System, ..Principal::system(organization) }.with_context(context.clone())
}

/// Whether an optional instant has come.
pub(super) fn is_past(instant: Option<Timestamp>, now: Timestamp) -> bool {
    instant.is_some_and(|instant| instant <= now)
}
