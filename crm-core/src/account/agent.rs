use super::{NewPassword, User};
use crate::{
    access::Role,
    contact::{Email, PhoneInput},
    error::FieldErrors,
    id::TeamId,
    input::{Input, Patch},
    tenancy::TimeZone,
    text::Line,
};

/// How many skills a person has at most.
const MOST_SKILLS: usize = 50;
/// How many open queries anybody takes at once at most.
const HEAVIEST_LOAD: i64 = 1000;

/// Who is to become a colleague.
#[derive(Clone, Debug, Input)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[input(refuse(id, version, created_at, updated_at, totp_enabled))]
pub struct NewAgent {
    /// The name.
    pub name: Line<200>,
    /// The e-mail address to sign in with, unique in the installation.
    pub email: Email,
    /// The first password; where it is left out one is made up, and shown once in the answer.
    pub password: Option<NewPassword>,
    /// The role: `Admin`, `TL`, `QA` or `Agent`, which is meant where it is left out.
    pub role: Option<Role>,
    /// The team.
    pub team_id: Option<TeamId>,
    /// The phone number.
    pub phone: Option<PhoneInput>,
    /// What the person is good at, at most 50.
    #[input(default)]
    #[cfg_attr(feature = "openapi", schema(required = false))]
    pub skills: Vec<Line<50>>,
    /// How many open queries the person takes at once, 0 to 1000; 5 where it is left out.
    pub max_concurrent_queries: Option<i64>,
    /// The time zone; the organization's where it is left out.
    pub time_zone: Option<TimeZone>,
    /// Whether the person can sign in; so where it is left out.
    pub active: Option<bool>,
}

/// What is to change of a colleague. What is absent stays.
#[derive(Clone, Debug, Default, Input)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[input(ignore(id, version, created_at, updated_at, avatar_id))]
pub struct ChangedAgent {
    /// The name.
    pub name: Option<Line<200>>,
    /// The e-mail address to sign in with.
    pub email: Option<Email>,
    /// A new password. Ends every session of the person.
    pub password: Option<NewPassword>,
    /// The role. A change ends every session of the person.
    pub role: Option<Role>,
    /// The team; `null` for none.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<TeamId>))]
    pub team_id: Patch<TeamId>,
    /// The phone number; `null` for none.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<PhoneInput>))]
    pub phone: Patch<PhoneInput>,
    /// What the person is good at, at most 50.
    pub skills: Option<Vec<Line<50>>>,
    /// How many open queries the person takes at once, 0 to 1000.
    pub max_concurrent_queries: Option<i64>,
    /// The time zone; `null` for the organization's.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<TimeZone>))]
    pub time_zone: Patch<TimeZone>,
    /// Whether the person can sign in. Switching it off ends every session of the person.
    pub active: Option<bool>,
    /// `false` removes the second factor of a person who has lost it, and ends every session of the person. Only the
    /// person can begin one.
    pub totp_enabled: Option<bool>,
}

/// The skills without repetitions, each once whatever its case.
pub(super) fn skills(given: Vec<Line<50>>, errors: &mut FieldErrors) -> Vec<String> {
    if given.len() > MOST_SKILLS {
        errors.add("skills", "TOO_MANY", format!("must have at most {MOST_SKILLS} elements"));
        return Vec::new();
    }
    let mut skills: Vec<String> = Vec::with_capacity(given.len());
    for skill in given.into_iter().map(String::from) {
        if !skills.iter().any(|known| known.to_lowercase() == skill.to_lowercase()) {
            skills.push(skill);
        }
    }
    skills
}

/// How many open queries, where that is a sensible number.
pub(super) fn load(given: i64, errors: &mut FieldErrors) -> i64 {
    if !(0..=HEAVIEST_LOAD).contains(&given) {
        errors.add("max_concurrent_queries", "OUT_OF_RANGE", format!("must be between 0 and {HEAVIEST_LOAD}"));
    }
    given
}

/// Whether changing one into the other takes an active Admin away.
pub(super) fn loses_admin(before: &User, after: &User) -> bool {
    let governs = |user: &User| user.role == Role::Admin && user.can_act();
    governs(before) && !governs(after)
}
