use std::{sync::Arc, time::Duration};

use proptest::prelude::*;
use rstest::rstest;
use serde_json::{json, value::RawValue};
use uuid::Uuid;

use super::{List, ListRequest, Listing, everything, pick, visible};
use crate::{
    access::{Principal, Role},
    crm::Crm,
    error::{Error, FieldErrors},
    id::{OrganizationId, UserId},
    port::ManualClock,
    record::{Meta, Record},
    repo::Visible,
    rule::{Catalog, CatalogField, RuleType},
    store::{Change, Comparison, Filter, Json, Money, Scope, memory::MemoryStore},
    time::Timestamp,
};

crate::record_ids! {
    /// A guest.
    GuestId,
}

#[derive(Clone, Debug, PartialEq, Record, serde::Serialize)]
#[record(collection = "guests", search(name, email))]
struct Guest {
    id: GuestId,
    #[record(folded)]
    name: String,
    #[record(folded)]
    email: Option<String>,
    spend: Money,
    seen_at: Timestamp,
    tags: Vec<String>,
    owner_id: Option<Uuid>,
    #[record(custom)]
    custom: Json,
    #[serde(flatten)]
    meta: Meta,
}

impl Visible for Guest {
    fn visible_to(principal: &Principal) -> Filter {
        match principal.actor.id() {
            Some(id) if principal.role == Role::Agent => Self::owner_id.equals(Some(id)),
            _ => Filter::ALL,
        }
    }
}

