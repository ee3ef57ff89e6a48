use rstest::rstest;
use uuid::Uuid;

use super::*;
use crate::{id::OrganizationId, record::Meta, text::Line, time::Timestamp};

fn customer(number: u128, email: &str, phone: &str) -> Customer {
    let meta = Meta::new(OrganizationId(Uuid::from_u128(1)), Timestamp::default());
    let blank = Customer::blank(CustomerId(Uuid::from_u128(number)), Line::parse("A").unwrap(), meta);
    Customer { email: email.parse().ok(), phone: phone.parse().ok(), ..blank }
}

fn point(kind: ContactKind, value: &str, number: u128, shares: bool) -> ContactPoint {
    let customer_id = CustomerId(Uuid::from_u128(number));
    ContactPoint {
        id: super::super::ContactPointId(Uuid::from_u128(number)),
        kind,
        value: value.to_owned(),
        sharer: if shares { customer_id.to_string() } else { String::new() },
        customer_id,
        meta: Meta::new(OrganizationId(Uuid::from_u128(1)), Timestamp::default()),
    }
}

const PHONE: &str = "+919876543210";

#[rstest]
// Nobody has it; one has it first; one shares what nobody has first any more; both.
#[case(&[], false, Ok(false))]
#[case(&[(2, false)], false, Err(vec![2]))]
#[case(&[(2, false)], true, Ok(true))]
#[case(&[(3, true)], true, Ok(false))]
#[case(&[(3, true)], false, Err(vec![3]))]
#[case(&[(3, true), (2, false)], false, Err(vec![2, 3]))]
#[case(&[(3, true), (2, false)], true, Ok(true))]
// What it has itself is in nobody's way.
#[case(&[(1, false)], false, Ok(false))]
fn a_phone_is_taken_or_shared(
    #[case] holders: &[(u128, bool)],
    #[case] allowed: bool,
    #[case] expected: Result<bool, Vec<u128>>,
) {
    let key = ContactKey::phone(&PHONE.parse().unwrap()).value;
    let points = holders.iter().map(|(number, shares)| point(ContactKind::Phone, &key, *number, *shares));
    let decided = decide_points(None, &customer(1, "", PHONE), &Holders::new(points), allowed);
    let decided = decided.map(|changes| changes.added[0].1);
    assert_eq!(decided.map_err(|clash| clash.customers.iter().map(|id| id.0.as_u128()).collect()), expected);
}

#[test]
fn an_email_is_never_shared_and_only_changes_count() {
    let holders = Holders::new([point(ContactKind::Email, "a@example.com", 2, false)]);
    let clash = decide_points(None, &customer(1, "a@example.com", ""), &holders, true).unwrap_err();
    assert_eq!(clash.fields.into_iter().collect::<Vec<_>>(), ["email"]);
    // A customer that had it before keeps it, whoever else seems to.
    let had = customer(1, "a@example.com", "");
    assert_eq!(decide_points(Some(&had), &had, &holders, false), Ok(PointChanges::default()));
    let gone = Customer { deleted_at: Some(Timestamp::default()), ..had.clone() };
    let freed = decide_points(Some(&had), &gone, &holders, false).unwrap();
    assert_eq!((freed.added.len(), freed.removed.len()), (0, 1));
}
