//! Who the customers are: made up, every column filled as in life, the same in each run.

use crm_core::{
    customer::{Customer, CustomerStatus},
    id::{CustomerId, OrganizationId},
    record::Meta,
    store::Money,
    time::Timestamp,
};
use uuid::Uuid;

const FIRST: [&str; 20] = [
    "Amélie",
    "Björn",
    "Chiara",
    "Dmitri",
    "Esra",
    "Farid",
    "Greta",
    "Hiroshi",
    "Ingrid",
    "José",
    "Katarzyna",
    "Liam",
    "Mariana",
    "Nkechi",
    "Olga",
    "Priya",
    "Quentin",
    "Rosa",
    "Siddharth",
    "Thanh",
];
const LAST: [&str; 20] = [
    "Andersson",
    "Bauer",
    "Castillo",
    "Dubois",
    "Eriksen",
    "Fernández",
    "García",
    "Hoffmann",
    "Iyer",
    "Jankowski",
    "Kowalczyk",
    "Lindqvist",
    "Moreau",
    "Nakamura",
    "Okonkwo",
    "Petrov",
    "Quispe",
    "Rossi",
    "Schneider",
    "Takahashi",
];

/// Five letters that stand for a number: words that few customers share.
fn word(number: usize) -> String {
    let mut rest = (number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
    (0..5)
        .map(|place| {
            let letters: &[u8] = if place % 2 == 0 { b"bcdfghjklmnprstvwz" } else { b"aeiouy" };
            let letter = letters[(rest % letters.len() as u64) as usize];
            rest /= letters.len() as u64;
            char::from(letter)
        })
        .collect()
}

/// What somebody would search: a part of the name of about one customer in two thousand.
pub(crate) fn term(number: usize) -> String {
    word(number)[..4].to_owned()
}

/// A name.
pub(crate) fn name(number: usize) -> String {
    let mixed = number.wrapping_mul(7919);
    format!("{} {}{} {}", FIRST[mixed % 20], word(number), number % 10, LAST[mixed / 20 % 20])
}

pub(crate) fn instant(number: usize) -> Timestamp {
    Timestamp::from_milliseconds(1_600_000_000_000 + number as i64 * 100_000).unwrap()
}

pub(crate) fn id(number: usize) -> Uuid {
    let random = (number as u64).wrapping_mul(6_364_136_223_846_793_005).to_be_bytes();
    let mut bytes = [0; 10];
    bytes[..8].copy_from_slice(&random);
    let milliseconds = instant(number).as_milliseconds() as u64;
    uuid::Builder::from_unix_timestamp_millis(milliseconds, &bytes).into_uuid()
}

pub(crate) fn customer(organization: OrganizationId, number: usize) -> Customer {
    let now = instant(number);
    let mut customer =
        Customer::blank(CustomerId(id(number)), name(number).parse().unwrap(), Meta::new(organization, now));
    customer.email = Some(format!("{}.{number}@example.com", word(number)).parse().unwrap());
    customer.status = if number.is_multiple_of(3) { CustomerStatus::Inactive } else { CustomerStatus::Active };
    customer.tags = vec!["newsletter".to_owned(), format!("cohort-{}", number % 50)];
    customer.spend = Money::from_ten_thousandths((number * 7919 % 100_000_000) as i64).unwrap();
    customer.visits = (number % 50) as i64;
    customer.last_active = Some(now);
    customer
}
