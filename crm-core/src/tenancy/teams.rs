use std::sync::LazyLock;

use serde_json::json;

use super::{ChangedTeam, NewTeam, Team, TeamWithMembers};
use crate::{
    access::{
        Principal, Visibility,
        permissions::{TEAMS_READ, TEAMS_WRITE},
    },
    account::User,
    crm::Crm,
    error::{Error, FieldErrors, Result},
    id::{TeamId, UserId},
    list::{self, List, ListRequest, Listing},
    operation::Operation,
    record::{Meta, Record, UPDATED_AT},
    rule::{Catalog, CatalogField},
    store::{Change, Filter, Query},
};

/// How many members a team has at most.
const MOST_MEMBERS: usize = 1000;
/// How often a change is made anew because somebody else was faster.
const ATTEMPTS: usize = 5;
const MISSING: Error = Error::NotFound("team");
/// What a list shows.
const SHOWN: [&str; 7] = ["id", "name", "description", "lead_id", "version", "created_at", "updated_at"];

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
    Catalog::new(Team::COLLECTION)
        .with(CatalogField::column(Team::name))
        .with(CatalogField::column(Team::description))
        .with(CatalogField::column(Team::lead_id))
});

/// The teams of an organization.
#[derive(Debug)]
pub struct Teams<'a> {
    crm: &'a Crm,
}

impl<'a> Teams<'a> {
    pub(crate) const fn new(crm: &'a Crm) -> Self {
        Self { crm }
    }