fn catalog() -> Catalog {
    Catalog::new(Guest::COLLECTION)
        .with(CatalogField::column(Guest::name))
        .with(CatalogField::column(Guest::email))
        .with(CatalogField::column(Guest::spend))
        .with(CatalogField::column(Guest::seen_at))
        .with(CatalogField::column(Guest::tags))
        .with(CatalogField::custom("custom", "city", RuleType::Text))
        .with(CatalogField::custom("custom", "homeTown", RuleType::Text))
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn read(given: &[(&str, &str)]) -> Result<ListRequest, FieldErrors> {
    Listing::new(&catalog())
        .sortable(&["name", "spend", "created_at"])
        .fields(&["id", "name", "spend", "custom"])
        .include(&["notes"])
        .extra(&["deleted"])
        .from_pairs(&pairs(given))
}

fn read_json(body: &str) -> Result<ListRequest, FieldErrors> {
    let body: Box<RawValue> = serde_json::from_str(body).unwrap();
    Listing::new(&catalog())
        .sortable(&["name", "spend", "created_at"])
        .fields(&["id", "name", "spend", "custom"])
        .extra(&["deleted"])
        .from_json(&body)
}

#[rstest]
#[case(&[("name", "Ann")], "name is \"Ann\"")]
#[case(&[("spend[gte]", "100.50"), ("spend[lt]", "200")], "spend is at least 100.5 and spend is less than 200")]
#[case(&[("tags", "vip")], "tags has \"vip\"")]
#[case(&[("tags[in]", "vip, new")], "tags has one of \"vip\" or \"new\"")]
#[case(&[("tags[nin]", "vip")], "tags has none of \"vip\"")]
#[case(&[("createdAt[gt]", "2026-01-01")], "created at is after 2026-01-01T00:00:00.000Z")]
#[case(&[("created_at[gte]", "now-30d")], "created at is at or after 30 days ago")]
#[case(&[("created_at[lt]", "now 2h")], "created at is before 2 hours from now")]
#[case(&[("created_at[lt]", "2026-01-31T09:30:00 05:30")], "created at is before 2026-01-31T04:00:00.000Z")]
#[case(&[("email[exists]", "false")], "email is not known")]
#[case(&[("custom.homeTown", "Pune")], "homeTown is \"Pune\"")]
#[case(&[("custom.city[ne]", "Pune"), ("name[contains]", "an")], "city is not \"Pune\" and name contains \"an\"")]
#[case(
    &[("filter", r#"{"or":[{"field":"spend","op":">","value":1},{"field":"spend","op":"<","value":-1}]}"#), ("name", "A")],
    "(spend is more than 1 or spend is less than -1) and name is \"A\""
)]
fn a_query_string_means(#[case] given: &[(&str, &str)], #[case] rule: &str) {
    assert_eq!(read(given).unwrap().rule.unwrap().to_string(), rule);
}

#[rstest]
#[case(&[("nam", "Ann")], &["nam"])]
#[case(&[("name[like]", "Ann")], &["name[like]"])]
#[case(&[("name[$gt]", "")], &["name[$gt]"])]
#[case(&[("spend", "much"), ("limit", "0"), ("page", "0"), ("count", "yes")], &["spend", "limit", "page", "count"])]
#[case(&[("limit", "101")], &["limit"])]
#[case(&[("limit", "5"), ("limit", "6")], &["limit"])]
#[case(&[("created_at", "2026-01-01"), ("createdAt", "2026-01-02")], &["createdAt"])]
#[case(&[("tags", "a"), ("tags", "b")], &["tags"])]
#[case(&[("tags[eq]", "a")], &["tags[eq]"])]
#[case(&[("sort", "-spend,-spend")], &["sort"])]
#[case(&[("sort", "email")], &["sort"])]
#[case(&[("sort", "name,,spend")], &["sort"])]
#[case(&[("sort", "")], &["sort"])]
#[case(&[("fields", "id,password")], &["fields"])]
#[case(&[("include", "orders")], &["include"])]
#[case(&[("cursor", "x"), ("page", "2")], &["page"])]
#[case(&[("page", "1001"), ("limit", "100")], &["page"])]
#[case(&[("page", "18446744073709551615")], &["page"])]
#[case(&[("filter", "{")], &["filter"])]
#[case(&[("filter", r#"{"or":[{"field":"name","op":"=="}]}"#)], &["filter.or[0].value"])]
#[case(&[("search", "a b c d e f g h i j k")], &["search"])]
#[case(&[("name", "")], &["name"])]
#[case(&[("spend[", "1")], &["spend["])]
#[case(&[("", "1")], &[""])]
fn a_wrong_query_string_is_refused(#[case] given: &[(&str, &str)], #[case] fields: &[&str]) {
    let errors = read(given).unwrap_err();
    assert_eq!(errors.iter().map(|error| error.field.as_str()).collect::<Vec<_>>(), fields, "{errors}");
}

#[test]
fn a_refusal_says_what_is_allowed() {
    let errors = read(&[("spent", "1"), ("spend[like]", "1"), ("sort", "emial")]).unwrap_err().to_string();
    assert!(errors.contains("Did you mean spend?"), "{errors}");
    assert!(errors.contains("seen_at") && errors.contains("deleted"), "{errors}");
    assert!(errors.contains("Allowed: gt, gte, lt, lte, eq, ne, in, nin, exists and between"), "{errors}");
    assert!(errors.contains("name, spend, custom.city and custom.homeTown"), "{errors}");
}

#[test]
fn a_request_has_its_parts() {
    let request = read(&[
        ("search", "  zoë   ann zoë "),
        ("sort", "-spend, custom.city"),
        ("fields", "id,custom.city"),
        ("include", "notes"),
        ("limit", "50"),
        ("page", "3"),
        ("deleted", "true"),
    ])
    .unwrap();
    assert_eq!(request.search, ["zoë", "ann"]);
    let sort: Vec<(&str, bool)> = request.sort.iter().map(|sort| (&*sort.field.name, sort.descending)).collect();
    assert_eq!(sort, [("spend", true), ("custom", false)]);
    assert_eq!((request.fields.len(), request.include.len(), request.limit, request.page), (2, 1, 50, Some(3)));
    assert!(request.flag("deleted").unwrap());
    assert!(request.rule.is_none());
    let plain = read(&[("search", "")]).unwrap();
    assert_eq!((plain.limit, plain.page, plain.search.len()), (20, None, 0));
    assert_eq!(plain.sort[0].field.name, "created_at");
}

#[test]
fn a_body_means_the_same() {
    let request = read_json(
        r#"{"filter":{"field":"spend","op":">","value":1},"search":"ann","sort":["-spend","name"],"fields":"id,name",
            "limit":5,"count":true,"cursor":null,"deleted":true}"#,
    )
    .unwrap();
    assert_eq!(request.rule.unwrap().to_string(), "spend is more than 1");
    assert_eq!((request.sort.len(), request.fields.len(), request.limit, request.count), (2, 2, 5, true));
    assert_eq!(request.extra.get("deleted").map(String::as_str), Some("true"));
    for (body, field) in [
        (r#"{"filters":{}}"#, "filters"),
        (r#"{"filter":{"and":[{"field":"spend","op":">","value":"1"}]}}"#, "filter.and[0].value"),
        (r#"{"limit":"5"}"#, "limit"),
        (r#"{"limit":5.5}"#, "limit"),
        (r#"{"limit":1e9}"#, "limit"),
        (r#"{"count":1}"#, "count"),
        (r#"{"sort":[1]}"#, "sort"),
        (r#"{"sort":{}}"#, "sort"),
        (r#"{"search":["a"]}"#, "search"),
        (r#"{"deleted":{}}"#, "deleted"),
        (r#"{"spend":5}"#, "spend"),
        ("[]", ""),
    ] {
        let errors = read_json(body).unwrap_err();
        assert_eq!(errors.iter().map(|error| error.field.as_str()).collect::<Vec<_>>(), [field], "{body}");
    }
}

proptest! {
    #[test]
    fn no_query_string_panics(pairs in prop::collection::vec((any::<String>(), any::<String>()), 0..5)) {
        let _ = Listing::new(&catalog()).from_pairs(&pairs);
    }

    #[test]
    fn no_parameter_panics(
        name in prop::sample::select(vec![
            "filter", "search", "sort", "fields", "include", "limit", "cursor", "page", "count", "name", "spend[gte]",
            "tags", "created_at[between]", "seen_at[within_last]", "custom.city[in]", "email[exists]",
        ]),
        bytes: Vec<u8>,
    ) {
        let _ = read(&[(name, &String::from_utf8_lossy(&bytes))]);
    }

    #[test]
    fn no_body_panics(member in "[a-z]{0,8}", text: String, number: f64) {
        let _ = read_json(&json!({member: text, "limit": number, "sort": [text], "filter": {"field": text}}).to_string());
    }
}

struct Hotel {
    crm: Crm,
    clock: Arc<ManualClock>,
    by: Principal,
}

fn instant(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A hotel with guests, the first the oldest.
async fn hotel(guests: &[(&str, &str, &str)]) -> Hotel {
    let clock = Arc::new(ManualClock::new(instant("2026-03-01T00:00:00Z")));
    let crm = Crm::builder(Arc::new(MemoryStore::new())).clock(Arc::clone(&clock)).build();
    crm.store().migrate(&[Guest::COLLECTION], &|_, _, _| {}).await.unwrap();
    let organization = OrganizationId(Uuid::from_u128(1));
    let by = Principal::system(organization);
    let hotel = Hotel { crm, clock, by };
    for (number, (name, email, spend)) in guests.iter().enumerate() {
        hotel.arrives(number, name, email, spend).await;
    }
    hotel
}

impl Hotel {
    async fn arrives(&self, number: usize, name: &str, email: &str, spend: &str) {
        let hours = Duration::from_hours(u64::try_from(number).unwrap());
        let at = instant("2026-02-01T00:00:00Z").plus(hours);
        let guest = Guest {
            id: GuestId(Uuid::from_u128(u128::try_from(number).unwrap() + 10)),
            name: name.to_owned(),
            email: (!email.is_empty()).then(|| email.to_owned()),
            spend: spend.parse().unwrap(),
            seen_at: at,
            tags: Vec::new(),
            owner_id: number.is_multiple_of(2).then(|| Uuid::from_u128(5)),
            custom: Json::from_trusted(r#"{"city":"Pune","debt":99999999999999.9999}"#),
            meta: Meta::new(self.by.organization, at),
        };
        let change = Change::Insert { collection: Guest::COLLECTION, rows: vec![guest.to_row()] };
        self.crm.store().commit(Scope::Organization(self.by.organization), vec![change]).await.unwrap();
    }

    async fn list(&self, given: &[(&str, &str)]) -> Result<List<Guest>, Error> {
        everything(&self.crm, &self.by, &read(given)?, Filter::ALL).await
    }
}

fn names(list: &List<Guest>) -> Vec<&str> {
    list.data.iter().map(|guest| guest.name.as_str()).collect()
}

const GUESTS: [(&str, &str, &str); 5] = [
    ("Ann", "ann@example.com", "10"),
    ("Bob", "", "30"),
    ("Jonathan Sharma", "jonathan@example.com", "20"),
    ("Zoë", "zoe@example.org", "20"),
    ("Élodie", "", "5"),
];

#[tokio::test]
async fn pages_follow_each_other_and_stay_stable_under_inserts() {
    let hotel = hotel(&GUESTS).await;
    let first = hotel.list(&[("sort", "-spend"), ("limit", "2")]).await.unwrap();
    assert_eq!(names(&first), ["Bob", "Zoë"]);
    assert!(first.page.has_more && first.page.total.is_none());
    hotel.arrives(9, "Rich", "", "1000").await;
    let cursor = first.page.next_cursor.unwrap();
    let second =
        hotel.list(&[("sort", "-spend"), ("limit", "2"), ("cursor", &cursor), ("count", "true")]).await.unwrap();
    assert_eq!(names(&second), ["Jonathan Sharma", "Ann"]);
    assert_eq!(second.page.total, Some(6));
    let cursor = second.page.next_cursor.unwrap();
    let third = hotel.list(&[("sort", "-spend"), ("limit", "2"), ("cursor", &cursor)]).await.unwrap();
    assert_eq!(names(&third), ["Élodie"]);
    assert!(!third.page.has_more && third.page.next_cursor.is_none());

    let newest = hotel.list(&[("limit", "2")]).await.unwrap();
    assert_eq!(names(&newest), ["Rich", "Élodie"]);
    for wrong in [
        hotel.list(&[("sort", "spend"), ("cursor", &cursor)]).await,
        hotel.list(&[("sort", "-spend"), ("name[contains]", "a"), ("cursor", &cursor)]).await,
        hotel.list(&[("sort", "-spend"), ("search", "a"), ("cursor", &cursor)]).await,
        hotel.list(&[("sort", "-spend"), ("deleted", "true"), ("cursor", &cursor)]).await,
        hotel.list(&[("sort", "-spend"), ("cursor", "bm90aGluZw")]).await,
        hotel.list(&[("sort", "-spend"), ("cursor", "%%%")]).await,
    ] {
        let Error::Invalid(errors) = wrong.unwrap_err() else { panic!("not refused as invalid") };
        assert_eq!(errors.iter().map(|error| error.field.as_str()).collect::<Vec<_>>(), ["cursor"]);
    }
    let foreigner = Principal::system(OrganizationId(Uuid::from_u128(2)));
    let request = read(&[("sort", "-spend"), ("cursor", &cursor)]).unwrap();
    assert!(everything::<Guest>(&hotel.crm, &foreigner, &request, Filter::ALL).await.is_err());
}

#[tokio::test]
async fn relative_times_are_the_same_on_every_page() {
    let hotel = hotel(&GUESTS).await;
    let query = [("seen_at[within_last]", "28d"), ("limit", "2")];
    let first = hotel.list(&query).await.unwrap();
    assert_eq!(names(&first), ["Élodie", "Zoë"]);
    // Two hours later two of the guests would be outside of the 28 days.
    hotel.clock.advance(Duration::from_hours(2));
    let cursor = first.page.next_cursor.unwrap();
    let second = hotel.list(&[query[0], query[1], ("cursor", &cursor), ("count", "true")]).await.unwrap();
    assert_eq!((names(&second), second.page.total), (vec!["Jonathan Sharma", "Bob"], Some(5)));
    assert_eq!(hotel.list(&[query[0], ("count", "true")]).await.unwrap().page.total, Some(3));
}

#[tokio::test]
async fn numbered_pages_count() {
    let hotel = hotel(&GUESTS).await;
    let second = hotel.list(&[("sort", "name"), ("limit", "2"), ("page", "2")]).await.unwrap();
    assert_eq!(names(&second), ["Élodie", "Jonathan Sharma"]);
    assert_eq!((second.page.total, second.page.has_more), (Some(5), true));
    let beyond = hotel.list(&[("limit", "2"), ("page", "9")]).await.unwrap();
    assert_eq!((beyond.data.len(), beyond.page.total, beyond.page.has_more), (0, Some(5), false));
}

#[tokio::test]
async fn everybody_sees_their_own() {
    let hotel = hotel(&GUESTS).await;
    let agent = Principal::user(hotel.by.organization, UserId(Uuid::from_u128(5)), Role::Agent, None);
    let request = read(&[("sort", "name"), ("count", "true")]).unwrap();
    let rich = Guest::spend.compares(Comparison::Greater, "6".parse::<Money>().unwrap());
    let list = visible::<Guest>(&hotel.crm, &agent, &request, rich).await.unwrap();
    assert_eq!((names(&list), list.page.total), (vec!["Ann", "Jonathan Sharma"], Some(2)));
    let hidden = read(&[("search", "bob"), ("count", "true")]).unwrap();
    let list = visible::<Guest>(&hotel.crm, &agent, &hidden, Filter::ALL).await.unwrap();
    assert_eq!((list.data.len(), list.page.total, list.page.fuzzy), (0, Some(0), false));
    let near = read(&[("search", "boob")]).unwrap();
    assert!(visible::<Guest>(&hotel.crm, &agent, &near, Filter::ALL).await.unwrap().data.is_empty());
}

#[tokio::test]
async fn a_search_that_finds_nothing_gives_near_misses() {
    let hotel = hotel(&GUESTS).await;
    let exact = hotel.list(&[("search", "ELODIE")]).await.unwrap();
    assert_eq!((names(&exact), exact.page.fuzzy), (vec!["Élodie"], false));
    for search in ["jonatahn", "jonthn", "jhonatan sharma", "shrama jonathan", "ejonathan exampel"] {
        let near = hotel.list(&[("search", search), ("count", "true")]).await.unwrap();
        assert_eq!(names(&near), ["Jonathan Sharma"], "{search}");
        assert!(near.page.fuzzy && !near.page.partial && !near.page.has_more, "{search}");
        assert_eq!(near.page.total, Some(1));
    }
    let filtered = hotel.list(&[("search", "jonatahn"), ("spend[gt]", "20")]).await.unwrap();
    assert_eq!((filtered.data.len(), filtered.page.fuzzy), (0, false));
    assert!(hotel.list(&[("search", "qwertyuiop")]).await.unwrap().data.is_empty());
    let two = hotel.list(&[("search", "exampla"), ("limit", "1")]).await.unwrap();
    assert_eq!((two.data.len(), two.page.fuzzy, two.page.partial, two.page.has_more), (1, true, true, false));
    let second = hotel.list(&[("search", "exampla"), ("limit", "1"), ("page", "2")]).await.unwrap();
    assert_eq!((second.data.len(), second.page.total, second.page.has_more), (1, Some(3), true));
}

#[tokio::test]
async fn picked_fields_keep_their_digits() {
    let hotel = hotel(&GUESTS[..1]).await;
    let list = hotel.list(&[]).await.unwrap();
    let fields = ["name", "custom.debt", "version", "nothing"].map(str::to_owned);
    let picked = serde_json::to_string(&list.pick(&fields).unwrap()).unwrap();
    let expected = r#"{"data":[{"name":"Ann","custom":{"debt":99999999999999.9999},"version":1}],"page":{"limit":20,"next_cursor":null,"has_more":false}}"#;
    assert_eq!(picked, expected);
    let all = serde_json::to_string(&pick(&list.data[0], &[]).unwrap()).unwrap();
    assert_eq!(all, serde_json::to_string(&list.data[0]).unwrap());
}
