use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::{
    Accounts, LoginRecord, Password, RefreshToken, Session, SessionId, User,
    accounts::{Which, nobody},
    password::Verified,
    token::Claims,
    totp,
};
use crate::{
    access::{Principal, RequestContext},
    contact::Email,
    error::{Error, FieldErrors, Result},
    id::OrganizationId,
    input::{FromInput, Input},
    limit::address_key,
    operation::Operation,
    record::{Meta, Record, UPDATED_AT},
    secret::{Secret, fingerprint, random_token},
    store::{Change, Scope, StoreError, WhenUnmet},
    text::Line,
    time::Timestamp,
};

/// How often a decision is made anew because somebody else was faster.
pub(super) const ATTEMPTS: usize = 5;

/// What somebody signs in with.
#[derive(Clone, Debug, Input)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignIn {
    /// The e-mail address.
    pub email: Email,
    /// The password.
    pub password: Password,
    /// A code of the second factor, or a recovery code, where the account has one.
    pub totp: Option<Line<32>>,
    /// What to call this device in the list of sessions.
    pub device: Option<Line<200>>,
    /// Where the device says it is. Noted in the audit trail.
    pub location: Option<Location>,
}

/// A place on earth.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Location {
    /// Degrees north, -90 to 90.
    pub lat: f64,
    /// Degrees east, -180 to 180.
    pub lng: f64,
    /// How exact that is, in metres.
    pub accuracy_m: Option<f64>,
}

#[derive(Input)]
struct LocationInput {
    lat: f64,
    lng: f64,
    accuracy_m: Option<f64>,
}

impl FromInput for Location {
    fn from_input(json: &serde_json::value::RawValue) -> Result<Self, FieldErrors> {
        let LocationInput { lat, lng, accuracy_m } = LocationInput::from_input(json)?;
        let mut errors = FieldErrors::new();
        if !(-90.0..=90.0).contains(&lat) {
            errors.add("lat", "OUT_OF_RANGE", "must be between -90 and 90");
        }
        if !(-180.0..=180.0).contains(&lng) {
            errors.add("lng", "OUT_OF_RANGE", "must be between -180 and 180");
        }
        if accuracy_m.is_some_and(|accuracy| accuracy < 0.0) {
            errors.add("accuracy_m", "OUT_OF_RANGE", "must not be negative");
        }
        errors.or(Self { lat, lng, accuracy_m })
    }
}

/// Tokens of a session that has just begun or been refreshed.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// Lets its holder act, until it expires.
    pub access_token: Secret<String>,
    /// How long the access token lives.
    pub expires_in: Duration,
    /// Gets the next pair of tokens, once.
    pub refresh_token: Secret<String>,
    /// How long the refresh token lives.
    pub refresh_expires_in: Duration,
    /// The session.
    pub session: SessionId,
    /// Who signed in.
    pub user: User,
}

/// What a new session is committed with.
pub(super) struct Begun {
    pub(super) session: Session,
    pub(super) refresh_token: RefreshToken,
    pub(super) signed_in: SignedIn,
}

const WRONG: Error = Error::Unauthenticated("The e-mail address or the password is wrong.");
const INVALID_REFRESH: Error = Error::Unauthenticated("The refresh token is not valid: sign in again.");

