use serde::Serialize;

use crate::{
    access::{Principal, Role, Visibility},
    contact::{Email, Phone},
    id::{TeamId, UserId},
    record::{Meta, Record},
    repo::Visible,
    store::Filter,
    tenancy::TimeZone,
    text::Line,
    time::Timestamp,
};

/// A person of an organization: staff, or a customer who can sign in.
#[derive(Clone, Debug, Record, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[record(
    collection = "users",
    search(name, email),
    index(name),
    index(email),
    index(role, name),
    index(team_id, name),
    index(-created_at)
)]
pub struct User {
    /// The person's id.
    pub id: UserId,
    /// The name.
    #[record(folded)]
    pub name: Line<200>,
    /// The e-mail address that the person signs in with.
    #[record(folded)]
    pub email: Email,
    /// The phone number, in E.164.
    pub phone: Option<Phone>,
    /// What the person is.
    pub role: Role,
    /// The person's team.
    pub team_id: Option<TeamId>,
    /// Whether the person can sign in.
    pub active: bool,
    /// What the person is good at.
    pub skills: Vec<String>,
    /// How many open queries the person takes at once.
    pub max_concurrent_queries: i64,
    /// The person's time zone; the organization's where not given.
    pub time_zone: Option<TimeZone>,
    /// The media id of the person's picture.
    pub avatar_id: Option<uuid::Uuid>,
    /// Whether signing in takes a second factor.
    pub totp_enabled: bool,
    /// Moves on when the person's rights change; tokens of an earlier one are worth nothing.
    #[serde(skip)]
    pub epoch: i64,
    /// When the person was removed. The record stays, because others name it.
    #[serde(skip)]
    pub removed_at: Option<Timestamp>,
    /// Its version and times.
    #[serde(flatten)]
    pub meta: Meta,
}

impl User {
    /// How many open queries a person takes at once, where nothing else was said.
    pub const USUAL_LOAD: i64 = 5;

    /// A new person.
    #[must_use]
    pub fn new(id: UserId, name: Line<200>, email: Email, role: Role, meta: Meta) -> Self {
        Self {
            id,
            name,
            email,
            phone: None,
            role,
            team_id: None,
            active: true,
            skills: Vec::new(),
            max_concurrent_queries: Self::USUAL_LOAD,
            time_zone: None,
            avatar_id: None,
            totp_enabled: false,
            epoch: 0,
            removed_at: None,
            meta,
        }
    }

    /// Whether the person can act at all.
    #[must_use]
    pub const fn can_act(&self) -> bool {
        self.active && self.removed_at.is_none()
    }

    /// Acting with the role's own permissions and visibility.
    #[must_use]
    pub fn principal(&self) -> Principal {
        Principal::user(self.meta.organization_id, self.id, self.role, self.team_id)
    }
}

impl Visible for User {
    /// Everybody sees themselves, a team lead the team, those above everybody.
    fn visible_to(principal: &Principal) -> Filter {
        let present = Self::removed_at.missing();
        let own = || {
            principal.user_id().map_or(Filter::NONE, |user| {
                Filter::equal(
                    crate::store::FieldRef::declared("id", crate::store::FieldKind::Id),
                    crate::store::Value::Id(user.0),
                )
            })
        };
        match (principal.visibility, principal.team) {
            (Visibility::All, _) => present,
            (Visibility::Team, Some(team)) => present.and(Filter::Or(vec![Self::team_id.equals(team), own()])),
            _ => present.and(own()),
        }
    }
}
