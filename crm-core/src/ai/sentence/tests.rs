use proptest::prelude::*;
use serde_json::{Value as Tree, json};

use super::{Code, Language, MAX_SENTENCE, Reading, read};
use crate::{
    customer::{Customer, DEFAULT_TYPES, declared_catalog},
    rule::{CatalogField, Rule, RuleType},
    tenancy::Currency,
};

const GOLD: &str = "0192f3a0-1c2d-7e4f-8a5b-6c7d8e9f0a1b";
const EARLY: &str = "0192f3a0-1c2d-7e4f-8a5b-6c7d8e9f0a1c";

fn language_in(currency: &str) -> Language {
    let custom = |key, kind| CatalogField::custom("custom", key, kind);
    let catalog = declared_catalog()
        .with(CatalogField::column(Customer::r#type).options(DEFAULT_TYPES))
        .with(custom("city", RuleType::Text))
        .with(custom("age", RuleType::Number))
        .with(custom("loyalty_tier", RuleType::Text).options(["Gold", "Silver", "Not Yet"]))
        .with(custom("interests", RuleType::List).options(["tea", "green tea", "coffee"]))
        .with(custom("newsletter", RuleType::Boolean))
        .with(custom("birthday", RuleType::Date))
        .with(custom("signed_up_at", RuleType::Timestamp))
        .with(custom("credit", RuleType::Money));
    Language::new(catalog, Currency::parse(currency).expect("a currency"))
        .with_field("city", "City")
        .with_field("age", "Age")
        .with_field("loyalty_tier", "Tier")
        .with_field("interests", "Interests")
        .with_field("newsletter", "Newsletter")
        .with_field("birthday", "Date of birth")
        .with_field("signed_up_at", "Signed up")
        .with_field("credit", "Credit line")
        .with_groups([(GOLD.to_owned(), "Gold".to_owned()), (EARLY.to_owned(), "Early Birds".to_owned())])
        .with_tags(["vip", "newsletter", "do-not-call", "Early Bird"].map(str::to_owned))
}

fn language() -> Language {
    language_in("INR")
}

/// A rule in short: `spend>5000`, `and[…]`.
fn short(rule: &Tree) -> String {
    for name in ["and", "or"] {
        if let Some(parts) = rule[name].as_array() {
            let parts: Vec<String> = parts.iter().map(short).collect();
            return format!("{name}[{}]", parts.join(", "));
        }
    }
    if rule["not"].is_object() {
        return format!("not[{}]", short(&rule["not"]));
    }
    let (field, op) = (rule["field"].as_str().expect("a field"), rule["op"].as_str().expect("an operator"));
    let value = rule["value"].as_str().map_or_else(|| rule["value"].to_string(), str::to_owned);
    if op.starts_with(char::is_alphabetic) { format!("{field} {op} {value}") } else { format!("{field}{op}{value}") }
}

fn tree(reading: &Reading) -> Tree {
    serde_json::to_value(&reading.rule).expect("JSON")
}

fn read_short(text: &str) -> String {
    match read(text, &language(), false) {
        Ok(reading) => short(&tree(&reading)),
        Err(refusal) => format!("{} near {:?}", refusal.code, refusal.near),
    }
}

fn check(cases: &[(&str, &str)]) {
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|(text, expected)| {
            let found = read_short(text);
            (found != *expected).then(|| format!("{text:?}\n    gives {found}\n      not {expected}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_promised() {
    check(&[
        ("Users inactive for 6 months and spent > ₹5K", "and[inactive_days>180, spend>5000]"),
        ("customers who haven't visited in 90 days", "and[inactive_days>90]"),
        ("not inactive for 30 days", "and[inactive_days<=30]"),
        ("active in the last 30 days", "and[inactive_days<=30]"),
        ("spend between ₹1K and ₹5K", "and[spend>=1000, spend<=5000]"),
        ("spent at least Rs. 2 lakh", "and[spend>=200000]"),
        ("spend of ₹2.5L+", "and[spend>=250000]"),
        ("visited twice", "and[visits==2]"),
        ("never visited", "and[visits==0]"),
        ("spent over 5K and visits under 3 or inactive for 1 year", "or[and[spend>5000, visits<3], inactive_days>365]"),
        (
            "spent over 5K and (visits under 3 or inactive for 1 year)",
            "and[spend>5000, or[visits<3, inactive_days>365]]",
        ),
        ("haven't spent more than 2000", "and[spend<=2000]"),
        ("dormant 90 days, or never visited", "or[inactive_days>90, visits==0]"),
        ("spent over 5k in the last 30 days", "unsupported_text near \"in the last 30 days\""),
        ("female customers in Mumbai", "unsupported_text near \"female\""),
        ("ordered more than 3 times", "unsupported_text near \"ordered more than 3 times\""),
        ("spent more than $50", "currency_mismatch near \"$50\""),
        ("visits > ₹5K", "unit_mismatch near \"₹5K\""),
        ("1,00,00 spend", "bad_number near \"1,00,00\""),
        ("visits spent > 5", "ambiguous_field near \"visits spent\""),
        ("not seen for less than 30 days", "ambiguous_negation near \"not seen for less than 30 days\""),
        ("visits > 3 and < 10", "and[visits>3, visits<10]"),
        ("last active more than 30 days ago", "and[inactive_days>30]"),
        ("inactive 6m", "unit_mismatch near \"6m\""),
        ("spent over 5k on shoes", "unsupported_text near \"on shoes\""),
    ]);
}

#[test]
fn comparisons() {
    check(&[
        ("spend more than 5", "and[spend>5]"),
        ("spend greater than 5", "and[spend>5]"),
        ("spend above 5", "and[spend>5]"),
        ("spend exceeding 5", "and[spend>5]"),
        ("inactive longer than 5 days", "and[inactive_days>5]"),
        ("inactive beyond 5 days", "and[inactive_days>5]"),
        ("spend at least 5", "and[spend>=5]"),
        ("minimum spend 5", "and[spend>=5]"),
        ("spend no less than 5", "and[spend>=5]"),
        ("5 or more visits", "and[visits>=5]"),
        ("visits 5 or more", "and[visits>=5]"),
        ("visited 5 times or more", "and[visits>=5]"),
        ("5+ visits", "and[visits>=5]"),
        ("spend of 5 and above", "and[spend>=5]"),
        ("spend less than 5", "and[spend<5]"),
        ("fewer than 5 visits", "and[visits<5]"),
        ("spend lower than 5", "and[spend<5]"),
        ("at most 5 visits", "and[visits<=5]"),
        ("up to 5 visits", "and[visits<=5]"),
        ("maximum 5 visits", "and[visits<=5]"),
        ("no more than 5 visits", "and[visits<=5]"),
        ("5 or less visits", "and[visits<=5]"),
        ("5 visits or fewer", "and[visits<=5]"),
        ("exactly 5 visits", "and[visits==5]"),
        ("visits equal to 5", "and[visits==5]"),
        ("visits = 5", "and[visits==5]"),
        ("visits is not equal to 5", "and[visits!=5]"),
        ("visits other than 5", "and[visits!=5]"),
        ("visits ≠ 5", "and[visits!=5]"),
        ("visits>=5", "and[visits>=5]"),
        ("visits ≥ 5", "and[visits>=5]"),
        ("visits <= 5", "and[visits<=5]"),
        ("visits ≤ 5", "and[visits<=5]"),
        ("visits == 5", "and[visits==5]"),
        ("visits != 5", "and[visits!=5]"),
        ("spent over 5k or over 10 visits", "or[spend>5000, visits>10]"),
        ("spend 5000 or more than 10 visits", "or[spend>=5000, visits>10]"),
        ("visits not between 3 and 5", "or[visits<3, visits>5]"),
        ("visits between 3 to 5", "and[visits>=3, visits<=5]"),
        ("inactive between 30 and 90 days", "and[inactive_days>=30, inactive_days<=90]"),
        ("visits between 5 and 3", "value_out_of_range near \"between 5 and 3\""),
        ("visits between 5", "missing_value near \"between\""),
        ("visits > 3 < 5", "unsupported_text near \"<\""),
    ]);
}

#[test]
fn amounts_and_times() {
    check(&[
        ("spend > 1,00,000", "and[spend>100000]"),
        ("spend > 100,000.50", "and[spend>100000.5]"),
        ("spend > INR 5 lakh", "and[spend>500000]"),
        ("spend > 5 lac rupees", "and[spend>500000]"),
        ("spend > Rs.5000", "and[spend>5000]"),
        ("spend > 1.5 crore", "and[spend>15000000]"),
        ("spend > 2cr", "and[spend>20000000]"),
        ("spend > 5 thousand", "and[spend>5000]"),
        ("spend > 2m", "and[spend>2000000]"),
        ("spend > 2 mn", "and[spend>2000000]"),
        ("spend > 0.1", "and[spend>0.1]"),
        ("spend > 1.23456", "bad_number near \"1.23456\""),
        ("spend > 5abc", "bad_number near \"5abc\""),
        ("spend > 2000000000000", "value_out_of_range near \"2000000000000\""),
        ("spend > -5", "value_out_of_range near \"-5\""),
        ("visits > 2.5", "bad_number near \"2.5\""),
        ("visits > 2.5k", "and[visits>2500]"),
        ("spend > €5", "currency_mismatch near \"€5\""),
        ("spend > 5²", "bad_number near \"5²\""),
        ("spend > ５ｋ", "and[spend>5000]"),
        ("inactive for 2 weeks", "and[inactive_days>14]"),
        ("inactive for a fortnight", "and[inactive_days>14]"),
        ("inactive for a month", "and[inactive_days>30]"),
        ("inactive for six months", "and[inactive_days>180]"),
        ("inactive for 2 quarters", "and[inactive_days>180]"),
        ("inactive for over a year", "and[inactive_days>365]"),
        ("inactive 90", "and[inactive_days>90]"),
        ("90-day inactive users", "and[inactive_days>90]"),
        ("inactive for 1.5 months", "and[inactive_days>45]"),
        ("inactive for 1.5 days", "bad_number near \"1.5 days\""),
        ("inactive for months", "missing_value near \"months\""),
        ("inactive for 200 years", "value_out_of_range near \"200 years\""),
        ("inactive_days > 7", "and[inactive_days>7]"),
        ("inactive for 5 times", "unit_mismatch near \"5 times\""),
        ("spent over 30 days", "unit_mismatch near \"30 days\""),
        ("spent 3 times", "unit_mismatch near \"3 times\""),
        ("visited once", "and[visits==1]"),
        ("visited thrice or more", "and[visits>=3]"),
        ("zero visits", "and[visits==0]"),
    ]);
}

#[test]
fn denials_and_deeds() {
    check(&[
        ("no visits", "and[visits==0]"),
        ("without visits", "and[visits==0]"),
        ("haven’t spent anything", "and[spend==0]"),
        ("spent nothing", "and[spend==0]"),
        ("havent visited in 3 months", "and[inactive_days>90]"),
        ("have not bought anything for 60 days", "and[inactive_days>60]"),
        ("no activity in the last 30 days", "and[inactive_days>30]"),
        ("not active for 30 days", "and[inactive_days>30]"),
        ("no visits in 90 days", "and[inactive_days>90]"),
        ("haven't visited in more than 90 days", "and[inactive_days>90]"),
        ("haven't visited for at least 90 days", "and[inactive_days>=90]"),
        ("haven't visited or ordered in 90 days", "and[inactive_days>90]"),
        ("haven't visited, ordered or bought in 90 days", "and[inactive_days>90]"),
        ("haven't been seen in between 30 and 60 days", "and[inactive_days>=30, inactive_days<=60]"),
        ("seen in the past month", "and[inactive_days<=30]"),
        ("active within 2 weeks", "and[inactive_days<=14]"),
        ("last seen over 3 months ago", "and[inactive_days>90]"),
        ("last visit was less than 30 days ago", "and[inactive_days<30]"),
        ("last purchase 90 days ago", "and[inactive_days>90]"),
        ("not inactive for more than 30 days", "and[inactive_days<=30]"),
        ("not visited 3 times", "and[visits!=3]"),
        ("haven't visited more than 3 times", "and[visits<=3]"),
        ("visits over 3 but not over 10", "and[visits>3, visits<=10]"),
        ("never ordered", "missing_value near \"ordered\""),
        ("customers who bought", "unsupported_text near \"customers who bought\""),
        ("bought in the last 30 days", "unsupported_text near \"in the last 30 days\""),
        ("visited more than 30 days ago", "unsupported_text near \"ago\""),
        ("visited 3 times in the last month", "unsupported_text near \"in the last month\""),
        ("visited in 2024", "unsupported_text near \"in 2024\""),
        ("haven't spent in 90 days", "unsupported_text near \"in 90 days\""),
        ("not not visited", "ambiguous_negation near \"not\""),
        ("not (inactive for 30 days or spent over 5k)", "and[not[or[inactive_days>30, spend>5000]]]"),
        ("haven't spent no more than 5", "ambiguous_negation near \"no more than\""),
    ]);
}

#[test]
fn joined() {
    check(&[
        ("spent over 5k, visits over 3, and inactive 30 days", "and[spend>5000, visits>3, inactive_days>30]"),
        ("(spent over 5k)", "and[spend>5000]"),
        ("spent over 5k and spent over 5,000", "and[spend>5000]"),
        ("spent over 5k or (visits 3 or (inactive 30 days))", "or[spend>5000, visits==3, inactive_days>30]"),
        ("visited 3 or 4 times", "or[visits==3, visits==4]"),
        ("spend > 5k & visits > 3.", "and[spend>5000, visits>3]"),
        ("customers with 3 visits who spent over 5k", "and[visits==3, spend>5000]"),
        ("spent over 5k with at least 3 visits", "and[spend>5000, visits>=3]"),
        ("(spent over 5k", "unbalanced_parenthesis near \"(\""),
        ("spent over 5k)", "unbalanced_parenthesis near \")\""),
        ("((((((((((spend > 5))))))))))", "unsupported_text near \"(\""),
        ("spent over 5k and", "missing_field near \"and\""),
        ("spent over 5k and or visits 3", "missing_field near \"and or\""),
        ("spent over 5k visits 3", "ambiguous_field near \"spent over 5k visits\""),
        ("", "empty near \"\""),
        (" ?! ", "empty near \"?!\""),
        ("more than 5000", "missing_field near \"more than 5000\""),
        ("over 90 days", "missing_field near \"over 90 days\""),
        ("customers", "missing_field near \"customers\""),
        ("inactive", "missing_value near \"inactive\""),
        ("inactive customers", "missing_value near \"inactive customers\""),
        ("spend more than", "missing_value near \"spend more than\""),
        ("spend > 5 6", "unsupported_text near \"6\""),
        ("spend > 5k or visits every week", "unsupported_text near \"every\""),
    ]);
}

#[test]
fn the_organizations_own_words() {
    check(&[
        ("city is Mumbai", "and[custom.city==Mumbai]"),
        ("City: \"New Delhi\" and spent over 5k", "and[custom.city==New Delhi, spend>5000]"),
        ("city is New Delhi and spent over 5k", "and[custom.city==New Delhi, spend>5000]"),
        ("city is the Hague", "and[custom.city==the Hague]"),
        ("city isn't Mumbai", "and[custom.city!=Mumbai]"),
        ("city is Mumbai, Pune or Delhi", "and[custom.city in [\"Mumbai\",\"Pune\",\"Delhi\"]]"),
        ("city is not Mumbai or Pune", "and[custom.city not_in [\"Mumbai\",\"Pune\"]]"),
        ("city is Mumbai or visits > 3", "or[custom.city==Mumbai, visits>3]"),
        ("city contains pur", "and[custom.city contains pur]"),
        ("city starts with Mum", "and[custom.city starts_with Mum]"),
        ("city is unknown", "and[custom.city exists false]"),
        ("without a city", "and[custom.city exists false]"),
        ("customers with a city", "and[custom.city exists true]"),
        ("the city", "missing_value near \"the city\""),
        ("city over 30", "unsupported_text near \"over\""),
        ("customers in city Mumbai with 3 visits", "and[custom.city==Mumbai, visits==3]"),
        ("age over 30", "and[custom.age>30.0]"),
        ("age is 30", "and[custom.age==30.0]"),
        ("age between 18 and 30", "and[custom.age>=18.0, custom.age<=30.0]"),
        ("age > 30 years", "unit_mismatch near \"30 years\""),
        ("age below -5", "and[custom.age<-5.0]"),
        ("no age", "and[custom.age exists false]"),
        ("credit line of at least ₹5 lakh", "and[custom.credit>=500000]"),
        ("tier is gold", "and[custom.loyalty_tier==Gold]"),
        ("loyalty tier gold or silver", "and[custom.loyalty_tier in [\"Gold\",\"Silver\"]]"),
        ("loyalty_tier = 'Not yet'", "and[custom.loyalty_tier==Not Yet]"),
        ("tier is platinum", "unsupported_text near \"platinum\""),
        (
            "interests green tea and coffee",
            "and[custom.interests contains green tea, custom.interests contains coffee]",
        ),
        ("interests include tea", "and[custom.interests contains tea]"),
        ("newsletter is true", "and[custom.newsletter==true]"),
        ("not newsletter", "and[custom.newsletter!=true]"),
        ("newsletter is no", "and[custom.newsletter!=true]"),
        ("newsletter = false", "and[custom.newsletter==false]"),
        ("newsletter over 5", "unit_mismatch near \"5\""),
        ("date of birth before 1990-01-31", "and[custom.birthday<1990-01-31]"),
        (
            "date of birth between 1990-01-01 and 1999-12-31",
            "and[custom.birthday>=1990-01-01, custom.birthday<=1999-12-31]",
        ),
        (
            "signed up on 2026-01-31",
            "and[custom.signed_up_at>=2026-01-31T00:00:00.000Z, custom.signed_up_at<2026-02-01T00:00:00.000Z]",
        ),
        ("signed up since 2026-01-31", "and[custom.signed_up_at>=2026-01-31T00:00:00.000Z]"),
        ("signed up in the last 2 weeks", "and[custom.signed_up_at within_last 14d]"),
        ("signed up more than 30 days ago", "and[custom.signed_up_at<now-30d]"),
        ("signed up in 2024", "unit_mismatch near \"2024\""),
        ("tagged vip", "and[tags contains vip]"),
        ("with tag newsletter", "and[tags contains newsletter]"),
        ("tagged early bird", "and[tags contains Early Bird]"),
        ("not tagged do-not-call", "and[not[tags contains do-not-call]]"),
        ("tagged vip or newsletter", "and[tags in [\"vip\",\"newsletter\"]]"),
        ("tagged vip and newsletter", "and[tags contains vip, tags contains newsletter]"),
        ("tagged Brand New", "and[tags contains Brand New]"),
        ("without tags", "and[tags exists false]"),
        ("in group Gold", &format!("and[group=={GOLD}]")),
        ("members of the early birds group", &format!("and[group=={EARLY}]")),
        ("not in group gold", &format!("and[group!={GOLD}]")),
        ("in group Platinum", "unsupported_text near \"Platinum\""),
        ("status is inactive", "and[status==inactive]"),
        ("blocked customers", "and[status==blocked]"),
        ("not blocked and spent over 5k", "and[status!=blocked, spend>5000]"),
        ("active customers who spent over 5k", "and[status==active, spend>5000]"),
        ("who are not active", "and[status!=active]"),
        ("vip customers who spent over 5k", "and[type==vip, spend>5000]"),
        ("customer type is wholesale or vip", "and[type in [\"wholesale\",\"vip\"]]"),
        ("wholesale customers inactive for 90 days", "and[type==wholesale, inactive_days>90]"),
    ]);
}

#[test]
fn what_is_taken_for_granted_is_said() {
    let assumptions = |text: &str| read(text, &language(), false).expect("a rule").assumptions;
    assert_eq!(assumptions("spent > 5k"), Vec::<String>::new());
    assert_eq!(assumptions("spent 5k"), ["Spend without a comparison is read as at least 5000."]);
    assert_eq!(assumptions("inactive for 6 months"), ["6 months are counted as 180 days."]);
    assert_eq!(assumptions("active customers"), ["\"active\" without a time is read as the status active."]);
    assert_eq!(assumptions("tagged new"), ["No customer has the tag \"new\" so far."]);
    assert_eq!(assumptions("city is Pune"), ["City is compared with \"Pune\" exactly as it is written here."]);
    let euros = language_in("EUR");
    assert_eq!(
        read("spent > ₹5K", &euros, false).expect("a rule").assumptions,
        ["Amounts are in EUR, the organization's currency; nothing is converted from rupees."]
    );
    assert_eq!(short(&tree(&read("spent > €5K", &euros, false).expect("a rule"))), "and[spend>5000]");
    assert_eq!(read("spent > EUR 5K", &euros, false).expect("a rule").assumptions, Vec::<String>::new());
    assert_eq!(read("spent > $5K", &euros, false).expect_err("dollars").code, Code::CurrencyMismatch);
    assert_eq!(short(&tree(&read("spent > CHF 5K", &language_in("CHF"), false).expect("a rule"))), "and[spend>5000]");
}

#[test]
fn the_rest_of_a_sentence() {
    let partial = |text: &str| match read(text, &language(), true) {
        Ok(reading) => format!("{} without {:?}", short(&tree(&reading)), reading.unparsed),
        Err(refusal) => format!("{} near {:?}", refusal.code, refusal.near),
    };
    for (text, expected) in [
        ("spent > 5k", "and[spend>5000] without []"),
        ("female customers in Mumbai who spent > 5k", "and[spend>5000] without [\"female\", \"in Mumbai\"]"),
        ("spent > 5k in the last 30 days", "and[spend>5000] without [\"in the last 30 days\"]"),
        ("spent > 5k and ordered more than 3 times", "and[spend>5000] without [\"ordered more than 3 times\"]"),
        ("not female and spent > 5k", "and[spend>5000] without [\"not female\"]"),
        ("not female spent > 5k", "unsupported_text near \"not female spent > 5k\""),
        ("spent > 5k and calls > 3", "and[spend>5000] without [\"calls > 3\"]"),
        ("spent > 5k and called 3 times", "and[spend>5000] without [\"called 3 times\"]"),
        ("spent > $5k or visits > 3", "and[visits>3] without [\"spent > $5k\"]"),
        ("female", "unsupported_text near \"female\""),
        ("(female", "unbalanced_parenthesis near \"(\""),
    ] {
        assert_eq!(partial(text), expected, "{text}");
    }
}

#[test]
fn refusals_help() {
    let refusal = read("female customers", &language(), false).expect_err("no such field");
    assert!(refusal.supported.iter().any(|field| field == "Tier"), "{:?}", refusal.supported);
    for example in &refusal.examples {
        assert!(read(example, &language(), false).is_ok(), "{example}");
    }
    let long = "visits > 3 and ".repeat(40);
    assert_eq!(read(&long, &language(), false).expect_err("too long").code, Code::TooLong);
    assert_eq!(
        read(&"₹".repeat(MAX_SENTENCE), &language(), false).expect_err("not too long").code,
        Code::UnsupportedText
    );
}

/// Words of which sentences are made, and some that are none.
fn word() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "customers",
        "who",
        "inactive",
        "active",
        "spent",
        "spend",
        "visits",
        "visited",
        "ordered",
        "not",
        "never",
        "haven't",
        "in",
        "the last",
        "for",
        "ago",
        "last",
        "30 days",
        "6 months",
        "month",
        "5k",
        "₹5",
        "$5",
        "3",
        "3 times",
        "1,00,000",
        "2026-01-31",
        "-5",
        "more than",
        "at least",
        "or more",
        ">",
        "<=",
        "!=",
        "between",
        "and",
        "or",
        ",",
        "but",
        "(",
        ")",
        "city",
        "tier",
        "gold",
        "is",
        "Mumbai",
        "\"New Delhi\"",
        "tagged",
        "vip",
        "group",
        "newsletter",
        "true",
        "unknown",
        "age",
        "interests",
        "tea",
        "date of birth",
        "before",
        "signed up",
        "status",
        "blocked",
        "with",
        "without",
        "female",
        "+",
        "%",
        "contains",
        "once",
        "a",
        "m",
        "lakh",
    ]);
    prop_oneof![9 => known.prop_map(str::to_owned), 1 => "\\PC{0,6}"]
}

fn sentence() -> impl Strategy<Value = String> {
    prop::collection::vec(word(), 0..14).prop_map(|words| words.join(" "))
}

proptest! {
    /// Any text is read or refused, and what is read is a rule that can be stored.
    #[test]
    fn any_text(text in prop_oneof!["\\PC{0,120}", "(?s).{0,60}", sentence()], partial: bool) {
        let language = language();
        match read(&text, &language, partial) {
            Ok(reading) => {
                let stored = reading.rule.to_json();
                let again = Rule::parse(stored.as_str(), language.catalog(), "rules_json").expect("a rule that can be stored");
                prop_assert!(again == reading.rule);
                prop_assert!(partial || reading.unparsed.is_empty());
                prop_assert!(reading.unparsed.iter().all(|part| text.contains(part.as_str()) && !part.is_empty()));
            }
            Err(refusal) => {
                prop_assert!(!refusal.message.is_empty() && !refusal.supported.is_empty());
                prop_assert!(text.contains(&refusal.near));
            }
        }
    }

    /// A word that means nothing is never left out in silence, wherever it stands.
    #[test]
    fn nothing_is_dropped(words in prop::collection::vec(word(), 1..10), place in 0_usize..10) {
        let mut words = words;
        let place = place.min(words.len());
        words.insert(place, "zzyzx".to_owned());
        let text = words.join(" ");
        if let Ok(reading) = read(&text, &language(), false) {
            let tree = tree(&reading).to_string();
            prop_assert!(tree.contains("zzyzx"), "{text} gives {tree}");
        }
        if let Ok(reading) = read(&text, &language(), true) {
            let told = reading.unparsed.iter().any(|part| part.contains("zzyzx"));
            prop_assert!(told || tree(&reading).to_string().contains("zzyzx"), "{text}");
        }
    }

    /// Every number of a sentence is in its rule.
    #[test]
    fn every_number_counts(spend in 1_u32..1_000_000, visits in 0_u32..1000, days in 1_u32..3650) {
        let text = format!("spent over {spend} and visits under {visits} or inactive for {days} days");
        let reading = read(&text, &language(), false).expect("a rule");
        let expected = json!({"or": [
            {"and": [
                {"field": "spend", "op": ">", "value": spend},
                {"field": "visits", "op": "<", "value": visits},
            ]},
            {"field": "inactive_days", "op": ">", "value": days},
        ]});
        prop_assert_eq!(tree(&reading), expected);
    }
}
