use super::{ComplaintStatus, decide};
use crate::error::Error;

use ComplaintStatus::{Closed, InProgress, Open, Resolved};

#[test]
fn a_closed_complaint_stays_closed_and_every_other_can_go_anywhere() {
    for from in ComplaintStatus::ALL {
        for to in ComplaintStatus::ALL {
            let allowed = from == to || from != Closed;
            match decide::step(from, to) {
                Ok(()) => assert!(allowed, "{from} to {to}"),
                Err(Error::InvalidState(_)) => assert!(!allowed, "{from} to {to}"),
                Err(other) => panic!("{other}"),
            }
        }
    }
}

#[test]
fn figures_follow_the_status() {
    let moved = |before, after| {
        let figures = decide::Figures::between(before, after);
        (figures.total, figures.open)
    };
    assert_eq!(moved(None, Some(Open)), (1, 1));
    assert_eq!(moved(None, Some(Resolved)), (1, 0));
    assert_eq!(moved(Some(Open), Some(InProgress)), (0, 0));
    assert_eq!(moved(Some(InProgress), Some(Closed)), (0, -1));
    assert_eq!(moved(Some(Resolved), Some(Open)), (0, 1));
    assert_eq!(moved(Some(Open), None), (-1, -1));
}

#[test]
fn what_is_taken_up_again_is_not_resolved_any_more() {
    let (first, second) = (Some("2026-01-01T00:00:00Z".parse().unwrap()), "2026-01-02T00:00:00Z".parse().unwrap());
    assert_eq!(decide::resolved_at(Resolved, None, second), Some(second));
    assert_eq!(decide::resolved_at(Closed, first, second), first);
    assert_eq!(decide::resolved_at(InProgress, first, second), None);
}