    /// What a list of teams can be asked for.
    #[must_use]
    pub fn listing() -> Listing<'static> {
        Listing::new(&CATALOG).fields(&SHOWN)
    }

    /// The teams.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `teams:read`; those of the store.
    pub async fn list(&self, by: &Principal, request: &ListRequest) -> Result<List<Team>> {
        by.may(TEAMS_READ)?;
        list::everything(self.crm, by, request, Filter::ALL).await
    }

    /// One team with its members.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `teams:read`, [`Error::NotFound`].
    pub async fn get(&self, by: &Principal, id: TeamId) -> Result<TeamWithMembers> {
        by.may(TEAMS_READ)?;
        let team = self.crm.repo::<Team>().get(by.scope(), id).await?.ok_or(MISSING)?;
        let member_ids = self.members(by, id).await?;
        Ok(TeamWithMembers { team, member_ids })
    }

    /// Adds a team. For those who see the whole organization.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::Invalid`], [`Error::Duplicate`] for a name that is taken.
    pub async fn create(&self, by: &Principal, new: NewTeam) -> Result<TeamWithMembers> {
        by.may(TEAMS_WRITE)?;
        self.governs_all(by)?;
        let mut wanted = new.member_ids.clone().unwrap_or_default();
        wanted.extend(new.lead_id);
        self.check_people(by, &wanted, new.lead_id).await?;
        let now = self.crm.now();
        let team = Team::new(self.crm.new_id_at(now), new, Meta::new(by.organization, now));
        let mut operation = Operation::at(self.crm, by, now);
        operation.insert(&team);
        let moved = self.move_members(&mut operation, by, team.id, &wanted, false).await?;
        operation.audit::<Team>("team.created", team.id, None, Some(json!(team)));
        operation.emit("team.created", &team, &team);
        operation.commit().await.map_err(name_taken)?;
        self.forget(&moved);
        let member_ids = self.members(by, team.id).await?;
        Ok(TeamWithMembers { team, member_ids })
    }

    /// Changes a team. A team lead changes the name and the description of the own team; who leads it and who is in
    /// it is for those who see the whole organization.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::NotFound`], [`Error::Invalid`], [`Error::Duplicate`], [`Error::VersionConflict`].
    pub async fn update(
        &self,
        by: &Principal,
        id: TeamId,
        changed: ChangedTeam,
        expected_version: Option<i64>,
    ) -> Result<TeamWithMembers> {
        by.may(TEAMS_WRITE)?;
        let teams = self.crm.repo::<Team>();
        for _ in 0..ATTEMPTS {
            let before = teams.get(by.scope(), id).await?.ok_or(MISSING)?;
            if by.team != Some(id) || changed.lead_id.is_given() || changed.member_ids.is_some() {
                self.governs_all(by)?;
            }
            before.meta.expect(expected_version)?;
            let changed = changed.clone();
            let new_lead = changed.lead_id.value().copied();
            let mut wanted = changed.member_ids.clone().unwrap_or_default();
            let mut after = before.clone();
            if let Some(name) = changed.name {
                after.rename(name);
            }
            after.description = changed.description.apply(after.description);
            after.lead_id = changed.lead_id.apply(after.lead_id);
            // Whoever leads a team is in it.
            wanted.extend(after.lead_id.filter(|_| changed.member_ids.is_some() || new_lead.is_some()));
            self.check_people(by, &wanted, new_lead).await?;
            let mut operation = Operation::new(self.crm, by);
            let replaces = changed.member_ids.is_some();
            let moved = self.move_members(&mut operation, by, id, &wanted, replaces).await?;
            if !operation.update(&before, &mut after) && moved.is_empty() {
                break;
            }
            operation.audit::<Team>("team.updated", id, Some(json!(before)), Some(json!(after)));
            operation.emit("team.updated", &after, &after);
            match operation.commit().await {
                Ok(_) => {
                    self.forget(&moved);
                    break;
                }
                Err(Error::VersionConflict { .. }) if expected_version.is_none() => {}
                Err(error) => return Err(name_taken(error)),
            }
        }
        let team = teams.get(by.scope(), id).await?.ok_or(MISSING)?;
        let member_ids = self.members(by, id).await?;
        Ok(TeamWithMembers { team, member_ids })
    }

    /// Removes a team that has no members any more; its customers stay, and belong to no team. They are let go in
    /// commits of 100 first; should that be interrupted, removing the team again goes on with it.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::NotFound`], [`Error::Conflict`] while somebody is in it,
    /// [`Error::VersionConflict`].
    pub async fn remove(&self, by: &Principal, id: TeamId, expected_version: Option<i64>) -> Result<()> {
        by.may(TEAMS_WRITE)?;
        let team = self.crm.repo::<Team>().get(by.scope(), id).await?.ok_or(MISSING)?;
        self.governs_all(by)?;
        team.meta.expect(expected_version)?;
        if !self.members(by, id).await?.is_empty() {
            return Err(Error::Conflict("The team has members: move them first.".to_owned()));
        }
        self.crm.customers().leave_team(by, id).await?;
        let mut operation = Operation::new(self.crm, by);
        operation.delete(&team);
        operation.audit::<Team>("team.deleted", id, Some(json!(team)), None);
        operation.emit("team.deleted", &team, &json!({ "id": id }));
        operation.commit().await?;
        // Whoever came meanwhile.
        self.crm.customers().leave_team(by, id).await
    }

    fn governs_all(&self, by: &Principal) -> Result<()> {
        if by.visibility == Visibility::All {
            Ok(())
        } else {
            Err(Error::Forbidden("A team lead changes the name and the description of the own team only.".to_owned()))
        }
    }

    async fn members(&self, by: &Principal, id: TeamId) -> Result<Vec<UserId>> {
        let members = User::team_id.equals(id).and(User::removed_at.missing());
        let query = Query::new(members, MOST_MEMBERS).sorted(vec![User::name.ascending()]);
        let found = self.crm.repo::<User>().find(by.scope(), &query).await?;
        Ok(found.records.into_iter().map(|user| user.id).collect())
    }

    async fn check_people(&self, by: &Principal, wanted: &[UserId], lead: Option<UserId>) -> Result<()> {
        if wanted.len() > MOST_MEMBERS {
            let message = format!("must have at most {MOST_MEMBERS} elements");
            return Err(Error::invalid("member_ids", "TOO_MANY", message));
        }
        let found = self.crm.repo::<User>().get_many(by.scope(), wanted).await?;
        let is_colleague =
            |id: UserId| found.iter().any(|user| user.id == id && user.role.is_staff() && user.removed_at.is_none());
        let mut errors = FieldErrors::new();
        if lead.is_some_and(|lead| !is_colleague(lead)) {
            errors.add("lead_id", "NOT_FOUND", "is no colleague of the organization");
        }
        for (place, id) in wanted.iter().enumerate() {
            if Some(*id) != lead && !is_colleague(*id) {
                errors.add(format!("member_ids[{place}]"), "NOT_FOUND", "is no colleague of the organization");
            }
        }
        Ok(errors.or(())?)
    }

    /// Moves people into the team, and out of it where the list replaces the old one. Answers who moved.
    async fn move_members(
        &self,
        operation: &mut Operation<'_>,
        by: &Principal,
        id: TeamId,
        wanted: &[UserId],
        replaces: bool,
    ) -> Result<Vec<UserId>> {
        let present = self.members(by, id).await?;
        let joining = wanted.iter().filter(|user| !present.contains(user)).map(|user| (*user, Some(id)));
        let leaving = present.iter().filter(|user| replaces && !wanted.contains(user)).map(|user| (*user, None));
        let mut moves: Vec<(UserId, Option<TeamId>)> = joining.chain(leaving).collect();
        moves.sort_unstable();
        moves.dedup();
        for (user, team) in &moves {
            operation.change(Change::Update {
                collection: User::COLLECTION,
                id: user.0,
                expected_version: None,
                condition: None,
                assignments: vec![User::team_id.set(*team), UPDATED_AT.set(operation.now())],
            });
            let team = json!({ "team_id": team });
            operation.audit::<User>("user.team_changed", *user, None, Some(team));
        }
        Ok(moves.into_iter().map(|(user, _)| user).collect())
    }

    fn forget(&self, users: &[UserId]) {
        let accounts = self.crm.accounts();
        users.iter().for_each(|user| accounts.forget(*user));
    }
}

fn name_taken(error: Error) -> Error {
    match error {
        Error::Duplicate { fields, matches, .. } if fields.iter().any(|field| field == "name_key") => {
            Error::Duplicate {
                message: "There is a team of this name already.".to_owned(),
                fields: vec!["name".to_owned()],
                matches,
            }
        }
        other => other,
    }
}
