//! What outside services tell of customers: those who signed up elsewhere, and figures that are kept elsewhere.

use serde_json::{json, value::RawValue};

use super::Statistics;
use crate::{
    access::{Actor, Principal, permissions},
    contact::{Email, PhoneInput},
    customer::{ContactKey, ContactPoint, Customer, CustomerInput, Deed, NewCustomer, WriteOptions, Written},
    error::{Error, FieldErrors, Result},
    id::{CustomerId, UserId},
    input::{FromInput, Members, Patch},
    operation::Operation,
    order::{Order, OrderStatus},
    store::{Money, Query},
    text::Line,
    time::Timestamp,
};

/// So often is a change made again when the customer was changed meanwhile.
const ATTEMPTS: usize = 10;

/// Somebody who signed up with an outside service.
#[derive(Clone, Debug)]
pub struct InternalCustomer {
    user_id: UserId,
    name: Line<200>,
    email: Option<Email>,
    phone: Option<PhoneInput>,
}

impl FromInput for InternalCustomer {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        let mut errors = FieldErrors::new();
        let mut members = Members::parse(json)?;
        let user_id = members.read::<UserId>(&["user_id"], &mut errors);
        let name = members.read::<Line<200>>(&["full_name", "name"], &mut errors);
        let email = members.read::<Option<Email>>(&["email"], &mut errors).flatten();
        let phone = members.read::<Option<PhoneInput>>(&["contact_number", "phone"], &mut errors).flatten();
        members.finish(&["user_id", "full_name", "email", "contact_number"], &mut errors);
        match (user_id, name) {
            (Some(user_id), Some(name)) => errors.or(Self { user_id, name, email, phone }),
            _ => Err(errors),
        }
    }
}

/// One figure: what it is to be, or what is added to it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Figure<T> {
    #[default]
    Keep,
    Add(T),
    Set(T),
}

/// What an outside service says of a customer's figures: `{"increment": {…}, "set": {…}}`; a figure named outside of both
/// is set.
#[derive(Clone, Debug, Default)]
pub struct FigureChange {
    spend: Figure<Money>,
    total_order_value: Figure<Money>,
    visits: Figure<i64>,
    total_orders: Figure<i64>,
    total_complaints: Figure<i64>,
    open_complaints: Figure<i64>,
    last_order_date: Option<Timestamp>,
    last_active: Option<Timestamp>,
}

const NUMBERS: [&str; 6] =
    ["spend", "total_order_value", "visits", "total_orders", "total_complaints", "open_complaints"];

impl FigureChange {
    fn read(&mut self, members: &mut Members<'_>, adds: bool, path: &str, errors: &mut FieldErrors) {
        let mut found = FieldErrors::new();
        for (name, figure) in [("spend", &mut self.spend), ("total_order_value", &mut self.total_order_value)] {
            take(members, name, adds, figure, &mut found);
        }
        for (name, figure) in [
            ("visits", &mut self.visits),
            ("total_orders", &mut self.total_orders),
            ("total_complaints", &mut self.total_complaints),
            ("open_complaints", &mut self.open_complaints),
        ] {
            take(members, name, adds, figure, &mut found);
        }
        if !adds {
            for (name, instant) in
                [("last_order_date", &mut self.last_order_date), ("last_active", &mut self.last_active)]
            {
                if let Some(given) = members.read::<Option<Timestamp>>(&[name], &mut found).flatten()
                    && instant.replace(given).is_some()
                {
                    found.add(name, "DUPLICATE_FIELD", "is given more than once");
                }
            }
        }
        errors.extend_under(path, found);
    }
}

fn take<T: FromInput>(
    members: &mut Members<'_>,
    name: &str,
    adds: bool,
    figure: &mut Figure<T>,
    errors: &mut FieldErrors,
) {
    let Some(given) = members.read::<Option<T>>(&[name], errors).flatten() else { return };
    if !matches!(figure, Figure::Keep) {
        errors.add(name, "DUPLICATE_FIELD", "is given more than once");
    }
    *figure = if adds { Figure::Add(given) } else { Figure::Set(given) };
}

