use proptest::prelude::*;

use super::*;
use crate::{
    contact::{Email, Phone},
    customer::Customer,
    field::CustomFieldType,
    id::{CustomerId, OrganizationId},
    record::Meta,
    store::{Json, Money},
    tenancy::{Currency, NewOrganization, TimeZone},
    text::Line,
    time::Timestamp,
};

fn at(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

fn organization() -> Organization {
    let new = NewOrganization {
        currency: Currency::parse("INR").ok(),
        time_zone: TimeZone::parse("Asia/Kolkata").ok(),
        ..NewOrganization::named(Line::parse("Shop & Co").expect("a name"))
    };
    Organization::new(OrganizationId(uuid::Uuid::from_u128(1)), new, at("2026-01-01T00:00:00Z"))
}

fn customer() -> Customer {
    let meta = Meta::new(OrganizationId(uuid::Uuid::from_u128(1)), at("2026-01-02T20:00:00Z"));
    let id = CustomerId(uuid::Uuid::from_u128(7));
    let mut customer = Customer::blank(id, Line::parse("amélie <Poulain>").expect("a name"), meta);
    customer.email = Email::parse("amelie@example.com").ok();
    customer.phone = Phone::parse("+33142685300", None).ok();
    customer.spend = Money::from_ten_thousandths(12_345_675_000).expect("an amount");
    customer.visits = 12;
    customer.last_active = Some(at("2026-01-30T20:05:00Z"));
    let custom = r#"{"city":"Pune","birthday":"1990-05-17","met":1767384000000,"likes":["tea","rain"],"debt":-12,
        "club":true,"points":1e2,"blank":"  ","evil":"a\r\nBcc: x@y.z"}"#;
    customer.custom = Json::from_trusted(custom.to_owned()).into();
    customer
}

fn vocabulary() -> Vocabulary {
    Vocabulary::with(&[
        ("city", CustomFieldType::List),
        ("birthday", CustomFieldType::Date),
        ("met", CustomFieldType::Datetime),
        ("likes", CustomFieldType::MultiList),
        ("debt", CustomFieldType::Money),
        ("club", CustomFieldType::Boolean),
        ("points", CustomFieldType::Number),
        ("blank", CustomFieldType::Text),
        ("evil", CustomFieldType::Text),
        ("gone", CustomFieldType::Text),
    ])
}

fn rendered(text: &str, form: Form) -> String {
    let organization = organization();
    let context = RenderContext { organization: &organization, unsubscribe_url: Some("https://x.test/u?a=1&b=2") };
    let template = Template::message(text, &vocabulary()).unwrap_or_else(|errors| panic!("{text}: {errors}"));
    template.render(&customer(), &context, form)
}

