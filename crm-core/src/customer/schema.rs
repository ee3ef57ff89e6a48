//! What inputs look like, for the OpenAPI document.

use serde_json::json;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat,
        schema::{AdditionalProperties, ArrayBuilder, OneOfBuilder, SchemaType, Type},
    },
};

use super::{
    CustomerInput, CustomerPatches, CustomerStatus, MAX_CONTACTS, MAX_GROUPS, MAX_TAGS, NewCustomer, NewCustomers,
    OwnProfileInput,
};
use crate::{input::MAX_BATCH, rule::Rule, store::Money};

fn text(longest: usize) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(longest))
}

/// The value, or the `null` that clears it.
fn nullable(schema: impl Into<RefOr<Schema>>, description: &str) -> OneOfBuilder {
    OneOfBuilder::new()
        .item(schema)
        .item(ObjectBuilder::new().schema_type(Type::Null))
        .description(Some(description.to_owned()))
}

fn list(item: impl Into<RefOr<Schema>>, most: usize) -> ArrayBuilder {
    ArrayBuilder::new().items(item.into()).max_items(Some(most))
}

fn format(known: KnownFormat) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).format(Some(SchemaFormat::KnownFormat(known)))
}

fn email() -> ObjectBuilder {
    format(KnownFormat::Email).max_length(Some(254)).examples([json!("amelie@example.com")])
}

fn phone() -> ObjectBuilder {
    text(64).examples([json!("+919876543210")])
}

fn consent() -> ObjectBuilder {
    let flag = || ObjectBuilder::new().schema_type(Type::Boolean);
    let said = ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("granted", flag())
        .property("at", format(KnownFormat::DateTime))
        .property("source", text(100))
        .required("granted")
        .additional_properties(Some(AdditionalProperties::FreeForm(false)));
    let change = OneOfBuilder::new().item(flag()).item(said).item(ObjectBuilder::new().schema_type(Type::Null));
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .property_names(Some(
            ObjectBuilder::new()
                .schema_type(Type::String)
                .pattern(Some("^[a-z][a-z0-9_-]{0,31}(:[a-z][a-z0-9_-]{0,31})?$")),
        ))
        .additional_properties(Some(AdditionalProperties::RefOr(RefOr::T(Schema::OneOf(change.build())))))
        .examples([json!({"email": true, "sms": {"granted": false, "source": "call"}})])
}

fn free_form() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Object).additional_properties(Some(AdditionalProperties::FreeForm(true)))
}

/// The fields that customers may change of their own record.
fn own(object: ObjectBuilder) -> ObjectBuilder {
    object
        .property("phone", nullable(phone(), "The main phone, in E.164 or as dialled in the organization's country."))
        .property("consent", nullable(consent(), "What is agreed to, by channel; `null` forgets a channel."))
        .property("custom", nullable(free_form(), "Values of custom fields, by key."))
}

/// Every field that staff may give.
fn all(object: ObjectBuilder) -> ObjectBuilder {
    let number = |kind: Type| ObjectBuilder::new().schema_type(SchemaType::Type(kind)).minimum(Some(0));
    let status =
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(CustomerStatus::ALL.map(CustomerStatus::name)));
    let groups = list(format(KnownFormat::Uuid), MAX_GROUPS);
    own(object)
        .property("email", nullable(email(), "The main e-mail; no two customers have the same."))
        .property("emails", nullable(list(email(), MAX_CONTACTS), "Further e-mails."))
        .property("phones", nullable(list(phone(), MAX_CONTACTS), "Further phones."))
        .property("status", nullable(status, "`active` where nothing is said."))
        .property("type", nullable(text(64), "One of the organization's types; the first where nothing is said."))
        .property("tags", nullable(list(text(64), MAX_TAGS), "Labels, instead of those there are."))
        .property("add_tags", list(text(64), MAX_TAGS).description(Some("Labels beside those there are.")))
        .property("remove_tags", list(text(64), MAX_TAGS).description(Some("Labels that go.")))
        .property("group_ids", nullable(groups, "Static groups, instead of those there are."))
        .property("spend", nullable(Money::schema(), "What the customer has spent, orders included."))
        .property("opening_spend", nullable(Money::schema(), "The part of `spend` that is in no order."))
        .property("visits", nullable(number(Type::Integer), "How often the customer was here, orders included."))
        .property("opening_visits", nullable(number(Type::Integer), "The part of `visits` that is in no order."))
        .property("last_active", nullable(format(KnownFormat::DateTime), "When the customer last did something."))
        .property(
            "user_id",
            nullable(format(KnownFormat::Uuid), "The customer's login. Only for who sees all customers."),
        )
        .property("metadata", nullable(free_form(), "Your own JSON: at most 16 KB and 10 levels."))
        .property("owner_id", nullable(format(KnownFormat::Uuid), "Who looks after the customer."))
        .property("team_id", nullable(format(KnownFormat::Uuid), "Which team does."))
}

fn object() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Object).additional_properties(Some(AdditionalProperties::FreeForm(false)))
}

fn name() -> ObjectBuilder {
    text(200).description(Some("The full name.")).examples([json!("Amélie Poulain")])
}

fn new_customer() -> ObjectBuilder {
    all(object().property("name", name()).required("name")).examples([
        json!({"name": "Amélie Poulain", "email": "amelie@example.com", "phone": "+33142685300", "tags": ["vip"]}),
    ])
}

fn changes() -> ObjectBuilder {
    let read_only = ["id", "version", "created_at", "updated_at", "deleted_at", "total_orders", "total_order_value"];
    let others = ["organization_id", "last_order_date", "total_complaints", "open_complaints"];
    let sent_back = read_only.into_iter().chain(others).fold(object().property("name", name()), |object, name| {
        let ignored =
            ObjectBuilder::new().schema_type(SchemaType::AnyValue).description(Some("Ignored: only the CRM sets it."));
        object.property(name, ignored)
    });
    all(sent_back)
}

macro_rules! schemas {
    ($($type:ident => $schema:expr;)+) => {$(
        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                $schema.into()
            }
        }

        impl ToSchema for $type {}
    )+};
}

schemas! {
    NewCustomer => new_customer().build();
    CustomerInput => changes().examples([json!({"status": "inactive", "add_tags": ["left"]})]).build();
    OwnProfileInput => own(object().property("name", name())).examples([json!({"consent": {"email": false}})]).build();
    NewCustomers => object()
        .property("items", list(new_customer().build(), MAX_BATCH).min_items(Some(1)))
        .required("items")
        .build();
    CustomerPatches => {
        let item = changes().property("id", format(KnownFormat::Uuid)).required("id");
        let items = object().property("items", list(item, MAX_BATCH).min_items(Some(1))).required("items");
        let matching = object()
            .property("filter", Rule::schema())
            .property("set", changes())
            .property("add_tags", list(text(64), MAX_TAGS))
            .property("remove_tags", list(text(64), MAX_TAGS))
            .property(
                "after",
                format(KnownFormat::Uuid).description(Some("Only customers after this one: see `continue_after`.")),
            )
            .required("filter")
            .examples([json!({"filter": {"field": "inactive_days", "op": ">", "value": 365}, "set": {"status": "inactive"}})]);
        Schema::OneOf(OneOfBuilder::new().item(items).item(matching).build())
    };
}