impl FromInput for FigureChange {
    fn from_input(json: &RawValue) -> Result<Self, FieldErrors> {
        let mut errors = FieldErrors::new();
        let mut members = Members::parse(json)?;
        let mut change = Self::default();
        let mut named: Vec<&str> = NUMBERS.to_vec();
        for (name, adds) in [("increment", true), ("set", false)] {
            let Some(part) = members.take(&[name]) else { continue };
            let Some(mut part) = errors.take(name, Members::parse(part)) else { continue };
            change.read(&mut part, adds, name, &mut errors);
            if !adds {
                named.extend(["last_order_date", "last_active"]);
            }
            let mut unknown = FieldErrors::new();
            part.finish(&named, &mut unknown);
            errors.extend_under(name, unknown);
        }
        change.read(&mut members, false, "", &mut errors);
        members.finish(&["increment", "set"], &mut errors);
        errors.or(change)
    }
}

impl Statistics<'_> {
    /// Makes a customer of somebody who signed up with an outside service. Whoever is there with the `user_id` is answered
    /// as they are, so that the service can tell it again.
    ///
    /// # Errors
    /// [`Error::Duplicate`] where another customer has the e-mail or phone; [`Error::Forbidden`] for whoever is no
    /// service, and without `customers:write`.
    pub async fn create_internal(&self, by: &Principal, new: InternalCustomer) -> Result<Written> {
        service_only(by)?;
        by.may(permissions::CUSTOMERS_WRITE)?;
        if let Some(customer) = self.of_user(by, new.user_id).await? {
            return Ok(Written { customer, deed: Deed::Unchanged });
        }
        let user_id = new.user_id;
        let option = |email: Option<Email>| email.map_or(Patch::Keep, Patch::Set);
        let input = CustomerInput {
            email: option(new.email),
            phone: new.phone.map_or(Patch::Keep, Patch::Set),
            user_id: Patch::Set(user_id),
            login_elsewhere: true,
            ..CustomerInput::named(new.name)
        };
        match self.crm.customers().create(by, NewCustomer(input), WriteOptions::default()).await {
            Ok(customer) => Ok(Written { customer, deed: Deed::Created }),
            Err(error @ Error::Duplicate { .. }) => match self.of_user(by, user_id).await? {
                // The same was told twice at once.
                Some(customer) => Ok(Written { customer, deed: Deed::Unchanged }),
                None => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// The customer whom a login of an outside service belongs to.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is none; [`Error::Forbidden`] for whoever is no service, and without
    /// `customers:read`.
    pub async fn internal_of_user(&self, by: &Principal, user: UserId) -> Result<Customer> {
        service_only(by)?;
        by.may(permissions::CUSTOMERS_READ)?;
        self.of_user(by, user).await?.ok_or(Error::NotFound("customer"))
    }

    async fn of_user(&self, by: &Principal, user: UserId) -> Result<Option<Customer>> {
        let key = ContactKey::user(user);
        let held = ContactPoint::kind.equals(key.kind).and(ContactPoint::value.equals(key.value));
        let Some(point) = self.crm.repo::<ContactPoint>().first(by.scope(), held).await? else { return Ok(None) };
        match self.crm.repo::<Customer>().visible(by, point.customer_id, "customer").await {
            Ok(customer) => Ok(Some(customer)),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Adds to figures of a customer, or sets them, all at once. What orders here have added stays: the part of a figure
    /// that is in no order moves.
    ///
    /// # Errors
    /// [`Error::Invalid`] where a figure would be less than what the orders here come to, or leave its range;
    /// [`Error::NotFound`]; [`Error::Forbidden`] for whoever is no service, and without `customers:write`.
    pub async fn change_figures(&self, by: &Principal, id: CustomerId, change: &FigureChange) -> Result<Customer> {
        service_only(by)?;
        by.may(permissions::CUSTOMERS_WRITE)?;
        let mut turn = self.crm.turns().join(id.0).await;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let before = self.crm.repo::<Customer>().visible(by, id, "customer").await?;
            let last = if change.last_order_date.is_some() { self.last_order(by, id).await? } else { None };
            let mut after = decide(&before, change, last)?;
            let mut operation = Operation::new(self.crm, by);
            if !operation.update(&before, &mut after) {
                return Ok(after);
            }
            let (old, new) = crate::customer::differences(Some(&before), Some(&after));
            let names = new.as_ref().and_then(|new| new.as_object()).map(|new| new.keys().cloned().collect::<Vec<_>>());
            operation.emit("customer.updated", &after, &json!({"id": id, "changed": names.unwrap_or_default()}));
            operation.audit::<Customer>("customer.updated", id, old, new);
            match operation.commit().await {
                Err(Error::VersionConflict { .. }) if attempt < ATTEMPTS => turn.wait().await,
                Err(error) => return Err(error),
                Ok(_) => return Ok(after),
            }
        }
    }

    async fn last_order(&self, by: &Principal, id: CustomerId) -> Result<Option<Timestamp>> {
        let counting = OrderStatus::ALL.into_iter().filter(|status| status.counts());
        let filter = Order::customer_id.equals(id).and(Order::status.one_of(counting));
        let last = Query::new(filter, 1).sorted(vec![Order::date.descending()]);
        Ok(self.crm.repo::<Order>().find(by.scope(), &last).await?.records.first().map(|order| order.date))
    }
}

/// Only services tell what this is told by.
fn service_only(by: &Principal) -> Result<()> {
    match by.actor {
        Actor::Service | Actor::ApiKey(_) | Actor::System => Ok(()),
        Actor::User(_) => Err(Error::Forbidden("Only a service with a key can do this.".to_owned())),
    }
}

/// The customer after the change. `last` is the last order here.
pub(super) fn decide(before: &Customer, change: &FigureChange, last: Option<Timestamp>) -> Result<Customer> {
    let mut errors = FieldErrors::new();
    let mut after = before.clone();
    let units = |money: Money| money.as_ten_thousandths();
    let in_units = |figure: Figure<Money>| match figure {
        Figure::Keep => Figure::Keep,
        Figure::Add(value) => Figure::Add(units(value)),
        Figure::Set(value) => Figure::Set(units(value)),
    };
    let spend = moved(in_units(change.spend), units(before.spend), units(before.opening_spend));
    if let Some((total, opening)) = money(spend, "spend", &mut errors) {
        (after.spend, after.opening_spend) = (total, opening);
    }
    let opening = before.opening_order_value.map_or(0, units);
    let value = moved(in_units(change.total_order_value), units(before.total_order_value), opening);
    if let Some((total, opening)) = money(value, "total_order_value", &mut errors) {
        (after.total_order_value, after.opening_order_value) = (total, Some(opening));
    }
    let visits = moved(change.visits, before.visits, before.opening_visits);
    if let Some((total, opening)) = number(visits, "visits", &mut errors) {
        (after.visits, after.opening_visits) = (total, opening);
    }
    let orders = moved(change.total_orders, before.total_orders, before.opening_orders.unwrap_or(0));
    if let Some((total, opening)) = number(orders, "total_orders", &mut errors) {
        (after.total_orders, after.opening_orders) = (total, Some(opening));
    }
    let complaints = moved(change.total_complaints, before.total_complaints, before.total_complaints);
    if let Some((total, _)) = number(complaints, "total_complaints", &mut errors) {
        after.total_complaints = total;
    }
    let open = moved(change.open_complaints, before.open_complaints, before.open_complaints);
    if let Some((total, _)) = number(open, "open_complaints", &mut errors) {
        after.open_complaints = total;
    }
    if let Some(said) = change.last_order_date {
        let known = crate::order::earlier_active(before);
        after.opening_last_order_date = Some(said);
        after.last_order_date = last.max(Some(said));
        after.opening_last_active = known;
        after.last_active = before.last_active.max(after.last_order_date);
    }
    if let Some(said) = change.last_active {
        after.opening_last_active = Some(said);
        after.last_active = Some(said).max(after.last_order_date);
    }
    after.active_at = after.last_active.unwrap_or(after.meta.created_at);
    Ok(errors.or(after)?)
}

/// The figure and its opening part afterwards; nothing where neither moves.
fn moved(figure: Figure<i64>, total: i64, opening: i64) -> Option<(i128, i128)> {
    let by = match figure {
        Figure::Keep => return None,
        Figure::Add(value) => i128::from(value),
        Figure::Set(value) => i128::from(value) - i128::from(total),
    };
    Some((i128::from(total) + by, i128::from(opening) + by))
}

fn number(moved: Option<(i128, i128)>, name: &str, errors: &mut FieldErrors) -> Option<(i64, i64)> {
    let (total, opening) = moved?;
    if opening < 0 {
        errors.add(name, "OUT_OF_RANGE", "must not be less than what the orders come to");
        return None;
    }
    let found = i64::try_from(total).ok().zip(i64::try_from(opening).ok());
    if found.is_none() {
        errors.add(name, "OUT_OF_RANGE", "would leave the range of what can be kept");
    }
    found
}

fn money(moved: Option<(i128, i128)>, name: &str, errors: &mut FieldErrors) -> Option<(Money, Money)> {
    let (total, opening) = number(moved, name, errors)?;
    let found = Money::from_ten_thousandths(total).zip(Money::from_ten_thousandths(opening));
    if found.is_none() {
        errors.add(name, "OUT_OF_RANGE", "would leave the range of what can be kept");
    }
    found
}

#[cfg(feature = "openapi")]
mod schema {
    use serde_json::json;
    use utoipa::{
        PartialSchema, ToSchema,
        openapi::{
            KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat,
            schema::{AdditionalProperties, Type},
        },
    };

    use super::{FigureChange, InternalCustomer, NUMBERS};

    fn text(format: Option<KnownFormat>) -> ObjectBuilder {
        ObjectBuilder::new().schema_type(Type::String).format(format.map(SchemaFormat::KnownFormat))
    }

    fn object() -> ObjectBuilder {
        ObjectBuilder::new()
            .schema_type(Type::Object)
            .additional_properties(Some(AdditionalProperties::FreeForm(false)))
    }

    fn figures() -> ObjectBuilder {
        NUMBERS.into_iter().fold(object(), |object, name| {
            let kind = if ["spend", "total_order_value"].contains(&name) { Type::Number } else { Type::Integer };
            object.property(name, ObjectBuilder::new().schema_type(kind))
        })
    }

    fn with_dates(object: ObjectBuilder) -> ObjectBuilder {
        ["last_order_date", "last_active"]
            .into_iter()
            .fold(object, |object, name| object.property(name, text(Some(KnownFormat::DateTime))))
    }

    impl PartialSchema for InternalCustomer {
        fn schema() -> RefOr<Schema> {
            object()
                .property(
                    "user_id",
                    text(Some(KnownFormat::Uuid)).description(Some("The login with the other service.")),
                )
                .property("full_name", text(None).min_length(Some(1)).max_length(Some(200)))
                .property("email", text(Some(KnownFormat::Email)))
                .property("contact_number", text(None).max_length(Some(64)))
                .required("user_id")
                .required("full_name")
                .examples([json!({
                    "user_id": "0198c1de-5f00-7000-8000-0000000000c1", "full_name": "Amélie Poulain",
                    "email": "amelie@example.com", "contact_number": "+33142685300",
                })])
                .build()
                .into()
        }
    }

    impl ToSchema for InternalCustomer {}

    impl PartialSchema for FigureChange {
        fn schema() -> RefOr<Schema> {
            with_dates(figures())
                .property("increment", figures().description(Some("What is added; less than 0 takes away.")))
                .property("set", with_dates(figures()).description(Some("What figures are to be.")))
                .examples([json!({
                    "increment": {"total_orders": 1, "total_order_value": 59.97},
                    "set": {"last_order_date": "2026-01-30T17:05:00Z"},
                })])
                .build()
                .into()
        }
    }

    impl ToSchema for FigureChange {}
}
