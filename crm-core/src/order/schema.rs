//! What inputs look like, for the OpenAPI document.

use serde_json::json;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat,
        schema::{AdditionalProperties, ArrayBuilder, OneOfBuilder, SchemaType, Type},
    },
};

use super::{MAX_ITEMS, NewOrder, NewOrders, OrderInput, OrderStatus, Quantity};
use crate::{input::MAX_BATCH, store::Money};

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

fn format(known: KnownFormat) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).format(Some(SchemaFormat::KnownFormat(known)))
}

fn free_form() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Object).additional_properties(Some(AdditionalProperties::FreeForm(true)))
}

fn object() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Object).additional_properties(Some(AdditionalProperties::FreeForm(false)))
}

fn item() -> ObjectBuilder {
    object()
        .property("sku", nullable(text(100), "The seller's own number of the thing."))
        .property("name", nullable(text(300), "What it is called; the `sku` where it is left out."))
        .property("qty", Quantity::schema())
        .property("price", Money::schema())
        .required("price")
        .examples([json!({"sku": "MUG-1", "name": "Mug", "qty": 3, "price": 19.99})])
}

/// Every field that may be given.
fn all(object: ObjectBuilder) -> ObjectBuilder {
    let status =
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(OrderStatus::ALL.map(OrderStatus::name)));
    let items = ArrayBuilder::new().items(RefOr::T(Schema::from(item().build()))).max_items(Some(MAX_ITEMS));
    object
        .property(
            "external_id",
            nullable(text(200), "What the order is called where it was made; no two orders have the same."),
        )
        .property("status", nullable(status, "`placed` where nothing is said."))
        .property(
            "amount",
            nullable(
                Money::schema(),
                "What it comes to. Left out, or exactly the sum of the items, where there are any.",
            ),
        )
        .property("items", nullable(items, "What was bought."))
        .property(
            "date",
            nullable(format(KnownFormat::DateTime), "When it was made, at most a day ahead; now where it is left out."),
        )
        .property("custom", nullable(free_form(), "Values of custom fields, by key."))
        .property("metadata", nullable(free_form(), "Your own JSON: at most 16 KB and 10 levels."))
}

fn customer() -> ObjectBuilder {
    format(KnownFormat::Uuid).description(Some("Who has bought."))
}

fn new_order() -> ObjectBuilder {
    all(object().property("customer_id", customer()).required("customer_id")).examples([json!({
        "customer_id": "0198c1de-5f00-7000-8000-000000000001", "external_id": "SHOP-1001", "status": "paid",
        "items": [{"sku": "MUG-1", "name": "Mug", "qty": 3, "price": 19.99}],
    })])
}

fn changes() -> ObjectBuilder {
    let read_only = ["id", "organization_id", "version", "created_at", "updated_at", "customer"];
    let sent_back = read_only.into_iter().fold(object().property("customer_id", customer()), |object, name| {
        let ignored =
            ObjectBuilder::new().schema_type(SchemaType::AnyValue).description(Some("Ignored: only the CRM sets it."));
        object.property(name, ignored)
    });
    all(sent_back).examples([json!({"status": "cancelled"})])
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
    NewOrder => new_order().build();
    OrderInput => changes().build();
    NewOrders => object()
        .property(
            "items",
            ArrayBuilder::new()
                .items(RefOr::T(Schema::from(new_order().build())))
                .min_items(Some(1))
                .max_items(Some(MAX_BATCH)),
        )
        .required("items")
        .build();
}
