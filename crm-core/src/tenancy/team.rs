use serde::Serialize;

use crate::{
    id::{TeamId, UserId},
    input::{Input, Patch},
    record::{Meta, Record},
    store::fold::fold,
    text::Line,
};

/// A team of staff: its lead and its members see its customers.
#[derive(Clone, Debug, Record, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[record(collection = "teams", search(name, description), unique(name_key), index(name), index(lead_id), index(-created_at))]
pub struct Team {
    /// The team's id.
    pub id: TeamId,
    /// Its name, unique in the organization whatever its case and accents.
    #[record(folded)]
    pub name: Line<100>,
    /// The name as it is compared.
    #[serde(skip)]
    pub name_key: String,
    /// What it is for.
    #[record(folded)]
    pub description: Option<Line<500>>,
    /// Who leads it.
    pub lead_id: Option<UserId>,
    /// Its version and times.
    #[serde(flatten)]
    pub meta: Meta,
}

impl Team {
    pub(super) fn new(id: TeamId, new: NewTeam, meta: Meta) -> Self {
        Self { id, name_key: fold(&new.name), name: new.name, description: new.description, lead_id: new.lead_id, meta }
    }

    pub(super) fn rename(&mut self, name: Line<100>) {
        self.name_key = fold(&name);
        self.name = name;
    }
}

/// A team with those who are in it.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TeamWithMembers {
    /// The team.
    #[serde(flatten)]
    pub team: Team,
    /// Its members, at most 1000, by name.
    pub member_ids: Vec<UserId>,
}

/// What a new team is made of.
#[derive(Clone, Debug, Input)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[input(refuse(id, version, created_at, updated_at))]
pub struct NewTeam {
    /// Its name.
    pub name: Line<100>,
    /// What it is for.
    pub description: Option<Line<500>>,
    /// Who leads it: a colleague, who becomes a member too.
    pub lead_id: Option<UserId>,
    /// Its members. Who was in another team leaves that.
    pub member_ids: Option<Vec<UserId>>,
}

/// What is to change of a team. What is absent stays.
#[derive(Clone, Debug, Default, Input)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[input(ignore(id, version, created_at, updated_at))]
pub struct ChangedTeam {
    /// Its name.
    pub name: Option<Line<100>>,
    /// What it is for; `null` for nothing.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Line<500>>))]
    pub description: Patch<Line<500>>,
    /// Who leads it; `null` for nobody.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<UserId>))]
    pub lead_id: Patch<UserId>,
    /// Its members, all of them.
    pub member_ids: Option<Vec<UserId>>,
}
