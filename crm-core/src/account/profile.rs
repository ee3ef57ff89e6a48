use std::time::Duration;

use serde_json::json;

use super::{
    Accounts, LoginRecord, NewPassword, Password, Session, SessionId, User, accounts::Which, password::Verified,
    sign_in::ATTEMPTS,
};
use crate::{
    access::{Principal, permissions::PROFILE_WRITE},
    contact::PhoneInput,
    error::{Error, FieldErrors, Result},
    input::{Input, Patch},
    operation::Operation,
    secret::Secret,
    store::{Query, Scope},
    tenancy::TimeZone,
    text::Line,
};

/// How long after signing in a person counts as the one who signed in, for changes that a thief would make.
const FRESH: Duration = Duration::from_mins(15);
/// How many sessions are listed.
const LISTED: usize = 100;

/// What a person changes of the own profile. What is absent stays.
#[derive(Clone, Debug, Default, Input)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[input(ignore(
    id,
    email,
    role,
    team_id,
    active,
    skills,
    max_concurrent_queries,
    totp_enabled,
    version,
    created_at,
    updated_at
))]
pub struct ChangedProfile {
    /// The name.
    pub name: Option<Line<200>>,
    /// The phone number, as it is dialled in the organization's country or with a calling code.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<PhoneInput>))]
    pub phone: Patch<PhoneInput>,
    /// The time zone; `null` for the organization's.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<TimeZone>))]
    pub time_zone: Patch<TimeZone>,
    /// The media id of a picture.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<uuid::Uuid>))]
    pub avatar_id: Patch<uuid::Uuid>,
    /// A new password. Needs the current one, and ends every other session.
    pub password: Option<NewPassword>,
    /// The current password, where a new one is set.
    pub current_password: Option<Password>,
}

/// A session in the list of its person.
#[derive(Clone, Debug)]
pub struct ListedSession {
    /// The session.
    pub session: Session,
    /// Whether it is the one that asks.
    pub current: bool,
}

