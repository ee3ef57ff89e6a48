use std::sync::LazyLock;

use serde_json::json;

use super::{
    Accounts, ChangedAgent, LoginRecord, NewAgent, NewPassword, User,
    accounts::Which,
    agent::{load, loses_admin, skills},
    login::login_key,
    registration::email_taken,
    sign_in::ATTEMPTS,
};
use crate::{
    access::{Actor, PermissionSet, Principal, Role, permissions as p},
    contact::{Country, Phone, PhoneInput},
    crm::Crm,
    error::{Error, FieldErrors, Result},
    id::{TeamId, UserId},
    list::{self, List, ListRequest, Listing},
    operation::Operation,
    record::{Meta, Record, UPDATED_AT},
    rule::{Catalog, CatalogField},
    secret::Secret,
    store::{Change, Filter, Scope},
    tenancy::{Organization, Team},
};

const MISSING: Error = Error::NotFound("agent");
/// What a list shows.
const SHOWN: [&str; 15] = [
    "id",
    "name",
    "email",
    "phone",
    "role",
    "team_id",
    "active",
    "skills",
    "max_concurrent_queries",
    "time_zone",
    "avatar_id",
    "totp_enabled",
    "version",
    "created_at",
    "updated_at",
];

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
    Catalog::new(User::COLLECTION)
        .with(CatalogField::column(User::name))
        .with(CatalogField::column(User::email).normalised(|text| Ok(text.trim().to_lowercase())))
        .with(CatalogField::column(User::phone))
        .with(CatalogField::column(User::role).options(Role::ALL.map(Role::name)))
        .with(CatalogField::column(User::team_id))
        .with(CatalogField::column(User::active))
        .with(CatalogField::column(User::skills))
        .with(CatalogField::column(User::max_concurrent_queries))
        .with(CatalogField::column(User::totp_enabled))
});

/// A colleague who was just added.
#[derive(Clone, Debug)]
pub struct CreatedAgent {
    /// The person.
    pub user: User,
    /// The password that was made up, shown this once; nothing where one was given.
    pub initial_password: Option<Secret<String>>,
}

/// The staff of an organization.
#[derive(Debug)]
pub struct Agents<'a> {
    crm: &'a Crm,
}

impl<'a> Agents<'a> {
    pub(crate) const fn new(crm: &'a Crm) -> Self {
        Self { crm }
    }