impl Accounts<'_> {
    /// Signs somebody in: attempts counted first, then the credentials, whether the account is active, the second
    /// factor. An unknown address and a wrong password are answered alike and after the same work.
    ///
    /// # Errors
    /// [`Error::RateLimited`], [`Error::Unauthenticated`], [`Error::Forbidden`] for an account that is not active,
    /// [`Error::TotpRequired`].
    pub async fn sign_in(&self, sign_in: SignIn, context: RequestContext) -> Result<SignedIn> {
        let address = context.ip.map_or_else(|| "here".to_owned(), address_key);
        self.attempt_sign_in(&sign_in.email, &address).await?;
        let found = self.login_of(&sign_in.email).await?;
        let hash = found.as_ref().and_then(|login| login.password_hash.as_ref()).map(|hash| hash.expose().as_str());
        let verified = self.state().hasher.verify(&sign_in.password, hash).await?;
        let login = match found {
            Some(login) if verified != Verified::Wrong => login,
            known => {
                self.note_failure(known.as_ref(), "credentials", &context).await?;
                return Err(WRONG);
            }
        };
        let rehashed = match verified {
            Verified::RightButOld => Some(self.state().hasher.rehash(&sign_in.password, self.crm.random()).await?),
            _ => None,
        };
        let email = sign_in.email.clone();
        let signed_in = self.admit(login, sign_in, rehashed, context).await?;
        self.forgive(&email).await;
        Ok(signed_in)
    }

    /// Begins the session of somebody whose password is right.
    pub(super) async fn admit(
        &self,
        mut login: LoginRecord,
        sign_in: SignIn,
        rehashed: Option<String>,
        context: RequestContext,
    ) -> Result<SignedIn> {
        let verified_hash = login.password_hash.clone();
        for _ in 0..ATTEMPTS {
            let organization = login.meta.organization_id;
            let users = self.crm.repo::<User>();
            let user = users.get(Scope::Organization(organization), login.id).await?;
            let active = self.crm.organizations().is_active(organization).await?;
            let Some(user) = user.filter(|user| active && user.can_act()) else {
                self.note_failure(Some(&login), "not active", &context).await?;
                return Err(Error::Forbidden("The account is not active: ask an Admin.".to_owned()));
            };
            let mut after = login.clone();
            if let Some(hash) = &rehashed {
                after.password_hash = Some(Secret::new(hash.clone()));
            }
            if login.totp_secret.is_some() {
                let Some(code) = &sign_in.totp else { return Err(Error::TotpRequired) };
                if !self.spend_code(&mut after, code).await? {
                    self.note_failure(Some(&login), "second factor", &context).await?;
                    return Err(Error::Unauthenticated("The code of the second factor is wrong or used up."));
                }
            }
            let by = user.principal().with_context(context.clone());
            let now = self.crm.now();
            let begun = self.begin(user, sign_in.device.clone().map(String::from), &context, now)?;
            let mut operation = Operation::at(self.crm, &by, now);
            if !operation.update(&login, &mut after) {
                Self::keep_password(&mut operation, &login);
            }
            Self::insert_session(&mut operation, &begun);
            let location = sign_in.location.map(|location| json!({ "location": location }));
            operation.audit::<User>("auth.login", after.id, None, location);
            match operation.try_commit().await {
                Ok(_) => return Ok(begun.signed_in),
                Err(StoreError::VersionConflict { .. } | StoreError::Unmet { .. } | StoreError::NotFound { .. }) => {
                    let again = self.crm.repo::<LoginRecord>().get(Scope::Installation, login.id).await?;
                    login = again.ok_or(WRONG)?;
                    // A password changed meanwhile is another one than was checked.
                    let same = |left: &Option<Secret<String>>, right: &Option<Secret<String>>| {
                        left.as_ref().map(Secret::expose) == right.as_ref().map(Secret::expose)
                    };
                    if !same(&login.password_hash, &verified_hash)
                        && login.password_hash.as_ref().map(Secret::expose) != rehashed.as_ref()
                    {
                        return Err(WRONG);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(busy())
    }

    /// Makes the commit fail where the password was changed after it was checked: that change has ended the sessions
    /// it found, and must not miss this one.
    fn keep_password(operation: &mut Operation<'_>, login: &LoginRecord) {
        operation.change(Change::Update {
            collection: LoginRecord::COLLECTION,
            id: login.id.0,
            expected_version: None,
            condition: Some((LoginRecord::password_changed_at.equals(login.password_changed_at), WhenUnmet::Abort)),
            assignments: vec![UPDATED_AT.set(operation.now())],
        });
    }

    /// Takes a code of the second factor or a recovery code, each of which works once.
    pub(super) async fn spend_code(&self, login: &mut LoginRecord, code: &str) -> Result<bool> {
        let Some(sealed) = &login.totp_secret else { return Ok(false) };
        // Whatever the address and however many there are: a code has only a million values.
        self.attempt(&format!("totp {}", login.id)).await?;
        let keys = &self.state().settings.encryption_keys;
        let secret = keys.open(&format!("totp {}", login.id), sealed.expose()).map_err(Error::internal)?;
        if let Some(step) = totp::matching_step(&secret, code, self.crm.now(), login.totp_step) {
            login.totp_step = Some(step);
            return Ok(true);
        }
        let mut codes = login.recovery_codes.expose().clone();
        let Some(place) = totp::matching_recovery(login.id.0, code, &codes) else { return Ok(false) };
        codes.remove(place);
        login.recovery_codes = Secret::new(codes);
        Ok(true)
    }

    /// Notes a failed attempt. One for an address that nobody has is noted too, so that both take the same work.
    async fn note_failure(&self, login: Option<&LoginRecord>, reason: &str, context: &RequestContext) -> Result<()> {
        let organization = login.map_or(OrganizationId::INSTALLATION, |login| login.meta.organization_id);
        let by = nobody(organization, context);
        let mut operation = Operation::new(self.crm, &by);
        let user = login.map(|login| login.id.0);
        operation.audit_named(
            "auth.login_failed",
            User::COLLECTION.name,
            user,
            None,
            Some(json!({ "reason": reason })),
        );
        operation.commit().await?;
        Ok(())
    }

    /// A new session with its first tokens, not committed yet.
    pub(super) fn begin(
        &self,
        user: User,
        device: Option<String>,
        context: &RequestContext,
        now: Timestamp,
    ) -> Result<Begun> {
        let meta = Meta::new(user.meta.organization_id, now);
        let session = Session {
            id: self.crm.new_id_at(now),
            user_id: user.id,
            device,
            ip: context.ip.map(|ip| ip.to_string()),
            last_seen_at: now,
            expires_at: now.plus(self.state().settings.session_lifetime),
            revoked_at: None,
            newest_access_id: None,
            denied_access_ids: Vec::new(),
            meta,
        };
        let (refresh_token, signed_in) = self.issue(user, &session, None, now)?;
        Ok(Begun { session, refresh_token, signed_in })
    }

    pub(super) fn insert_session(operation: &mut Operation<'_>, begun: &Begun) {
        let (now, user) = (operation.now(), begun.session.user_id);
        // What has ended is of no use to anybody, and this is a good moment.
        operation.change(Change::DeleteWhere {
            collection: Session::COLLECTION,
            filter: Session::user_id.equals(user).and(Session::expires_at.at_most(now)),
        });
        operation.change(Change::DeleteWhere {
            collection: RefreshToken::COLLECTION,
            filter: RefreshToken::user_id.equals(user).and(RefreshToken::expires_at.at_most(now)),
        });
        operation.insert(&begun.session);
        operation.insert(&begun.refresh_token);
    }

    /// A pair of tokens for a session, the access token's id being greater than that of the one before.
    fn issue(
        &self,
        user: User,
        session: &Session,
        before: Option<uuid::Uuid>,
        now: Timestamp,
    ) -> Result<(RefreshToken, SignedIn)> {
        let settings = &self.state().settings;
        let left = session.expires_at.since(now);
        let (expires_in, refresh_expires_in) =
            (settings.access_lifetime.min(left), settings.refresh_lifetime.min(left));
        // Within one millisecond, and under the clock of another process that is behind, a new id may be smaller.
        let least = before.map_or(uuid::Uuid::nil(), |id| uuid::Uuid::from_u128(id.as_u128().saturating_add(1)));
        let access_id = crate::id::new_uuid(now, self.crm.random()).max(least);
        let seconds = now.as_milliseconds().div_euclid(1000);
        let claims = Claims {
            iss: settings.issuer.clone(),
            aud: settings.audience.clone(),
            sub: user.id,
            org: user.meta.organization_id,
            sid: session.id.0,
            jti: access_id,
            epoch: user.epoch,
            iat: seconds,
            nbf: seconds,
            exp: seconds.saturating_add(i64::try_from(expires_in.as_secs().max(1)).unwrap_or(i64::MAX)),
        };
        let secret = random_token(self.crm.random());
        let token = RefreshToken {
            id: self.crm.new_id_at(now),
            hash: fingerprint(secret.as_bytes()),
            session_id: session.id,
            user_id: user.id,
            access_id,
            expires_at: now.plus(refresh_expires_in),
            used_at: None,
            replaced_by: None,
            superseded_at: None,
            meta: Meta::new(user.meta.organization_id, now),
        };
        let signed_in = SignedIn {
            access_token: Secret::new(settings.signing_keys.sign(&claims)?),
            expires_in,
            refresh_token: Secret::new(secret),
            refresh_expires_in,
            session: session.id,
            user,
        };
        Ok((token, signed_in))
    }

    /// The session of a refresh token, whatever became of the token.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn session_of(&self, refresh_token: &str) -> Result<Option<SessionId>> {
        let hash = RefreshToken::hash.equals(fingerprint(refresh_token.as_bytes()));
        let found = self.crm.repo::<RefreshToken>().first(Scope::Installation, hash).await?;
        Ok(found.map(|token| token.session_id))
    }

    /// Gives the next pair of tokens for a refresh token, which works once.
    ///
    /// A spent one is taken again for ten seconds, as long as nothing of what it gave was used (the answer may have
    /// been lost): what it gave is then taken back. Any other use of a spent one ends the session, for it was stolen.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`], [`Error::TokenRevoked`].
    pub async fn refresh(&self, token: &str, context: RequestContext) -> Result<SignedIn> {
        if token.is_empty() || token.len() > 128 {
            return Err(INVALID_REFRESH);
        }
        let hash = fingerprint(token.as_bytes());
        for _ in 0..ATTEMPTS {
            let tokens = self.crm.repo::<RefreshToken>();
            let spent = tokens.first(Scope::Installation, RefreshToken::hash.equals(hash.clone())).await?;
            let spent = spent.ok_or(INVALID_REFRESH)?;
            let scope = Scope::Organization(spent.meta.organization_id);
            let (sessions, users, organizations) =
                (self.crm.repo::<Session>(), self.crm.repo::<User>(), self.crm.organizations());
            let (session, user, active) = futures::try_join!(
                sessions.get(scope, spent.session_id),
                users.get(scope, spent.user_id),
                organizations.is_active(spent.meta.organization_id),
            )?;
            let now = self.crm.now();
            let session = session.filter(|session| session.revoked_at.is_none() && session.expires_at > now);
            let user = user.filter(|user| active && user.can_act());
            let (Some(session), Some(user)) = (session, user) else { return Err(Error::TokenRevoked) };
            let next = match spent.replaced_by {
                Some(id) => tokens.get(scope, id).await?,
                None => None,
            };
            let by = Principal { session: Some(session.id.0), ..user.principal() }.with_context(context.clone());
            let mut operation = Operation::at(self.crm, &by, now);
            match judge(&spent, next.as_ref(), &session, now) {
                Judgement::Expired => {
                    return Err(Error::Unauthenticated("The refresh token has expired: sign in again."));
                }
                Judgement::Superseded => return Err(INVALID_REFRESH),
                Judgement::Reused => {
                    Self::end_sessions(&mut operation, user.id, Which::One(session.id));
                    operation.audit::<User>(
                        "auth.refresh_reuse",
                        user.id,
                        None,
                        Some(json!({ "session": session.id })),
                    );
                    operation.emit(
                        "auth.refresh_reuse",
                        &user,
                        &json!({ "user_id": user.id, "session_id": session.id }),
                    );
                    operation.commit().await?;
                    self.forget(session.id);
                    return Err(Error::TokenRevoked);
                }
                Judgement::Rotate { take_back } => {
                    let earlier = [Some(spent.access_id), next.as_ref().map(|next| next.access_id)];
                    let latest = earlier.into_iter().chain([session.newest_access_id]).flatten().max();
                    let (token, signed_in) = self.issue(user, &session, latest, now)?;
                    rotate(&mut operation, &spent, take_back.then_some(next).flatten().as_ref(), &session, &token);
                    match operation.try_commit().await {
                        Ok(_) => {
                            if take_back {
                                self.forget(session.id);
                            }
                            return Ok(signed_in);
                        }
                        // Somebody else was faster: look again.
                        Err(StoreError::Unmet { .. } | StoreError::NotFound { .. }) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
        Err(busy())
    }

    /// Ends the session of the person who acts, or all of the person's sessions. Their tokens end at once.
    ///
    /// # Errors
    /// [`Error::Forbidden`] where a service acts.
    pub async fn sign_out(&self, by: &Principal, all: bool) -> Result<()> {
        let user = by.user_id()?;
        let (login, _) = self.own(by).await?;
        let home = Principal { organization: login.meta.organization_id, ..by.clone() };
        let session = by.session.map(SessionId);
        let which = match session {
            Some(session) if !all => Which::One(session),
            _ => Which::All,
        };
        let mut operation = Operation::new(self.crm, &home);
        Self::end_sessions(&mut operation, user, which);
        operation.audit::<User>("auth.logout", user, None, Some(json!({ "all": all })));
        operation.commit().await?;
        match which {
            Which::One(session) => self.forget(session),
            _ => self.forget(user),
        }
        Ok(())
    }
}

fn busy() -> Error {
    Error::Unavailable {
        message: "The account is being changed by many at once: try again.".to_owned(),
        retry_after: Duration::from_secs(1),
    }
}

/// For how long an answer may have been lost.
const GRACE: Duration = Duration::from_secs(10);
/// How many lost answers one session is believed to have had.
const MOST_TAKEN_BACK: usize = 8;

/// What a refresh token that was shown deserves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Judgement {
    /// New tokens; what it gave before is taken back.
    Rotate { take_back: bool },
    /// It is too old.
    Expired,
    /// It was taken back a moment ago, because its answer seemed lost.
    Superseded,
    /// It was used before: whoever shows it now, or showed it then, stole it.
    Reused,
}

fn judge(spent: &RefreshToken, next: Option<&RefreshToken>, session: &Session, now: Timestamp) -> Judgement {
    if let Some(at) = spent.superseded_at {
        return if now.since(at) <= GRACE { Judgement::Superseded } else { Judgement::Reused };
    }
    let Some(used_at) = spent.used_at else {
        return if spent.expires_at <= now { Judgement::Expired } else { Judgement::Rotate { take_back: false } };
    };
    let unused = |next: &RefreshToken| {
        next.used_at.is_none()
            && next.superseded_at.is_none()
            && session.newest_access_id.is_none_or(|newest| newest < next.access_id)
    };
    let lost =
        now.since(used_at) <= GRACE && session.denied_access_ids.len() < MOST_TAKEN_BACK && next.is_some_and(unused);
    if lost { Judgement::Rotate { take_back: true } } else { Judgement::Reused }
}

/// The one commit that makes a rotation: each condition must hold on what is stored, or nothing happens.
fn rotate(
    operation: &mut Operation<'_>,
    spent: &RefreshToken,
    taken_back: Option<&RefreshToken>,
    session: &Session,
    token: &RefreshToken,
) {
    use crate::store::WhenUnmet::Abort;
    let now = operation.now();
    let unused = RefreshToken::used_at.missing().and(RefreshToken::superseded_at.missing());
    let (condition, mut assignments) = match taken_back {
        None => (unused.clone(), vec![RefreshToken::used_at.set(now)]),
        Some(taken_back) => (RefreshToken::replaced_by.equals(taken_back.id), Vec::new()),
    };
    assignments.push(RefreshToken::replaced_by.set(token.id));
    operation.change(Change::Update {
        collection: RefreshToken::COLLECTION,
        id: spent.id.0,
        expected_version: None,
        condition: Some((condition, Abort)),
        assignments,
    });
    let mut session_assignments = vec![Session::last_seen_at.set(now)];
    if let Some(taken_back) = taken_back {
        operation.change(Change::Update {
            collection: RefreshToken::COLLECTION,
            id: taken_back.id.0,
            expected_version: None,
            condition: Some((unused, Abort)),
            assignments: vec![RefreshToken::superseded_at.set(now)],
        });
        let mut denied = session.denied_access_ids.clone();
        denied.push(taken_back.access_id.to_string());
        session_assignments.push(Session::denied_access_ids.set(denied));
    }
    operation.change(Change::Update {
        collection: Session::COLLECTION,
        id: session.id.0,
        expected_version: None,
        condition: Some((Session::revoked_at.missing(), Abort)),
        assignments: session_assignments,
    });
    operation.insert(token);
}
