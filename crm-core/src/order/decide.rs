//! What becomes of an order when somebody says something of it: plain decisions, without a store.

use std::time::Duration;

use rust_decimal::Decimal;
use serde_json::value::RawValue;

use super::{Order, OrderInput, OrderItem, OrderItems, OrderStatus};
use crate::{
    contact::Country,
    customer::Metadata,
    error::{FieldErrors, Result},
    field::{FieldSet, Mode, ValueContext},
    input::Patch,
    store::{Json, Money},
    time::Timestamp,
};

/// How far ahead of our clock the clock of a shop may be.
const AHEAD: Duration = Duration::from_hours(24);

/// What an input is read against besides the order itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting<'a> {
    /// The instant of the operation.
    pub(crate) now: Timestamp,
    /// Where national phone numbers are from.
    pub(crate) country: Option<Country>,
    /// The organization's custom fields of orders.
    pub(crate) fields: &'a FieldSet,
}

/// The order after the input. `before` is a blank one where the order is new.
///
/// # Errors
/// Every wrong field.
pub(crate) fn decide(
    before: &Order,
    input: &OrderInput,
    is_new: bool,
    setting: &Setting<'_>,
) -> Result<Order, FieldErrors> {
    let mut errors = input.wrong.clone();
    let mut after = before.clone();
    if !is_new
        && (input.customer_id == Patch::Clear || input.customer_id.value().is_some_and(|id| *id != before.customer_id))
    {
        errors.add("customer_id", "READ_ONLY", "never changes: cancel the order, and make another");
    }
    match &input.external_id {
        Patch::Keep => {}
        Patch::Clear => after.external_id = None,
        Patch::Set(id) => after.external_id = Some(id.clone()),
    }
    after.status = match input.status {
        Patch::Keep => before.status,
        Patch::Clear => OrderStatus::default(),
        Patch::Set(status) => status,
    };
    match &input.date {
        Patch::Keep => {}
        Patch::Clear if is_new => {}
        Patch::Clear => errors.add("date", "REQUIRED", "is required"),
        Patch::Set(date) if *date > setting.now.plus(AHEAD) => {
            errors.add("date", "OUT_OF_RANGE", "must not be more than a day ahead");
        }
        Patch::Set(date) => after.date = *date,
    }
    amount(&mut after, input, is_new, &mut errors);
    let mode = if is_new { Mode::Create } else { Mode::Merge };
    let given = match &input.custom {
        Patch::Keep => None,
        Patch::Clear => Some(RawValue::NULL),
        Patch::Set(given) => Some(given.as_ref()),
    };
    let context = ValueContext { now: setting.now, country: setting.country };
    if let Some(custom) = errors.take("custom", setting.fields.check(given, &before.custom, mode, &context)) {
        after.custom = custom;
    }
    let metadata = match &input.metadata {
        Patch::Keep => Ok(before.metadata.clone()),
        Patch::Clear => Ok(Json::default()),
        Patch::Set(metadata) if is_new => Ok(metadata.as_json().clone()),
        Patch::Set(metadata) => Metadata::merged(&before.metadata, metadata),
    };
    if let Some(metadata) = errors.take("metadata", metadata) {
        after.metadata = metadata;
    }
    if errors.is_empty() {
        let old = (!is_new).then_some(before);
        errors.take("custom", setting.fields.check_required_if(old, &after, setting.now));
    }
    errors.or(after)
}

/// The lines and what they come to.
fn amount(after: &mut Order, input: &OrderInput, is_new: bool, errors: &mut FieldErrors) {
    let wrong = |name: &str| input.wrong.iter().any(|error| error.field.starts_with(name));
    match &input.items {
        Patch::Keep => {}
        Patch::Clear => after.items = OrderItems::default(),
        Patch::Set(items) => after.items = OrderItems(items.clone()),
    }
    let given = input.amount.value().copied();
    if let Some(given) = given
        && given < Money::ZERO
    {
        errors.add("amount", "OUT_OF_RANGE", "must not be less than 0");
        return;
    }
    if after.items.0.is_empty() {
        match given {
            Some(amount) => after.amount = amount,
            // Lines that are wrong come to nothing that could be told.
            None if wrong("items") || wrong("amount") => {}
            None if is_new || input.amount == Patch::Clear => {
                errors.add("amount", "REQUIRED", "is required where there are no items");
            }
            None => {}
        }
        return;
    }
    if wrong("items") {
        return;
    }
    match sum(&after.items.0) {
        Err(message) => errors.add("items", "OUT_OF_RANGE", message),
        Ok(sum) if sum < Money::ZERO => {
            errors.add("items", "OUT_OF_RANGE", format!("must not come to less than 0, but come to {sum}"));
        }
        Ok(sum) => match given {
            Some(given) if given != sum => {
                errors.add("amount", "MISMATCH", format!("is {given}, but the items come to {sum}"));
            }
            _ => after.amount = sum,
        },
    }
}

/// What lines come to, exactly.
pub(super) fn sum(items: &[OrderItem]) -> Result<Money, String> {
    const PLACES: u32 = 8;
    let each = items
        .iter()
        .map(|item| i128::from(item.qty.as_ten_thousandths()) * i128::from(item.price.as_ten_thousandths()));
    // At most 500 products of less than 2^44 and 2^60.
    let exact: i128 = each.sum();
    let shown = || Decimal::try_from_i128_with_scale(exact, PLACES).map(|sum| sum.normalize().to_string());
    if exact % 10_000 != 0 {
        let shown = shown().unwrap_or_else(|_| "an amount".to_owned());
        return Err(format!("come to {shown}, which has more than 4 places"));
    }
    let amount = i64::try_from(exact / 10_000).ok().and_then(Money::from_ten_thousandths);
    amount.ok_or_else(|| format!("come to more than {}", Money::MAX))
}

/// How the order that is there differs from what is said of one with the same `external_id`; nothing where it does not.
pub(super) fn conflict(there: &Order, said: &Order) -> Option<String> {
    let mut differences = Vec::new();
    if there.customer_id != said.customer_id {
        differences.push(format!("customer_id is {}, not {}", there.customer_id, said.customer_id));
    }
    if there.amount != said.amount {
        differences.push(format!("amount is {}, not {}", there.amount, said.amount));
    }
    let external_id = there.external_id.as_ref().map_or("", |id| id.as_str());
    (!differences.is_empty()).then(|| {
        format!("The order {external_id} is there already and differs: its {}.", differences.join(", and its "))
    })
}