    /// What a list of colleagues can be asked for.
    #[must_use]
    pub fn listing() -> Listing<'static> {
        Listing::new(&CATALOG).fields(&SHOWN)
    }

    /// The colleagues whom the principal sees: a team lead the own team, those above everybody.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `users:read`; those of the store.
    pub async fn list(&self, by: &Principal, request: &ListRequest) -> Result<List<User>> {
        by.may(p::USERS_READ)?;
        list::visible(self.crm, by, request, is_staff()).await
    }

    /// One colleague.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `users:read`, [`Error::NotFound`].
    pub async fn get(&self, by: &Principal, id: UserId) -> Result<User> {
        by.may(p::USERS_READ)?;
        let user = self.crm.repo::<User>().visible(by, id, "agent").await?;
        if user.role.is_staff() { Ok(user) } else { Err(MISSING) }
    }

    /// Adds a colleague.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `users:write`, and for a role that is not the principal's to give;
    /// [`Error::Invalid`]; [`Error::Duplicate`] for an address that is taken.
    pub async fn create(&self, by: &Principal, new: NewAgent) -> Result<CreatedAgent> {
        by.may(p::USERS_WRITE)?;
        let role = new.role.unwrap_or(Role::Agent);
        may_appoint(by, role)?;
        let mut errors = FieldErrors::new();
        let phone = match &new.phone {
            Some(given) => errors.take("phone", given.resolve(self.country(by).await?)),
            None => None,
        };
        let skills = skills(new.skills, &mut errors);
        let load = load(new.max_concurrent_queries.unwrap_or(User::USUAL_LOAD), &mut errors);
        self.check_team(by, new.team_id, &mut errors).await?;
        errors.or(())?;
        let accounts = self.crm.accounts();
        if accounts.login_of(&new.email).await?.is_some() {
            return Err(super::registration::taken());
        }
        let (password, initial_password) = match new.password {
            Some(password) => (password, None),
            None => {
                let made_up = made_up_password(self.crm);
                (NewPassword::parse(&made_up)?, Some(Secret::new(made_up)))
            }
        };
        let hash = accounts.state().hasher.hash(&password, "password", self.crm.random()).await?;
        let now = self.crm.now();
        let meta = Meta::new(by.organization, now);
        let id: UserId = self.crm.new_id_at(now);
        let user = User {
            phone,
            team_id: new.team_id,
            active: new.active.unwrap_or(true),
            skills,
            max_concurrent_queries: load,
            time_zone: new.time_zone,
            ..User::new(id, new.name, new.email.clone(), role, meta)
        };
        let mut operation = Operation::at(self.crm, by, now);
        operation.insert(&user);
        operation.insert(&LoginRecord::new(id, &new.email, Some(hash), meta));
        operation.audit::<User>("user.created", id, None, Some(json!(user)));
        operation.emit("user.created", &user, &user);
        operation.commit().await.map_err(email_taken)?;
        Ok(CreatedAgent { user, initial_password })
    }

    /// Changes a colleague. A new role, a new password and switching off end the person's sessions at once.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `users:write`, for somebody of a rank that is not the principal's to change, for
    /// the own role, password and second factor; [`Error::Conflict`] where no active Admin would be left; [`Error::VersionConflict`].
    pub async fn update(
        &self,
        by: &Principal,
        id: UserId,
        changed: ChangedAgent,
        expected_version: Option<i64>,
    ) -> Result<User> {
        by.may(p::USERS_WRITE)?;
        // Looked up first, so that nothing is told of somebody who is not there.
        self.governed(by, id).await?.meta.expect(expected_version)?;
        let mut errors = FieldErrors::new();
        let phone = resolve(&changed.phone, self.country(by).await?, &mut errors);
        let skills = changed.skills.clone().map(|given| skills(given, &mut errors));
        let load = changed.max_concurrent_queries.map(|given| load(given, &mut errors));
        self.check_team(by, changed.team_id.value().copied(), &mut errors).await?;
        errors.or(())?;
        let accounts = self.crm.accounts();
        let hash = match &changed.password {
            Some(password) => Some(accounts.state().hasher.hash(password, "password", self.crm.random()).await?),
            None => None,
        };
        for _ in 0..ATTEMPTS {
            let before = self.governed(by, id).await?;
            before.meta.expect(expected_version)?;
            let weakens = hash.is_some() || before.totp_enabled && changed.totp_enabled == Some(false);
            if by.actor == Actor::User(id) && weakens {
                // A stolen token alone must not change how its owner signs in.
                return Err(Error::Forbidden(
                    "Your own password and second factor are changed in your profile, which asks for the password."
                        .to_owned(),
                ));
            }
            let mut after = before.clone();
            if let Some(role) = changed.role
                && role != before.role
            {
                if by.actor == Actor::User(id) {
                    return Err(Error::Forbidden("Nobody changes the own role.".to_owned()));
                }
                may_appoint(by, role)?;
                after.role = role;
            }
            after.name = changed.name.clone().unwrap_or(after.name);
            after.email = changed.email.clone().unwrap_or(after.email);
            after.team_id = changed.team_id.clone().apply(after.team_id);
            after.phone = phone.clone().apply(after.phone);
            after.skills = skills.clone().unwrap_or(after.skills);
            after.max_concurrent_queries = load.unwrap_or(after.max_concurrent_queries);
            after.time_zone = changed.time_zone.clone().apply(after.time_zone);
            after.active = changed.active.unwrap_or(after.active);
            if by.actor == Actor::User(id) && !after.active {
                return Err(Error::Forbidden("Nobody switches off the own account.".to_owned()));
            }
            match changed.totp_enabled {
                Some(true) if !before.totp_enabled => {
                    let message = "cannot be switched on for somebody else";
                    return Err(Error::invalid("totp_enabled", "NOT_ALLOWED", message));
                }
                Some(wanted) => after.totp_enabled = wanted,
                None => {}
            }
            let ends = before.totp_enabled != after.totp_enabled
                || after.role != before.role
                || before.active && !after.active
                || hash.is_some();
            if ends {
                after.epoch += 1;
            }
            let mut operation = Operation::new(self.crm, by);
            self.keep_an_admin(&mut operation, &before, &after).await?;
            let differs = operation.update(&before, &mut after);
            self.change_login(&mut operation, &before, &after, hash.as_deref()).await?;
            if ends {
                Accounts::end_sessions(&mut operation, id, Which::All);
            }
            if !differs && hash.is_none() {
                return Ok(before);
            }
            let action = if after.role == before.role { "user.updated" } else { "user.role_changed" };
            operation.audit::<User>(action, id, Some(json!(before)), Some(json!(after)));
            operation.emit("user.updated", &after, &after);
            match operation.commit().await {
                Ok(_) => {
                    accounts.forget(id);
                    if hash.is_some() {
                        accounts.forgive(&after.email).await;
                    }
                    return Ok(after);
                }
                // Read again: the person's own version decides, not that of another record in the commit.
                Err(Error::VersionConflict { .. }) => {}
                Err(error) => return Err(email_taken(error)),
            }
        }
        Err(busy())
    }

    /// Removes a colleague, whose address is free again and whose sessions end at once. The person's record stays for
    /// those that name it.
    ///
    /// # Errors
    /// As for [`Agents::update`].
    pub async fn remove(&self, by: &Principal, id: UserId, expected_version: Option<i64>) -> Result<()> {
        by.may(p::USERS_WRITE)?;
        for _ in 0..ATTEMPTS {
            let before = self.governed(by, id).await?;
            before.meta.expect(expected_version)?;
            if by.actor == Actor::User(id) {
                return Err(Error::Forbidden("Nobody removes the own account.".to_owned()));
            }
            let mut operation = Operation::new(self.crm, by);
            let mut after = User {
                active: false,
                removed_at: Some(operation.now()),
                team_id: None,
                epoch: before.epoch + 1,
                ..before.clone()
            };
            self.keep_an_admin(&mut operation, &before, &after).await?;
            operation.update(&before, &mut after);
            operation.change(Change::DeleteWhere {
                collection: LoginRecord::COLLECTION,
                filter: crate::record::ID.equals(id.0),
            });
            operation.change(Change::UpdateWhere {
                collection: Team::COLLECTION,
                filter: Team::lead_id.equals(id),
                assignments: vec![Team::lead_id.set(None), UPDATED_AT.set(operation.now())],
            });
            Accounts::end_sessions(&mut operation, id, Which::All);
            operation.audit::<User>("user.removed", id, Some(json!(before)), None);
            operation.emit("user.removed", &after, &json!({ "id": id }));
            match operation.commit().await {
                Ok(_) => {
                    self.crm.accounts().forget(id);
                    return Ok(());
                }
                Err(Error::VersionConflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(busy())
    }

    /// A colleague whom the principal may change.
    async fn governed(&self, by: &Principal, id: UserId) -> Result<User> {
        let user = self.crm.repo::<User>().visible(by, id, "agent").await?;
        if !user.role.is_staff() {
            return Err(MISSING);
        }
        if by.actor != Actor::User(id) {
            may_appoint(by, user.role)?;
        }
        Ok(user)
    }

    /// Makes the commit fail where no active Admin would be left, also when two go at the same time: both touch the
    /// organization's record, and one of them finds it changed.
    async fn keep_an_admin(&self, operation: &mut Operation<'_>, before: &User, after: &User) -> Result<()> {
        if !loses_admin(before, after) {
            return Ok(());
        }
        let organization = before.meta.organization_id;
        let scope = Scope::Organization(organization);
        let stored = self.crm.repo::<Organization>().get(scope, organization).await?;
        let stored = stored.ok_or(Error::NotFound("organization"))?;
        let admins = self.crm.accounts().count_active(organization, User::role.equals(Role::Admin)).await?;
        if admins <= 1 {
            return Err(Error::Conflict(
                "The organization would have no active Admin: appoint another first.".to_owned(),
            ));
        }
        operation.change(Change::Update {
            collection: Organization::COLLECTION,
            id: organization.0,
            expected_version: Some(stored.meta.version),
            condition: None,
            assignments: vec![UPDATED_AT.set(operation.now())],
        });
        Ok(())
    }

    async fn change_login(
        &self,
        operation: &mut Operation<'_>,
        before: &User,
        after: &User,
        hash: Option<&str>,
    ) -> Result<()> {
        let loses_factor = before.totp_enabled && !after.totp_enabled;
        if before.email == after.email && hash.is_none() && !loses_factor {
            return Ok(());
        }
        let scope = Scope::Organization(before.meta.organization_id);
        let login = self.crm.repo::<LoginRecord>().get(scope, before.id).await?.ok_or(MISSING)?;
        let mut changed = LoginRecord { email: login_key(&after.email), ..login.clone() };
        if let Some(hash) = hash {
            changed.password_hash = Some(Secret::new(hash.to_owned()));
            changed.password_changed_at = operation.now();
        }
        if loses_factor {
            changed.forget_second_factor();
        }
        operation.update(&login, &mut changed);
        Ok(())
    }

    async fn check_team(&self, by: &Principal, team: Option<TeamId>, errors: &mut FieldErrors) -> Result<()> {
        if let Some(team) = team
            && self.crm.repo::<Team>().get(by.scope(), team).await?.is_none()
        {
            errors.add("team_id", "NOT_FOUND", "is no team of the organization");
        }
        Ok(())
    }

    async fn country(&self, by: &Principal) -> Result<Option<Country>> {
        match self.crm.organizations().settings(by).await {
            Ok(organization) => Ok(organization.country),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Those who work for the organization and were not removed.
fn is_staff() -> Filter {
    User::role.one_of(Role::ALL.into_iter().filter(|role| role.is_staff()))
}

/// Whether the principal may give the role, and so change and remove those who have it.
///
/// Nobody gives a role of the own rank or above, with one exception besides the `SuperAdmin`: an Admin appoints other
/// Admins, because an organization with one only is shut out when that one is gone. A key gives only roles that may do
/// no more than the key itself, and never Admin.
fn may_appoint(by: &Principal, role: Role) -> Result<()> {
    let allowed = match (by.actor, role) {
        (_, Role::SuperAdmin | Role::Customer) => false,
        (Actor::System, _) => true,
        (Actor::User(_), Role::Admin) => matches!(by.role, Role::Admin | Role::SuperAdmin),
        (Actor::User(_), _) => role.rank() < by.role.rank(),
        (Actor::ApiKey(_) | Actor::Service, _) => {
            let own = PermissionSet::of(&[p::PROFILE_WRITE]);
            role != Role::Admin && role.permissions().iter().all(|needed| by.permissions.union(own).has(needed))
        }
    };
    if allowed { Ok(()) } else { Err(Error::Forbidden(format!("The role {role} is not yours to give or to take."))) }
}

fn resolve(
    given: &crate::input::Patch<PhoneInput>,
    country: Option<Country>,
    errors: &mut FieldErrors,
) -> crate::input::Patch<Phone> {
    use crate::input::Patch;
    match given {
        Patch::Keep => Patch::Keep,
        Patch::Clear => Patch::Clear,
        Patch::Set(phone) => errors.take("phone", phone.resolve(country)).map_or(Patch::Keep, Patch::Set),
    }
}

/// Sixteen letters and digits that nobody mixes up: 80 bits.
fn made_up_password(crm: &Crm) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz023456789";
    let mut bytes = [0; 16];
    crm.fill_random(&mut bytes);
    let letters: String = bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect();
    [&letters[..4], &letters[4..8], &letters[8..12], &letters[12..]].join("-")
}

fn busy() -> Error {
    Error::Conflict("The person is being changed by many at once: try again.".to_owned())
}

#[cfg(test)]
mod tests {
    use super::may_appoint;
    use crate::{
        access::{Actor, PermissionSet, Principal, Role, permissions as p},
        id::{OrganizationId, UserId},
    };

    #[test]
    fn who_appoints_whom() {
        let user = |role| Principal::user(OrganizationId::INSTALLATION, UserId(uuid::Uuid::nil()), role, None);
        for (by, role, allowed) in [
            (Role::SuperAdmin, Role::Admin, true),
            (Role::SuperAdmin, Role::SuperAdmin, false),
            (Role::Admin, Role::Admin, true),
            (Role::Admin, Role::Agent, true),
            (Role::Admin, Role::SuperAdmin, false),
            (Role::Admin, Role::Customer, false),
            (Role::TL, Role::TL, false),
            (Role::TL, Role::Agent, true),
            (Role::QA, Role::QA, false),
            (Role::Agent, Role::Agent, false),
        ] {
            assert_eq!(may_appoint(&user(by), role).is_ok(), allowed, "{by} appoints {role}");
        }
        let key = |permissions| Principal { actor: Actor::ApiKey(uuid::Uuid::nil()), permissions, ..user(Role::Agent) };
        assert!(may_appoint(&key(PermissionSet::of(&[p::USERS_WRITE])), Role::Agent).is_err(), "more than its own");
        assert!(may_appoint(&key(PermissionSet::every()), Role::TL).is_ok());
        assert!(may_appoint(&key(PermissionSet::every()), Role::Admin).is_err());
    }
}