#[test]
fn variables_stand_for_what_is_known() {
    for (text, expected) in [
        ("Hi {{name}}!", "Hi amélie <Poulain>!"),
        ("{{ first_name | capitalize }}", "Amélie"),
        ("{{customer.name|upper}}", "AMÉLIE <POULAIN>"),
        ("{{email}} {{contact_number}} {{status}} {{type}}", "amelie@example.com +33142685300 active regular"),
        ("{{spend}} {{spend | money}}", "1234567.5 INR 1,234,567.50"),
        ("{{visits}} {{order_count}} {{total_order_value | money}}", "12 0 INR 0.00"),
        ("{{last_active}}", "2026-01-31"),
        ("{{last_active | date: \"%d %B %Y, %H:%M\"}}", "31 January 2026, 01:35"),
        ("{{custom.birthday | date: '%-d %b'}}", "17 May"),
        ("{{custom.met | date: \"%Y\"}} {{custom.met}}", "2026 2026-01-03"),
        ("{{custom.city}}, {{custom.likes}}, {{custom.club}}", "Pune, tea, rain, true"),
        ("{{custom.debt | money}} {{custom.debt}} {{custom.points}}", "INR -12.00 -12 100"),
        ("{{custom.gone}}|{{custom.blank}}|{{last_order_date}}", "||"),
        ("{{custom.gone | default: \"there\"}} {{custom.blank | default: 5}}", "there 5"),
        ("{{custom.gone | upper | default: “there” | upper}}", "THERE"),
        ("{{custom.gone | default: \"a \\\"b\\\" }} c\"}}", "a \"b\" }} c"),
        ("{{last_order_date | default: \"never\" | date: \"%Y\"}}", "never"),
        ("{{name | truncate: 3}}", "am\u{2026}"),
        ("{{organization}} {{unsubscribe_url}}", "Shop & Co https://x.test/u?a=1&b=2"),
        (r"\{{name}} } }} { \ \\{{status}} \\\{{x}}", r"{{name}} } }} { \ \active \{{x}}"),
        ("no variables", "no variables"),
        ("", ""),
    ] {
        assert_eq!(rendered(text, Form::Text), expected, "{text}");
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place_and_what_is_allowed() {
    for (text, code, part) in [
        ("Hi {{nmae}}", "UNKNOWN_VARIABLE", "{{nmae}} at character 4"),
        ("Hi {{nmae}}", "UNKNOWN_VARIABLE", "did you mean {{name}}? Known are name, first_name"),
        ("{{city}}", "UNKNOWN_VARIABLE", "did you mean {{custom.city}}?"),
        ("{{custom.town}}", "UNKNOWN_VARIABLE", "custom.city"),
        ("{{password_hash}}", "UNKNOWN_VARIABLE", "is nothing that a message can name"),
        ("{{name", "INVALID_TEMPLATE", "is not closed by }}"),
        ("é{{", "INVALID_TEMPLATE", "the {{ at character 2"),
        ("{{}}", "INVALID_TEMPLATE", "name of a variable"),
        ("{{{name}}}", "INVALID_TEMPLATE", "name of a variable"),
        ("{{name city}}", "INVALID_TEMPLATE", "filter"),
        ("{{name | }}", "INVALID_TEMPLATE", "name of a filter"),
        ("{{name | default}}", "INVALID_TEMPLATE", "default needs a text"),
        ("{{name | default: there}}", "INVALID_TEMPLATE", "in quotes"),
        ("{{name | default: \"there}}", "INVALID_TEMPLATE", "in quotes"),
        ("{{name | shout}}", "INVALID_TEMPLATE", "known are default, upper"),
        ("{{name | upper: 5}}", "INVALID_TEMPLATE", "is given nothing"),
        ("{{name | truncate: 0}}", "INVALID_TEMPLATE", "truncate needs a number"),
        ("{{name | date: \"%Y\"}}", "INVALID_TEMPLATE", "date is for dates"),
        ("{{custom.birthday | date: \"%Q!\"}}", "INVALID_TEMPLATE", "date needs a form"),
        ("{{name | money}}", "INVALID_TEMPLATE", "money is for numbers"),
    ] {
        let errors = Template::message(text, &vocabulary()).expect_err(text);
        let first = errors.iter().next().expect("an error");
        assert_eq!((first.code, first.message.contains(part)), (code, true), "{text}: {}", first.message);
    }
    let many = Template::message("{{a}} {{name}} {{b", &vocabulary()).expect_err("two faults");
    assert_eq!(many.iter().count(), 2, "every fault is told: {many}");
    assert!(Template::subject(&"x".repeat(LONGEST_SUBJECT + 1), &vocabulary()).is_err());
    assert!(Template::message(&"{{name}}".repeat(MOST_VARIABLES + 1), &vocabulary()).is_err());
}

#[test]
fn html_is_escaped_and_lines_have_no_breaks() {
    let html = rendered("<p title=\"{{name}}\">{{organization}} <a href=\"{{unsubscribe_url}}\">x</a></p>", Form::Html);
    assert_eq!(
        html,
        "<p title=\"amélie &lt;Poulain&gt;\">Shop &amp; Co <a href=\"https://x.test/u?a=1&amp;b=2\">x</a></p>"
    );
    assert_eq!(rendered("Re:  {{custom.evil}}\n{{name}}", Form::Line), "Re: a Bcc: x@y.z amélie <Poulain>");
    for (text, is_html) in
        [(" <p>x", true), ("<!doctype html>", true), ("x <p>", false), ("< 5", false), ("", false), ("<3 you", false)]
    {
        assert_eq!(Template::message(text, &vocabulary()).map(|template| template.is_html()), Ok(is_html), "{text}");
    }
    let long = format!("{}é", "x".repeat(899));
    assert_eq!(rendered(&long, Form::Line).len(), 899, "cut between characters");
}

proptest! {
    #[test]
    fn nothing_panics(text in "(\\{\\{|\\}\\}|\\\\|[\"'|: ]|name|custom\\.met|default|date|truncate|%[a-zA-Z0-9:.^_-]|[0-9]|\\PC){0,24}") {
        if let Ok(template) = Template::message(&text, &vocabulary()) {
            let organization = organization();
            let context = RenderContext { organization: &organization, unsubscribe_url: None };
            for form in [Form::Text, Form::Html, Form::Line] {
                let rendered = template.render(&customer(), &context, form);
                prop_assert!(rendered.len() <= LONGEST_RENDERED);
                prop_assert!(form != Form::Line || !rendered.chars().any(char::is_control));
            }
        }
    }

    #[test]
    fn a_text_without_braces_stays_as_it_is(text in "[^{\\\\]{0,40}") {
        prop_assert_eq!(rendered(&text, Form::Text), text);
    }

    #[test]
    fn what_is_escaped_is_a_text_again(text in "[^{\\\\]{0,40}") {
        prop_assert_eq!(rendered(&format!("\\{{{{{text}"), Form::Text), format!("{{{{{text}"));
    }
}