impl Accounts<'_> {
    /// The person who acts.
    ///
    /// # Errors
    /// [`Error::Forbidden`] where a service acts.
    pub async fn me(&self, by: &Principal) -> Result<User> {
        Ok(self.own(by).await?.1)
    }

    /// Changes the profile of the person who acts.
    ///
    /// # Errors
    /// [`Error::Invalid`], also where the current password is wrong; [`Error::RateLimited`] after many wrong ones;
    /// [`Error::VersionConflict`] where a version is expected and is not the one stored.
    pub async fn update_profile(
        &self,
        by: &Principal,
        changed: ChangedProfile,
        expected_version: Option<i64>,
    ) -> Result<User> {
        by.may(PROFILE_WRITE)?;
        let (login, user) = self.own(by).await?;
        user.meta.expect(expected_version)?;
        let mut errors = FieldErrors::new();
        let phone = match &changed.phone {
            Patch::Keep => Patch::Keep,
            Patch::Clear => Patch::Clear,
            Patch::Set(phone) => {
                let country = self.country(&user).await?;
                errors.take("phone", phone.resolve(country)).map_or(Patch::Keep, Patch::Set)
            }
        };
        errors.or(())?;
        let new_hash = match changed.password {
            None => None,
            Some(password) => {
                self.confirm_password(&login, changed.current_password.as_ref(), "current_password").await?;
                Some(self.state().hasher.hash(&password, "password", self.crm.random()).await?)
            }
        };
        let mut turn = self.crm.turns().join(login.id.0).await;
        for _ in 0..ATTEMPTS {
            let (now_login, before) = self.own(by).await?;
            before.meta.expect(expected_version)?;
            let same = |login: &LoginRecord| login.password_hash.as_ref().map(|hash| hash.expose().clone());
            if new_hash.is_some() && same(&now_login) != same(&login) {
                return Err(Error::Conflict("The password was changed by somebody else.".to_owned()));
            }
            let mut after = before.clone();
            after.name = changed.name.clone().unwrap_or(after.name);
            after.phone = phone.clone().apply(after.phone);
            after.time_zone = changed.time_zone.clone().apply(after.time_zone);
            after.avatar_id = changed.avatar_id.clone().apply(after.avatar_id);
            let home = Principal { organization: before.meta.organization_id, ..by.clone() };
            let mut operation = Operation::new(self.crm, &home);
            if operation.update(&before, &mut after) {
                operation.audit::<User>("user.updated", after.id, Some(json!(before)), Some(json!(after)));
                operation.emit("user.updated", &after, &after);
            }
            if let Some(hash) = &new_hash {
                let mut after_login = LoginRecord {
                    password_hash: Some(Secret::new(hash.clone())),
                    password_changed_at: operation.now(),
                    ..now_login.clone()
                };
                operation.update(&now_login, &mut after_login);
                let others = by.session.map_or(Which::All, |session| Which::AllBut(SessionId(session)));
                Self::end_sessions(&mut operation, before.id, others);
                operation.audit::<User>("auth.password_changed", before.id, None, None);
            }
            match operation.commit().await {
                Ok(_) => {
                    self.forget(before.id);
                    return Ok(after);
                }
                Err(Error::VersionConflict { .. }) if expected_version.is_none() => turn.wait().await,
                Err(error) => return Err(error),
            }
        }
        Err(Error::Conflict("The profile is being changed by many at once: try again.".to_owned()))
    }

    /// Goes on only where the password is the person's current one.
    async fn confirm_password(&self, login: &LoginRecord, given: Option<&Password>, field: &'static str) -> Result<()> {
        let Some(given) = given else {
            return Err(Error::invalid(field, "REQUIRED", "is required"));
        };
        self.attempt(&format!("password {}", login.id)).await?;
        let hash = login.password_hash.as_ref().map(|hash| hash.expose().as_str());
        match self.state().hasher.verify(given, hash).await? {
            Verified::Wrong => Err(Error::invalid(field, "WRONG", "is not the current password")),
            _ => Ok(()),
        }
    }

    /// Goes on only where the person signed in a moment ago or gives the password again: a stolen token alone must
    /// not change how its owner signs in.
    pub(super) async fn confirm_presence(
        &self,
        by: &Principal,
        login: &LoginRecord,
        password: Option<&Password>,
    ) -> Result<()> {
        if password.is_none()
            && let Some(session) = by.session
        {
            let session = self.crm.repo::<Session>().get(Scope::Installation, SessionId(session)).await?;
            if session.is_some_and(|session| self.crm.now().since(session.meta.created_at) <= FRESH) {
                return Ok(());
            }
        }
        self.confirm_password(login, password, "password").await
    }

    /// The country by which the person's phone number is read.
    async fn country(&self, user: &User) -> Result<Option<crate::contact::Country>> {
        match self.crm.organizations().settings(&user.principal()).await {
            Ok(organization) => Ok(organization.country),
            // A SuperAdmin has none.
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The sessions of the person who acts that have not ended, the newest first, at most 100.
    ///
    /// # Errors
    /// [`Error::Forbidden`] where a service acts.
    pub async fn sessions(&self, by: &Principal) -> Result<Vec<ListedSession>> {
        let user = by.user_id()?;
        let live = Session::user_id
            .equals(user)
            .and(Session::revoked_at.missing())
            .and(Session::expires_at.greater_than(self.crm.now()));
        let query = Query::new(live, LISTED).sorted(vec![crate::record::CREATED_AT.descending()]);
        let found = self.crm.repo::<Session>().find(Scope::Installation, &query).await?;
        let listed = |session: Session| ListedSession { current: by.session == Some(session.id.0), session };
        Ok(found.records.into_iter().map(listed).collect())
    }

    /// Ends one session of the person who acts. Its tokens end at once.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a session of somebody else or one that has ended.
    pub async fn end_session(&self, by: &Principal, id: SessionId) -> Result<()> {
        let user = by.user_id()?;
        let session = self.crm.repo::<Session>().get(Scope::Installation, id).await?;
        let session = session.filter(|session| session.user_id == user && session.revoked_at.is_none());
        let session = session.ok_or(Error::NotFound("session"))?;
        let home = Principal { organization: session.meta.organization_id, ..by.clone() };
        let mut operation = Operation::new(self.crm, &home);
        Self::end_sessions(&mut operation, user, Which::One(id));
        operation.audit::<User>("auth.session_ended", user, None, Some(json!({ "session": id })));
        operation.commit().await?;
        self.forget(id);
        Ok(())
    }
}
