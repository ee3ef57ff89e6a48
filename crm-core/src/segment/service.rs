use crate::{crm::Crm, error::Error};

/// The refusal of a segment that is not there.
pub(super) const SEGMENT: Error = Error::NotFound("segment");

/// The segments of an organization.
#[derive(Clone, Copy, Debug)]
pub struct Segments<'a> {
    pub(super) crm: &'a Crm,
}

impl Crm {
    /// Segments.
    #[must_use]
    pub const fn segments(&self) -> Segments<'_> {
        Segments { crm: self }
    }
}
