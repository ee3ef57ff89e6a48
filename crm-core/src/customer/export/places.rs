use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::{
    error::{Error, Result},
    id::OrganizationId,
};

/// So many exports run at once in a process.
const MOST: usize = 4;
/// So many of them are of one organization.
const MOST_OF_ONE: usize = 2;
/// When to try again.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// The exports that run at once: each holds a connection of the store for as long as it takes.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExportPlaces(Arc<Mutex<HashMap<OrganizationId, usize>>>);

/// A place among them, given back when it is dropped.
#[derive(Debug)]
pub(super) struct ExportPlace {
    places: ExportPlaces,
    organization: OrganizationId,
}

impl ExportPlaces {
    /// Takes a place.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where there is none.
    pub(super) fn take(&self, organization: OrganizationId) -> Result<ExportPlace> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let message = if taken.get(&organization).is_some_and(|own| *own >= MOST_OF_ONE) {
            format!("{MOST_OF_ONE} exports of the organization run already: try again when one has ended.")
        } else if taken.values().sum::<usize>() >= MOST {
            format!("{MOST} exports run already: try again when one has ended.")
        } else {
            *taken.entry(organization).or_default() += 1;
            return Ok(ExportPlace { places: self.clone(), organization });
        };
        Err(Error::Unavailable { message, retry_after: RETRY_AFTER })
    }
}

impl Drop for ExportPlace {
    fn drop(&mut self) {
        let mut taken = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = taken.get_mut(&self.organization) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.organization);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn one_organization_does_not_take_every_place() {
        let places = ExportPlaces::default();
        let of = |number| places.take(OrganizationId(Uuid::from_u128(number)));
        let first = [of(1).unwrap(), of(1).unwrap()];
        assert!(matches!(of(1), Err(Error::Unavailable { .. })));
        let _others = [of(2).unwrap(), of(3).unwrap()];
        assert!(of(4).is_err(), "the process has no more");
        drop(first);
        assert!(of(4).is_ok() && of(1).is_ok());
    }
}
