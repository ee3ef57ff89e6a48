//! What cells name by another name than the id: groups, teams, members of staff. Looked up once for a part.

use std::collections::{BTreeSet, HashMap};

use uuid::Uuid;

use super::{
    field::Kind,
    plan::Plan,
    row::{Given, each_cell},
};
use crate::{
    access::Principal,
    account::User,
    contact::Email,
    crm::Crm,
    customer::{CustomerGroup, MAX_GROUPS},
    error::{FieldErrors, Result},
    import_file::{Content, split_list},
    record::Record,
    store::{Filter, Query, fold::fold},
    tenancy::Team,
};

/// The ids of what cells name.
#[derive(Clone, Debug, Default)]
pub(super) struct Lookup {
    groups: HashMap<String, String>,
    owners: HashMap<String, String>,
    teams: HashMap<String, String>,
}

/// What cells name.
#[derive(Debug, Default)]
pub(super) struct Names {
    groups: BTreeSet<String>,
    owners: BTreeSet<String>,
    teams: BTreeSet<String>,
}

impl Names {
    /// Takes in what a record names.
    pub(super) fn take(&mut self, plan: &Plan, content: &Content<'_>) {
        each_cell(plan, content, |field, given| {
            let Given::Text(text) = given else { return };
            match field.kind {
                Kind::Groups => {
                    let names = split_list(text);
                    // A cell with more is refused, whatever they are.
                    if names.len() <= MAX_GROUPS {
                        self.groups.extend(names.iter().filter(|name| !is_id(name)).map(|name| fold(name)));
                    }
                }
                Kind::Owner if !is_id(text) => {
                    self.owners.extend(Email::parse(text).ok().map(|email| email.as_str().to_owned()));
                }
                Kind::Team if !is_id(text) => {
                    self.teams.insert(fold(text));
                }
                _ => {}
            }
        });
    }

    /// Whether a plan has columns in which something may be named.
    pub(super) fn matter_to(plan: &Plan) -> bool {
        let named = |kind: &Kind| matches!(kind, Kind::Groups | Kind::Owner | Kind::Team);
        plan.columns.iter().flatten().any(|field| named(&field.kind))
    }
}

impl Lookup {
    /// Looks up what is named.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) async fn of(crm: &Crm, by: &Principal, names: Names) -> Result<Self> {
        let groups = CustomerGroup::name_key.one_of(names.groups.iter().cloned());
        let groups = found::<CustomerGroup>(crm, by, groups, names.groups.len()).await?;
        let owners = names.owners.iter().filter_map(|email| Email::parse(email).ok());
        let owners = found::<User>(crm, by, User::email.one_of(owners), names.owners.len()).await?;
        let teams = Team::name_key.one_of(names.teams.iter().cloned());
        let teams = found::<Team>(crm, by, teams, names.teams.len()).await?;
        Ok(Self {
            groups: groups.into_iter().map(|group| (group.name_key, group.id.to_string())).collect(),
            owners: owners
                .into_iter()
                .filter(|user| user.removed_at.is_none())
                .map(|user| (user.email.as_str().to_owned(), user.id.to_string()))
                .collect(),
            teams: teams.into_iter().map(|team| (team.name_key, team.id.to_string())).collect(),
        })
    }

    /// The id of a group by its id or name.
    pub(super) fn group(&self, name: &str) -> Option<String> {
        if is_id(name) { Some(name.to_owned()) } else { self.groups.get(&fold(name)).cloned() }
    }

    /// The id of a member of staff by the id or the e-mail address.
    pub(super) fn owner(&self, name: &str) -> Result<String, FieldErrors> {
        if is_id(name) {
            return Ok(name.to_owned());
        }
        let email = Email::parse(name).ok();
        email.and_then(|email| self.owners.get(email.as_str()).cloned()).ok_or_else(|| {
            FieldErrors::one("", "NOT_FOUND", "is neither the id nor the e-mail address of a member of staff")
        })
    }

    /// The id of a team by its id or name.
    pub(super) fn team(&self, name: &str) -> Result<String, FieldErrors> {
        if is_id(name) {
            return Ok(name.to_owned());
        }
        let found = self.teams.get(&fold(name)).cloned();
        found.ok_or_else(|| FieldErrors::one("", "NOT_FOUND", "is neither the id nor the name of a team"))
    }
}

async fn found<T: Record>(crm: &Crm, by: &Principal, filter: Filter, most: usize) -> Result<Vec<T>> {
    if most == 0 {
        return Ok(Vec::new());
    }
    Ok(crm.repo::<T>().find(by.scope(), &Query::new(filter, most)).await?.records)
}

fn is_id(text: &str) -> bool {
    text.len() == 36 && text.parse::<Uuid>().is_ok()
}
